"""Arrays, views and managers in other processes: all ways of pickling keep the reference."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

import ndshm

METHODS = ["fork", "spawn", "forkserver"]


def add_to(a: ndshm.Array, value: float) -> tuple[int, float]:
    with a.write() as x:
        x += value
        return os.getpid(), float(x.sum())


def second_half_of(a: ndshm.Array) -> ndshm.Array:
    return a[len(a) // 2 :]


def make_in(m: ndshm.Manager, value: float) -> ndshm.Array:
    return m.full(3, value, scope="remote")


def count(a: ndshm.Array, rounds: int) -> int:
    torn = 0
    for _ in range(rounds):
        with a.write() as x:
            torn += bool((x != x[0]).any())
            x += 1
    return torn


@pytest.mark.parametrize("method", METHODS)
def test_views_and_views_of_received_views_name_the_same_memory(
    m: ndshm.Manager, method: str
) -> None:
    a = m.zeros((8, 4))
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        view = a[::-1, 1:]
        pid, total = pool.submit(add_to, view, 1).result(60)
        assert pid != os.getpid() and total == 24
        received = pool.submit(second_half_of, view).result(60)
        assert received.shape == (4, 3) and received.id == a.id
        pool.submit(add_to, received[1:, ::2], 10).result(60)
    wanted = np.zeros((8, 4))
    wanted[:, 1:] = 1
    wanted[::-1, 1:][4:][1:, ::2] += 10
    assert (a.to_numpy() == wanted).all()


@pytest.mark.parametrize("method", METHODS)
def test_an_array_made_in_a_worker_is_handed_over(m: ndshm.Manager, method: str) -> None:
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        made = pool.submit(make_in, m, 7).result(60)
    assert made.scope == "local" and made.to_numpy().tolist() == [7] * 3
    path = made.path
    del made
    assert not os.path.exists(path)


@pytest.mark.parametrize("method", METHODS)
def test_processes_that_contend_never_see_half_a_write(m: ndshm.Manager, method: str) -> None:
    a = m.zeros(1000)
    with concurrent.futures.ProcessPoolExecutor(3, multiprocessing.get_context(method)) as pool:
        tasks = [pool.submit(count, a, 200) for _ in range(3)]
        assert [task.result(120) for task in tasks] == [0] * 3
    assert a.to_numpy().tolist() == [600] * 1000


def test_joblib_and_cloudpickle_send_references(m: ndshm.Manager) -> None:
    a = m.zeros((4, 3))
    from joblib.externals.loky import get_reusable_executor

    joblib.Parallel(n_jobs=2)(joblib.delayed(add_to)(a[i], i) for i in range(4))
    assert a.to_numpy()[:, 0].tolist() == [0, 1, 2, 3]
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
    b = cloudpickle.loads(cloudpickle.dumps({"a": a, "f": lambda: a}))
    assert b["a"].id == a.id and b["f"]().id == a.id


def test_pickles_are_small_and_change_nothing(m: ndshm.Manager) -> None:
    a = m.zeros((100_000, 1000, 10), "u1", name="frames")
    b = m.zeros(3, scope="remote")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        for thing in [a, a[50_000:, ::-2, 3], a.T, b, m]:
            assert len(pickle.dumps(thing, protocol)) < 300, len(pickle.dumps(thing, protocol))
    # Pickling does not claim the array; the first process that opens it does.
    pickles = [pickle.dumps(b) for _ in range(3)]
    del b
    first, second = pickle.loads(pickles[0]), pickle.loads(pickles[1])
    assert first.scope == "local" and second.id == first.id
    member = pickle.loads(pickle.dumps(m))
    assert (
        not member.is_owner
        and member.path == m.path
        and type(member) is ndshm.Manager
        and member["frames"].shape == a.shape
    )
    member.leave()
    assert a.manager.list()[0].name == "frames"


def test_the_pickle_of_a_closed_store_says_so() -> None:
    m = ndshm.Manager()
    pickles = pickle.dumps(m), pickle.dumps(m.zeros(1, scope=None))
    m.leave()
    for text in pickles:
        with pytest.raises(ndshm.Error):
            pickle.loads(text)
    with pytest.raises(ndshm.Handle):
        ndshm.open("ndshm1:nonsense")
    with pytest.raises(FileNotFoundError):
        ndshm.open("/nowhere/x.ndshm")


CREATE_AND_DIE = """
import ndshm, os, signal
m = ndshm.Manager()
a = m.zeros(3)
print(m.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

HOLD_GUARD = """
import sys, time, ndshm
a = ndshm.open(sys.argv[1])
with (a.write() if sys.argv[2] == "write" else a.read()) as x:
    if sys.argv[2] == "write":
        x[0] = 1
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(a: ndshm.Array, mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_GUARD, a.handle, mode], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_a_killed_writer_leaves_poison_and_a_killed_reader_nothing(m: ndshm.Manager) -> None:
    a = m.zeros((2, 4))
    process = start_holder(a[0], "write")
    with pytest.raises(ndshm.WouldBlock), a.read(timeout=0):
        pass
    kill(process)
    with pytest.raises(ndshm.Poisoned), a.read():
        pass
    assert a.poisoned() == [(0, 32)] and a[1].to_numpy().tolist() == [0] * 4
    with a[0].recover() as x:
        x[:] = 0
    process = start_holder(a, "read")
    with pytest.raises(ndshm.WouldBlock), a.write(timeout=0):
        pass
    kill(process)
    with a.write(timeout=30) as x:
        x[:] = 1


def test_a_waiting_reader_learns_of_the_death_of_the_writer(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    process = start_holder(a, "write")
    import threading

    threading.Timer(0.3, process.kill).start()
    with pytest.raises(ndshm.Poisoned), a.read(timeout=30):
        pass
    kill(process)


def test_a_consumer_waits_until_an_array_is_frozen(m: ndshm.Manager) -> None:
    a = m.zeros(4)
    with pytest.raises(TimeoutError):
        ndshm.open_frozen(a.handle, 0.1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(ndshm.open_frozen, a.handle, 30)
        time.sleep(0.1)
        with a.write() as x:
            x[:] = 2
        a.freeze()
        assert waiting.result().sum() == 8
    del waiting


def test_a_sweep_deletes_the_store_of_a_killed_process(m: ndshm.Manager) -> None:
    command = [sys.executable, "-c", CREATE_AND_DIE]
    path = pathlib.Path(subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip())
    assert path.exists()
    swept = m.sweep()
    assert (swept.stores, swept.skipped) == (1, ()) and not path.exists()


# A Rust process as the other side.


def test_python_reads_and_writes_an_array_that_rust_created(peer: Any) -> None:
    a = ndshm.open(peer.ask("make 2,3"))
    assert a.to_numpy().tolist() == [[0, 1, 2], [3, 4, 5]] and a.scope is None
    a[1] = 10
    assert peer.ask("sum") == "33"
    row = ndshm.open(peer.ask("row 1"))
    assert row.shape == (3,) and row.is_view and row.to_numpy().tolist() == [10] * 3
    assert peer.ask("open " + row[::-2].handle) == "[2] [-2]" and peer.ask("sum") == "20"
    del a, row
    assert peer.ask("drop") == "dropped"


def test_rust_reads_and_writes_an_array_that_python_created(m: ndshm.Manager, peer: Any) -> None:
    a = m.array(np.arange(6.0).reshape(2, 3), order="F")
    assert peer.ask("open " + a.handle) == "[2, 3] [1, 2]" and peer.ask("sum") == "15"
    assert peer.ask("open " + a.T[1:].handle) == "[2, 2] [2, 1]" and peer.ask("fill 7") == "filled"
    assert a.to_numpy().tolist() == [[0, 7, 7], [3, 7, 7]]
    assert peer.ask("open " + m.zeros(3, "i4", scope=None).handle).startswith("Dtype")
    assert peer.ask("drop") == "dropped"


def test_both_languages_exclude_each_other(m: ndshm.Manager, peer: Any) -> None:
    a = m.zeros((2, 3))
    peer.ask("open " + a.handle)
    with a[0].write():
        assert peer.ask("try_write").startswith("WouldBlock") and peer.ask("try_read").startswith(
            "WouldBlock"
        )
    with a[0].read():
        assert peer.ask("try_write").startswith("WouldBlock") and peer.ask("try_read") == "free"
    assert peer.ask("try_write") == "free"
    peer.send("count 3000")
    torn = 0
    for _ in range(3000):
        with a.write() as x:
            torn += bool((x != x[0, 0]).any())
            x += 1
    assert peer.receive() == "counted" and torn == 0 and a.to_numpy().tolist() == [[6000] * 3] * 2


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_killed_rust_process_frees_its_lock_and_poisons_only_if_it_wrote(
    m: ndshm.Manager, peer: Any, mode: str
) -> None:
    a = m.ones((2, 3))
    peer.ask("open " + a[1].handle)
    assert peer.ask("hold " + mode) == "held"
    with pytest.raises(ndshm.WouldBlock), a.write(timeout=0):
        pass
    peer.kill()
    if mode == "write":
        with pytest.raises(ndshm.Poisoned), a.read():
            pass
        assert a.poisoned() == [(24, 48)] and a[0].to_numpy().tolist() == [1] * 3
        with a[1].recover() as x:
            x[:] = 5
    with a.write(timeout=30) as x:
        x += 1


def test_rust_sees_the_poison_of_a_killed_python_writer(m: ndshm.Manager, peer: Any) -> None:
    a = m.ones((2, 3))
    peer.ask("open " + a.handle)
    kill(start_holder(a[0], "write"))
    assert peer.ask("sum").startswith("Poisoned") and peer.ask("poisoned") == "[0..24]"
    assert peer.ask("recover") == "recovered" and peer.ask("sum") == "0" and a.to_numpy().sum() == 0
    with pytest.raises(RuntimeError), a.write() as x:
        raise RuntimeError
    assert peer.ask("sum").startswith("Poisoned") and peer.ask("recover") == "recovered"
    kill(start_holder(a, "read"))
    assert peer.ask("try_write") == "free"


def test_frozen_arrays_go_both_ways(m: ndshm.Manager, peer: Any) -> None:
    a = m.ones((2, 3))
    peer.send("frozen " + a.handle)
    time.sleep(0.1)
    a.freeze()
    assert peer.receive() == "6"
    b = m.ones(3)
    peer.ask("open " + b.handle)
    assert peer.ask("freeze") == "frozen" and b.frozen and b.freeze().sum() == 3
    assert peer.ask("fill 2").startswith("Frozen")


REMOVER = """
import sys
import ndshm

m = ndshm.Manager(sys.argv[1], mode="r+")
print("ready", flush=True)
while True:
    try:
        m.remove("xs")
    except (ndshm.NotFound, ndshm.Released):
        pass
"""


def test_opening_or_making_a_name_beside_removers_that_are_killed_never_fails(
    m: ndshm.Manager,
) -> None:
    """One call in twenty failed, and every call after a remover was killed half-way."""
    for _ in range(5):
        arguments = [sys.executable, "-c", REMOVER, m.path]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as remover:
            assert remover.stdout is not None and remover.stdout.readline() == "ready\n"
            for _ in range(500):
                assert m.open_or_zeros("xs", (2, 3)).shape == (2, 3)
            remover.kill()
        assert m.open_or_zeros("xs", (2, 3)).shape == (2, 3) and "xs" in m
