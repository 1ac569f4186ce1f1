"""Every block ends without an exception and gives its lock back, whatever its variables are."""

from __future__ import annotations

import code
import contextlib
import copy
import gc
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_guards import assert_detached, is_free

import ndshm


def test_loops_over_rows_end(m: ndshm.Manager) -> None:
    a, b = m.ones((4, 3)), m.zeros((4, 3))
    with a.read() as x, b.write() as y:
        for row in x:
            assert row.sum() == 3
        for i, one in enumerate(x):
            y[i] = one * i
        for left, right in zip(x, y):
            right += left
        rows = list(y)
        first, *rest = x
    assert is_free(a) and is_free(b)
    for view in (x, y, row, one, left, right, first, *rows, *rest):
        assert view.size == 0
    assert b.to_numpy()[:, 0].tolist() == [1, 2, 3, 4]


def test_views_in_attributes_and_containers_end(m: ndshm.Manager) -> None:
    class Holder:
        x: Any

    a = m.ones((4, 3))
    holder, d, namespace = Holder(), {}, types.SimpleNamespace()
    with a.write() as holder.x:
        holder.half = holder.x[:2]  # type: ignore[attr-defined]
    assert_detached(holder.x, a)
    with a.write() as d["x"]:
        pass
    assert_detached(d["x"], a)
    with contextlib.ExitStack() as stack:
        namespace.x = stack.enter_context(a.read())
        namespace.row = namespace.x[0]
    assert_detached(namespace.x, a)
    assert namespace.row.size == 0 and is_free(a)


def test_a_traceback_that_keeps_a_view_keeps_no_lock(m: ndshm.Manager) -> None:
    a = m.zeros((4, 3))
    saved = []

    def fails(part: np.ndarray) -> None:
        inner = part[1:]
        raise RuntimeError(f"{inner.shape}")

    try:
        with a.read() as x:
            fails(x[1:])
    except RuntimeError as error:
        saved.append(error)
    assert is_free(a) and x.size == 0
    frame = saved[0].__traceback__.tb_next.tb_frame
    assert frame.f_locals["inner"].size == 0
    with a.write() as x:
        try:
            fails(x)
        except RuntimeError as error:
            saved.append(error)
    assert is_free(a) and a.poisoned() == []


def test_an_exception_of_numpy_keeps_no_lock(m: ndshm.Manager) -> None:
    a, saved = m.zeros((3, 3)), []
    outer = ValueError("handled while NumPy raises")
    for use in (
        lambda x: np.linalg.inv(x),
        lambda x: np.concatenate([x, x[0]]),
        lambda x: np.apply_along_axis(lambda row: row / 0 if 1 // int(row[0]) else row, 0, x),
        lambda x: np.add(x, np.ones(7)),
        lambda x: x.reshape(5, 5),
        lambda x: x.astype(object) @ "text",
        lambda x: np.take(x, [99]),
        lambda x: x[[99]],
    ):
        for on in ("block", "array"):
            try:
                raise outer
            except ValueError:
                local = "kept"
                try:
                    if on == "array":
                        use(a)
                    else:
                        with a.write() as x:
                            with contextlib.suppress(KeyError):
                                try:
                                    use(x)
                                except Exception as error:
                                    saved.append(error)
                except Exception as error:
                    saved.append(error)
                assert local == "kept" and is_free(a), use
    assert len(saved) == 16 and a.poisoned() == []
    assert outer.__traceback__.tb_frame.f_locals["outer"] is outer  # type: ignore[union-attr]
    for error in saved:
        with pytest.raises(type(error)):
            raise error


def test_generators_that_are_closed_early_end_normally(m: ndshm.Manager) -> None:
    a = m.zeros((4, 3))

    def rows() -> Iterator[np.ndarray]:
        with a.write() as x:
            for row in x:
                row += 1
                yield row

    generator = rows()
    first = next(generator)
    assert not is_free(a)
    generator.close()
    assert is_free(a) and first.size == 0 and a.poisoned() == []
    generator = rows()
    next(generator)
    del generator
    assert is_free(a) and a.poisoned() == []


@pytest.mark.parametrize(
    ("error", "poisons"),
    [(SystemExit, False), (GeneratorExit, False), (KeyboardInterrupt, True), (ValueError, True)],
)
def test_only_failures_poison(m: ndshm.Manager, error: type[BaseException], poisons: bool) -> None:
    a, b = m.zeros(3), m.zeros(3)
    with pytest.raises(error), a.write():
        raise error
    with pytest.raises(error), ndshm.lock(b.writing()):
        raise error
    assert [bool(a.poisoned()), bool(b.poisoned())] == [poisons, poisons]


WRITES: dict[str, Any] = {
    "an assignment": lambda x: x.__setitem__(0, 1),
    "in place": lambda x: x.__iadd__(1),
    "a function with out": lambda x: np.add(x, 1, out=x),
    "a reduction with out": lambda x: np.sum(np.ones((3, 3)), 0, None, x),
    "at": lambda x: np.add.at(x, [0], 1),
    "copyto": lambda x: np.copyto(x, 1),
    "a method": lambda x: x.fill(1),
    "an array in a view": lambda x: x[1:].__setitem__(slice(None), 1),
    "its memoryview": lambda x: memoryview(x).__setitem__(0, 1.0),
    "a plain view": lambda x: x.view(np.ndarray).__setitem__(0, 1),
    "flat": lambda x: setattr(x, "flat", 1),
}
READS: dict[str, Any] = {
    "nothing": lambda x: None,
    "a sum": lambda x: x.sum(),
    "a function": lambda x: (np.mean(x), x + 1, x[1:], x.T, x[[0]]),
    "a plain ndarray": lambda x: np.asarray(x).sum(),
}


@pytest.mark.parametrize("use", [*WRITES, *READS])
def test_a_deadlock_poisons_only_what_the_block_wrote(m: ndshm.Manager, use: str) -> None:
    a, b = m.zeros(3), m.zeros(3)
    with b.read(), pytest.raises(ndshm.WouldDeadlock), a.write() as x:
        {**WRITES, **READS}[use](x)
        with b.write():
            pass
    assert bool(a.poisoned()) == (use in WRITES)
    if use in WRITES:
        assert a.unlocked().any()


def test_garbage_keeps_no_lock(m: ndshm.Manager) -> None:
    a = m.ones(3)
    gc.disable()
    try:
        # A cycle of objects keeps the memory when the block ends.
        with a.write() as x:
            cycle: list[Any] = [memoryview(x)]
            cycle.append(cycle)
            del cycle
        assert is_free(a)
        # A guard whose block never ended.
        cycle = [a.write()]
        cycle += [cycle, cycle[0].__enter__()]
        del cycle
        start = time.monotonic()
        with a.write(timeout=60):
            pass
        assert time.monotonic() - start < 30
        cycle = [a.write()]
        cycle += [cycle, cycle[0].__enter__()]
        del cycle
        with a.recover():
            pass
    finally:
        gc.enable()


def test_a_kept_object_is_told_and_its_lock_goes_with_it(m: ndshm.Manager) -> None:
    a = m.ones(3)
    gc.disable()
    try:
        with pytest.raises(BufferError, match="buffer protocol"), a.write() as x:
            kept: list[Any] = [memoryview(x)]
        kept.append(kept)
        del kept
        # Now garbage: another guard collects it before it gives up.
        with a.write(timeout=0) as x:
            x[:] = 2
    finally:
        gc.enable()


def test_a_block_in_an_interpreter_of_an_interpreter_ends(m: ndshm.Manager) -> None:
    a = m.ones((2, 3))
    namespace: dict[str, Any] = {"a": a}
    shell = code.InteractiveInterpreter(namespace)
    for line in ("g = a.write()", "x = g.__enter__()", "x", "x[0]", "y = x[1]"):
        shell.runsource(line)
    assert shell.runsource("g.__exit__(None, None, None)") is False
    assert is_free(a) and namespace["x"].size == namespace["y"].size == 0
    exec("with a.read() as x:\n    z = x.T\n", namespace)
    assert is_free(a) and namespace["z"].size == 0

    def function() -> None:
        with a.read() as x:
            kept.append(sys._getframe().f_locals)
            kept.append(lambda: x)
            kept.append(locals())

    kept: list[Any] = []
    function()
    assert is_free(a) and kept[1]().size == 0
    assert all(views["x"].size == 0 for views in (kept[0], kept[2]) if "x" in views)
    import builtins

    builtins._ = None  # type: ignore[attr-defined]


def test_changing_the_type_of_a_view_shows_nothing_else(m: ndshm.Manager) -> None:
    a = m.ones(8)
    with a.write() as x:
        y = x.view("V64")
        z = y.reshape(())
    assert z.tobytes() == bytes(64) and z.itemsize == 64 and y.size == 0
    with a.write() as x:
        one = x.view("V64")[0:1].reshape(())
    assert one.tobytes() == bytes(64)
    b = m.full((), 3.0)
    with b.read() as x:
        pass
    assert x.tobytes() == bytes(8) and float(x) == 0


def test_the_memory_of_a_view_cannot_be_exchanged(m: ndshm.Manager) -> None:
    import weakref

    a = m.ones(4)
    with a.write() as x:
        reference = weakref.ref(x)
        assert reference() is x
        with pytest.raises(AttributeError):
            x.data = bytearray(32)  # type: ignore[misc,assignment]
        with pytest.raises(TypeError):
            x.__class__ = type("Other", (np.ndarray,), {"__slots__": ()})
        for change in (
            lambda: setattr(x, "strides", (800,)),
            lambda: setattr(x, "dtype", "V40000"),
            lambda: x.resize((100,)),
        ):
            with pytest.raises(ValueError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change()
    assert is_free(a) and x.size == 0


def test_an_operation_in_another_thread_keeps_the_lock(m: ndshm.Manager) -> None:
    a = m.ones(3)
    begun, go_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    def waits(value: float) -> float:
        begun.set()
        go_on.wait(60)
        return value

    def work(x: np.ndarray) -> None:
        seen.append(np.frompyfunc(waits, 1, 1)(x))

    with pytest.raises(BufferError, match="still runs in another thread"):
        with a.write() as x:
            thread = threading.Thread(target=work, args=(x,))
            thread.start()
            assert begun.wait(60)
    assert x.size == 0 and not is_free(a)
    go_on.set()
    thread.join()
    assert seen[0].tolist() == [1, 1, 1] and is_free(a)


def child_writes(x: np.ndarray) -> None:
    for write in (
        lambda: x.__setitem__(0, 9),
        lambda: x.fill(9),
        lambda: np.add(x, 1, out=x),
        lambda: memoryview(x).__setitem__(0, 9.0),
    ):
        with contextlib.suppress(ValueError, TypeError):
            write()


def test_a_forked_child_has_no_guard_and_writes_nothing(m: ndshm.Manager) -> None:
    a = m.ones(3)
    with a.write() as x:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child_writes(x)
                child_writes(x[:1])
                status = 0 if x.tolist() == [1, 1, 1] else 2
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        x[1] = 5
    assert a.to_numpy().tolist() == [1, 5, 1] and is_free(a)


def test_a_view_kept_in_a_forked_child_does_not_crash(m: ndshm.Manager) -> None:
    a = m.ones(3)
    context = multiprocessing.get_context("fork")
    with a.read() as x:
        process = context.Process(target=lambda: os._exit(0 if x.sum() == 3 else 1))
        process.start()
        process.join(60)
        assert process.exitcode == 0
    assert is_free(a)


def test_copies_and_pickles_of_a_view_are_plain(m: ndshm.Manager) -> None:
    a = m.array(np.arange(6.0).reshape(2, 3))
    with a.read() as x:
        made = [
            copy.copy(x),
            copy.deepcopy(x),
            pickle.loads(pickle.dumps(x)),
            pickle.loads(pickle.dumps(x, 5)),
            x.copy(),
            np.array(x),
            x.astype("f4"),
            x[[0, 1]],
            x[x > -1].reshape(2, 3),
            x + 0,
            x.T.reshape(-1).reshape(3, 2).T,
            np.zeros_like(x) + x,
            x.flatten().reshape(2, 3),
        ]
        assert x.T.reshape(-1).tolist() == [0, 3, 1, 4, 2, 5]
    for one in made:
        assert type(one) is np.ndarray and one.tolist() == [[0, 1, 2], [3, 4, 5]], one
    assert is_free(a)


def test_a_view_is_shuffled_and_sorted_in_place(m: ndshm.Manager) -> None:
    for shape in ((40,), (40, 3)):
        source = np.arange(np.prod(shape)).reshape(shape)
        a = m.array(source)
        with a.write() as x:
            random.shuffle(x if x.ndim == 1 else list(range(3)))  # type: ignore[arg-type]
            np.random.default_rng(1).shuffle(x)
            np.random.shuffle(x)
            assert sorted(x.ravel().tolist()) == source.ravel().tolist()
            assert x.tolist() != source.tolist()
            x.sort(axis=0)
            assert x.tolist() == source.tolist()
        assert is_free(a)


def test_a_read_only_view_of_a_write_guard_refuses(m: ndshm.Manager) -> None:
    a = m.zeros((2, 3))
    with a.write() as x:
        y = x[0]
        y.setflags(write=False)
        wide = np.broadcast_to(x, (4, 2, 3))
        windows = np.lib.stride_tricks.sliding_window_view(x, 2, axis=1)
        for view in (y, wide, windows, np.asarray(x)):
            assert not view.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                view[0] = 1
        y.setflags(write=True)
        y[0] = 1
        with pytest.raises(ValueError):
            np.asarray(x).setflags(write=True)
        del view
    assert a[0, 0].item() == 1


def test_a_view_refuses_to_be_written_by_its_flags_too(m: ndshm.Manager) -> None:
    """``x.flags.writeable = False`` changed a copy of the flags, and ``x`` was written."""
    a = m.zeros((2, 3))
    with a.write() as x:
        for view in (x, x[0], x.T):
            flags = view.flags
            assert flags.writeable and flags["WRITEABLE"] and flags.aligned
            flags.writeable = False
            assert not view.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                view[0] = 1
            view.flags["WRITEABLE"] = True
            view[0] = 2
        kept = x.flags
    with a.read() as x:
        assert not x.flags.writeable
        with pytest.raises(ValueError):
            x.flags.writeable = True
    assert kept.c_contiguous and a.to_numpy().sum() == 8
    with a.write(timeout=0):
        pass


def test_methods_write_to_views_and_read_them(m: ndshm.Manager) -> None:
    """NumPy's own methods found ``out`` read-only, and ``resize`` did nothing."""
    plain = np.array([[3.0, 1, 2], [6, 4, 5], [0, 7, 8]])
    a = m.array(plain)
    uses: list[Any] = [
        lambda x: x.take([2, 1, 0], out=x[0]),
        lambda x: x.take([0, 4, 8], None, x[0]),
        lambda x: x.dot(np.eye(3) * 2, out=x),
        lambda x: x.dot(x),
        lambda x: x[0].compress([True, False, True], out=x[1, :2]),
        lambda x: x[:, 0].compress([True, False, True], 0, x[1, :2]),
        lambda x: x.argmax(0, np.zeros(3, int)),
        lambda x: x.argmin(axis=1, out=np.zeros(3, int)),
        lambda x: x.argmax(keepdims=True),
    ]
    for use in uses:
        with a.write() as x:
            x[...] = plain
            wanted = plain.copy()
            assert np.array_equal(use(x), use(wanted)) and np.array_equal(x, wanted), use
        assert is_free(a) and np.array_equal(a, wanted)
    c = m.array(plain + 1j)
    with c.write() as z, a.read() as x:
        # NumPy gives the ndarray itself, or a view.
        kept = [x.astype("f8", copy=False), x.conj(), x.conjugate(), x.to_device("cpu"), z.imag]
        assert all(np.array_equal(one, x) for one in kept[:4]) and kept[4][0, 0] == 1
        kept[4][...] = 5
    assert not any(one.size for one in kept) and is_free(a) and is_free(c)
    assert (c.imag == 5).all()
    for method in ("argmax", "argmin"):
        b = m.zeros(3, "i8")
        with b.write() as y, a.read() as x:
            getattr(x, method)(axis=1, out=y)
        assert b.tolist() == getattr(wanted, method)(axis=1).tolist()
    with a.read() as x, pytest.raises(ValueError, match="read-only|WRITEBACKIFCOPY|acceptable"):
        x.take([0, 1, 2], out=x[0])
    with a.write() as x:
        x.resize((9, 1))
        assert x.shape == (9, 1)
        with pytest.raises(ValueError, match="own"):
            x.resize((4, 4))
    assert x.size == 0 and is_free(a)


def test_the_dunders_of_numpy_work(m: ndshm.Manager) -> None:
    a = m.array(np.arange(1, 7).reshape(2, 3))
    plain = np.arange(1, 7).reshape(2, 3)
    with a.write() as x:
        for one, other in ((x, plain), (x.T, plain.T)):
            assert repr(one) == repr(other) and str(one) == str(other)
            assert (one == other).all() and (other == one).all() and not (one != other).any()
            assert (other - one).sum() == 0 and (2**one == 2**other).all()
            assert (one @ other.T).tolist() == (other @ other.T).tolist()
            assert (other.T @ one).tolist() == (other.T @ other).tolist()
            assert 3 in one and 9 not in one and len(one) == len(other)
        assert f"{x[0, 0]:>4}" == "   1" and int(x[0, 0]) == 1
        assert [*map(int, x[1])] == [4, 5, 6]
        x //= 2
        x[...] |= 1
        assert type(x) is ndshm.LockedArray
        x.real = 3
        x.flat[2] = 8
        x.shape  # noqa: B018
    assert a.to_numpy().ravel().tolist() == [3, 3, 8, 3, 3, 3]


def test_ctrl_c_ends_every_wait(m: ndshm.Manager) -> None:
    """Each wait in a process of its own: it says when it waits, and gets SIGINT."""
    waits = {
        "read": "with a.read(): pass",
        "recover": "with a.recover(): pass",
        "lock": "with ndshm.lock(a.writing()): pass",
        "freeze": "a.freeze()",
        "open_frozen": "ndshm.open_frozen(b.handle)",
        "wait_changed": "b.wait_changed(b.changed())",
        "wait_for": "ndshm.Manager(path, mode='r+').wait_for('never')",
        "item": "b[0]; a[0]; a.to_numpy()",
        "assign": "a[0] = 1",
    }
    head = (
        "import ndshm, os, signal, sys, threading, time\n"
        "a, b, path = ndshm.open(sys.argv[1]), ndshm.open(sys.argv[2]), sys.argv[3]\n"
        "def interrupt():\n"
        "    time.sleep(0.3)\n"
        "    global sent\n"
        "    sent = time.monotonic()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "try:\n"
        # The signal may come before the start returns, where the machine is busy.
        "    threading.Thread(target=interrupt, daemon=True).start()\n"
        "    "
    )
    tail = "\nexcept KeyboardInterrupt:\n    print(f'{time.monotonic() - sent:.3f}')\n"
    a, b = m.zeros(3, scope=None), m.zeros(3, scope=None)
    with a.write():
        for name, wait in waits.items():
            done = subprocess.run(
                [sys.executable, "-c", head + wait + tail, a.handle, b.handle, str(m.path)],
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.returncode == 0 and float(done.stdout) < 5, (name, done)
