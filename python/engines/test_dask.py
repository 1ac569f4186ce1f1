"""Shared arrays in Dask: with real clusters of this machine, and with nodes that differ in all."""

from __future__ import annotations

import os
import pathlib
import pickle
import random
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from clusters import (  # noqa: F401
    client,
    cluster,
    cluster_of,
    fill,
    id_of,
    kind,
    m,
    make,
    names,
    total,
    workers,
)
from measure import count_bytes
from nodes import Nodes, eventually

import ndshm

pytest.importorskip("distributed")
import dask
import dask.array as da
import distributed
from dask.base import tokenize
from dask.sizeof import sizeof

import ndshm.dask as shared

slow = pytest.mark.slow
KILLS = int(os.environ.get("NDSHM_ENGINES_KILLS", "3"))
# The numbers of warnings of Dask and tornado about workers that the tests kill.
pytestmark = pytest.mark.filterwarnings("ignore")


# In one process.


def test_the_scheduler_sees_the_size_of_the_elements(m: ndshm.Manager) -> None:
    a = m.zeros((1000, 10))
    assert sizeof(a) == sizeof(a.freeze()) == 80_000
    assert sizeof(a[:10]) == 800
    log = m.growing(3, "f8", 1000)
    log.append(np.zeros((10, 3)))
    assert sizeof(log) == 240


def test_a_token_is_new_while_elements_may_change(m: ndshm.Manager) -> None:
    a = m.zeros(10)
    before = tokenize(a)
    a[0] = 1
    assert tokenize(a) != before
    assert tokenize(shared.from_array(a, 5)) != tokenize(shared.from_array(a, 5))
    frozen = a.freeze()
    assert tokenize(a) == tokenize(a[:])
    assert tokenize(a[:5]) != tokenize(a[5:])
    assert tokenize(frozen) == tokenize(pickle.loads(pickle.dumps(frozen)))
    assert tokenize(frozen[:5]) != tokenize(frozen[5:])
    assert shared.from_array(a, 5).name == shared.from_array(a, 5).name


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("chunks", [(3, 2), 2, -1, "auto", ((1, 6), (5,))])
def test_chunks_of_an_array_are_its_elements(m: ndshm.Manager, order: str, chunks: Any) -> None:
    source = np.arange(35.0).reshape(7, 5)
    a = m.array(source, order=order)
    for _ in range(2):
        x = shared.from_array(a, chunks)
        with dask.config.set(scheduler="synchronous"):
            np.testing.assert_array_equal(x.compute(), source)
        a.freeze()
    x = shared.from_array(a, -1).map_blocks(lambda block: np.array([[kind(block)]]), dtype="U20")
    assert x.compute(scheduler="synchronous") == "Array"


@pytest.mark.parametrize(
    ("shape", "dtype"), [((), "f8"), ((0, 3), "i4"), (5, "M8[s]"), (4, "U3"), (3, "f4,i2")]
)
def test_every_shape_and_type_goes_both_ways(m: ndshm.Manager, shape: Any, dtype: str) -> None:
    source = np.zeros(shape, dtype)
    a = m.array(source)
    x = shared.from_array(a)
    with dask.config.set(scheduler="threads"):
        b = shared.to_store(x, m, "b")
    assert (b.dtype, b.shape) == (a.dtype, a.shape)
    np.testing.assert_array_equal(b.to_numpy(), source)


def test_only_shared_arrays_are_taken() -> None:
    with pytest.raises(TypeError, match=r"dask\.array\.from_array"):
        shared.from_array(np.zeros(3))  # type: ignore[arg-type]


def test_a_failed_computation_leaves_no_array(m: ndshm.Manager) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError

    x = da.zeros(10, chunks=5).map_blocks(fail, dtype=float)
    with pytest.raises(ZeroDivisionError), dask.config.set(scheduler="threads"):
        shared.to_store(x, m, "x")
    assert names(m) == []
    m.zeros(3, name="y")
    with pytest.raises(ndshm.AlreadyExists):
        shared.to_store(x, m, "y")
    unknown = da.zeros(10, chunks=5)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        shared.to_store(unknown[unknown > 0], m, "z")


def test_a_process_without_a_store_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"install\(client\)"):
        shared.share([1.0])


# In a cluster of one machine.


def test_arguments_are_the_same_memory(client: Any, m: ndshm.Manager) -> None:
    a = m.zeros((100, 10))
    pids = client.gather(
        [client.submit(fill, a[at * 50 :][:50], at + 1, pure=False) for at in range(2)]
    )
    assert os.getpid() not in pids
    assert a.sum() == 500 + 1000
    assert client.submit(total, a).result() == 1500
    # The result of a function of the same array is computed anew after a write.
    a[...] = 2
    assert client.submit(total, a).result() == 2000


def test_results_are_the_same_memory_in_all_processes(client: Any) -> None:
    future = client.submit(make, 7.0)
    asked = [client.submit(id_of, future, workers=[at], pure=False) for at in workers(client)]
    ids = set(client.gather(asked))
    del asked
    result = future.result()
    assert ids == {id_of(result)} and result.frozen
    assert (result == 7).all()
    mapped = client.submit(lambda a: a.freeze()[10:], future)
    assert kind(mapped.result()) == "MappedArray" and id_of(mapped.result()) in ids
    del mapped
    assert len(names(shared.node_store())) == 1
    del future, result
    eventually(lambda: names(shared.node_store()) == [])


def test_nothing_is_copied_between_the_processes_of_a_machine(client: Any) -> None:
    def shuffle(place: Any) -> int:
        before = sum(client.run(count_bytes).values())
        x = da.ones((1 << 12, 1 << 11), chunks=(1 << 10, 1 << 11)).map_blocks(place).persist()
        with dask.config.set({"array.rechunk.method": "tasks"}):
            y = x.rechunk((1 << 12, 1 << 9)).sum().compute()
        assert y == x.size
        return sum(client.run(count_bytes).values()) - before

    client.run(count_bytes)
    # 64 MiB of elements, half of which lie in the other process.
    assert shuffle(np.array) > 20 << 20
    assert shuffle(shared.share) < 1 << 20


def test_a_dask_array_goes_to_a_store_in_place(client: Any, m: ndshm.Manager) -> None:
    x = da.arange(10_000, chunks=999).reshape(100, 100)
    a = shared.to_store(x, m, "x", freeze=True, axis_names=["row", "column"])
    assert a.frozen and a.axis_names == ["row", "column"]
    np.testing.assert_array_equal(a.to_numpy(), np.arange(10_000).reshape(100, 100))
    assert shared.from_array(a, 50).sum().compute() == 9999 * 5000


@slow
def test_a_restarted_cluster_goes_on(client: Any, m: ndshm.Manager) -> None:
    kept = client.persist(da.ones(1000, chunks=100).map_blocks(shared.share))
    assert kept.sum().compute() == 1000
    client.restart()
    eventually(lambda: len(workers(client)) == 2)
    assert client.submit(total, m.ones(5)).result() == 5
    assert client.submit(total, client.submit(make, 3.0)).result() == 3000
    del kept
    # The new workers deleted the arrays of the old ones, or the next sweep does.
    eventually(lambda: names(shared.node_store()) == [])


@slow
def test_values_that_are_spilled_free_their_memory_and_come_back(root: pathlib.Path) -> None:
    size = 1 << 20
    with (
        dask.config.set({"distributed.worker.memory.target": 0.05}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, memory_limit="300MB", dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        shared.install(client),
    ):
        futures = [client.submit(make, float(at), size // 8) for at in range(40)]
        distributed.wait(futures)
        spilled = client.run(lambda dask_worker: len(dask_worker.data.disk))
        assert min(spilled.values()) >= 20
        assert shared.node_store().usage().nbytes <= 20 * size
        assert client.gather(client.map(total, futures)) == [at * size / 8 for at in range(40)]
        # An array that may be written is one for all: it is not replaced by a copy.
        with ndshm.Manager() as m:
            a = m.zeros(4 * size // 8)
            [future] = client.scatter([a])
            more = [client.submit(make, 1.0, size // 8, pure=False) for _ in range(40)]
            distributed.wait(more)
            a[...] = 1
            assert client.submit(total, future).result() == size / 2
            del more, future
        del futures
        eventually(lambda: names(shared.node_store()) == [])


@slow
def test_killed_workers_leave_nothing_and_break_nothing(m: ndshm.Manager) -> None:
    """A worker is killed again and again, while arrays go to and fro and are written in place."""
    dice = random.Random(0)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10_000}),
        cluster_of(3) as cluster,
        distributed.Client(cluster) as client,
        shared.install(client),
    ):
        killed = 0
        while killed < KILLS:
            x = da.ones((64, 1 << 12), chunks=(8, 1 << 12)).map_blocks(shared.share)
            with dask.config.set({"array.rechunk.method": "tasks"}):
                x = x.rechunk((64, 1 << 9))
            before = killed
            x = x.map_blocks(lambda block, before=before: shared.share(block + before))
            for _ in range(min(5, KILLS - killed)):
                future = client.compute(x.sum())
                processes = [worker.process for worker in cluster.workers.values()]
                pids = [process.pid for process in processes if process and process.pid]
                if pids:
                    try:
                        os.kill(dice.choice(pids), signal.SIGKILL)
                        killed += 1
                    except ProcessLookupError:
                        pass
                assert future.result(300) == x.size * (1 + before)
                del future
            wanted = da.ones((64, 1 << 12), chunks=(8, 1 << 12)).map_blocks(shared.share) * 3
            stored = shared.to_store(wanted, m, f"round-{killed}")
            assert (stored.to_numpy() == 3).all()
            stored.release()
        # Dask arrays have an empty array of the kind of their chunks.
        del x, wanted, stored
        eventually(lambda: len(workers(client)) == 3)
        eventually(lambda: names(shared.node_store()) == [])
    assert names(m) == []


# On several machines.


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nodes, Any]]:
    """A scheduler and two workers here, and two workers on each of two nodes."""
    # Stores must lie on tmpfs.
    place = pathlib.Path(os.environ["NDSHM_ROOT"]).with_name(f"ndshm-nodes-{os.getpid()}")
    place.mkdir(mode=0o700)
    try:
        with Nodes(2, place) as nodes:
            file = str(place / "scheduler.json")
            nodes.start(
                *("-m", "distributed.cli.dask_scheduler", "--scheduler-file", file),
                *("--host", nodes.address(None), "--port", "0", "--no-dashboard"),
            )
            for at in (None, 0, 1):
                nodes.start(
                    *("-m", "distributed.cli.dask_worker", "--scheduler-file", file),
                    *("--host", nodes.address(at), "--nworkers", "2", "--nthreads", "1"),
                    *("--no-dashboard", "--local-directory", str(place / f"work-{at}")),
                    at=at,
                )
            with distributed.Client(scheduler_file=file, timeout=60) as client:
                client.wait_for_workers(6, 240)
                yield nodes, client
    finally:
        shutil.rmtree(place, ignore_errors=True)


def at_node(client: Any, at: int | None) -> list[str]:
    """Return the addresses of the workers of a node, or of this machine."""
    network = client.scheduler.address.rpartition(".")[0]
    host = f"{network}.{1 if at is None else at + 2}:"
    return [address for address in workers(client) if address.startswith(host)]


@pytest.fixture
def far(nodes: tuple[Nodes, Any]) -> Iterator[tuple[Nodes, Any]]:
    client = nodes[1]
    with shared.install(client) as node:
        yield nodes
        client.unregister_worker_plugin(node.plugin.name)
    for at in range(2):
        eventually(lambda at=at: list(nodes[0].root(at).iterdir()) == [])


def test_a_frozen_array_is_fetched_once_for_each_machine(
    far: tuple[Nodes, Any], m: ndshm.Manager
) -> None:
    _, client = far
    source = np.random.default_rng(0).random((300, 1000))
    for order in ("C", "F"):
        a = m.array(source, order=order, attrs={"unit": "m"}, axis_names=["y", "x"])
        a.freeze()
        for at in (None, 0, 1):
            both = at_node(client, at)
            futures = [client.submit(lambda a: a, a, workers=[one], pure=False) for one in both]
            ids = [client.submit(id_of, f, workers=[w], pure=False) for f, w in zip(futures, both)]
            one, two = client.gather(ids)
            assert one == two and (one == a.id) == (at is None)
            found = client.submit(
                lambda a: (a.frozen, dict(a.attrs), a.axis_names, a.order, a.to_numpy()),
                futures[0],
                workers=[both[1]],
            ).result()
            assert found[:4] == (True, {"unit": "m"}, ["y", "x"], order)
            np.testing.assert_array_equal(found[4], source)
            del futures, ids, found
        a.release()


def test_an_array_elsewhere_is_read_by_value_and_never_locked(
    far: tuple[Nodes, Any], m: ndshm.Manager
) -> None:
    _, client = far
    a = m.array(np.arange(12.0).reshape(3, 4))
    away, here = at_node(client, 0)[0], at_node(client, None)[0]
    assert client.submit(kind, a, workers=[here]).result() == "Array"
    assert client.submit(kind, a, workers=[away]).result() == "RemoteArray"
    assert client.submit(total, a[1:, ::2], workers=[away]).result() == a[1:, ::2].sum()
    assert client.submit(lambda a: float((a + 1).sum()), a, workers=[away]).result() == 78
    a[...] = 1
    assert client.submit(total, a, workers=[away]).result() == 12
    for use in ("read", "write", "recover", "atomic", "freeze", "unlocked"):
        future = client.submit(lambda a, use=use: getattr(a, use)(), a, workers=[away])
        with pytest.raises(shared.Elsewhere, match="lives on another machine"):
            future.result()
    # Back where it lives, it is the array itself.
    back = client.submit(lambda a: a, a, workers=[away])
    assert client.submit(kind, back, workers=[here]).result() == "Array"
    client.submit(fill, back, 5.0, workers=[here]).result()
    assert a.sum() == 60


def test_a_scheduler_that_passes_arguments_on_passes_references_on(
    nodes: tuple[Nodes, Any], m: ndshm.Manager
) -> None:
    """It unpickles functions and their arguments, and pickles them again for the workers.

    Plain handles failed to unpickle in a worker on another machine, which ended it.
    """
    far, _ = nodes
    # A scheduler that no other test has used: it imports what it unpickles.
    file = str(far.place / "fresh.json")
    far.start(
        *("-m", "distributed.cli.dask_scheduler", "--scheduler-file", file),
        *("--host", far.address(None), "--port", "0", "--no-dashboard"),
    )
    far.start(
        *("-m", "distributed.cli.dask_worker", "--scheduler-file", file, "--no-dashboard"),
        *("--host", far.address(0), "--nthreads", "1", "--no-nanny"),
        *("--local-directory", str(far.place / "work-fresh")),
        at=0,
    )
    with distributed.Client(scheduler_file=file, timeout=60) as client, shared.install(client):
        client.wait_for_workers(1, 120)
        before = workers(client)
        a, frozen = m.ones(10), m.ones(10)
        frozen.freeze()
        values = {"a": [a, a[5:], frozen, frozen.freeze()]}
        # Functions that are pickled by value: the scheduler imports no test.
        nested = client.submit(lambda x: [type(one).__name__ for one in x["a"]], values)
        assert nested.result(60) == ["RemoteArray", "RemoteArray", "Array", "MappedArray"]
        added = client.submit(lambda x: float((x["a"] + x["b"]).sum()), {"a": a, "b": frozen})
        assert added.result(60) == 20
        modules = client.run_on_scheduler(lambda: sorted(__import__("sys").modules))
        assert "ndshm._travel" in modules and "ndshm.dask" not in modules
        assert workers(client) == before
        client.shutdown()


@slow
def test_results_go_between_machines_by_value(far: tuple[Nodes, Any]) -> None:
    _, client = far
    made = client.submit(make, 7.0, workers=at_node(client, 0)[:1])
    for at in (0, 1, None):
        for worker in at_node(client, at):
            assert client.submit(total, made, workers=[worker], pure=False).result() == 7000
    assert (made.result() == 7).all()
    x = da.ones((64, 1 << 12), chunks=(8, 1 << 12)).map_blocks(shared.share)
    with dask.config.set({"array.rechunk.method": "tasks"}):
        assert x.rechunk((64, 1 << 9)).map_blocks(shared.share).sum().compute() == 1 << 18


@slow
def test_a_dask_array_of_several_machines_goes_to_one_store(
    far: tuple[Nodes, Any], m: ndshm.Manager
) -> None:
    _, client = far
    x = da.arange(100_000, chunks=1000).map_blocks(shared.share).persist()
    distributed.wait(x)
    a = shared.to_store(x, m, "x", freeze=True)
    np.testing.assert_array_equal(a.to_numpy(), np.arange(100_000))
    y = shared.from_array(a, 1000)
    assert (y + x).sum().compute() == 99_999 * 100_000


@slow
def test_a_killed_node_loses_its_copies_only(far: tuple[Nodes, Any], m: ndshm.Manager) -> None:
    nodes, client = far
    a = m.ones(1000)
    a.freeze()
    away = at_node(client, 1)
    assert client.submit(total, a, workers=away[:1]).result() == 1000
    pid = client.run(os.getpid, workers=away[:1])[away[0]]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: away[0] not in workers(client) and len(at_node(client, 1)) == 2)
    again = at_node(client, 1)
    assert client.submit(total, a, workers=again, pure=False).result() == 1000


def test_a_process_that_cannot_fetch_says_so(far: tuple[Nodes, Any]) -> None:
    _, client = far
    text = client.submit(
        lambda: pickle.dumps(shared.node_store().ones(3)), workers=at_node(client, 0)
    ).result()
    fetch, ndshm._travel.fetch = ndshm._travel.fetch, None
    try:
        array = pickle.loads(text)
        assert kind(array) == "RemoteArray" and pickle.dumps(array)
        with pytest.raises(shared.Elsewhere, match="install"):
            np.asarray(array)
    finally:
        ndshm._travel.fetch = fetch
    # The first receiver takes nothing away from the next one.
    for _ in range(2):
        np.testing.assert_array_equal(np.asarray(pickle.loads(text)), np.ones(3))

    def release() -> bytes:
        a = shared.node_store().ones(3)
        text = pickle.dumps(a)
        a.release()
        return text

    text = client.submit(release, workers=at_node(client, 0)).result()
    with pytest.raises(shared.Elsewhere, match="gone"):
        np.asarray(pickle.loads(text))
