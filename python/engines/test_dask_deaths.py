"""Ends of processes of a Dask cluster, planned and not: nothing is left, and nothing hangs."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clusters import cluster_of, id_of, make, names, total, workers
from nodes import eventually

import ndshm

pytest.importorskip("distributed")
import dask.array as da
import distributed

import ndshm.dask as shared
from ndshm import _copies, _exchange, _travel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
# The functions of the tests are found in other processes too.
PATH = ":".join([str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


@contextmanager
def program(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program, which is killed at the end if it still runs."""
    code = "import ndshm, os, signal, sys\n" + code
    started = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    """Return the next line that a program prints; fail with its errors if it ended."""
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline()
    assert line.endswith("\n"), process.stderr.read()
    return line.rstrip()


# Fetching from another machine.


SERVER = """
import distributed
from distributed.security import Security
from ndshm._exchange import Exchange, _Slabs
from ndshm import _exchange, _travel

part, parts = _Slabs.part, []

def dying(self, start, end):
    parts.append(start)
    if len(parts) > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return part(self, start, end)

_exchange.SLAB, _Slabs.part = 1 << 16, dying
with ndshm.Manager() as m:
    exchange = Exchange(m, "tcp://127.0.0.1:0", Security())
    _travel.origin = exchange.address
    a = m.ones(1 << 17)
    a.freeze()
    known = _travel.reference(a, hand_over=False)._replace(boot="elsewhere")
    print(distributed.protocol.pickle.dumps(tuple(known)).hex(), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("slabs", [0, 1, 7])
def test_a_server_that_is_killed_while_it_sends_is_a_failed_connection(slabs: int) -> None:
    """1 MiB has 16 slabs. Dask takes the error for a worker that is gone, and tries another one."""
    from distributed.security import Security

    with ndshm.Manager() as m:
        exchange = _exchange.Exchange(m, "tcp://127.0.0.1:0", Security())
        try:
            with program(SERVER, str(slabs)) as far:
                text = bytes.fromhex(line_of(far))
                known = _travel.Reference(*distributed.protocol.pickle.loads(text))
                for _ in range(2):
                    with pytest.raises(_travel.Gone, match="ended|gone") as raised:
                        exchange.fetch(known)
                    assert isinstance(raised.value, OSError)
            assert names(m) == []
        finally:
            exchange.close()


FETCHER = """
from ndshm import _copies, _travel

manager = ndshm.Manager(sys.argv[1], mode="r+")
known = _travel.Reference("h", "b", "s", "id", "frozen", None, (3,), None, 24, True, False)

def fill(name):
    made = manager.ones(3, name=name, scope="local")
    if sys.argv[2] == "half":
        os.kill(os.getpid(), signal.SIGKILL)
    made.freeze()
    return made

copy = _copies.shared_copy(manager, known, fill)
print(copy.id, flush=True)
if sys.argv[2] == "user":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


@pytest.mark.parametrize("death", ["half", "user"])
def test_a_process_that_is_killed_with_a_copy_leaves_the_next_one_a_place(death: str) -> None:
    known = _travel.Reference("h", "b", "s", "id", "frozen", None, (3,), None, 24, True, False)
    with ndshm.Manager() as m:

        def fill(name: str) -> ndshm.Array:
            made = m.full(3, 2, name=name, scope="local")
            made.freeze()
            return made

        for _ in range(2):
            with program(FETCHER, m.path, death) as killed:
                assert killed.wait(60) == -signal.SIGKILL
            copy = _copies.shared_copy(m, known, fill)
            # A copy whose maker was killed is whole, or made anew.
            assert set(copy.to_numpy()) == ({2} if death == "half" else {1})
            del copy
            _copies.sweep(m)
            assert names(m) == []
            with program(FETCHER, m.path, death) as killed:
                assert killed.wait(60) == -signal.SIGKILL
            _copies.sweep(m)
            assert names(m) == []


# Clusters.


@contextmanager
def adaptive(count: int) -> Iterator[tuple[Any, Any]]:
    with (
        cluster_of(count) as cluster,
        distributed.Client(cluster) as client,
        shared.install(client),
    ):
        yield cluster, client


def counted(value: float, file: str) -> Any:
    """Return a shared array, and note in a file that it was made."""
    with open(file, "a") as notes:
        notes.write("x")
    return make(value)


def test_workers_that_retire_hand_their_arrays_over(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "made"
    with adaptive(3) as (cluster, client):
        futures = client.map(counted, range(12), [str(file)] * 12)

        def found() -> list[float]:
            return client.gather(client.map(total, futures, pure=False))

        assert found() == [at * 1000 for at in range(12)]
        # Dask computes the results of workers that are ended again.
        for count in (1, 3):
            cluster.scale(count)
            eventually(lambda count=count: len(workers(client)) == count)
            assert found() == [at * 1000 for at in range(12)]
        made, ids = file.read_text(), client.gather(client.map(id_of, futures, pure=False))
        # Those that retire give their results to the others: the same arrays.
        client.retire_workers(workers(client)[:2])
        eventually(lambda: len(workers(client)) == 1)
        assert found() == [at * 1000 for at in range(12)]
        assert client.gather(client.map(id_of, futures, pure=False)) == ids
        assert file.read_text() == made
        del futures
        eventually(lambda: names(shared.node_store()) == [])


def test_an_adaptive_cluster_leaves_nothing() -> None:
    with adaptive(1) as (cluster, client):
        cluster.adapt(minimum=0, maximum=3, interval="100 ms", wait_count=2)
        for _ in range(2):
            x = da.ones((64, 64), chunks=(4, 64)).map_blocks(shared.share)
            assert x.rechunk((64, 4)).map_blocks(shared.share).sum().compute() == 4096
            del x
            eventually(lambda: workers(client) == [])
        assert names(shared.node_store()) == []


CLIENT = """
import signal, sys, time
import dask.array, distributed, ndshm, ndshm.dask
from clusters import make, names

if __name__ == "__main__":
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        ndshm.dask.install(client),
        ndshm.Manager(janitor=True) as m,
    ):
        made = client.submit(make, 1.0)
        a = m.zeros(10)
        waiting = client.submit(time.sleep, 600)
        distributed.wait(made)
        assert names(ndshm.dask.node_store())
        print("ready", flush=True)
        if sys.argv[1] == "result":
            waiting.result()
        elif sys.argv[1] == "compute":
            x = dask.array.ones(10)
            x = x.map_blocks(lambda block: time.sleep(600), dtype=float, meta=x._meta)
            ndshm.dask.to_store(x, m, "x")
        else:
            with a.write():
                signal.pause()
"""


@pytest.mark.parametrize("waits", ["result", "compute", "guard"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_is_interrupted_or_killed_leaves_nothing(
    tmp_path: pathlib.Path, root: pathlib.Path, waits: str, end: signal.Signals
) -> None:
    before = set(root.iterdir())
    file = tmp_path / "client.py"
    file.write_text(CLIENT)
    with subprocess.Popen(
        [sys.executable, str(file), waits],
        env={**os.environ, "PYTHONPATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as started:
        try:
            assert line_of(started) == "ready"
            started.send_signal(end)
            _, errors = started.communicate(timeout=60)
        finally:
            started.kill()
    if end == signal.SIGINT:
        assert "KeyboardInterrupt" in errors, errors
    eventually(lambda: set(root.iterdir()) == before)
