"""Machines for the tests of engines that run on several: as one machine can have them.

A node has a network namespace of its own, another boot id by a bind mount, another store root, and
another folder for Ray's files. That takes root's rights; where they are missing the tests that need
nodes are skipped.
"""

from __future__ import annotations

import ipaddress
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from types import TracebackType
from typing import Any

import pytest

BOOT = "/proc/sys/kernel/random/boot_id"


class Nodes:
    """Some nodes on one bridge, which has a /24 of its own: this machine has .1, node 0 has .2."""

    def __init__(self, count: int, place: pathlib.Path) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and the program ip")
        self.count = count
        self.names: list[str] = []
        self.place = place
        self.started: list[subprocess.Popen[str]] = []

    def _ip(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if check and done.returncode:
            self.__exit__(None, None, None)
            pytest.skip(f"this machine lets no test make networks: {done.stderr.strip()}")
        return done

    def _take_network(self) -> None:
        """Make a bridge whose name has its network: of several runs only one can make it."""
        interfaces = json.loads(self._ip("-4", "-json", "address").stdout)
        used = [
            ipaddress.ip_interface(f"{one['local']}/{one['prefixlen']}").network
            for interface in interfaces
            for one in interface.get("addr_info", [])
        ]
        for _ in range(100):
            x, y = random.SystemRandom().sample(range(256), 2)
            self.network = f"10.{x}.{y}"
            if any(ipaddress.ip_network(f"{self.network}.0/24").overlaps(one) for one in used):
                continue
            self.tag = f"nd{x}-{y}"
            made = self._ip("link", "add", f"{self.tag}b", "type", "bridge", check=False)
            if made.returncode == 0:
                return
            if "exists" not in made.stderr:
                pytest.skip(f"this machine lets no test make networks: {made.stderr.strip()}")
        pytest.skip("this machine has no free network 10.x.y.0/24")

    def __enter__(self) -> Nodes:
        self._take_network()
        bridge = f"{self.tag}b"
        self._ip("addr", "add", f"{self.address(None)}/24", "dev", bridge)
        self._ip("link", "set", bridge, "up")
        for at in range(self.count):
            name, outer, inner = f"{self.tag}-{at}", f"{self.tag}o{at}", f"{self.tag}i{at}"
            self._ip("netns", "add", name)
            self.names.append(name)
            self._ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            self._ip("link", "set", outer, "master", bridge)
            self._ip("link", "set", outer, "up")
            self._ip("link", "set", inner, "netns", name)
            self._ip("-n", name, "addr", "add", f"{self.address(at)}/24", "dev", inner)
            self._ip("-n", name, "link", "set", inner, "up")
            self._ip("-n", name, "link", "set", "lo", "up")
            self.root(at).mkdir(mode=0o700, parents=True)
            (self.place / f"boot-{at}").write_text(f"{uuid.uuid4()}\n")
            (self.place / f"ray-{at}").mkdir()
        return self

    def address(self, at: int | None) -> str:
        """Return the address of a node, or of this machine."""
        return f"{self.network}.{1 if at is None else at + 2}"

    def root(self, at: int) -> pathlib.Path:
        """Return the store root of a node."""
        return self.place / f"root-{at}"

    def start(self, *command: str, at: int | None = None) -> subprocess.Popen[str]:
        """Start a Python program: on a node, or on this machine."""
        words = [sys.executable, *command]
        # The functions of the tests are found there too.
        path = [str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": ":".join(filter(None, path))}
        if at is not None:
            binds = {f"boot-{at}": BOOT, f"ray-{at}": os.environ["RAY_TMPDIR"]}
            mounts = [f'mount --bind "{self.place / one}" {two} &&' for one, two in binds.items()]
            words = ["unshare", "-m", "sh", "-c", " ".join([*mounts, 'exec "$@"']), "sh", *words]
            words = ["ip", "netns", "exec", self.names[at], *words]
            env["NDSHM_ROOT"] = str(self.root(at))
        with self._log(len(self.started)).open("w") as log:
            started = subprocess.Popen(
                words, env=env, start_new_session=True, text=True, stdout=log, stderr=log
            )
        self.started.append(started)
        return started

    def run(self, *command: str, at: int | None = None, seconds: float) -> str:
        """Run a Python program to its end, and return its output. Fail with that if it fails."""
        log = self._log(len(self.started))
        running = self.start(*command, at=at)
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        assert code == 0, f"{command} ended with {code}:\n{log.read_text()[-6000:]}"
        return log.read_text()

    def _log(self, number: int) -> pathlib.Path:
        return self.place / f"log-{number}"

    def logs(self) -> str:
        """Return the output of all programs. Fail with it if one has ended."""
        text = "\n".join(self._log(at).read_text() for at in range(len(self.started)))
        assert all(process.poll() is None for process in self.started), text
        return text

    def _pids(self) -> list[int]:
        """Return the processes of the nodes, also those that left the sessions of the programs."""
        found = [self._ip("netns", "pids", name, check=False).stdout for name in self.names]
        return [int(word) for word in " ".join(found).split()]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        end = time.monotonic() + 10
        while pids := self._pids():
            if time.monotonic() > end:
                for pid in pids:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            time.sleep(0.1)
        for name in self.names:
            self._ip("netns", "del", name, check=False)
        self._ip("link", "del", f"{self.tag}b", check=False)


def eventually(condition: Any, seconds: float = 60) -> None:
    """Wait until a condition holds; fail with what it gives last."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"still {found!r} after {seconds} s"
        time.sleep(0.05)
