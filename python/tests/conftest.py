"""Fixtures of all tests: a store root, the Rust peer, and a check for leaks around every test."""

from __future__ import annotations

import gc
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import pytest

import ndshm

ROOT = pathlib.Path(
    tempfile.mkdtemp(prefix="ndshm-pytest-", dir=os.environ.get("NDSHM_TEST_PLACE", "/dev/shm"))
)
os.environ["NDSHM_ROOT"] = str(ROOT)

# The first store of a process opens descriptors that the library keeps for all stores.
ndshm.Manager().leave()


def pytest_sessionfinish() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)


def descriptors() -> list[str]:
    """Return the targets of the open descriptors, without the test runner's own files."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if not target.startswith(("/proc/", "/tmp/")):
            found.append(target)
    return sorted(found)


def mappings() -> list[str]:
    """Return the mapped files of stores."""
    with open("/proc/self/maps") as lines:
        return [
            line.split(maxsplit=5)[-1].strip()
            for line in lines
            if str(ROOT) in line or ".ndshm" in line
        ]


def files() -> list[str]:
    """Return the files and directories in the store root."""
    return [str(path) for path in ROOT.rglob("*")]


def empty_caches() -> None:
    """Empty the library's caches: a sweep releases the mappings that it keeps for reuse."""
    gc.collect()
    with ndshm.Manager() as manager:
        manager.sweep()


def finish_timers() -> None:
    """Wait for the timers of a test: a timer whose call ended a wait may still have its array."""
    # In a function of its own: a name for the last timer would keep that timer's array.
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(60)


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    """Fail a test that leaves a descriptor, a mapping or a file in the root."""
    # The traceback of a failed test may keep arrays, which must not count for the next test.
    empty_caches()
    # What lives now is no garbage of the test: collecting it again and again would take most of the
    # time of the tests.
    gc.freeze()
    descriptors_before, mappings_before, files_before = descriptors(), mappings(), files()
    yield
    finish_timers()
    empty_caches()
    assert files() == files_before
    assert [name for name in mappings() if name not in mappings_before] == []
    # multiprocessing keeps pipes for its server processes.
    remaining = [
        target
        for target in descriptors()
        if not target.startswith(("pipe:", "socket:", "anon_inode:"))
    ]
    assert [target for target in remaining if target not in descriptors_before] == []


@pytest.fixture
def m() -> Iterator[ndshm.Manager]:
    """The manager of an ephemeral store."""
    with ndshm.Manager() as manager:
        yield manager


class Peer:
    """A Rust process that executes commands: one line each way for every command."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [os.environ["NDSHM_PEER"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def receive(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the peer died"
        return line.rstrip("\n")

    def ask(self, line: str) -> str:
        self.send(line)
        return self.receive()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    """The Rust peer, which ``.ci/python`` builds."""
    if "NDSHM_PEER" not in os.environ:
        pytest.skip("NDSHM_PEER does not name a built peer")
    process = Peer()
    yield process
    process.close()
