"""Pickled arrays whose owner drops them: the process that opens the pickle first inherits them."""

from __future__ import annotations

import concurrent.futures
import copy
import gc
import multiprocessing
import os
import pickle
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

import ndshm

METHODS = ["fork", "spawn", "forkserver"]
KEPT: list[Any] = []


def make(m: ndshm.Manager) -> ndshm.Array:
    return m.array(np.arange(6.0).reshape(2, 3))


def make_view(m: ndshm.Manager) -> ndshm.Array:
    return make(m).T[1:]


def make_frozen(m: ndshm.Manager) -> np.ndarray:
    return make(m).freeze()


def make_frozen_array(m: ndshm.Manager) -> ndshm.Array:
    a = make(m)
    a.freeze()
    return a


def make_unlocked(m: ndshm.Manager) -> np.ndarray:
    return make(m).unlocked()[1]


def make_many(m: ndshm.Manager) -> dict[str, Any]:
    return {"a": make(m), "b": [make(m), make_view(m)]}


MAKERS = {
    make: 15.0,
    make_view: 12.0,
    make_frozen: 15.0,
    make_frozen_array: 15.0,
    make_unlocked: 12.0,
}


def pickle_and_drop(m: ndshm.Manager) -> bytes:
    return pickle.dumps(make(m))


def pickle_and_keep(m: ndshm.Manager) -> bytes:
    KEPT.append(make(m))
    return pickle.dumps(KEPT[0])


def drop_kept() -> None:
    KEPT.clear()


def pickle_kept() -> bytes:
    return pickle.dumps(KEPT[0])


def total(x: Any) -> float:
    return float(np.sum(x))


def put(m: ndshm.Manager, queue: Any) -> None:
    queue.put(make(m))


def pool(method: str) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context(method))


def arrays_in(m: ndshm.Manager) -> int:
    return len(m.list())


@pytest.mark.parametrize("method", METHODS)
def test_an_array_that_a_worker_returns_is_the_parent_s(m: ndshm.Manager, method: str) -> None:
    """The worker dropped its array, so the parent could not open the result."""
    with pool(method) as workers:
        for maker, expected in MAKERS.items():
            made = workers.submit(maker, m).result(60)
            assert total(made) == expected, maker
            # The worker may have it for a moment still; the parent can send it on.
            assert workers.submit(total, made).result(60) == expected, maker
            del made
        made = workers.submit(make_many, m).result(60)
        # One task later the worker has dropped what it returned.
        assert workers.submit(os.getpid).result(60) != os.getpid()
        assert made["a"].scope == made["b"][1].scope == "local"
        del made
    assert arrays_in(m) == 0


@pytest.mark.parametrize("method", METHODS)
def test_an_array_that_was_dropped_unopened_is_the_first_opener_s(
    m: ndshm.Manager, method: str
) -> None:
    with pool(method) as workers:
        text = workers.submit(pickle_and_drop, m).result(60)
    # Neither is used: a result that is dropped at once is deleted too.
    first, second = pickle.loads(text), pickle.loads(text)
    assert first.scope == second.scope == "local"
    del first, second
    assert arrays_in(m) == 0
    with pytest.raises(ndshm.Released):
        pickle.loads(text)


@pytest.mark.parametrize("method", METHODS)
def test_an_array_that_is_open_when_its_owner_drops_it_is_inherited(
    m: ndshm.Manager, method: str
) -> None:
    with pool(method) as workers:
        received = pickle.loads(workers.submit(pickle_and_keep, m).result(60))
        assert received.scope is None and total(received) == 15
        workers.submit(drop_kept).result(60)
        assert received.scope == "local"
        assert workers.submit(total, received[1:]).result(60) == 12
        del received
    # The worker may have inherited it for the end of its task.
    assert arrays_in(m) == 0


@pytest.mark.parametrize("method", METHODS)
def test_an_array_that_workers_opened_goes_with_its_owner(m: ndshm.Manager, method: str) -> None:
    a = make(m)
    with pool(method) as workers:
        assert list(workers.map(total, [a, a[0], a.T, a])) == [15, 3, 15, 15]
        assert list(workers.map(total, [a.unlocked(), a.freeze()])) == [15, 15]
        assert a.scope == "local" and os.path.exists(a.path)
        # One task later neither the worker nor the pool has it.
        assert workers.submit(os.getpid).result(60) != os.getpid()
        del a
        assert arrays_in(m) == 0


def test_an_array_whose_pickle_no_process_opens_goes_with_the_store() -> None:
    with ndshm.Manager() as m:
        a = make(m)
        path = a.path
        pickle.dumps(a)
        del a
        assert os.path.exists(path)
    assert not os.path.exists(path)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_arrays_go_through_a_queue(m: ndshm.Manager, method: str) -> None:
    context = multiprocessing.get_context(method)
    queue: Any = context.Queue()
    process = context.Process(target=put, args=(m, queue))
    process.start()
    received = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0 and total(received) == 15 and received.scope == "local"
    queue.close()
    queue.join_thread()
    process.close()
    del received
    assert arrays_in(m) == 0


def test_joblib_and_cloudpickle_hand_over(m: ndshm.Manager) -> None:
    from joblib.externals.loky import get_reusable_executor

    made = joblib.Parallel(n_jobs=2)(joblib.delayed(maker)(m) for maker in MAKERS)
    assert [total(x) for x in made] == list(MAKERS.values())
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
    del made
    assert arrays_in(m) == 0
    text = cloudpickle.dumps((make(m), lambda: None))
    received = cloudpickle.loads(text)[0]
    assert total(received) == 15 and received.scope == "local"
    del received
    assert arrays_in(m) == 0


def test_copies_and_handles_hand_nothing_over(m: ndshm.Manager) -> None:
    a = make(m)
    others = [copy.copy(a), copy.deepcopy(a), copy.copy(a.unlocked()), copy.deepcopy(a.unlocked())]
    handle = a.handle
    assert handle.startswith("ndshm1:m=w:s=local:")
    # The owner's own opening of a pickle.
    others.append(pickle.loads(pickle.dumps(a)))
    del a, others
    assert arrays_in(m) == 0


def test_what_is_released_or_has_another_scope_is_not_handed_over(m: ndshm.Manager) -> None:
    for scope in ["remote", None]:
        a = m.zeros(3, scope=scope)
        assert f":s={scope or 'store'}:".encode() in pickle.dumps(a)
        a.release()
    a = make(m)
    pickle.dumps(a)
    a.release()
    del a
    a = make(m)
    pickle.dumps(a)
    a.scope = "local"
    del a
    assert arrays_in(m) == 0


def test_the_child_of_a_fork_hands_nothing_over(m: ndshm.Manager) -> None:
    KEPT.append(make(m))
    with pool("fork") as workers:
        assert b":s=store:" in workers.submit(pickle_kept).result(60)
    drop_kept()
    assert arrays_in(m) == 0


def test_a_pickled_ring_is_handed_over(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "u1")
    with ring.produce() as producer:
        producer.publish(np.full(3, 7, "u1"))
    text = pickle.dumps(ring)
    del ring, producer
    received = pickle.loads(text)
    frame = received.frame(1)
    assert frame is not None and frame.tolist() == [7, 7, 7] and received.scope == "local"
    del frame, received
    gc.collect()
    assert arrays_in(m) == 0
