"""Arrays whose rows are appended."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ndshm

METHODS = ["fork", "spawn", "forkserver"]
SOON = 30.0


def numbers(m: ndshm.Manager) -> ndshm.GrowingArray:
    return m.growing((), "i8", 1000)


def test_rows_are_appended_one_or_many_by_their_shape(m: ndshm.Manager) -> None:
    log = m.growing((2, 3), "f4", 100)
    block = np.arange(24, dtype="f4").reshape(4, 2, 3)
    assert log.append(block[0]) == 0
    assert log.append(block[1:]) == 1
    assert log.append(block[:0]) == 4
    # Another memory order, another type, a list, a shared array, one that grows.
    assert log.append(np.asfortranarray(block)) == 4
    assert log.append(block.astype(">f8")[::-1]) == 8
    assert log.append(block[0].tolist()) == 12
    assert log.append(block.tolist()) == 13
    assert log.append(m.array(block)) == 17
    assert log.append(log) == 21
    wanted = np.concatenate([block, block, block[::-1], block[:1], block, block])
    assert len(log) == 42 and log.shape == (42, 2, 3)
    assert np.array_equal(log[:21], wanted) and np.array_equal(log[21:], wanted)
    large = np.ones((50, 2, 3), "f4")
    assert log.append(large) == 42 and (log[42:] == 1).all()


def test_many_bytes_are_appended_as_few_are(m: ndshm.Manager) -> None:
    log = m.growing(1000, "i8", 1 << 20)
    for count in (1, 8, 9, 100, 1000):
        log.append(np.full((count, 1000), count))
    assert [(log[:] == count).all(axis=1).sum() for count in (1, 8, 9, 100, 1000)] == [
        1,
        8,
        9,
        100,
        1000,
    ]


def test_rows_that_are_there_are_read_as_an_ndarray_is(m: ndshm.Manager) -> None:
    log = m.growing(2, "i4", 100)
    assert log[:].shape == (0, 2) and list(log) == [] and len(log) == 0
    log.append([[1, 2], [3, 4], [5, 6]])
    early, last = log[:], log[-1]
    log.append([7, 8])
    assert early.tolist() == [[1, 2], [3, 4], [5, 6]] and last.tolist() == [5, 6]
    assert log[1:3].tolist() == [[3, 4], [5, 6]] and log[-1].tolist() == [7, 8]
    assert log[::2, 1].tolist() == [2, 6] and log[0, 1] == 2 and log[log[:, 0] > 4].shape == (2, 2)
    assert [row.tolist() for row in log] == log[:].tolist()
    for outside in (4, -5):
        with pytest.raises(IndexError):
            log[outside]
    for x in (early, last, log[:], np.asanyarray(log), next(iter(log))):
        assert type(x) is ndshm.MappedArray and not x.flags.writeable
    assert type(np.asarray(log)) is np.ndarray and not np.asarray(log).flags.writeable
    for x in (early, np.asarray(log)):
        with pytest.raises(ValueError):
            x.flags.writeable = True
    assert np.shares_memory(np.asarray(log), early)
    assert np.array(log).flags.writeable and not np.shares_memory(np.array(log), early)
    assert np.asarray(log, "f8").dtype == "f8" and np.mean(log) == 4.5
    scalars = numbers(m)
    scalars.append(5)
    assert scalars[0] == 5 and list(scalars) == [5] and isinstance(scalars[0], np.int64)


def test_the_properties_are_those_of_its_making(m: ndshm.Manager) -> None:
    log = m.growing(3, "f8", 1 << 40, name="log", attrs={"unit": "m"}, axis_names=["step", "joint"])
    assert (log.row_shape, log.shape, log.max_len) == ((3,), (0, 3), 1 << 40)
    assert (log.dtype, log.name, log.scope) == (np.dtype("f8"), "log", None)
    assert log.attrs == {"unit": "m"} and log.axis_names == ["step", "joint"]
    assert log.path.startswith(m.path) and len(log.id) > 8
    log.append([1, 2, 3])
    [info] = m.list()
    assert (info.kind, info.shape) == ("growing array", (1, 3))
    assert "1 of 1099511627776 rows" in repr(log) and "'log'" in repr(log).replace('"', "'")
    for opened in (
        m.open_growing("log"),
        ndshm.open_growing(log.handle),
        ndshm.open_growing(log.path),
        pickle.loads(pickle.dumps(log)),
        m.growing(3, "f8", 1 << 40, name="log", exist_ok=True),
    ):
        assert opened.id == log.id and opened[0].tolist() == [1, 2, 3]
    log.scope = "local"
    assert log.scope == "local"
    log.scope = None
    assert len(pickle.dumps(log)) < 300 and len(pickle.dumps(log[:])) < 300


TYPES: dict[str, tuple[Any, Any]] = {
    "time": ("M8[ns]", np.array(["2020-01-01", "NaT"], "M8[ns]")),
    "text": ("U5", np.array(["a", "bcdef"])),
    "bytes": ("S3", np.array([b"a", b"bcd"])),
    "bool": ("?", np.array([True, False])),
    "half": ("f2", np.array([0.5, 2], "f2")),
    "complex": ("c16", np.array([1j, 2])),
    "struct": ([("x", "f8"), ("t", "M8[s]")], np.zeros(2, [("x", "f8"), ("t", "M8[s]")])),
    "parts": (("i4", (3,)), np.arange(6, dtype="i4").reshape(2, 3)),
}


@pytest.mark.parametrize("kind", TYPES)
def test_elements_have_numpys_types(m: ndshm.Manager, kind: str) -> None:
    dtype, source = TYPES[kind]
    log = m.growing((), dtype, 100, name="log")
    assert log.append(source) == 0 and log.append(source[0]) == 2
    with log.reserve(1) as rows:
        rows[...] = source[1]
    wanted = np.concatenate([source, source])
    for x in (log[:], pickle.loads(pickle.dumps(log))[:], pickle.loads(pickle.dumps(log[:]))):
        assert x.dtype == source.dtype and x.shape == wanted.shape
        assert x.tobytes() == wanted.tobytes()
    assert m.open_growing("log").dtype == np.dtype(dtype).base == log.dtype
    assert m.growing((), dtype, 100, name="log", exist_ok=True).id == log.id
    assert "numpy.dtype" not in log.attrs


REFUSED: dict[str, tuple[type[Exception], Any, str]] = {
    "shape": (ValueError, np.zeros((2, 2)), "neither a row of shape"),
    "rank": (ValueError, np.zeros((1, 1, 3)), "neither a row of shape"),
    "number": (ValueError, 1.0, "neither a row of shape"),
    "type": (TypeError, np.zeros(3, "c16"), "same_kind"),
    "text": (ValueError, ["a", "b", "c"], "could not convert"),
    "mask": (TypeError, np.ma.array([1.0, 2, 3], mask=[1, 0, 0]), "mask"),
    "full": (ndshm.Full, np.zeros((9, 3)), "at most 10"),
    "large": (ndshm.Full, np.zeros((10000, 3)), "at most 10"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_appended(m: ndshm.Manager, kind: str) -> None:
    error, rows, text = REFUSED[kind]
    log = m.growing(3, "f8", 10)
    log.append(np.ones((2, 3)))
    with pytest.raises(error, match=text) as caught:
        log.append(rows)
    assert "::" not in str(caught.value)
    assert log.append([5, 6, 7]) == 2 and log[:2].sum() == 6


def test_arrays_that_cannot_be_are_refused(m: ndshm.Manager) -> None:
    for arguments, error in [
        ((3, "f8", 0), ndshm.Layout),
        ((0, "f8", 5), ndshm.Layout),
        ((3, "f8", 1 << 46), (ndshm.AddressSpace, ndshm.Layout)),
        ((3, "O", 5), TypeError),
        ((-1, "f8", 5), ValueError),
        (("a", "f8", 5), (TypeError, ValueError)),
    ]:
        with pytest.raises(error) as caught:
            m.growing(*arguments)  # type: ignore[arg-type]
        assert "::" not in str(caught.value)
    assert m.list() == []


def test_an_array_of_the_name_is_opened_if_it_is_alike(m: ndshm.Manager) -> None:
    log = m.growing(3, "f8", 10, name="log")
    with pytest.raises(ndshm.AlreadyExists):
        m.growing(3, "f8", 10, name="log")
    for wrong, error in [
        ((3, "f4", 10), ndshm.Dtype),
        ((4, "f8", 10), ndshm.Layout),
        (((3, 1), "f8", 10), ndshm.Layout),
        ((3, "f8", 11), ndshm.Layout),
    ]:
        with pytest.raises(error, match="expected"):
            m.growing(*wrong, name="log", exist_ok=True)  # type: ignore[arg-type]
    assert m.growing(3, "f8", 10, name="log", exist_ok=True).id == log.id
    m.zeros(3, name="xs")
    with pytest.raises(ndshm.Kind, match="Manager.open\\(\\)"):
        m.growing(3, "f8", 10, name="xs", exist_ok=True)
    with pytest.raises(ndshm.Kind, match="open_growing\\(\\)"):
        m["log"]
    with pytest.raises(ndshm.Kind, match="open_growing\\(\\)"):
        ndshm.open(log.handle)
    with pytest.raises(ndshm.NotFound):
        m.open_growing("typo")


def test_a_block_appends_what_it_wrote(m: ndshm.Manager) -> None:
    log = m.growing(2, "i4", 100)
    block = log.reserve(3)
    with block as rows:
        assert type(rows) is ndshm.LockedArray and rows.shape == (3, 2)
        rows[...] = 7
        view = rows[1:]
        assert len(log) == 0 and log.rows == 3
    assert log[:].tolist() == [[7, 7]] * 3 and rows.size == view.size == 0
    with log.reserve(10) as rows:
        rows[:2] = [[1, 2], [3, 4]]
        log.rows = 2
    assert log[3:].tolist() == [[1, 2], [3, 4]]
    with block as rows:
        rows[...] = 8
        log.rows = 0
    with log.reserve(0) as rows:
        assert rows.shape == (0, 2)
    assert len(log) == 5 and log.append([5, 6]) == 5
    with pytest.raises(RuntimeError, match="not being written"):
        block.__exit__()
    with log.reserve(2) as rows:
        for wrong in (-1, 3):
            with pytest.raises(ValueError, match="of which 2 were reserved"):
                log.rows = wrong
        rows[...] = 9
    for use in (lambda: log.rows, lambda: setattr(log, "rows", 1)):
        with pytest.raises(RuntimeError, match="no rows are being written"):
            use()
    for wrong in (-1, 93):
        with pytest.raises(ValueError), log.reserve(wrong):
            pass
    assert len(log) == 8 and "2 rows" in repr(log.reserve(2))


def test_an_exception_appends_nothing(m: ndshm.Manager) -> None:
    log = numbers(m)
    with pytest.raises(ZeroDivisionError), log.reserve(3) as rows:
        rows[...] = 7
        raise ZeroDivisionError
    assert rows.size == 0 and len(log) == 0
    assert log.append([1, 2]) == 0 and log[:].tolist() == [1, 2]


def test_memory_that_leaves_its_block_is_told_and_appends_nothing(m: ndshm.Manager) -> None:
    log = numbers(m)
    kept: list[Any] = []
    with pytest.raises(BufferError, match="memoryview"), log.reserve(3) as rows:
        rows[...] = 7
        kept.append(memoryview(rows))
    assert len(log) == 0
    with pytest.raises(BufferError, match="still has the memory"):
        log.append(1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with pytest.raises(ndshm.WouldBlock):
            pool.submit(log.append, 1, timeout=0).result()
        with pytest.raises(ndshm.Timeout):
            pool.submit(log.append, 1, timeout=0.03).result()
    kept.clear()
    assert log.append(1) == 0
    with pytest.raises(ZeroDivisionError) as caught, log.reserve(1) as rows:
        kept.append(np.asarray(rows))
        raise ZeroDivisionError
    assert "left its block" in caught.value.__notes__[0]
    kept.clear()
    # What only a cycle keeps is collected at the end of the block.
    with log.reserve(1) as rows:
        cycle: list[Any] = [memoryview(rows)]
        cycle.append(cycle)
        rows[...] = 2
        del cycle
    assert log[:].tolist() == [1, 2]


def test_one_appends_at_a_time(m: ndshm.Manager) -> None:
    log = numbers(m)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with log.reserve(1) as rows:
            with pytest.raises(ndshm.WouldDeadlock, match="leave the block of reserve"):
                log.append(1)
            with pytest.raises(ndshm.WouldDeadlock), log.reserve(1):
                pass
            with pytest.raises(ndshm.WouldBlock, match="without timeout=0") as busy:
                pool.submit(log.append, 1, timeout=0).result()
            with pytest.raises(ndshm.Timeout, match="another process or thread appends") as late:
                pool.submit(log.append, 1, timeout=0.03).result()
            assert busy.value.holders[0].pid == late.value.holders[0].pid == os.getpid()
            waiting = pool.submit(log.append, 5)
            rows[...] = 4
        assert waiting.result(SOON) == 1
    assert log[:].tolist() == [4, 5]


def test_threads_append_every_row_once(m: ndshm.Manager) -> None:
    log = m.growing(2, "i8", 1 << 20)

    def add(thread: int) -> None:
        for at in range(200):
            if at % 3:
                log.append([thread, at])
            else:
                with log.reserve(1) as rows:
                    rows[0] = [thread, at]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    wanted = [[thread, at] for thread in range(4) for at in range(200)]
    assert sorted(log[:].tolist()) == wanted


def test_a_wait_ends_by_rows_the_end_and_time(m: ndshm.Manager) -> None:
    log = numbers(m)
    with pytest.raises(ndshm.Timeout, match="no rows were appended"):
        log.wait_grown(0, timeout=0.03)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.wait_grown, 0)
        log.append([1, 2])
        assert waiting.result(SOON) == 2 and log.wait_grown(1) == 2
        waiting = pool.submit(log.wait_grown, 2, SOON)
        assert not log.is_frozen
        log.freeze()
        assert waiting.result(SOON) == 2 and log.is_frozen and "frozen" in repr(log)
    log.freeze()
    log.flush()
    with pytest.raises(ndshm.Frozen, match="the growth of the array has ended"):
        log.append(3)
    with pytest.raises(ndshm.Frozen), log.reserve(1):
        pass
    assert log[:].tolist() == [1, 2]


def test_a_released_array_is_read_and_not_appended_to(m: ndshm.Manager) -> None:
    log = numbers(m)
    log.append([1, 2])
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(log.wait_grown, 2)
        time.sleep(0.05)
        log.release()
        with pytest.raises(ndshm.Released):
            waiting.result(SOON)
    with pytest.raises(ndshm.Released):
        log.append(3)
    assert log[:].tolist() == [1, 2]


def interrupted(call: Callable[[], Any]) -> float:
    """Return how long after a Ctrl-C the call ended."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Timer(0.2, send).start()
    with pytest.raises(KeyboardInterrupt):
        call()
    return time.monotonic() - sent[0]


WAITS: dict[str, Callable[[ndshm.GrowingArray], Any]] = {
    "append": lambda log: log.append(1),
    "append for a time": lambda log: log.append(1, timeout=1000),
    "reserve": lambda log: log.reserve(1).__enter__(),
    "wait_grown": lambda log: log.wait_grown(0),
    "freeze": lambda log: log.freeze(),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_ctrl_c_ends_a_wait_while_other_threads_run(m: ndshm.Manager, wait: str) -> None:
    log = numbers(m)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.suppress(ZeroDivisionError), log.reserve(1):
            taken.set()
            done.wait(SOON)
            raise ZeroDivisionError

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(SOON)
    assert interrupted(lambda: WAITS[wait](log)) < 0.3
    done.set()
    holder.join()
    assert log.append(1) == 0


def add(log: ndshm.GrowingArray, first: int) -> np.ndarray:
    for at in range(first, first + 100):
        log.append([at, -at])
        with log.reserve(2) as rows:
            rows[0] = [at, -at]
            log.rows = 1
    return log[:1]


@pytest.mark.parametrize("method", METHODS)
def test_processes_append_and_read_whole_rows(m: ndshm.Manager, method: str) -> None:
    log = m.growing(2, "i8", 1 << 30)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        tasks = [pool.submit(add, log, first) for first in (0, 1000)]
        seen = 0
        while seen < 400:
            seen = log.wait_grown(seen, SOON)
            assert (log[:seen].sum(axis=1) == 0).all()
        for task in tasks:
            first = task.result(SOON)
            assert type(first) is ndshm.MappedArray
            assert first.tolist() == log[:1].tolist()
    wanted = [at for first in (0, 1000) for at in range(first, first + 100) for _ in range(2)]
    assert sorted(log[:, 0].tolist()) == wanted


def child(code: str, log: ndshm.GrowingArray) -> subprocess.Popen[str]:
    """Start a process that has the array, and wait until it says that it is ready."""
    head = "import os, sys, time, ndshm\nlog = ndshm.open_growing(sys.argv[1])\n"
    process = subprocess.Popen(
        [sys.executable, "-c", head + code, log.handle], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_a_process_that_is_killed_amid_an_append_leaves_nothing(m: ndshm.Manager) -> None:
    log = m.growing(2, "i8", 1000)
    log.append([1, 1])
    process = child(
        """
log.append([2, 2])
block = log.reserve(5)
rows = block.__enter__()
rows[:] = 9
print("ready", flush=True)
time.sleep(1000)
""",
        log,
    )
    with pytest.raises(ndshm.WouldBlock) as caught:
        log.append([3, 3], timeout=0)
    assert caught.value.holders[0].pid == process.pid and len(log) == 2
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert log.append([3, 3], timeout=SOON) == 2
    assert log[:].tolist() == [[1, 1], [2, 2], [3, 3]]


def outcome(use: Callable[[], object]) -> int:
    """Return 0 where a call in a child of a fork raises `NotOwner`, else another status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            use()
            status = 2
        except ndshm.NotOwner:
            status = 0
        finally:
            os._exit(status)
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 99


def test_a_child_of_a_fork_does_not_append_the_rows_of_its_parent(m: ndshm.Manager) -> None:
    log = numbers(m)
    block = log.reserve(2)
    with block as rows:
        rows[...] = 5
        assert outcome(lambda: block.__exit__()) == 0

        def write() -> None:
            try:
                rows[...] = 8
            except ValueError:
                block.__exit__()

        assert outcome(write) == 0
        # An exception ends the block of the child alone.
        assert outcome(lambda: block.__exit__(ZeroDivisionError, ZeroDivisionError())) == 2

        def append() -> None:
            try:
                log.append(1, timeout=0)
            except ndshm.WouldBlock:
                block.__exit__()

        assert outcome(append) == 0 and len(log) == 0
    assert log[:].tolist() == [5, 5] and outcome(lambda: log.append(6)) == 2
    assert log[:].tolist() == [5, 5, 6]


def maker(m: ndshm.Manager, what: str) -> Any:
    log = numbers(m)
    log.append([1, 2, 3])
    return {"array": log, "rows": log[1:], "row": log[1:2]}[what]


@pytest.mark.parametrize("what", ["array", "rows", "row"])
@pytest.mark.parametrize("method", METHODS)
def test_a_pickle_hands_it_over(m: ndshm.Manager, method: str, what: str) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        made = pool.submit(maker, m, what).result(SOON)
        wanted = {"array": [1, 2, 3], "rows": [2, 3], "row": [2]}[what]
        assert made[:].tolist() == wanted
        [info] = m.list()
        del made
        gc.collect()
        # The worker may still have it open.
        until = time.monotonic() + SOON
        while m.list() and time.monotonic() < until:
            time.sleep(0.01)
        assert m.list() == [], info


def test_rows_keep_the_array(m: ndshm.Manager) -> None:
    log = numbers(m)
    log.append([1, 2])
    rows = log[1:]
    path = log.path
    del log
    gc.collect()
    assert os.path.exists(path) and rows.tolist() == [2]
    again = pickle.loads(pickle.dumps(rows))
    assert again.tolist() == [2]
    del rows, again
    gc.collect()
    assert not os.path.exists(path)


def test_it_goes_on_where_it_was(m: ndshm.Manager) -> None:
    store = ndshm.Manager(m.path + "-persistent")
    try:
        for run in range(3):
            with ndshm.Manager(store.path) as again:
                log = again.growing((), "i8", 1000, name="log", exist_ok=True)
                assert log.append(run) == run
    finally:
        store.close()
