"""Guards: their locks, their ends, and ndarrays that show no shared memory afterwards."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ndshm


def enters_at_once(guard: ndshm.Guard) -> bool:
    """Return whether another thread enters the block of a guard."""
    entered = []

    def attempt() -> None:
        with contextlib.suppress(ndshm.WouldBlock), guard:
            entered.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(entered)


def is_free(a: ndshm.Array) -> bool:
    return enters_at_once(a.write(0))


def is_free_to_read(a: ndshm.Array) -> bool:
    return enters_at_once(a.read(0))


def assert_detached(x: np.ndarray, a: ndshm.Array) -> None:
    assert x.size == 0 or x.ndim == 0
    assert not x.flags.writeable and not np.shares_memory(x, a.unlocked())
    assert list(x.flat) == [] or x.ndim == 0
    for use in (lambda: x[0], lambda: x.max(), lambda: x.__setitem__(0, 1)):
        with pytest.raises((IndexError, ValueError)):
            use()


def test_a_block_reads_and_writes_the_memory_itself(m: ndshm.Manager) -> None:
    a = m.zeros((3, 4))
    with a.write() as x:
        assert type(x) is ndshm.LockedArray and isinstance(x, np.ndarray)
        assert x.flags.writeable and np.shares_memory(x, a.unlocked())
        x[1] = 5
        assert not is_free(a) and is_free_to_read(a) is False
    with a.read() as x:
        assert x.sum() == 20 and not is_free(a) and is_free_to_read(a)
        with pytest.raises(ValueError):
            x[0] = 1
        with pytest.raises(ValueError):
            x.flags.writeable = True
        with pytest.raises(ValueError):
            x.setflags(write=True)
    assert is_free(a)


def test_after_the_block_the_name_shows_nothing_shared(m: ndshm.Manager) -> None:
    a = m.ones((3, 4))
    with a.write() as x:
        pass
    assert_detached(x, a)
    y = x
    assert y.shape == (0, 0) and is_free(a)
    with a.read() as x:
        z = x
        w = [z.sum()]
    assert_detached(x, a)
    assert_detached(z, a)
    assert w == [12.0]


def test_an_array_without_axes_shows_zeros_of_its_own(m: ndshm.Manager) -> None:
    a = m.full((), 7.0)
    with a.write() as x:
        assert x[()] == 7
    assert x.shape == () and x[()] == 0 and not np.shares_memory(x, a.unlocked())
    with pytest.raises(ValueError):
        x[()] = 3
    x.flags.writeable = False
    assert a.item() == 7 and is_free(a)


GLOBAL: Any = None


def test_any_kind_of_variable_may_refer_to_the_ndarray(m: ndshm.Manager) -> None:
    global GLOBAL
    a = m.ones(3)
    with a.read() as GLOBAL:
        pass
    assert_detached(GLOBAL, a)
    GLOBAL = None

    with a.read() as x:

        def inner() -> float:
            return x.sum()

        assert inner() == 3
    assert_detached(x, a)

    @contextlib.contextmanager
    def locked():
        with a.write() as y:
            yield y

    with locked() as x:
        x[0] = 2
    assert_detached(x, a)
    with contextlib.ExitStack() as stack:
        x = stack.enter_context(a.read())
        assert x[0] == 2
    assert_detached(x, a)

    def generator():
        with a.read() as y:
            yield float(y.sum())

    assert list(generator()) == [4.0] and is_free(a)
    namespace: dict[str, Any] = {"a": a}
    exec("with a.read() as x:\n    total = x.sum()\n", namespace)
    assert_detached(namespace["x"], a)

    class Body:
        with a.read() as x:
            total = x.sum()

    assert_detached(Body.x, a)
    with a.read():
        pass
    assert is_free(a)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "a view": lambda x: x[1:],
    "a view of a view": lambda x: x[1:][:1],
    "a transpose": lambda x: x.T,
    "another order of axes": lambda x: x.transpose(1, 0),
    "exchanged axes": lambda x: np.swapaxes(x, 0, 1),
    "another shape": lambda x: x.reshape(-1),
    "a flat one": lambda x: x.ravel(),
    "a new axis": lambda x: x[None],
    "another type": lambda x: x.view("u1"),
    "a diagonal": lambda x: x.diagonal(),
    "a real part": lambda x: x.real,
    "a row": lambda x: x[1],
    "halves": lambda x: np.split(x, 2),
    "by a function": lambda x: np.atleast_3d(x),
    "a broadcast": lambda x: np.broadcast_to(x, (2, *x.shape)),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, (1, 2)),
    "as_strided": lambda x: np.lib.stride_tricks.as_strided(x, (1,), (8,), subok=True),
    "rows in a list": list,
    "an iterator over rows": lambda x: (iter(x), next(iter(x))),
    "pairs": lambda x: list(zip(x, enumerate(x))),
    "a list": lambda x: [x],
    "a dictionary": lambda x: {"x": x},
    "a cycle": lambda x: (lambda cycle: cycle.append(cycle) or cycle)([x[1:]]),
    "a closure": lambda x: lambda: x,
}


def arrays_in(kept: Any) -> list[np.ndarray]:
    """Return the ndarrays in a view, a container of views, or a function that has one."""
    if isinstance(kept, np.ndarray):
        return [kept]
    if callable(kept):
        return [kept()]
    values = kept.values() if isinstance(kept, dict) else kept
    return [
        one
        for value in values
        if not isinstance(value, int) and value is not kept
        for one in (arrays_in(value) if not hasattr(value, "__next__") else [])
    ]


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("mode", ["read", "write"])
def test_views_are_emptied_wherever_they_are_kept(m: ndshm.Manager, kind: str, mode: str) -> None:
    a = m.ones((2, 3))
    with getattr(a, mode)() as x:
        kept = VIEWS[kind](x)
        arrays = arrays_in(kept)
        assert arrays and all(type(view) is ndshm.LockedArray for view in arrays)
        assert all(np.shares_memory(view, a.unlocked()) for view in arrays)
    assert is_free(a)
    for view in arrays:
        assert_detached(view, a)


ESCAPES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "a plain view": ("plain ndarray", np.asarray),
    "a part of a plain view": ("plain ndarray", lambda x: np.asarray(x)[1:]),
    "a plain writable view": ("view", lambda x: x.view(np.ndarray)),
    "a subclass": ("view", lambda x: x.view(np.recarray)),
    "a matrix": ("view", lambda x: x.view(type=np.matrix)),
    "a memoryview": ("buffer protocol", memoryview),
    "its memoryview": ("buffer protocol", lambda x: x.data),
    "frombuffer": ("buffer protocol", lambda x: np.frombuffer(x, "u1")),
    "an iterator": ("flat", lambda x: x.flat),
    "ndenumerate": ("plain ndarray", np.ndenumerate),
    "as_strided": ("plain ndarray", lambda x: np.lib.stride_tricks.as_strided(x, (1,), (8,))),
    "dlpack": ("DLPack", np.from_dlpack),
    "a capsule": ("DLPack", lambda x: x.__dlpack__(max_version=(1, 0))),
    "ctypes": ("ctypes", lambda x: x.ctypes),
    "a method": ("method", lambda x: x.sum),
    "of a view": ("buffer protocol", lambda x: memoryview(x[1:])),
}


@pytest.mark.parametrize("kind", ESCAPES)
@pytest.mark.parametrize("named", ["named", "deleted", "rebound"])
def test_memory_that_leaves_the_block_keeps_the_lock(
    m: ndshm.Manager, kind: str, named: str
) -> None:
    a = m.ones((2, 3))
    kept = []
    way, hold = ESCAPES[kind]

    def block() -> None:
        with a.write() as x:
            holder = hold(x)
            kept.append(holder)
            if named == "deleted":
                del x
            elif named == "rebound":
                x = holder

    with pytest.raises(BufferError, match=way) as caught:
        block()
    assert "a.to_numpy()" in str(caught.value)
    del caught
    gc.collect()
    assert not is_free(a)
    if kind == "a plain writable view":
        # It keeps the lock, so the block's caller may still use it.
        kept[0][...] = 5
    kept.clear()
    # At once: nothing but the last object is waited for.
    assert is_free(a)
    if kind == "a plain writable view":
        assert a.to_numpy().min() == 5


UNSEEN: dict[str, Callable[[Any], Any]] = {
    "nditer": lambda x: np.nditer(x),
    "broadcasting": lambda x: np.broadcast(x, x),
    "as_ctypes": np.ctypeslib.as_ctypes,
    "its interface": lambda x: np.asarray(
        type("I", (), {"__array_interface__": x.__array_interface__, "keep": x})()
    ),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_memory_that_no_ndarray_can_see_leave_stays_mapped(kind: str) -> None:
    """NumPy's own code in C may keep the view itself: then its address is used, not its shape."""
    with ndshm.Manager() as m:
        a = m.ones((300, 1000))
        with a.write() as x:
            kept = UNSEEN[kind](x)
            del x
        assert is_free(a)
        a.release()
        del a
    values = [float(np.sum(value)) for value in (kept if kind != "as_ctypes" else list(kept[0]))]
    assert len(values) > 0
    del kept, values


def test_references_that_are_gone_before_the_block_ends_do_not_count(m: ndshm.Manager) -> None:
    a = m.array(np.arange(6.0).reshape(2, 3))
    with a.read() as x:
        assert bytes(memoryview(x)) == x.tobytes() and list(x.flat)[1] == 1 and x[1:].sum() == 12
        assert locals()["x"] is x and eval("x.sum()") == 15
        for row in x:
            assert row.size
        del row
        copy = x.copy()
        total = x + 1
    assert_detached(x, a)
    assert copy.sum() == 15 and total.sum() == 21 and is_free(a)


def test_the_end_of_a_block_keeps_no_variable_alive(m: ndshm.Manager) -> None:
    class Thing:
        pass

    import weakref

    a = m.ones(3)
    thing = Thing()
    reference = weakref.ref(thing)
    with a.read() as x:
        x.sum()
    del thing
    assert reference() is None
    if sys.version_info < (3, 13):
        exec("made_here = 1")
        with a.read() as x:
            pass
        # Entries that other code put into the dictionary of variables stay. Since Python 3.13
        # (PEP 667) a function has no such dictionary.
        assert eval("made_here") == 1
    kept = locals()
    with a.read() as x:
        pass
    assert_detached(x, a)
    assert kept["a"] is a


def test_an_exception_poisons_the_elements_of_the_guard(m: ndshm.Manager) -> None:
    a = m.zeros(4)

    def fails(x: np.ndarray) -> None:
        x[0] = 1
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        with a[:2].write() as x:
            fails(x)
    assert_detached(x, a)
    assert a.poisoned() == [(0, 16)] and a[2:].poisoned() == []
    with pytest.raises(ndshm.Poisoned), a.read():
        pass
    with a[2:].write() as x:
        x[:] = 1
    with pytest.raises(RuntimeError), a.recover() as x:
        raise RuntimeError
    assert a.poisoned()
    with a.recover() as x:
        x[:] = 2
    assert a.to_numpy().tolist() == [2] * 4
    with pytest.raises(RuntimeError), a.read() as x:
        raise RuntimeError
    assert a.poisoned() == []


def test_remaining_references_do_not_hide_an_exception(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    kept = []
    with pytest.raises(RuntimeError, match="half-way") as caught:
        with a.write() as x:
            kept.append(memoryview(x[1:]))
            raise RuntimeError("half-way")
    assert "lock is kept" in caught.value.__notes__[0]
    assert not is_free(a)
    del caught, x
    kept.clear()
    gc.collect()
    assert a.poisoned() == [(0, 32)]


def test_guards_exclude_on_overlapping_bytes_only(m: ndshm.Manager) -> None:
    a = m.zeros((4, 6))
    with a[:, :3].write() as left, a[:, 3:].write() as right:
        left[:] = 1
        right[:] = 2
        with pytest.raises(ndshm.WouldDeadlock), a[0].read():
            pass
    assert a.to_numpy().sum() == 36
    with a.read() as x, a.T.read() as y:
        assert (x == y.T).all()


def test_waiting_lets_other_threads_run_and_ends_with_the_timeout(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with a.write() as x:
            x[:] = 1
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    start = time.monotonic()
    with pytest.raises(TimeoutError), a.read(timeout=0.3):
        pass
    assert 0.25 < time.monotonic() - start < 5
    with pytest.raises(ndshm.WouldBlock), a.read(timeout=0):
        pass
    threading.Timer(0.3, leave.set).start()
    with a.read() as x:
        assert x.sum() == 4
    thread.join()


def test_a_signal_ends_the_wait(m: ndshm.Manager) -> None:
    import signal

    a = m.zeros(4)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with a.write():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), a.read():
        pass
    leave.set()
    thread.join()


def test_a_guard_without_a_timeout_waits_for_the_lock_timeout_of_the_store() -> None:
    with ndshm.Manager(lock_timeout=0.3) as m:
        a = m.zeros(4)
        with a.write():
            failed = []

            def attempt() -> None:
                try:
                    with a.read():
                        pass
                except TimeoutError as error:
                    failed.append(error)

            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join(20)
            assert failed and "300ms" in str(failed[0])
        del failed


def test_a_guard_is_used_for_one_block_at_a_time(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    guard = a.read()
    with guard as x:
        with pytest.raises(RuntimeError), guard:
            pass
    with guard as x:
        assert x.sum() == 0
    with pytest.raises(RuntimeError):
        guard.__exit__(None, None, None)
    assert "read of" in repr(guard)


def test_a_forgotten_guard_releases_its_lock(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    x = a.write().__enter__()
    gc.collect()
    assert not is_free(a)
    x[:] = 3
    del x
    assert is_free(a) and a.poisoned() == []


def test_an_ndarray_may_end_in_another_thread(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    kept = [a.write().__enter__()]
    thread = threading.Thread(target=kept.clear)
    thread.start()
    thread.join()
    assert is_free(a)


def test_a_detached_array_that_was_reshaped_in_place_is_empty_too(m: ndshm.Manager) -> None:
    a = m.ones((2, 3))
    with a.write() as x, warnings.catch_warnings():
        # NumPy 2.5 advises against it.
        warnings.simplefilter("ignore", DeprecationWarning)
        x.shape = (3, 2, 1)
    assert x.shape == (0, 0, 0)
    assert_detached(x, a)
    # References on the stack are counted or borrowed, as the version of Python has it.
    fresh = np.zeros(3)
    assert sys.getrefcount(x) == sys.getrefcount(fresh)


def test_a_block_ends_though_a_profiler_looks_at_its_frames(m: ndshm.Manager) -> None:
    """Dask's workers did: a profiler keeps the frames that it looks at, with their ndarrays."""
    a = m.ones(3)
    taken, ends = threading.Event(), threading.Event()

    def look() -> None:
        frame = sys._current_frames()[main]
        taken.set()
        ends.wait(60)
        del frame

    def compute(plain: np.ndarray) -> float:
        profiler.start()
        taken.wait(60)
        return float(plain.sum())

    main = threading.get_ident()
    profiler = threading.Thread(target=look)
    with a.read() as x:
        total = compute(np.asarray(x))
        ends.set()
    profiler.join()
    assert total == 3 and a.poisoned() == []
