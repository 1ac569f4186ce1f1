"""Checkpoints, and what comes back from them."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest

import ndshm


def test_a_checkpoint_comes_back(tmp_path: pathlib.Path) -> None:
    point = np.dtype([("x", "<f4"), ("n", "<i8")])
    arrays = {
        "xs": np.arange(12.0).reshape(3, 4),
        "f": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "times": np.array(["2024-01-01", "NaT"], dtype="M8[ns]"),
        "text": np.array(["a", "bcd"]),
        "points": np.array([(1.5, 2), (3.5, 4)], dtype=point),
        "truth": np.array([True, False]),
    }
    seen: list[tuple[int, int]] = []
    with ndshm.Manager() as m:
        for name, array in arrays.items():
            m.from_ndarray(array, name=name)
        written = m.checkpoint(tmp_path, keep=2, progress=lambda *at: seen.append(at))
        assert written.arrays == len(arrays)
        assert seen and max(seen)[0] == written.nbytes == written.sent
        assert m.checkpoint(tmp_path).sent == 0
    with ndshm.Manager() as m:
        restored = m.restore(tmp_path)
        assert sorted(restored.names) == sorted(arrays)
        for name, array in arrays.items():
            with m.open(name).read() as found:
                assert found.dtype == array.dtype
                np.testing.assert_array_equal(found, array)
        part = m.restore(tmp_path, slices={"xs": [slice(1, 3), slice(0, 2)]}, prefix="part.")
        assert part.names == ["part.xs"]
        with m.open("part.xs").read() as found:
            np.testing.assert_array_equal(found, arrays["xs"][1:3, :2])


def test_times_have_the_attributes_of_cf(tmp_path: pathlib.Path) -> None:
    with ndshm.Manager() as m:
        m.from_ndarray(np.array(["2024-01-01"], dtype="M8[s]"), name="t")
        written = m.checkpoint(tmp_path)
    metadata = json.loads((tmp_path / written.id / "t" / "zarr.json").read_text())
    assert metadata["data_type"] == "int64"
    assert metadata["attributes"]["units"] == "seconds since 1970-01-01"


def test_refusals_name_the_reason(tmp_path: pathlib.Path) -> None:
    with ndshm.Manager() as m:
        with pytest.raises(ndshm.Transfer, match="no latest checkpoint"):
            m.restore(tmp_path / "none")
        m.zeros(3, name="xs")
        with pytest.raises(ndshm.Transfer, match="xs"):
            m.checkpoint(tmp_path, only="ys")
        for bad in [{"structs": "x"}, {"zstd": 0}, {"timeout": -1.0}]:
            with pytest.raises(ValueError):
                m.checkpoint(tmp_path, **bad)  # type: ignore[arg-type]
        m.checkpoint(tmp_path)
        with pytest.raises(ndshm.AlreadyExists):
            m.restore(tmp_path)
        for part in [slice(0, None), slice(0, 3, 2), slice(-1, 3)]:
            with pytest.raises(ValueError):
                m.restore(tmp_path, slices={"xs": [part]}, prefix="p.")
        with pytest.raises(ndshm.Layout):
            m.restore(tmp_path, slices={"xs": [slice(0, 4)]}, prefix="p.")
        with pytest.raises(ValueError, match="place"):
            m.checkpoint("ftp://host/x")
