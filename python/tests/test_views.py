"""Views: basic and fancy indexing, assignments, fields."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import ndshm


def test_basic_indexing_gives_the_view_that_numpy_gives(m: ndshm.Manager) -> None:
    source = np.arange(120).reshape(4, 5, 6)
    a = m.array(source)
    part = [
        0,
        -1,
        2,
        slice(None),
        slice(1, 3),
        slice(None, None, -1),
        slice(3, 0, -2),
        slice(5, 2),
        slice(-100, 100, 3),
        None,
        ...,
    ]
    tried = 0
    for length in range(4):
        for index in itertools.product(part, repeat=length):
            if sum(p is ... for p in index) > 1:
                continue
            wanted, view = source[index], a[index]
            if isinstance(wanted, np.ndarray):
                assert isinstance(view, ndshm.Array) and view.shape == wanted.shape
                assert (view.to_numpy() == wanted).all()
            else:
                assert type(view) is type(wanted) and view == wanted
            tried += 1
    assert tried > 1000
    assert a[np.int64(1), np.array([1, 2])].tolist() == source[1, [1, 2]].tolist()
    assert (
        (a[np.int8(1)].to_numpy() == source[1]).all()
        and a[1, 2, 3].item() == 45
        and int(a[1, 2, 3]) == 45
        and float(a[0, 0, 1]) == 1.0
    )
    for index in [4, -5, (0, 5), (0, 0, 0, 0), (..., ...)]:
        with pytest.raises(IndexError):
            a[index]
    assert [row.shape for row in a] == [(5, 6)] * 4 and len(a) == 4


def test_fancy_indexing_gives_a_plain_ndarray_that_shares_nothing(m: ndshm.Manager) -> None:
    source = np.arange(12).reshape(3, 4)
    a = m.array(source)
    for index in [
        [0, 2],
        (slice(None), [1, 1]),
        source > 5,
        True,
        ([0, 1], [1, 2]),
        np.ix_([0, 1], [2, 3]),
    ]:
        taken = a[index]
        assert type(taken) is np.ndarray and (taken == source[index]).all()
        taken[...] = -1
    assert (a.to_numpy() == source).all()


def test_assignment_sets_the_same_elements_as_numpy(m: ndshm.Manager) -> None:
    source = np.arange(12.0).reshape(3, 4)
    a = m.array(source)
    for index, value in [
        (0, 7),
        ((slice(None), 1), [1, 2, 3]),
        ([0, 2], 5),
        (source > 9, 0),
        ((1, 2), 3.5),
        (..., source),
    ]:
        a[index] = value
        source_copy = np.array(source)
        source_copy[index] = value
        source = source_copy
        assert (a.to_numpy() == source).all()
    a[1:] = a[:-1]
    source[1:] = source[:-1].copy()
    assert (a.to_numpy() == source).all()
    with pytest.raises(ValueError):
        a[0] = [1, 2]
    assert a.poisoned() == []


def test_other_views_share_the_memory(m: ndshm.Manager) -> None:
    source = np.arange(24).reshape(2, 3, 4)
    a = m.array(source)
    views = [
        (a.T, source.T),
        (a.transpose(1, 0, 2), source.transpose(1, 0, 2)),
        (a.transpose((2, 0, 1)), source.transpose(2, 0, 1)),
        (a.swapaxes(0, 2), source.swapaxes(0, 2)),
        (a.reshape(6, 4), source.reshape(6, 4)),
        (a.reshape(-1), source.reshape(-1)),
        (a[None].squeeze(), source),
        (a.diagonal(0, 1, 2), source.diagonal(0, 1, 2)),
        (a.view(), source),
    ]
    for view, wanted in views:
        assert (view.to_numpy() == wanted).all() and view.id == a.id
    a[0, 0, 1] = 99
    assert a.T.to_numpy()[1, 0, 0] == 99 and a.is_view is False and a.T.is_view
    with pytest.raises(ValueError):
        a.T.reshape(-1)
    assert not a.read_only().writable
    with pytest.raises(ndshm.ReadOnly), a.read_only().write():
        pass


def test_record_arrays_have_fields(m: ndshm.Manager) -> None:
    dtype = np.dtype(
        [
            ("position", "f4", (3,)),
            ("charge", "f4"),
            ("inner", [("n", "i8"), ("m", "f4", (2, 2))]),
            ("rest", "u8"),
        ]
    )
    source = np.zeros((2, 2), dtype)
    source["position"] = np.arange(12).reshape(2, 2, 3)
    source["inner"]["n"] = 7
    a = m.array(source)
    assert (
        a.dtype == dtype
        and (a["position"].to_numpy() == source["position"]).all()
        and a["position"].shape == (2, 2, 3)
    )
    assert (a["inner"]["m"].shape, a["inner"]["n"].to_numpy().tolist()) == (
        (2, 2, 2, 2),
        [[7, 7], [7, 7]],
    )
    a["charge"] = 1.5
    with a.write() as x:
        x["position"][0, 0] = 9
    assert a["charge"].to_numpy().tolist() == [[1.5] * 2] * 2 and a["position"][0, 0, 2].item() == 9
    with pytest.raises(ndshm.Layout):
        a["nothing"]
    # A field whose stride is not a multiple of its size cannot be a view. A guard's ndarray has it.
    odd = m.zeros(3, [("c", "c16"), ("n", "u1")])
    with pytest.raises(ndshm.Layout, match="multiple"):
        odd["c"]
    with odd.write() as x:
        x["c"] = 1j
    padded = np.dtype(
        {"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8], "itemsize": 24}
    )
    assert m.zeros(3, padded).dtype == padded
    # Several fields are copied: a view would outlive the lock.
    assert a[["charge"]].base is None
