"""Ends of processes of a Dask cluster, planned and not: nothing is left, and nothing hangs."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from clusters import (  # noqa: F401
    client,
    cluster,
    cluster_of,
    id_of,
    m,
    make,
    names,
    total,
    workers,
)
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
    _travel.origin = exchange.origin
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


USER = """
import threading, time
from ndshm import _copies, _travel

manager = ndshm.Manager(sys.argv[1], mode="r+")
known = _travel.Reference("h", "b", "s", "id", "frozen", None, (3,), None, 24, True, False)
end, uses, lost = time.monotonic() + 5, 0, 0

def fill(name):
    made = manager.ones(3, name=name, scope="local")
    made.freeze()
    return made

def sweep():
    while time.monotonic() < end:
        _copies.sweep(manager)

sweeps = threading.Thread(target=sweep)
sweeps.start()
while time.monotonic() < end:
    copy = _copies.shared_copy(manager, known, fill)
    uses += 1
    try:
        lost += manager.open(_copies._name(known)).id != copy.id
    except (ndshm.NotFound, ndshm.Released):
        lost += 1
    del copy
sweeps.join()
print(uses, lost, flush=True)
"""


def test_a_copy_that_is_used_is_not_deleted() -> None:
    """Of two sweeps at once the second one deleted the copy that was made after the first one."""
    with ndshm.Manager() as m:
        with (
            program(USER, str(m.path)) as one,
            program(USER, str(m.path)) as two,
            program(USER, str(m.path)) as three,
        ):
            found = [line_of(each).split() for each in (one, two, three)]
        assert all(int(uses) > 10 for uses, _ in found), found
        assert [lost for _, lost in found] == ["0"] * 3, found
        _copies.sweep(m)
        assert names(m) == []


LEAVER = """
manager = ndshm.Manager(sys.argv[1], mode="r+")
a = manager.ones(3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_starts_deletes_what_a_killed_one_left() -> None:
    class Worker:
        address = "tcp://127.0.0.1:0"
        security = distributed.Security()

    plugin = shared.SharedArrays()
    with ndshm.Manager(name=plugin.store, persistent=False) as manager:
        with program(LEAVER, str(manager.path)) as killed:
            assert killed.wait(60) == -signal.SIGKILL
        assert len(names(manager)) == 1
        plugin.setup(Worker)
        try:
            assert names(manager) == []
            # And later, as a client does.
            with program(LEAVER, str(manager.path)) as killed:
                assert killed.wait(60) == -signal.SIGKILL
            eventually(lambda: names(manager) == [])
        finally:
            plugin.teardown(Worker)


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
            # Until a worker runs it takes no arrays of those that retire.
            client.wait_for_workers(count, 120)
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


# Schedulers.


def hold(array: ndshm.Array, guard: str, file: str) -> None:
    """Enter a guard, note it in a file, and never leave it."""
    with getattr(array, guard)() as x:
        if guard == "write":
            x[0] = 5
        pathlib.Path(file).touch()
        time.sleep(600)


class Programs:
    """A scheduler at an address that stays, and two workers of it, as a supervisor starts them."""

    def __init__(self, place: pathlib.Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.place = place
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        host, _, port = self.address.partition(":")
        scheduler = self._start("scheduler", "--host", host, "--port", port, "--no-dashboard")
        workers = self._start(
            *("worker", self.address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"),
            *("--local-directory", str(self.place / "work")),
        )
        return scheduler, workers

    def _start(self, kind: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.place / f"log-{kind}").open("a") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words],
                env={**os.environ, "PYTHONPATH": PATH},
                start_new_session=True,
                stdout=log,
                stderr=log,
            )
        self.started.append(started)
        return started

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def node_path() -> str:
    return str(shared.node_store().path)


def test_a_killed_scheduler_ends_its_workers_and_a_new_one_takes_the_client(
    tmp_path: pathlib.Path, root: pathlib.Path, m: ndshm.Manager
) -> None:
    """Workers of Dask do not connect again: they end. Its client waits for the next scheduler."""
    with Programs(tmp_path) as programs:
        scheduler, both = programs.start()
        with (
            distributed.Client(programs.address, timeout=300) as client,
            shared.install(client),
        ):
            client.wait_for_workers(2, 120)
            stores = set(root.iterdir())
            a, held = m.zeros(10), tmp_path / "held"
            chunks = client.persist(da.ones(100, chunks=10).map_blocks(shared.share))
            distributed.wait(chunks)
            one, two = (
                client.submit(make, 3.0, workers=[at], pure=False).result()
                for at in workers(client)
            )
            holding = client.submit(hold, a, "write", str(held))
            eventually(held.exists)
            scheduler.kill()
            with pytest.raises(CancelledError):
                holding.result(60)
            # Dask waits for the task for 30 seconds, and may kill its worker then.
            assert both.wait(120) == 0
            del chunks, holding
            # The client deletes what a killed worker left, and inherits from one that ended itself.
            eventually(lambda: set(names(shared.node_store())) <= {one.id, two.id})
            assert (one == 3).all() and (two == 3).all()
            assert set(root.iterdir()) <= stores
            with pytest.raises(ndshm.Poisoned), a.write(timeout=10):
                pass
            with a.recover() as x:
                x[...] = 1

            scheduler, both = programs.start()
            # It tries at longer and longer intervals.
            eventually(lambda: client.status == "running", 250)
            client.wait_for_workers(2, 120)
            # The new scheduler knows no plugin.
            with pytest.raises(RuntimeError, match="install"):
                client.submit(make, 1.0, pure=False).result()
            with shared.install(client):
                assert {node_path(), *client.run(node_path).values()} == {node_path()}
                assert client.submit(total, client.submit(make, 4.0)).result() == 4000
                # By value, if the memory of a killed worker has no name any more.
                assert client.submit(total, one).result() == 3000
                assert client.submit(total, two).result() == 3000
                x = shared.from_array(a, 5).map_blocks(shared.share).persist()
                assert x.sum().compute() == 10
                # An array of the store that the client passed stays until the store ends.
                passed = {one.id, two.id}
                del x, one, two
                eventually(lambda: set(names(shared.node_store())) <= passed)
                assert set(root.iterdir()) <= stores
            client.shutdown()
        assert (scheduler.wait(60), both.wait(60)) == (0, 0)


@pytest.mark.parametrize("killed", ["scheduler", "all"])
def test_a_cluster_without_a_client_leaves_nothing_when_it_is_killed(
    tmp_path: pathlib.Path, root: pathlib.Path, m: ndshm.Manager, killed: str
) -> None:
    before, a, held = set(root.iterdir()), m.zeros(10), tmp_path / "held"
    with Programs(tmp_path) as programs:
        scheduler, both = programs.start()
        with (
            distributed.Client(programs.address, timeout=60) as client,
            shared.install(client) as node,
        ):
            client.wait_for_workers(2, 120)
            pids = client.run(os.getpid).values()
            made = client.map(make, range(4))
            distributed.wait(made)
            client.publish_dataset(made, name="made")
            client.publish_dataset(client.submit(hold, a, "read", str(held)), name="held")
            eventually(held.exists)
            del made
        # The results stay with the workers.
        [store] = set(root.iterdir()) - before
        assert store.name == node.plugin.store
        with ndshm.Manager(store, mode="r+") as manager:
            assert len(names(manager)) == 4
        if killed == "all":
            for pid in (both.pid, *pids):
                os.kill(pid, signal.SIGKILL)
        scheduler.kill()
        # Dask waits for the task for 30 seconds.
        assert both.wait(120) == (0 if killed == "scheduler" else -signal.SIGKILL)
        with a.write(timeout=10):
            pass
        eventually(lambda: set(root.iterdir()) <= before)


def test_a_restart_ends_tasks_that_hold_and_wait_for_guards(
    client: Any, m: ndshm.Manager, tmp_path: pathlib.Path
) -> None:
    a, b = m.zeros(10), m.ones(10)
    pids = set(client.run(os.getpid).values())
    for array, guards in ((a, ("write", "read")), (b, ("read", "write"))):
        one, two = (tmp_path / guard for guard in guards)
        at = workers(client)
        holding = client.submit(hold, array, guards[0], str(one), workers=at[:1])
        eventually(one.exists)
        made = client.submit(make, 1.0)
        distributed.wait(made)
        # It waits for ever, in the other worker.
        waiting = client.submit(hold, array, guards[1], str(two), workers=at[1:])
        eventually(lambda: all(client.processing().values()))
        assert len(names(shared.node_store())) == 1 and not two.exists()
        client.restart(timeout=120)
        for future in (holding, waiting, made):
            with pytest.raises(CancelledError):
                future.result(10)
        assert len(workers(client)) == 2
        new = set(client.run(os.getpid).values())
        assert len(new) == 2 and not new & pids
        pids = new
        if guards[0] == "write":
            with pytest.raises(ndshm.Poisoned), array.read(timeout=10):
                pass
            with array.recover() as x:
                x[...] = 1
        # A reader leaves nothing, and the one that waited had written nothing.
        with array.write(timeout=10) as x:
            np.testing.assert_array_equal(x, np.ones(10))
        assert client.submit(total, client.submit(make, 2.0, pure=False)).result() == 2000
        del holding, waiting, made, future
        one.unlink()
        eventually(lambda: names(shared.node_store()) == [])


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
    eventually(lambda: set(root.iterdir()) <= before)
