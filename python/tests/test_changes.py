"""The numbers of writes, and waits for the next one."""

from __future__ import annotations

import math
import multiprocessing
import signal
import threading

import numpy as np
import pytest

import ndshm

SPAWN = multiprocessing.get_context("spawn")


def test_blocks_and_operators_that_write_raise_the_number(m: ndshm.Manager) -> None:
    a = m.zeros((8, 100))
    rows = [a[i] for i in range(8)]
    assert a.changed() == 0 and [row.changed() for row in rows] == [0] * 8
    with a[2].write() as x:
        x[:] = 1
        assert a.changed() == 0
    assert [row.changed() for row in rows] == [0, 0, 1, 0, 0, 0, 0, 0]
    a[3] = 2.0
    a[3, 5:] = 3.0
    assert rows[3].changed() == 2 and rows[4].changed() == 0
    before = a.changed()
    a[:] = 1
    assert a.changed() > before
    before = a.changed()
    with pytest.raises(ZeroDivisionError), a.write():
        raise ZeroDivisionError
    assert a.changed() > before and a.poisoned()
    before = a.changed()
    with a.recover() as x:
        x[:] = 0
    assert a.changed() > before


def test_nothing_else_raises_the_number(m: ndshm.Manager) -> None:
    a = m.zeros((8, 100), "i4")
    a.changed()
    with a.read() as x:
        assert x.sum() == 0
    with a.atomic() as n:
        n.store((0, 0), 1)
    a.unlocked()[0, 1] = 1
    assert a[0, 0].item() == 1 and a.to_numpy().sum() == 2 and a.changed() == 0


def answer(a: ndshm.Array, rounds: int) -> None:
    """Answer each number in the first row with the same one in the last."""
    for step in range(1, rounds + 1):
        consume(a[0], step)
        with a[-1].write() as x:
            x[:] = step


def consume(row: ndshm.Array, expected: int) -> None:
    while True:
        seen = row.changed()
        if row.to_numpy()[0] == expected:
            return
        assert row.wait_changed(seen, timeout=60) != seen


def test_two_processes_wake_each_other_by_their_writes(m: ndshm.Manager) -> None:
    a = m.zeros((8, 100), "i8")
    child = SPAWN.Process(target=answer, args=(a, 200))
    child.start()
    for step in range(1, 201):
        a[0] = step
        consume(a[-1], step)
    child.join()
    assert child.exitcode == 0


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_a_wait_has_a_limit(m: ndshm.Manager, seconds: float) -> None:
    a = m.zeros(4)
    with pytest.raises(ndshm.Timeout, match="no write guard"):
        a.wait_changed(0, timeout=seconds)
    assert a.wait_changed(1, timeout=seconds) == 0
    a[:] = 1
    assert a.wait_changed(0) == 1


def test_arguments_that_are_none_are_refused(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    assert a.changed() == 0
    for seconds in [math.nan, -1.0, -math.inf]:
        with pytest.raises(ValueError, match="number of seconds"):
            a.wait_changed(0, timeout=seconds)
    with pytest.raises(OverflowError):
        a.wait_changed(-1)
    with pytest.raises(TypeError):
        a.wait_changed(0.5)  # type: ignore[arg-type]
    a[:] = np.arange(4)
    for seconds in [math.inf, 1e300]:
        assert a.wait_changed(0, timeout=seconds) == 1


def test_a_release_or_a_freeze_ends_a_wait(m: ndshm.Manager) -> None:
    a, b = m.zeros(4), m.zeros(4)
    threading.Timer(0.1, a.release).start()
    with pytest.raises(ndshm.Released):
        a.wait_changed(a.changed(), timeout=60)
    threading.Timer(0.1, b.freeze).start()
    with pytest.raises(ndshm.Frozen):
        b.wait_changed(b.changed(), timeout=60)
    with pytest.raises(ndshm.Frozen):
        b.wait_changed(b.changed())
    assert b.wait_changed(b.changed() + 1) == b.changed()


@pytest.mark.parametrize("timeout", [None, 1000])
def test_a_signal_ends_a_wait(m: ndshm.Manager, timeout: float | None) -> None:
    a = m.zeros(4)
    threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        a.wait_changed(0, timeout=timeout)
    a[:] = 1
    assert a.wait_changed(0, timeout=timeout) == 1
