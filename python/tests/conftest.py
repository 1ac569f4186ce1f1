"""What all tests share: a store root of their own, the Rust peer, and a look for leaks around every test."""

from __future__ import annotations

import gc
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

import ndshm

ROOT = pathlib.Path(tempfile.mkdtemp(prefix="ndshm-pytest-", dir=os.environ.get("NDSHM_TEST_PLACE", "/dev/shm")))
os.environ["NDSHM_ROOT"] = str(ROOT)


# The first store of a process opens what the library keeps for all of them.
ndshm.Manager().leave()


def pytest_sessionfinish() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)


def descriptors() -> list[str]:
    """What the open descriptors are, those of the test runner's own files left out."""
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
    """The mapped files of stores."""
    with open("/proc/self/maps") as lines:
        return [line.split(maxsplit=5)[-1].strip() for line in lines if str(ROOT) in line or ".ndshm" in line]


def files() -> list[str]:
    """What is in the store root."""
    return [str(path) for path in ROOT.rglob("*")]


def let_go() -> None:
    """What the library keeps for a while, to have it at hand, goes with a sweep."""
    gc.collect()
    with ndshm.Manager() as manager:
        manager.sweep()


@pytest.fixture(autouse=True)
def leaks() -> Iterator[None]:
    """No test leaves a descriptor, a mapping or a file in the root."""
    # What a test that failed keeps in its traceback is not the next one's.
    let_go()
    before, mapped, there = descriptors(), mappings(), files()
    yield
    let_go()
    assert files() == there
    assert [name for name in mappings() if name not in mapped] == []
    # The machinery of multiprocessing keeps pipes for its servers.
    left = [target for target in descriptors() if not target.startswith(("pipe:", "socket:", "anon_inode:"))]
    assert [target for target in left if target not in before] == []


@pytest.fixture
def m() -> Iterator[ndshm.Manager]:
    """An ephemeral store."""
    with ndshm.Manager() as manager:
        yield manager


class Peer:
    """A process in Rust that does what it is told."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([os.environ["NDSHM_PEER"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the peer died"
        return line.rstrip("\n")

    def ask(self, line: str) -> str:
        self.tell(line)
        return self.hear()

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
    """The Rust peer; ``.ci/python`` builds it."""
    if "NDSHM_PEER" not in os.environ:
        pytest.skip("NDSHM_PEER names no built peer")
    process = Peer()
    yield process
    process.close()
