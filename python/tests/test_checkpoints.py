"""Checkpoints, and what comes back from them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

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


def test_the_contents_of_a_checkpoint_are_known_without_a_store(tmp_path: pathlib.Path) -> None:
    assert ndshm.checkpoints(tmp_path / "none") == []
    with ndshm.Manager() as m:
        m.zeros((4, 3), "f4", name="xs")
        m.from_ndarray(np.asfortranarray(np.ones((2, 5))), name="ys").freeze()
        m.growing((2,), "i2", 100, name="log").append(np.zeros((7, 2), "i2"))
        first = m.checkpoint(tmp_path)
        m.zeros(1, name="one")
        second = m.checkpoint(tmp_path)
    assert ndshm.checkpoints(tmp_path) == [second.id, first.id]

    contents = ndshm.checkpoint_contents(tmp_path)
    assert contents.checkpoint == second.id and contents.left == []
    arrays = {array.name: array for array in contents.arrays}
    assert set(arrays) == {"log", "one", "xs", "ys"}
    log, xs, ys = arrays["log"], arrays["xs"], arrays["ys"]
    assert (log.shape, log.max_len, log.frozen) == ((7, 2), 100, False)
    assert (xs.shape, xs.dtype, xs.order, xs.nbytes) == ((4, 3), "<f4", "C", 48)
    assert (ys.order, ys.frozen, ys.poisoned, ys.max_len) == ("F", True, False, None)

    older = ndshm.checkpoint_contents(tmp_path, checkpoint=first.id, only="*s")
    assert sorted(array.name for array in older.arrays) == ["xs", "ys"]
    part = ndshm.checkpoint_contents(tmp_path, slices={"xs": [slice(1, 3), slice(3)]})
    assert [array.shape for array in part.arrays] == [(2, 3)]
    with pytest.raises(ndshm.Transfer, match="no checkpoint"):
        ndshm.checkpoint_contents(tmp_path, checkpoint="unknown")
    with pytest.raises(ndshm.Layout, match="xs"):
        ndshm.checkpoint_contents(tmp_path, slices={"xs": [slice(9), slice(3)]})
    with pytest.raises(ValueError, match="must have a stop"):
        ndshm.checkpoint_contents(tmp_path, slices={"xs": [slice(None), slice(3)]})


def test_arrays_that_grow_are_frozen_or_poisoned_come_back_as_they_were(
    tmp_path: pathlib.Path,
) -> None:
    with ndshm.Manager() as m:
        m.ones(3, name="frozen").freeze()
        log = m.growing(2, "i2", 100, name="log")
        log.append([[1, 2], [3, 4]])
        bad = m.zeros(5, name="bad")
        with pytest.raises(RuntimeError, match="half"), bad.write() as x:
            x[0] = 7
            raise RuntimeError("half of it is written")
        m.ring(3, 4, "f8", name="ring")
        m.zeros(3)
        with pytest.raises(ndshm.Poisoned, match="bad"):
            m.checkpoint(tmp_path)
        written = m.checkpoint(tmp_path, poisoned=True, each=True, timeout=5)
        assert written.arrays == 3 and "ring" in dict(written.left)
    contents = ndshm.checkpoint_contents(tmp_path, only="bad")
    assert [array.poisoned for array in contents.arrays] == [True]
    with ndshm.Manager() as m:
        assert set(m.restore(tmp_path, in_flight=1).names) == {"frozen", "log", "bad"}
        assert m.open("frozen").frozen
        again = m.open_growing("log")
        again.append([[5, 6]])
        assert again[:].tolist() == [[1, 2], [3, 4], [5, 6]]
        bad = m.open("bad")
        assert bad.poisoned() == [(0, 40)]
        with bad.recover() as x:
            assert x[0] == 7
        with pytest.raises(ndshm.AlreadyExists):
            m.restore(tmp_path)
        assert len(m.restore(tmp_path, prefix="b.", only=["log"]).names) == 1


@pytest.mark.parametrize(
    "settings", [{"zstd": 3}, {"shards": 1000}, {"zstd": 1, "shards": 64}, {"structs": "struct"}]
)
def test_every_encoding_comes_back(tmp_path: pathlib.Path, settings: dict[str, Any]) -> None:
    point = np.dtype([("x", "<f4"), ("n", "<i8", (2,))])
    values = np.zeros((30, 40), point)
    values["n"] = np.arange(2400).reshape(30, 40, 2)
    with ndshm.Manager() as m:
        m.from_ndarray(values, name="points")
        m.from_ndarray(np.arange(10_000), name="xs")
        m.checkpoint(tmp_path, **settings)
    with ndshm.Manager() as m:
        m.restore(tmp_path)
        np.testing.assert_array_equal(m.open("points").to_numpy(), values)
        np.testing.assert_array_equal(m.open("xs").to_numpy(), np.arange(10_000))


def test_settings_that_make_no_sense_are_refused(tmp_path: pathlib.Path) -> None:
    with ndshm.Manager() as m:
        m.zeros(3, name="xs")
        for place, settings, reason in [
            (tmp_path, {"zstd": 0}, "1 to 22"),
            (tmp_path, {"structs": "tuple"}, "'fields' or 'struct'"),
            (tmp_path, {"timeout": -1}, "negative"),
            ("gs://bucket/x", {}, "s3://BUCKET/PREFIX"),
            ("", {}, "empty"),
        ]:
            with pytest.raises(ValueError, match=reason):
                m.checkpoint(place, **settings)
        assert not list(tmp_path.iterdir())


def test_fields_whose_names_have_dots_are_fields_of_their_own(tmp_path: pathlib.Path) -> None:
    """Once `a.b` and the field `b` of `a` were written to one place."""
    point = np.dtype([("a", [("b", "<i4"), ("c%", "<i4")]), ("a.b", "<i4"), ("a%2Eb", "<i4")])
    values = np.zeros(100, point)
    values["a"]["b"], values["a.b"], values["a%2Eb"] = 1, 2, 3
    with ndshm.Manager() as m:
        m.from_ndarray(values, name="points")
        m.checkpoint(tmp_path)
    with ndshm.Manager() as m:
        m.restore(tmp_path)
        np.testing.assert_array_equal(m.open("points").to_numpy(), values)
