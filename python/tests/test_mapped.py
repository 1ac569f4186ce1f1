"""The ndarrays of frozen arrays, and of memory without a lock: pickled by reference, else plain."""

from __future__ import annotations

import copy
import gc
import io
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cloudpickle
import numpy as np
import pytest

import ndshm

SOURCE = np.arange(60.0).reshape(3, 4, 5)

VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x,
    "row": lambda x: x[1],
    "steps": lambda x: x[::2, 1:, ::-1],
    "view of a view": lambda x: x[1:][:, 2:][:, :, 1],
    "transpose": lambda x: x.T,
    "reshaped": lambda x: x.reshape(4, 15),
    "flat": lambda x: x.ravel(),
    "element": lambda x: x[1, 2, 3, ...],
    "no elements": lambda x: x[2:2],
    "diagonal": lambda x: x.diagonal(),
    "new axis": lambda x: x[:, None],
}


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("form", ["frozen", "unlocked"])
def test_a_view_is_pickled_by_reference(m: ndshm.Manager, kind: str, form: str) -> None:
    a = m.array(SOURCE)
    x = a.freeze() if form == "frozen" else a.unlocked()
    view = VIEWS[kind](x)
    assert type(view) is ndshm.MappedArray
    text = pickle.dumps(view)
    assert len(text) < 400 and len(cloudpickle.dumps(view)) < 400
    opened = pickle.loads(text)
    assert type(opened) is ndshm.MappedArray and opened.dtype == view.dtype
    assert opened.shape == view.shape and (opened == view).all()
    assert view.size == 0 or np.shares_memory(opened, a.unlocked())
    # NumPy's diagonals are read-only.
    is_writable = form == "unlocked" and kind != "diagonal"
    assert opened.flags.writeable == is_writable
    if is_writable and view.size:
        opened[...] = -1
        assert (view == -1).all()
        view.flags.writeable = False
        assert not pickle.loads(pickle.dumps(view)).flags.writeable


PLAIN: dict[str, Callable[[Any], Any]] = {
    "a copy": lambda x: x.copy(),
    "numpy.array": np.array,
    "numpy.asarray": np.asarray,
    "computed": lambda x: x + 1,
    "compared": lambda x: x == 1,
    "reduced": lambda x: x.sum(axis=0),
    "fancy": lambda x: x[[0, 1]],
    "masked": lambda x: x[x > 3],
    "sorted": np.sort,
    "like": np.zeros_like,
    "astype": lambda x: x.astype("f4"),
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "taken": lambda x: x.take([1]),
    "joined": lambda x: np.concatenate([x, x]),
    "reshaped by copying": lambda x: x.T.reshape(-1),
    "dot": lambda x: x @ x.transpose(0, 2, 1),
    "where": lambda x: np.where(x > 1, x, 0),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_made_of_it_is_plain(m: ndshm.Manager, kind: str) -> None:
    a = m.array(SOURCE)
    made, wanted = PLAIN[kind](a.freeze()), PLAIN[kind](SOURCE)
    assert type(made) is np.ndarray and made.dtype == wanted.dtype
    assert np.array_equal(made, wanted)
    assert len(pickle.dumps(made)) > made.nbytes


def test_scalars_are_those_of_an_ndarray(m: ndshm.Manager) -> None:
    x = m.array(SOURCE).freeze()
    for made, wanted in (
        (x.sum(), SOURCE.sum()),
        (np.mean(x), np.mean(SOURCE)),
        (x.max(), SOURCE.max()),
        (x[0, 0, 0], SOURCE[0, 0, 0]),
        (np.linalg.norm(x), np.linalg.norm(SOURCE)),
        (x.std(), SOURCE.std()),
        (np.dot(x[0, 0], x[0, 0]), np.dot(SOURCE[0, 0], SOURCE[0, 0])),
        (x[0, 0, 1] + x[0, 0, 2], SOURCE[0, 0, 1] + SOURCE[0, 0, 2]),
        (np.add(x[0, 0, 1, ...], 1), np.add(SOURCE[0, 0, 1, ...], 1)),
    ):
        assert type(made) is type(wanted) and made == wanted
    assert repr(x[0, 0]) == "MappedArray([0., 1., 2., 3., 4.])" and str(x[0, 0]) == str(
        SOURCE[0, 0]
    )


def test_elements_of_another_type_are_pickled_as_elements(m: ndshm.Manager) -> None:
    x = m.array(SOURCE).freeze()
    opened = pickle.loads(pickle.dumps(x.view("u8")))
    assert type(opened) is np.ndarray and (opened.view("f8") == SOURCE).all()
    wide = np.broadcast_to(x, (2, 3, 4, 5), subok=True)
    assert (pickle.loads(pickle.dumps(wide)) == SOURCE).all()
    record = m.zeros(3, [("x", "f8"), ("t", "M8[ns]")])
    record["x"] = 2
    whole = record.freeze()
    assert (pickle.loads(pickle.dumps(whole))["x"] == 2).all()
    assert (pickle.loads(pickle.dumps(whole["x"])) == 2).all()
    file = io.BytesIO()
    np.save(file, x)
    file.seek(0)
    assert (np.load(file) == SOURCE).all()


def shares(x: np.ndarray) -> tuple[bool, bool, float]:
    return type(x) is ndshm.MappedArray, x.flags.writeable, float(np.mean(x))


def add_one(x: np.ndarray) -> None:
    x += 1


def test_a_function_of_a_pool_gets_the_memory(m: ndshm.Manager) -> None:
    a, b = m.array(SOURCE), m.array(SOURCE)
    frozen, unlocked = a.freeze(), b.unlocked()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(np.mean, frozen).result() == SOURCE.mean()
        assert list(pool.map(shares, [frozen, frozen[1], unlocked])) == [
            (True, False, SOURCE.mean()),
            (True, False, SOURCE[1].mean()),
            (True, True, SOURCE.mean()),
        ]
        pool.submit(add_one, unlocked[0]).result()
    assert (b[0].to_numpy() == SOURCE[0] + 1).all() and (b[1].to_numpy() == SOURCE[1]).all()


def test_a_view_keeps_the_array(m: ndshm.Manager) -> None:
    x = m.array(SOURCE).freeze()[1]
    gc.collect()
    assert (x == SOURCE[1]).all() and (pickle.loads(pickle.dumps(x)) == SOURCE[1]).all()
    del x
    assert m.list() == []


def test_a_reference_to_what_is_gone_says_so() -> None:
    with ndshm.Manager() as m:
        text = pickle.dumps(m.array(SOURCE).freeze())
    with pytest.raises(ndshm.Released):
        pickle.loads(text)
