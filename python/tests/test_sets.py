"""Sets of guards that recover poisoned arrays, and sets with atomic operations."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest
from test_guards import is_free

import ndshm

SPAWN = multiprocessing.get_context("spawn")


def write_for_ever(a: ndshm.Array, pipe: Any) -> None:
    with a.write() as x:
        x[:] = 7
        pipe.send("writing")
        pipe.recv()


def killed_writer_of(a: ndshm.Array) -> int:
    """Leave what a process leaves that is killed while it writes. Return its pid."""
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=write_for_ever, args=(a, theirs))
    child.start()
    assert child.pid is not None and ours.poll(60) and ours.recv() == "writing"
    pid = child.pid
    child.kill()
    child.join()
    child.close()
    ours.close()
    theirs.close()
    return pid


def test_a_set_recovers_what_a_killed_writer_held(m: ndshm.Manager) -> None:
    a, b = m.zeros((4, 3), "i8"), m.ones((4, 3), "i8")
    pid = killed_writer_of(a[1])
    refused = (a[1].writing(), a[1].reading(), a[1].updating(), a.reading())
    for request in refused:
        with pytest.raises(ndshm.Poisoned) as caught, ndshm.lock(b.writing(), request):
            pass
        assert [(one.pid, one.slice) for one in caught.value.holders] == [(pid, "[1]")]
    with ndshm.lock(b.reading(), a[1].recovering(), a[0].writing()) as (x, y, z):
        assert y.tolist() == [7] * 3 and y.flags.writeable
        y[:] = x[0]
        z[:] = 2
    assert y.size == 0 and a.poisoned() == []
    assert a.to_numpy().sum() == 9
    assert repr(a.recovering()) == f"<ndshm.Request: recover of {a!r}>"


@pytest.mark.parametrize("timeout", [0, 0.05])
def test_a_set_that_is_refused_leaves_poison_as_it_was(m: ndshm.Manager, timeout: float) -> None:
    a, b = m.zeros((4, 3)), m.zeros(3)
    for first, second in ((a, b), (b, a)):
        with pytest.raises(ZeroDivisionError), first[1:2].write() as x:
            x[:] = 1 / 0
        poisoned = first.poisoned()
        with second.read():
            thread = threading.Thread(target=refused, args=(first, second, timeout))
            thread.start()
            thread.join()
        assert first.poisoned() == poisoned
        with ndshm.lock(first.recovering(), second.writing()) as (x, y):
            x[:] = y[:] = 1
        assert first.poisoned() == []


def refused(first: ndshm.Array, second: ndshm.Array, timeout: float) -> None:
    with pytest.raises((ndshm.Timeout, ndshm.WouldBlock)):
        with ndshm.lock(first.recovering(), second.writing(), timeout=timeout):
            pass


def test_an_exception_poisons_what_a_set_recovered(m: ndshm.Manager) -> None:
    a, b = m.zeros(3), m.zeros(3, "u4")
    with pytest.raises(ZeroDivisionError), ndshm.lock(a.recovering(), b.updating()) as (x, n):
        n.add(1, 5)
        x[0] = 1 / 0
    assert a.poisoned() == [(0, 24)] and b.poisoned() == []
    assert b.to_numpy().tolist() == [0, 5, 0]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_a_set_has_atomic_operations(m: ndshm.Manager, dtype: str) -> None:
    a, b, c = m.zeros((2, 3), dtype), m.full(3, 2.0), m.zeros(4, "i8")
    requests = (
        c[1:].updating(),
        a[:, 1].updating(),
        b.reading(),
        c[0, ...].writing(),
        a[0].updating(),
    )
    with ndshm.lock(*requests) as (last, column, x, first, row):
        assert column.add(1, int(x.sum())) == 0
        assert row.compare_exchange(1, 0, 4) and column.load(0) == 4
        last.store(-1, 9)
        first[...] = 1
        del first
        # Others may do the same, and no others.
        with ndshm.lock(c[1:].updating(), a.updating()) as (other, _):
            assert other.load(2) == 9
        errors = []
        thread = threading.Thread(target=lambda: errors.append(not is_free(a)))
        thread.start()
        thread.join()
        assert errors == [True]
        with pytest.raises(RuntimeError, match="in use"), row:
            pass
    assert a.to_numpy().tolist() == [[0, 4, 0], [0, 6, 0]]
    assert c.to_numpy().tolist() == [1, 0, 0, 9] and is_free(a)
    for view in (last, column, row):
        with pytest.raises(RuntimeError, match="not in use"):
            view.load(0)


def test_atomic_parts_of_other_elements_are_refused(m: ndshm.Manager) -> None:
    for dtype in ("f8", "?", "M8[s]", "S4", "i4,i4"):
        with pytest.raises(TypeError, match=r"updating\(\) is for integers"):
            m.zeros(3, dtype).updating()
    a = m.zeros(3, "i4")
    for request, error in (
        (a.read_only().updating(), ndshm.ReadOnly),
        (a.read_only().recovering(), ndshm.ReadOnly),
        (a[1:].reading(), ndshm.WouldDeadlock),
        (a[1:].recovering(), ndshm.WouldDeadlock),
    ):
        with pytest.raises(error), ndshm.lock(a.updating(), request):
            pass
        assert is_free(a)
    frozen = m.array(np.arange(3))
    frozen.freeze()
    for request in (frozen.updating(), frozen.recovering()):
        with pytest.raises(ndshm.Frozen), ndshm.lock(request):
            pass
    with pytest.raises(TypeError, match=r"a.recovering\(\) and a.updating\(\)"):
        ndshm.lock(a)  # type: ignore[arg-type]
