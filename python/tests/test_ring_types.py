"""Rings of frames: element types, and rings in stores."""

from __future__ import annotations

import datetime
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import ndshm
from ring_helpers import both, taken


TYPES: dict[Any, Any] = {
    "?": [True, False, True],
    "u1": [1, 2, 3],
    "c16": [1j, 2, 3],
    "f2": [1, 2, 3],
    "M8[ns]": np.array(["2020-01-01T01:02:03.123456789"] * 3, "M8[ns]"),
    "m8[s]": [datetime.timedelta(seconds=5)] * 3,
    "U4": ["a", "four", "ä"],
    "S2": [b"a", b"bb", b""],
    "V3": [b"abc"] * 3,
}


@pytest.mark.parametrize("dtype", TYPES)
def test_elements_have_numpys_types(m: ndshm.Manager, dtype: str) -> None:
    values = np.array(TYPES[dtype], dtype)
    ring = m.ring(3, 3, dtype)
    with both(ring) as (producer, subscriber):
        producer.publish(values)
        with producer.next() as x:
            assert x.dtype == values.dtype
            x[...] = values
        opened = pickle.loads(pickle.dumps(ring))
        assert ring.dtype == opened.dtype == values.dtype and ring.attrs == {}
        for frame in (taken(subscriber), taken(subscriber)):
            assert frame.dtype == values.dtype and frame.tolist() == values.tolist()


def test_structs_and_arrays_of_elements_have_numpys_axes(m: ndshm.Manager) -> None:
    struct = np.dtype([("x", "f4", (2,)), ("id", "u2")], align=True)
    ring, nested = m.ring((2,), 3, struct), m.ring((2,), 3, np.dtype(("f4", (3,))))
    assert (ring.shape, ring.dtype) == ((2,), struct)
    assert (nested.shape, nested.dtype) == ((2, 3), np.dtype("f4"))
    with both(ring) as (producer, subscriber):
        with producer.next() as x:
            x["id"] = 7
            x["x"][1] = [1, 2]
        frame = taken(subscriber)
        assert frame["id"].tolist() == [7, 7] and frame["x"][1].tolist() == [1, 2]
        assert frame["id"].number == 1
    with both(nested) as (producer, subscriber):
        producer.publish(np.arange(6).reshape(2, 3))
        producer.publish(np.arange(3).reshape(1, 3))
        assert taken(subscriber).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert taken(subscriber).shape == (1, 3)


def test_types_that_cannot_be_shared_are_refused(m: ndshm.Manager) -> None:
    for dtype in ("O", ">i4", [("a", "O")]):
        with pytest.raises(TypeError):
            m.ring(3, 3, dtype)
        with pytest.raises(TypeError):
            m.ring(3, 3, "i4", info=dtype)
    for info in ("U3", "M8[ns]", [("t", "m8[s]")]):
        with pytest.raises(TypeError, match="information of type"):
            m.ring(3, 3, "i4", info=info)
    with pytest.raises(ValueError, match="at most 4096"):
        m.ring(3, 3, "i4", info="V4097")
    for shape, frames, seats in (
        ((0, 3), 3, 64),
        (3, 1, 64),
        (3, 257, 64),
        (3, 3, 0),
        (3, 3, 5000),
    ):
        with pytest.raises(ndshm.Layout):
            m.ring(shape, frames, "i4", max_subscribers=seats)
    with pytest.raises(ValueError, match="negative"):
        m.ring(-1, 3, "i4")
    with pytest.raises(TypeError):
        m.ring(3, 3)  # type: ignore[call-arg]
    assert m.list() == []


# Stores.


def test_a_ring_is_opened_only_as_a_ring(m: ndshm.Manager) -> None:
    a = m.zeros(3, name="a")
    ring = m.ring((3, 2), 4, "i4", name="r", attrs={"lens": [1, 2]}, axis_names=["row", "column"])
    for use in (
        lambda: m["r"],
        lambda: m.open("r"),
        lambda: ndshm.open(ring.handle),
        lambda: ndshm.open(ring.path),
        lambda: m.zeros(3, name="r", exist_ok=True),
        lambda: m.open_or_zeros("r", 3),
    ):
        with pytest.raises(ndshm.Kind, match=r"it is a ring, not an array: open it with Man"):
            use()
    for use in (
        lambda: m.open_ring("a"),
        lambda: ndshm.open_ring(a.handle),
        lambda: ndshm.open_ring(a.path),
        lambda: m.ring((3, 2), 4, "i4", name="a", exist_ok=True),
    ):
        with pytest.raises(ndshm.Kind, match=r"it is an array, not a ring: open it as an array"):
            use()
    with pytest.raises(ndshm.NotFound):
        m.open_ring("none")
    assert list(m) == ["a", "r"] and "r" in m
    assert [(info.kind, info.shape) for info in m.list()] == [("array", (3,)), ("ring", (4, 3, 2))]
    opened = [m.open_ring("r"), ndshm.open_ring(ring.handle), ndshm.open_ring(ring.path)]
    opened.append(pickle.loads(pickle.dumps(ring)))
    for other in opened:
        assert other.id == ring.id and other.name == "r" and other.path == ring.path
        assert (other.shape, other.frames, other.max_subscribers) == ((3, 2), 4, 64)
        assert other.attrs == {"lens": [1, 2]} and other.axis_names == ["row", "column"]
        assert other.scope is None and other.info is None and other.dtype == np.dtype("i4")
    assert "4 frames, shape=(3, 2), dtype=int32" in repr(ring) and 'name="r"' in repr(ring)
    assert len(pickle.dumps(ring)) < 300
    m.remove("r")
    assert list(m) == ["a"]


def test_a_ring_that_exists_is_opened_if_it_is_alike(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4", name="r", info="f8")
    with ring.produce() as producer:
        producer.publish([1, 2, 3])
    again = m.ring(3, 4, "i4", name="r", info="f8", exist_ok=True)
    assert again.id == ring.id and again.newest == 1
    with pytest.raises(ndshm.AlreadyExists):
        m.ring(3, 4, "i4", name="r", info="f8")
    for shape, frames, dtype, info, error in [
        (3, 4, "f4", "f8", ndshm.Dtype),
        (3, 4, "i4", None, ndshm.Dtype),
        (3, 4, "i4", "i8", ndshm.Dtype),
        (4, 4, "i4", "f8", ndshm.Layout),
        (3, 5, "i4", "f8", ndshm.Layout),
    ]:
        with pytest.raises(error):
            m.ring(shape, frames, dtype, name="r", info=info, exist_ok=True)


def test_a_local_ring_is_deleted_with_its_last_reference(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    assert ring.scope == "local" and ring.name is None and len(m.list()) == 1
    subscriber = ring.subscribe()
    del ring
    assert len(m.list()) == 1
    del subscriber
    assert m.list() == []


def test_rings_and_their_parts_can_be_referred_to_weakly(m: ndshm.Manager) -> None:
    ring = m.ring(1, 8, "i4")
    with both(ring) as parts:
        for part in (ring, *parts):
            assert weakref.ref(part)() is part and "ndshm." in repr(part)
            assert part is ring or part.ring is ring  # type: ignore[union-attr]
