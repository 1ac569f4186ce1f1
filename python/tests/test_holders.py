"""Exceptions name the guards in the way: process, command, slice, time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import pickle
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import ndshm

SPAWN = multiprocessing.get_context("spawn")


def hold(view: ndshm.Array, kind: str, pipe: multiprocessing.connection.Connection) -> None:
    """Hold a guard until a line comes."""
    guard = view.read() if kind == "read" else view.write()
    with guard:
        pipe.send(os.getpid())
        pipe.recv()


def wait_for(
    held: ndshm.Array, wanted: ndshm.Array, pipe: multiprocessing.connection.Connection
) -> None:
    """Hold a guard, and wait for another one after a line."""
    with held.write():
        pipe.send(os.getpid())
        pipe.recv()
        with wanted.write():
            pass


@contextlib.contextmanager
def process(
    function: Callable[..., None], *arguments: object
) -> Iterator[tuple[int, multiprocessing.connection.Connection]]:
    """Run a function in another process. Gives its pid once it holds its guard."""
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=function, args=(*arguments, theirs))
    child.start()
    try:
        yield ours.recv(), ours
    finally:
        if child.is_alive():
            with contextlib.suppress(BrokenPipeError):
                ours.send("end")
        child.join(60)
        child.kill()
        child.join()
        child.close()
        ours.close()
        theirs.close()


def command_of(pid: int) -> str:
    text = pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    return text.replace("\0", " ").strip()[:200]


def test_a_refused_call_names_process_command_and_slice(m: ndshm.Manager) -> None:
    results = m.zeros((5, 8), name="results")
    with process(hold, results[3], "write") as (pid, _):
        with pytest.raises(ndshm.WouldBlock) as caught, results.read(timeout=0):
            pass
        [holder] = caught.value.holders
        assert (holder.pid, holder.command) == (pid, command_of(pid))
        assert (holder.slice, holder.kind, holder.is_waiting) == ("[3]", "write", False)
        assert (holder.start, holder.stop, holder.path) == (192, 256, pathlib.Path(results.path))
        assert holder.is_alive and not holder.is_this_process and holder.since is None
        text = str(caught.value)
        assert str(holder) in text and f": process {pid} (" in text, text
        assert ") holds results[3] to write; " in text and "timeout=0" in text, text

        with pytest.raises(ndshm.Timeout) as late, results.write(timeout=0.05):
            pass
        [holder] = late.value.holders
        assert (holder.pid, holder.slice) == (pid, "[3]")
        assert holder.since is not None and 0 <= holder.since < 60
        assert "results[3] to write, for at least " in str(late.value), str(late.value)

        other = m.zeros(1)
        with pytest.raises(ndshm.Timeout) as late:
            with ndshm.lock(other.writing(), results.reading(), timeout=0.05):
                pass
        assert [holder.pid for holder in late.value.holders] == [pid]

        # As a process pool hands an exception over.
        again = pickle.loads(pickle.dumps(late.value))
        assert again.holders == late.value.holders and str(again) == str(late.value)
    results.to_numpy()


@pytest.mark.parametrize(
    ("order", "view", "slice"),
    [
        ("C", np.s_[:, 2:4], "[:, 2:4]"),
        ("C", np.s_[1::2], "[1::2]"),
        ("C", np.s_[4, 7, ...], "[4, 7]"),
        ("C", np.s_[:], "[:]"),
        ("F", np.s_[:, 1], "[:, 1]"),
        ("F", np.s_[2], "[2]"),
    ],
)
def test_the_slice_is_one_of_numpy(
    m: ndshm.Manager, order: str, view: tuple[object, ...], slice: str
) -> None:
    a = m.zeros((5, 8), order=order)
    with a[view].read(), concurrent.futures.ThreadPoolExecutor(1) as pool:
        with pytest.raises(ndshm.WouldBlock) as caught:
            pool.submit(lambda: a.write(timeout=0).__enter__()).result()
    [holder] = caught.value.holders
    assert (holder.slice, holder.kind, holder.pid) == (slice, "read", os.getpid())
    assert holder.is_this_process and not holder.is_this_thread
    assert str(holder).startswith("this process holds "), str(holder)


def test_a_field_is_named(m: ndshm.Manager) -> None:
    a = m.zeros(6, [("x", "f4"), ("y", "f4"), ("mass", "f8")], name="particles")
    with a["mass"].write(), pytest.raises(ndshm.WouldDeadlock) as caught:
        a.to_numpy()
    [holder] = caught.value.holders
    assert holder.slice == '["mass"]' and holder.is_this_thread
    assert 'this thread holds particles["mass"] to write and would wait for itself' in str(
        caught.value
    )


def test_the_others_of_a_circle_are_named(m: ndshm.Manager) -> None:
    a, b = m.zeros(4, name="a"), m.zeros(4, name="b")
    with process(wait_for, a, b[1:3]) as (pid, pipe), b.write():
        pipe.send("wait")
        # The number of requests that have waited for a guard on it.
        while int.from_bytes(pathlib.Path(b.path).read_bytes()[168:172], sys.byteorder) == 0:
            pass
        # The youngest wait gives up, and their times are whole milliseconds.
        time.sleep(0.003)
        with pytest.raises(ndshm.WouldDeadlock) as caught, a.write():
            pass
    held, waiting = caught.value.holders
    assert (held.pid, held.is_waiting, held.slice) == (pid, False, "[:]")
    assert (waiting.pid, waiting.is_waiting, waiting.slice) == (pid, True, "[1:3]")
    assert pathlib.Path(waiting.path or "").stem == "b" and waiting.since is not None
    assert "in a circle, where process" in str(caught.value)


def test_a_killed_writer_is_named_as_ended(m: ndshm.Manager) -> None:
    a = m.zeros((4, 4), name="a")
    ours, theirs = SPAWN.Pipe()
    child = SPAWN.Process(target=hold, args=(a[1], "write", theirs))
    child.start()
    pid = ours.recv()
    child.kill()
    child.join()
    child.close()
    ours.close()
    theirs.close()
    for _ in range(2):
        with pytest.raises(ndshm.Poisoned) as caught:
            a.to_numpy()
        [writer] = caught.value.holders
        assert (writer.pid, writer.command, writer.is_alive) == (pid, None, False)
        assert writer.slice == "[1]"
        assert f"their writer, process {pid} (ended), held a[1] and died" in str(caught.value)


def test_other_exceptions_have_no_holders(m: ndshm.Manager) -> None:
    with pytest.raises(ndshm.NotFound) as caught:
        m["typo"]
    assert caught.value.holders == () == ndshm.Error("text").holders
