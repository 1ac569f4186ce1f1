"""Machines for the tests of engines that run on several: as one machine can have them.

A node has a network namespace of its own, another boot id by a bind mount, and another store root.
That takes root's rights; where they are missing the tests that need nodes are skipped.
"""

from __future__ import annotations

import os
import pathlib
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
    """Some nodes on one bridge, with the addresses 10.213.7.2 and so on; this machine has .1."""

    def __init__(self, count: int, place: pathlib.Path) -> None:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and the program ip")
        self.tag = f"nd{os.getpid() % 10000}"
        self.names = [f"{self.tag}-{at}" for at in range(count)]
        self.place = place
        self.started: list[subprocess.Popen[str]] = []
        self.host = "10.213.7.1"

    def _ip(self, *words: str, check: bool = True) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if check and done.returncode:
            self.__exit__(None, None, None)
            pytest.skip(f"this machine lets no test make networks: {done.stderr.strip()}")

    def __enter__(self) -> Nodes:
        bridge = f"{self.tag}br"
        self._ip("link", "add", bridge, "type", "bridge")
        self._ip("addr", "add", f"{self.host}/24", "dev", bridge)
        self._ip("link", "set", bridge, "up")
        for at, name in enumerate(self.names):
            outer, inner = f"{self.tag}o{at}", f"{self.tag}i{at}"
            self._ip("netns", "add", name)
            self._ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            self._ip("link", "set", outer, "master", bridge)
            self._ip("link", "set", outer, "up")
            self._ip("link", "set", inner, "netns", name)
            self._ip("-n", name, "addr", "add", f"10.213.7.{at + 2}/24", "dev", inner)
            self._ip("-n", name, "link", "set", inner, "up")
            self._ip("-n", name, "link", "set", "lo", "up")
            self.root(at).mkdir(mode=0o700, parents=True)
            (self.place / f"boot-{at}").write_text(f"{uuid.uuid4()}\n")
        return self

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
            boot = self.place / f"boot-{at}"
            inner = f'mount --bind "{boot}" {BOOT} && exec "$@"'
            words = ["unshare", "-m", "sh", "-c", inner, "sh", *words]
            words = ["ip", "netns", "exec", self.names[at], *words]
            env["NDSHM_ROOT"] = str(self.root(at))
        log = (self.place / f"log-{len(self.started)}").open("w")
        with log:
            started = subprocess.Popen(
                words, env=env, start_new_session=True, text=True, stdout=log, stderr=log
            )
        self.started.append(started)
        return started

    def logs(self) -> str:
        """Return the output of all programs. Fail with it if one has ended."""
        ended = [process.args for process in self.started if process.poll() is not None]
        assert not ended, "\n".join(path.read_text() for path in self.place.glob("log-*"))
        return "\n".join(path.read_text() for path in sorted(self.place.glob("log-*")))

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
        for name in self.names:
            self._ip("netns", "del", name, check=False)
        self._ip("link", "del", f"{self.tag}br", check=False)


def eventually(condition: Any, seconds: float = 60) -> None:
    """Wait until a condition holds; fail with what it gives last."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"still {found!r} after {seconds} s"
        time.sleep(0.05)
