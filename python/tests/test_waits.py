"""Waits: their limits, and the signals that end them."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import pathlib
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ndshm

NAMES = 1 << 31
"""The byte of the lock file that a process locks to publish or unlink a name."""


@contextlib.contextmanager
def names_locked(m: ndshm.Manager) -> Iterator[None]:
    """Hold the lock on the names, as another process that was stopped does."""
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, NAMES, 1, 0)
    with (pathlib.Path(m.path) / ".lock").open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, lock)
        yield


@contextlib.contextmanager
def written_elsewhere(a: ndshm.Array) -> Iterator[None]:
    """Hold a guard in another thread."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with a.write():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def enter(guard: ndshm.Guard) -> None:
    with guard:
        pass


# A Ctrl-C was without effect for as long as another process held the lock on the names, and while
# `recover`, `freeze` and `open_frozen` waited.
@pytest.mark.parametrize("call", ["create", "remove", "release"])
def test_a_signal_ends_the_wait_for_the_names_of_a_store(m: ndshm.Manager, call: str) -> None:
    a = m.zeros(4, name="a")
    calls: dict[str, Callable[[], Any]] = {
        "create": lambda: m.zeros(4, name="b"),
        "remove": lambda: m.remove("a"),
        "release": a.release,
    }
    with names_locked(m):
        threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            calls[call]()


@pytest.mark.parametrize("call", ["read", "write", "recover", "freeze", "to_numpy"])
def test_a_signal_ends_the_wait_for_a_guard(m: ndshm.Manager, call: str) -> None:
    a = m.zeros(4)
    calls: dict[str, Callable[[], Any]] = {
        "read": lambda: enter(a.read()),
        "write": lambda: enter(a.write(timeout=1000)),
        "recover": lambda: enter(a.recover()),
        "freeze": a.freeze,
        "to_numpy": a.to_numpy,
    }
    with written_elsewhere(a):
        threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            calls[call]()


def test_a_signal_ends_the_wait_for_a_freeze(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ndshm.open_frozen(a.handle)


def test_the_exception_of_a_handler_ends_the_wait(m: ndshm.Manager) -> None:
    def handler(*_: object) -> None:
        raise LookupError("from the handler")

    a = m.zeros(4)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with written_elsewhere(a):
            threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGUSR1)).start()
            with pytest.raises(LookupError, match="from the handler"):
                enter(a.read())
    finally:
        signal.signal(signal.SIGUSR1, before)
    enter(a.read())


def test_a_lock_timeout_limits_the_wait_for_the_names_of_a_store() -> None:
    with ndshm.Manager(lock_timeout=0.05) as m:
        with names_locked(m), pytest.raises(ndshm.Timeout, match="names of the store"):
            m.zeros(4, name="a")
        m.zeros(4, name="a")


@pytest.mark.parametrize("seconds", [math.nan, -1, -math.inf, -1e-300])
def test_a_time_that_is_none_is_refused(m: ndshm.Manager, seconds: float) -> None:
    a = m.zeros(4)
    calls: list[Callable[[], Any]] = [
        lambda: a.read(timeout=seconds),
        lambda: a.write(timeout=seconds),
        lambda: ndshm.open_frozen(a.handle, timeout=seconds),
        lambda: ndshm.Manager(lock_timeout=seconds),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="number of seconds"):
            call()


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 1e18, 2**63])
def test_a_time_that_no_clock_can_count_is_no_limit(seconds: float) -> None:
    with ndshm.Manager(lock_timeout=seconds) as m:
        a = m.zeros(4)
        enter(a.read(timeout=seconds))
        enter(a.write(timeout=seconds))
        a.freeze()
        assert ndshm.open_frozen(a.handle, timeout=seconds).sum() == 0
        del a
