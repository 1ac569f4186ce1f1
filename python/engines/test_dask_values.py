"""The kinds of values that shared arrays travel in through Dask, and the ways that they take."""

from __future__ import annotations

import pathlib
import pickle
import subprocess
import sys
import uuid
from typing import Any

import numpy as np
import pytest
from clusters import client, cluster, id_of, kind, m, names, workers  # noqa: F401
from nodes import eventually

import ndshm

pytest.importorskip("distributed")
import dask
import dask.array as da
import distributed

import ndshm.dask as shared
from ndshm import _travel

pytestmark = pytest.mark.filterwarnings("ignore")
BOOT = str(uuid.uuid4())
STRUCT = np.dtype([("x", "f8"), ("n", "i4", (2,)), ("inner", [("t", "M8[s]")])])
SOURCES = {
    "no axes": np.array(5.0),
    "no elements": np.zeros((0, 3), "i4"),
    "no elements in F order": np.zeros((3, 0), "i4", order="F"),
    "struct": np.array([(1.5, (2, 3), ("2026-01-01",))], STRUCT),
    "struct without elements": np.zeros(0, STRUCT),
    "text": np.array(["a", "bcd"]),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "F order": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
}


def elsewhere(array: Any) -> Any:
    """Return the array as a machine with another kernel gets it, from this process."""
    known = _travel.reference(array, hand_over=False)
    return _travel.received(known._replace(boot=BOOT))


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_elements_goes_to_workers_and_back(
    client: Any, m: ndshm.Manager, source: str
) -> None:
    wanted = SOURCES[source]
    a = m.array(wanted)
    for frozen in (False, True):
        if frozen:
            a.freeze()
        back = client.submit(lambda a: a, a, pure=False).result()
        assert (kind(back), back.id, back.frozen) == ("Array", a.id, frozen)
        found = client.submit(lambda a: a.to_numpy(), a, pure=False).result()
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(found, wanted)
    result = client.submit(shared.share, wanted).result()
    assert result.frozen and result.dtype == wanted.dtype
    np.testing.assert_array_equal(result.to_numpy(), wanted)


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_elements_goes_to_another_machine(
    client: Any, m: ndshm.Manager, source: str
) -> None:
    wanted = SOURCES[source]
    a = m.array(wanted, attrs={"unit": "m"})
    remote = elsewhere(a)
    assert kind(remote) == "RemoteArray"
    assert (remote.shape, remote.dtype, remote.size) == (wanted.shape, wanted.dtype, wanted.size)
    np.testing.assert_array_equal(np.asarray(remote), wanted)
    a.freeze()
    copy = elsewhere(a)
    assert kind(copy) == "Array" and copy.id != a.id and copy.frozen
    assert (copy.dtype, copy.order, dict(copy.attrs)) == (a.dtype, a.order, {"unit": "m"})
    np.testing.assert_array_equal(copy.to_numpy(), wanted)
    assert elsewhere(a).id == copy.id
    del copy, remote
    eventually(lambda: names(shared.node_store()) == [])


@pytest.mark.parametrize("index", [np.s_[1:], np.s_[::-2, 1], np.s_[2, ...], np.s_[1, 2, ...]])
def test_a_view_is_a_result(client: Any, index: Any) -> None:
    wanted = np.arange(12.0).reshape(3, 4)

    def view() -> Any:
        return shared.share(wanted)[index]

    future = client.submit(view)
    one, two = workers(client)
    ids = [client.submit(id_of, future, workers=[at], pure=False).result() for at in (one, two)]
    found = future.result()
    assert {*ids, found.id} == {found.id} and found.frozen and found.shape == wanted[index].shape
    np.testing.assert_array_equal(found.to_numpy(), wanted[index])
    copy = elsewhere(found)
    np.testing.assert_array_equal(copy.to_numpy(), wanted[index])
    # Another view of the same array is another copy.
    assert elsewhere(found.view()).id == copy.id
    del future, found, copy
    eventually(lambda: names(shared.node_store()) == [])


@pytest.mark.parametrize("sent", ["view", "mapped"])
def test_an_array_that_was_read_for_another_machine_stays_its_owners(
    client: Any, m: ndshm.Manager, sent: str
) -> None:
    """The object that was sent is gone, and the server opens its handle in the owner's process.

    It took the owner's array for one that it had claimed, and gave it to the next who opened it.
    """
    a = m.ones(10)
    a.freeze()
    mapped: Any = a.freeze()
    found = _travel.array_of(mapped)
    assert found is not None
    known = _travel.reference(a[5:]) if sent == "view" else _travel.reference(found[0], of=mapped)
    del found
    copy = _travel.received(known._replace(boot=BOOT))
    assert float(copy.sum()) == (5 if sent == "view" else 10)
    assert a.scope == "local"
    del copy


def test_an_array_that_awaits_its_heir_can_be_read_again_and_again(m: ndshm.Manager) -> None:
    """Its reader became its owner, and deleted it: the next reader found nothing."""
    a = m.ones(10)
    a.scope = "remote"
    handle, wanted = a.handle, a.id
    del a
    for _ in range(2):
        assert float(_travel.open_by_id(handle).sum()) == 10
    assert names(m) == [wanted]
    assert ndshm.open(handle).scope == "local"


def test_arrays_in_lists_and_dictionaries_are_references(client: Any, m: ndshm.Manager) -> None:
    a, b = m.ones(1000), m.ones(1000)
    b.freeze()

    def add(values: Any) -> Any:
        x, [y, deep] = values["x"], values["more"]
        x[:] = 2
        return {"ids": [x.id, id_of(y)], "sum": deep[0].sum(), "arrays": [x, (y,)]}

    values = {"x": a, "more": [b.freeze(), (b[:10],)]}
    found = client.submit(add, values, pure=False).result()
    assert found["ids"] == [a.id, b.id] and found["sum"] == 10 and a.sum() == 2000
    assert found["arrays"][0].id == a.id
    x = dask.delayed(add)(dask.delayed({"x": a, "more": [b, [b[:10]]]}))
    assert client.compute(x).result()["sum"] == 10


def test_scattered_arrays_are_the_same_memory_everywhere(client: Any, m: ndshm.Manager) -> None:
    frozen, open_ = m.ones(1000), m.ones(1000)
    frozen.freeze()
    for broadcast in (False, True):
        futures = client.scatter([frozen, open_], broadcast=broadcast, hash=False)
        for future, a in zip(futures, (frozen, open_), strict=True):
            asked = [client.submit(id_of, future, workers=[w], pure=False) for w in workers(client)]
            assert set(client.gather(asked)) == {a.id}
        del futures, future, asked
    # Nothing was copied.
    assert names(shared.node_store()) == []


def test_persisted_chunks_are_shared_and_end(client: Any) -> None:
    x = da.arange(1000, chunks=100).map_blocks(shared.share).persist()
    distributed.wait(x)
    # And an empty one by which Dask knows their kind.
    assert len(names(shared.node_store())) == 11
    assert (x[::-1] + 1).sum().compute() == 500_500
    y = (x.reshape(10, 100).T + 0).persist()
    assert y.sum().compute() == 499_500
    del x, y
    eventually(lambda: names(shared.node_store()) == [])


@pytest.mark.parametrize("method", ["tasks", "p2p"])
@pytest.mark.parametrize("chunks", [(64, 8), (8, 64), (16, 16), (64, 64), (5, 7)])
def test_shared_chunks_are_rechunked(client: Any, method: str, chunks: Any) -> None:
    wanted = np.arange(64 * 64.0).reshape(64, 64)
    x = da.from_array(wanted, chunks=(8, 64)).map_blocks(shared.share)
    with dask.config.set({"array.rechunk.method": method}):
        found = x.rechunk(chunks).compute()
    np.testing.assert_array_equal(np.asarray(found), wanted)
    del x, found
    eventually(lambda: names(shared.node_store()) == [])


def test_a_chunk_of_slices_is_copied_once(m: ndshm.Manager) -> None:
    """NumPy copied each slice for the second axis, and then all of them for the first."""
    parts = [m.full((10, 8), at) for at in range(3)]
    for part in parts:
        part.freeze()
    nested = [[part[:, 2:4]] for part in parts]
    one = shared._concatenate(nested[0], axis=1)
    assert one is nested[0][0]
    found = da.core.concatenate3(nested)
    np.testing.assert_array_equal(found, np.repeat([0, 1, 2], 10)[:, None] * np.ones((1, 2)))
    # Any other array may be written afterwards.
    open_ = m.zeros(3)
    copy = da.core.concatenate3([open_])
    open_[:] = 1
    assert (np.asarray(copy) == 0).all()


AGAIN = """
import sys, pickle, ndshm.dask
for text in sys.argv[1:]:
    print(type(pickle.loads(bytes.fromhex(text))).__name__)
"""


def test_a_store_that_was_made_again_at_its_path_is_another_one(root: pathlib.Path) -> None:
    """A process that had sent arrays of the first store named it for those of the second one."""
    texts: list[bytes] = []
    for count in range(1, 4):
        with ndshm.Manager(root / "again", persistent=False, mode="x") as again:
            a = again.ones(3, name="a")
            texts.append(pickle.dumps(a))
            wanted = ["RemoteArray"] * (count - 1) + ["Array"]
            assert [kind(pickle.loads(text)) for text in texts] == wanted
            words = [sys.executable, "-c", AGAIN, *(text.hex() for text in texts)]
            found = subprocess.run(words, capture_output=True, text=True, check=True)
            assert found.stdout.split() == wanted
