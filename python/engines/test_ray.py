"""Shared arrays in Ray: one machine, and a node that differs in all."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from nodes import Nodes, eventually

import ndshm

ray = pytest.importorskip("ray")
import ndshm.ray as shared

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def kind(value: Any) -> str:
    return type(value).__name__


def total(array: Any) -> float:
    return float(np.asarray(array).sum())


class Filler:
    def fill(self, part: ndshm.Array, value: float) -> int:
        with part.write() as x:
            x[...] = value
        return os.getpid()

    def die(self, part: ndshm.Array) -> None:
        with part.write() as x:
            x[...] = 7
            os.kill(os.getpid(), signal.SIGKILL)

    def keep(self, remote: Any) -> str:
        """Keep the copy of an array of another machine, and return its id."""
        self.kept = remote.fetched()
        return str(self.kept.id)

    def call(self, function: Any, *args: Any) -> Any:
        return function(*args)


@pytest.fixture
def m() -> Iterator[ndshm.Manager]:
    with ndshm.Manager() as manager:
        yield manager


@pytest.fixture(scope="module")
def here() -> Iterator[None]:
    path = ":".join([str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    shared.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 << 20,
        runtime_env={"env_vars": {"PYTHONPATH": path, "NDSHM_ROOT": os.environ["NDSHM_ROOT"]}},
    )
    yield
    ray.shutdown()


def test_actors_write_slices_of_one_array(here: None, m: ndshm.Manager) -> None:
    a = m.zeros((100, 10))
    fillers = [ray.remote(Filler).options(num_cpus=0).remote() for _ in range(4)]
    parts = [a[at * 25 :][:25] for at in range(4)]
    pids = ray.get([f.fill.remote(p, at) for at, (f, p) in enumerate(zip(fillers, parts))])
    assert len(set(pids)) == 4 and os.getpid() not in pids
    assert a.sum() == 250 * (0 + 1 + 2 + 3)
    assert ray.get(fillers[0].call.remote(kind, a)) == "Array"
    # A reference, by Ray's object store too.
    assert ray.get(fillers[1].call.remote(total, ray.put(a))) == a.sum()
    frozen = a.freeze()
    assert ray.get(fillers[2].call.remote(kind, frozen)) == "MappedArray"
    for filler in fillers:
        ray.kill(filler)


def test_an_actor_that_is_killed_while_it_writes_poisons_its_slice(
    here: None, m: ndshm.Manager
) -> None:
    a = m.zeros((4, 10))
    dying, other = (ray.remote(Filler).options(num_cpus=0).remote() for _ in range(2))
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(dying.die.remote(a[:2]))
    with pytest.raises(ndshm.Poisoned), a[1].read(timeout=10):
        pass
    # The rows of the others are as they were.
    ray.get(other.fill.remote(a[2:], 1))
    with a[:2].recover() as x:
        x[...] = 0
    assert a.sum() == 20
    ray.kill(other)


def test_a_result_is_handed_over(here: None) -> None:
    @ray.remote
    def make() -> ndshm.Array:
        return ndshm.Manager(os.environ["STORE"], mode="r+").ones(5)

    with ndshm.Manager() as m:
        env = {"env_vars": {"STORE": m.path}}
        found = ray.get(make.options(runtime_env=env).remote())
        assert kind(found) == "Array" and found.sum() == 5
        del found


def test_a_hook_that_is_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ndshm\.ray\.setup"):
        shared.init(runtime_env={"worker_process_setup_hook": "other.hook"})


DRIVER = """
import os, sys
import numpy as np
import ray
import ndshm, ndshm.ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from test_ray import Filler, kind, total

path = os.environ["PYTHONPATH"]
ndshm.ray.init(address=sys.argv[1], runtime_env={"env_vars": {"PYTHONPATH": path}})
mine = ray.get_runtime_context().get_node_id()
[away] = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != mine]
at = NodeAffinitySchedulingStrategy(away, soft=False)
actors = [ray.remote(Filler).options(scheduling_strategy=at, num_cpus=0).remote() for _ in range(2)]
with ndshm.Manager() as m:
    a = m.array(np.arange(12.0).reshape(3, 4))
    for actor in actors:
        assert ray.get(actor.call.remote(kind, a)) == "RemoteArray"
        assert ray.get(actor.call.remote(total, a[1:])) == 60
    a[...] = 1
    assert ray.get(actors[0].call.remote(total, a)) == 12
    try:
        ray.get(actors[0].fill.remote(a, 1.0))
    except ray.exceptions.RayTaskError as error:
        assert "lives on another machine" in str(error)
    else:
        raise AssertionError("an array elsewhere was written")
    a.freeze()
    assert ray.get([actor.call.remote(total, a) for actor in actors]) == [12, 12]
    # One copy for both.
    one, two = ray.get([actor.keep.remote(a) for actor in actors])
    assert one == two != a.id
    # An array that waits for its heir is read again and again, and not inherited by a reader.
    b = m.ones(3)
    b.scope = "remote"
    for actor in actors:
        assert ray.get(actor.call.remote(total, b)) == 3
ray.shutdown()
print("done")
"""


def test_an_array_of_another_machine_is_read_by_value(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The network is the test's own, and its nodes end at once: not after 30 seconds of draining.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    place = pathlib.Path(os.environ["NDSHM_ROOT"]).with_name(f"ndshm-nodes-{os.getpid()}")
    place.mkdir(mode=0o700)
    (tmp_path / "driver.py").write_text(DRIVER)
    try:
        with Nodes(2, place) as nodes:
            code = "from ray.scripts.scripts import main; main()"
            # Each node has its own ports, Ray's too.
            head = f"{nodes.address(0)}:6379"
            for at, words in enumerate(
                [["--head", "--include-dashboard", "false"], ["--address", head]]
            ):
                nodes.start(
                    *("-c", code, "start", *words, "--node-ip-address", nodes.address(at)),
                    *("--num-cpus", "1", "--object-store-memory", "100000000", "--block"),
                    at=at,
                )
                # The head and the node each print it when they run.
                started = "Ray runtime started"
                eventually(lambda at=at: nodes.logs().count(started) == at + 1, 120)
            done = nodes.run(str(tmp_path / "driver.py"), head, at=0, seconds=240)
            assert done.endswith("done\n"), done
            for at in range(2):
                eventually(lambda at=at: list(nodes.root(at).iterdir()) == [])
    finally:
        shutil.rmtree(place, ignore_errors=True)
