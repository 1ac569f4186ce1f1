"""Several guards at once, atomic operations, and waits for a change or a name."""

from __future__ import annotations

import contextlib
import itertools
import math
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ndshm

SPAWN = multiprocessing.get_context("spawn")
INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]


@contextlib.contextmanager
def in_thread(block: contextlib.AbstractContextManager[Any]) -> Iterator[None]:
    """Hold the block of a context manager in another thread."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with block:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(60)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def is_free(a: ndshm.Array) -> bool:
    """Return whether another thread can write the elements at once."""
    free = []

    def attempt() -> None:
        with contextlib.suppress(ndshm.WouldBlock), a.write(timeout=0):
            free.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(free)


@contextlib.contextmanager
def process(function: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """Run a function in another process, and check that it succeeds."""
    child = SPAWN.Process(target=function, args=arguments)
    child.start()
    try:
        yield
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        child.close()


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """Expect a Ctrl-C, which comes soon, to end the block."""
    timer = threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    timer.join()


def test_the_ndarrays_have_the_order_of_the_call(m: ndshm.Manager) -> None:
    arrays = [m.full(3, i) for i in range(4)]
    with ndshm.Manager() as other:
        arrays.append(other.full((), 4))
        for order in itertools.islice(itertools.permutations(range(5)), 0, None, 7):
            requests = [arrays[i].writing() if i % 2 else arrays[i].reading() for i in order]
            with ndshm.lock(*requests) as ndarrays:
                assert [int(x.flat[0]) for x in ndarrays] == list(order)
                assert [x.flags.writeable for x in ndarrays] == [bool(i % 2) for i in order]
                pairs = zip(ndarrays, order, strict=True)
                assert all(np.shares_memory(x, arrays[i].unlocked()) for x, i in pairs)
                del pairs
                assert not any(is_free(a) for a in arrays)
            assert all(is_free(a) for a in arrays)
            # The tuple is still there: its ndarrays show nothing shared.
            assert [x.size for x in ndarrays if x.ndim] == [0] * 4
        del arrays[4]
    with ndshm.lock() as nothing:
        assert nothing == ()


def test_views_of_one_array_are_locked_together(m: ndshm.Manager) -> None:
    a = m.zeros((4, 3))
    with ndshm.lock(*[a[i].writing() for i in (2, 0, 3)]) as rows:
        for i, x in enumerate(rows):
            x += i + 1
        del x
        assert is_free(a[1]) and not is_free(a[0])
    assert a.to_numpy()[:, 0].tolist() == [2, 0, 1, 3]
    with ndshm.lock(a[1:].reading(), a[:3].reading()) as (x, y):
        assert x[1, 0] == y[2, 0] == 1
    with pytest.raises(ndshm.WouldDeadlock), ndshm.lock(a[1:].reading(), a[:3].writing()):
        pass
    assert is_free(a)


def test_all_guards_are_taken_or_none(m: ndshm.Manager) -> None:
    arrays = [m.zeros(3) for _ in range(3)]
    for held in arrays:
        with in_thread(held.write()):
            requests = [a.writing() for a in arrays]
            with pytest.raises(ndshm.WouldBlock), ndshm.lock(*requests, timeout=0):
                pass
            with pytest.raises(ndshm.Timeout), ndshm.lock(*requests, timeout=0.05):
                pass
            assert [is_free(a) for a in arrays] == [a is not held for a in arrays]
        with ndshm.lock(*requests, timeout=60) as ndarrays:
            assert len(ndarrays) == 3
    frozen = m.zeros(3)
    frozen.freeze()
    for refused, error in ((arrays[1].read_only(), ndshm.ReadOnly), (frozen, ndshm.Frozen)):
        with pytest.raises(error), ndshm.lock(arrays[0].writing(), refused.writing()):
            pass
        assert all(is_free(a) for a in arrays)
    with ndshm.lock(arrays[0].writing(), frozen.reading()) as (x, y):
        x[:] = y


def test_threads_that_lock_in_opposite_orders_do_not_deadlock(m: ndshm.Manager) -> None:
    a, b = m.zeros(3, "i8"), m.zeros(3, "i8")

    def add(first: ndshm.Array, second: ndshm.Array) -> None:
        for _ in range(500):
            with ndshm.lock(first.writing(), second.writing()) as (x, y):
                x += 1
                y += 1

    threads = [
        threading.Thread(target=add, args=pair, daemon=True) for pair in ((a, b), (b, a))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert a.to_numpy().tolist() == b.to_numpy().tolist() == [1000] * 3


def test_an_exception_poisons_the_arrays_that_the_block_wrote(m: ndshm.Manager) -> None:
    a, b, c = m.zeros(3), m.ones(3), m.zeros(3)
    with pytest.raises(ZeroDivisionError):
        with ndshm.lock(a.writing(), b.reading(), c[1:].writing()) as (x, y, z):
            x[0] = 5
            raise ZeroDivisionError
    assert x.size == y.size == z.size == 0
    assert (a.poisoned(), b.poisoned(), c.poisoned()) == ([(0, 24)], [], [(8, 24)])
    with pytest.raises(ndshm.Poisoned), ndshm.lock(b.writing(), a.reading()):
        pass
    assert is_free(b)
    with a.recover() as x:
        x[:] = 0
    with ndshm.lock(b.writing(), a.reading()) as (x, y):
        x[:] = y


@pytest.mark.parametrize("hold", [np.asarray, memoryview, lambda x: x.flat])
def test_only_the_lock_of_an_ndarray_that_is_in_use_outlives_the_block(
    m: ndshm.Manager, hold: Callable[[Any], Any]
) -> None:
    a, b, c = m.ones(3), m.ones(3), m.ones(3)
    with pytest.raises(BufferError, match="lock is kept"):
        with ndshm.lock(a.writing(), b.writing(), c.writing()) as (x, y, z):
            held = hold(y)
    assert x.size == y.size == z.size == 0
    assert is_free(a) and not is_free(b) and is_free(c)
    del held
    assert is_free(b)
    with pytest.raises(ZeroDivisionError) as caught:
        with ndshm.lock(a.writing(), b.writing()) as both:
            held = hold(both[1])
            raise ZeroDivisionError
    assert "lock is kept" in caught.value.__notes__[0]
    assert len(a.poisoned()) == 1 and both[0].size == both[1].size == 0
    del held, caught
    assert len(b.poisoned()) == 1


def test_the_guards_of_a_call_are_used_by_one_block_at_a_time(m: ndshm.Manager) -> None:
    a = m.zeros(3)
    guards = ndshm.lock(a.writing())
    for _ in range(2):
        with guards, pytest.raises(RuntimeError, match="in use"), guards:
            pass
    with pytest.raises(RuntimeError, match="not in use"):
        guards.__exit__()
    assert repr(guards) == f"<ndshm.Guards: (<ndshm.Request: write of {a!r}>,)>"
    for wrong in (a, a.write(), None):
        with pytest.raises(TypeError, match="reading"):
            ndshm.lock(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_atomic_operations_give_the_old_value(m: ndshm.Manager, dtype: str) -> None:
    info = np.iinfo(dtype)
    low, high = int(info.min), int(info.max)
    a = m.zeros((2, 3), dtype)
    with a.atomic() as n:
        n.store((1, 2), high)
        assert n.load((-1, -1)) == high and type(n.load((1, 2))) is int
        assert n.add((1, 2), 1) == high and n.load((1, 2)) == low
        assert n.subtract((1, 2), 1) == low and n.load((1, 2)) == high
        assert n.exchange((np.int8(0), 1), np.uint8(7)) == 0
        assert n.compare_exchange((0, 1), 7, low) is True
        assert n.compare_exchange((0, 1), 8 if low != 8 else 9, 3) is False
        assert n.load((0, 1)) == low
        n.store((0, 1), 4)
        assert n.wait((0, 1), 3) == 4
        n.notify((0, 1))
        for value in (low - 1, high + 1, 1 << 70, -(1 << 70)):
            calls: list[Callable[[], Any]] = [
                lambda value=value: n.store((0, 0), value),
                lambda value=value: n.add((0, 0), value),
                lambda value=value: n.subtract((0, 0), value),
                lambda value=value: n.exchange((0, 0), value),
                lambda value=value: n.compare_exchange((0, 0), value, 0),
                lambda value=value: n.compare_exchange((0, 0), 0, value),
                lambda value=value: n.wait((0, 0), value, timeout=0),
            ]
            for call in calls:
                with pytest.raises(OverflowError, match="out of the range"):
                    call()
        for wrong in (1.0, "1", None):
            with pytest.raises(TypeError):
                n.store((0, 0), wrong)  # type: ignore[arg-type]
    assert a.to_numpy().tolist() == [[0, 4, 0], [0, 0, high]]


WRONG: list[Any] = [
    3,
    (2, 0),
    (0, -4),
    (0,),
    (0, 0, 0),
    (),
    ...,
    (0, slice(1)),
    (0, None),
    (..., 0, 0),
    [0, 1],
    (0, True),
    (0, 1.0),
    "a",
    (0, 1 << 70),
    np.array([0, 1]),
]


@pytest.mark.parametrize("index", WRONG, ids=repr)
def test_an_index_of_no_element_is_refused(m: ndshm.Manager, index: Any) -> None:
    with m.zeros((2, 3), "i4").atomic() as n:
        for call in (n.load, n.notify, lambda at: n.add(at, 1), lambda at: n.wait(at, 0)):
            with pytest.raises(IndexError):
                call(index)


def test_atomics_of_an_array_without_axes_or_elements(m: ndshm.Manager) -> None:
    with m.zeros((), "i4").atomic() as n:
        assert n.add((), 5) == 0 and n.load(()) == 5
        for index in (0, [], ([],), None, ...):
            with pytest.raises(IndexError):
                n.load(index)  # type: ignore[arg-type]
    with m.zeros(0, "i4").atomic() as n, pytest.raises(IndexError):
        n.load(0)


def test_atomics_of_a_view_change_its_elements(m: ndshm.Manager) -> None:
    a = m.array(np.arange(24).reshape(4, 6))
    with a[::-2, 1::2].atomic() as n:
        assert n.add((0, -1), 100) == 23
        assert n.add((1, 0), 100) == 7
    assert a[3, 5].item() == 123 and a[1, 1].item() == 107


def test_atomics_exclude_guards_and_not_each_other(m: ndshm.Manager) -> None:
    a = m.zeros(4, "u4")
    with a[:2].atomic() as n, a.atomic() as other:
        n.store(1, 5)
        assert other.load(1) == 5
        assert not is_free(a[1:]) and is_free(m.zeros(1))
    assert is_free(a)
    with pytest.raises(ZeroDivisionError), a.atomic() as n:
        raise ZeroDivisionError
    assert a.poisoned() == [] and is_free(a)
    with pytest.raises(RuntimeError, match="not in use"):
        n.load(0)
    with n, pytest.raises(RuntimeError, match="in use"), n:
        pass
    a.freeze()
    with pytest.raises(ndshm.Frozen), a.atomic():
        pass
    with pytest.raises(ndshm.ReadOnly), m.zeros(1, "i4").read_only().atomic():
        pass


@pytest.mark.parametrize("dtype", ["f8", "?", "M8[s]", "m8[ns]", "S4", "c16", "i4,i4"])
def test_atomics_of_other_elements_are_refused(m: ndshm.Manager, dtype: str) -> None:
    with pytest.raises(TypeError, match="integers"):
        m.zeros(3, dtype).atomic()


def add(a: ndshm.Array, rounds: int) -> None:
    with a.atomic() as n:
        for _ in range(rounds):
            n.add(1, 1)


def test_four_processes_add_without_a_lost_sum(m: ndshm.Manager) -> None:
    a = m.zeros(3, "i8")
    with contextlib.ExitStack() as processes:
        for _ in range(4):
            processes.enter_context(process(add, a, 5000))
    assert a.to_numpy().tolist() == [0, 20_000, 0]


def answer(a: ndshm.Array, rounds: int) -> None:
    """Answer each odd value with the next even one."""
    with a.atomic() as n:
        for value in range(0, 2 * rounds, 2):
            assert n.wait((0, 1), value, timeout=60) == value + 1
            n.add((0, 1), 1)
            n.notify((0, 1))


@pytest.mark.parametrize("dtype", ["u2", "i8"])
def test_two_processes_wait_for_each_other(m: ndshm.Manager, dtype: str) -> None:
    a = m.zeros((2, 2), dtype)
    with process(answer, a, 200), a.atomic() as n:
        for value in range(1, 400, 2):
            n.store((0, 1), value)
            n.notify((0, 1))
            assert n.wait((0, 1), value, timeout=60) == value + 1


def test_a_wait_ends_when_the_array_is_released(m: ndshm.Manager) -> None:
    a = m.zeros(3, "i4")
    with a.atomic() as n:
        threading.Timer(0.1, a.release).start()
        with pytest.raises(ndshm.Released):
            n.wait(0, 0, timeout=60)


def make(path: str) -> None:
    with ndshm.Manager(path) as m:
        m.zeros((2, 3), "i4", name="late")


def test_a_wait_for_a_name_ends_when_another_process_makes_it(m: ndshm.Manager) -> None:
    with process(make, m.path):
        found = m.wait_for("late", timeout=60)
    assert found == m.list()[0] and (found.name, found.shape) == ("late", (2, 3))
    assert m.wait_for("late") == m.wait_for("late", timeout=0) == found
    with pytest.raises(ndshm.Name):
        m.wait_for("a/b")
    m.leave()
    with pytest.raises(ndshm.Closed):
        m.wait_for("late")


def test_a_wait_for_a_name_ends_with_the_store() -> None:
    m = ndshm.Manager()
    threading.Timer(0.1, m.close).start()
    with pytest.raises(ndshm.Closed):
        m.wait_for("never", timeout=60)


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_a_wait_for_a_change_or_a_name_has_a_limit(m: ndshm.Manager, seconds: float) -> None:
    with pytest.raises(ndshm.Timeout, match="no array of this name"):
        m.wait_for("never", timeout=seconds)
    with m.zeros(1, "i4").atomic() as n, pytest.raises(ndshm.Timeout, match="kept its value"):
        n.wait(0, 0, timeout=seconds)


@pytest.mark.parametrize("seconds", [math.nan, -1, -math.inf, -1e-300])
def test_a_limit_that_is_no_time_is_refused(m: ndshm.Manager, seconds: float) -> None:
    a = m.zeros(1, "i4")
    with a.atomic() as n:
        calls: list[Callable[[], Any]] = [
            lambda: ndshm.lock(a.reading(), timeout=seconds),
            lambda: n.wait(0, 0, timeout=seconds),
            lambda: m.wait_for("never", timeout=seconds),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="number of seconds"):
                call()


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 2**63])
def test_a_limit_that_no_clock_can_count_is_none(m: ndshm.Manager, seconds: float) -> None:
    a = m.ones(1, "i4", name="a")
    with ndshm.lock(a.reading(), timeout=seconds) as (x,):
        assert x[0] == 1
    with a.atomic() as n:
        assert n.wait(0, 0, timeout=seconds) == 1
    assert m.wait_for("a", timeout=seconds).name == "a"


# The waits for a change and for a name did not ask for signals.
@pytest.mark.parametrize("timeout", [None, 1000])
def test_a_signal_ends_each_wait(m: ndshm.Manager, timeout: float | None) -> None:
    a, b = m.zeros(1, "i4"), m.zeros(1, "i4")
    with in_thread(b.write()):
        with interrupted(), ndshm.lock(a.writing(), b.writing(), timeout=timeout):
            pass
        assert is_free(a)
        with interrupted(), b.atomic():
            pass
    with a.atomic() as n, interrupted():
        n.wait(0, 0, timeout=timeout)
    assert is_free(a) and is_free(b)
    with interrupted():
        m.wait_for("never", timeout=timeout)
