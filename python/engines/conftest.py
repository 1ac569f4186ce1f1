"""A store root for all tests, which must be empty at the end of each test."""

from __future__ import annotations

import gc
import os
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest
from nodes import eventually

ROOT = pathlib.Path(
    tempfile.mkdtemp(prefix="ndshm-engines-", dir=os.environ.get("NDSHM_TEST_PLACE", "/dev/shm"))
)
os.environ["NDSHM_ROOT"] = str(ROOT)
# Ray's files, whose sockets have short paths.
RAY = tempfile.mkdtemp(prefix="nr-", dir="/tmp")
os.environ["RAY_TMPDIR"] = RAY
# The end of a time limit ends the blocks that hold networks and processes.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
# A shell lets its programs in the background ignore interrupts, which the tests' programs inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


# After the ends of the tests, also where an interrupt ended one: those look into the root.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    shutil.rmtree(RAY, ignore_errors=True)


@pytest.fixture(scope="session")
def root() -> pathlib.Path:
    """The store root."""
    return ROOT


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Fail a test that leaves a store or an array. Janitors delete in processes of their own."""
    before = set(ROOT.iterdir())
    yield

    def is_clean() -> bool:
        gc.collect()
        return set(ROOT.iterdir()) <= before

    eventually(is_clean, 30)
