"""Arrays that get other names, and the handles and pickles that were made before."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import ndshm


def test_a_renamed_array_is_found_by_its_name_its_handle_and_its_pickle(m: ndshm.Manager) -> None:
    m.array(np.arange(4.0), name="xs")
    handle, pickled = m["xs"].handle, pickle.dumps(m["xs"])
    m.rename("xs", "ys")
    assert "xs" not in m and m["ys"].to_numpy().tolist() == [0, 1, 2, 3]
    assert ndshm.open(handle).to_numpy().sum() == 6
    assert pickle.loads(pickled).to_numpy().sum() == 6


def test_no_rename_replaces_an_array_or_takes_a_wrong_name(m: ndshm.Manager) -> None:
    m.zeros(1, name="xs")
    m.zeros(2, name="ys")
    with pytest.raises(ndshm.AlreadyExists):
        m.rename("xs", "ys")
    with pytest.raises(ndshm.Name):
        m.rename("xs", "a/b")
    with pytest.raises(ndshm.NotFound):
        m.rename("zs", "new")
    assert m["xs"].shape == (1,) and m["ys"].shape == (2,)
