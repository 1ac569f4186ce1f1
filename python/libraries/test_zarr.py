"""Checkpoints in the hands of zarr-python, xarray and tensorstore, and their groups in a store."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

import ndshm
import numpy as np
import pytest

zarr = pytest.importorskip("zarr")
POINT = np.dtype([("x", "<f4"), ("n", [("a", "u1"), ("b", "<i8")]), ("is", "?")])
NUMBERS = "? i1 u1 <i2 <u2 <i4 <u4 <i8 <u8 <f2 <f4 <f8 <c8 <c16".split()


def values(dtype: str, shape: tuple[int, ...] = (70, 5)) -> np.ndarray:
    """Return elements that differ."""
    return (np.arange(np.prod(shape)).reshape(shape) % 251 % 120).astype(dtype)


@pytest.fixture(params=["plain", "zstd", "shards"])
def group(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Any:
    """Write a checkpoint of all types, and return the arrays and the path of the group."""
    settings = {"plain": {}, "zstd": {"zstd": 1}, "shards": {"shards": 300}}[request.param]
    arrays: dict[str, np.ndarray] = {}
    with ndshm.Manager() as m:
        for number, dtype in enumerate(NUMBERS):
            arrays[f"c{number}"] = values(dtype)
            arrays[f"f{number}"] = np.asfortranarray(values(dtype, (7, 5, 3)))
        arrays["scalar"] = np.array(2.5)
        arrays["empty"] = np.zeros((0, 3))
        arrays["raw"] = np.array([b"abc", b"def"], dtype="V3")
        arrays["times"] = np.array(["2024-01-01T01:02:03", "NaT"], dtype="M8[ns]")
        arrays["spans"] = np.array([1, 2], dtype="m8[s]")
        points = np.zeros(3, POINT)
        points["x"] = [1, 2, 3]
        points["n"]["b"] = [4, 5, 6]
        arrays["points"] = points
        for name, array in arrays.items():
            names = ["time", "x", "y"][: array.ndim]
            attrs = {"unit": "m", "more": [1, 2.5, {"a": None}], "bytes": b"x"}
            m.from_ndarray(array, name=name, axis_names=names or None, attrs=attrs)
        written = m.checkpoint(tmp_path / "place", **settings)  # type: ignore[arg-type]
    return arrays, tmp_path / "place" / written.id


def test_zarr_python_reads_every_type(group: Any) -> None:
    arrays, path = group
    opened = zarr.open_group(path, mode="r")
    for name, array in arrays.items():
        if name == "points":
            for field in ["x", "n.a", "n.b", "is"]:
                expected = array
                for part in field.split("."):
                    expected = expected[part]
                np.testing.assert_array_equal(opened[f"points/{field}"][...], expected)
            continue
        found = opened[name][...]
        if name == "raw":
            array = array.view("u1").reshape(2, 3)
        if array.dtype.kind in "mM":
            array = array.view("i8")
        assert found.dtype == array.dtype, name
        np.testing.assert_array_equal(found, array)
        assert opened[name].attrs["unit"] == "m"
        assert opened[name].attrs["more"] == [1, 2.5, {"a": None}]
        assert "bytes" not in opened[name].attrs


def test_xarray_opens_the_whole_group(group: Any) -> None:
    xarray = pytest.importorskip("xarray")
    arrays, path = group
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = xarray.open_zarr(path, chunks=None)
    for name in ["c3", "f3", "scalar", "empty"]:
        np.testing.assert_array_equal(opened[name].values, arrays[name])
    assert opened["c3"].dims[0] == "time"
    np.testing.assert_array_equal(opened["times"].values, arrays["times"])


def test_tensorstore_reads_every_array(group: Any) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    arrays, path = group
    for name in arrays:
        if name in ("raw", "points", "times", "spans"):
            continue
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / name)}}
        found = tensorstore.open(spec).result().read().result()
        np.testing.assert_array_equal(found, arrays[name])


def test_structs_of_zarr_are_read_by_new_versions(tmp_path: pathlib.Path) -> None:
    if tuple(map(int, zarr.__version__.split(".")[:2])) < (3, 4):
        pytest.skip("zarr-python before 3.4 has no struct")
    points = np.zeros(3, POINT)
    points["n"]["b"] = [4, 5, 6]
    with ndshm.Manager() as m:
        m.from_ndarray(points, name="points")
        written = m.checkpoint(tmp_path, structs="struct")
        m.restore(tmp_path, prefix="again.")
        with m.open("again.points").read() as found:
            np.testing.assert_array_equal(found, points)
    found = zarr.open_group(tmp_path / written.id, mode="r")["points"][...]
    np.testing.assert_array_equal(found, points)


@pytest.mark.parametrize("way", ["none", "zstd", "gzip", "shards", "transpose"])
def test_groups_of_zarr_python_are_restored(way: str, tmp_path: pathlib.Path) -> None:
    codecs = zarr.codecs
    settings: dict[str, Any] = {
        "none": {"compressors": None},
        "zstd": {"compressors": codecs.ZstdCodec()},
        "gzip": {"compressors": codecs.GzipCodec()},
        "shards": {"shards": (20, 6), "compressors": codecs.ZstdCodec()},
        "transpose": {"filters": codecs.TransposeCodec(order=(1, 0)), "compressors": None},
    }[way]
    arrays = {f"a{number}": values(dtype, (33, 13)) for number, dtype in enumerate(NUMBERS)}
    root = zarr.open_group(tmp_path / "g.zarr", mode="w")
    for name, array in arrays.items():
        made = root.create_array(
            name, shape=array.shape, dtype=array.dtype, chunks=(10, 3), fill_value=1, **settings
        )
        made[:25] = array[:25]
        array[25:] = 1
        made.attrs["unit"] = "m"
    with ndshm.Manager() as m:
        assert sorted(m.restore(tmp_path / "g.zarr").names) == sorted(arrays)
        for name, array in arrays.items():
            with m.open(name).read() as found:
                assert found.dtype == array.dtype
                np.testing.assert_array_equal(found, array)
            assert m.open(name).attrs["unit"] == "m"
        m.restore(tmp_path / "g.zarr", slices={"a3": [slice(3, 30), slice(2, 9)]}, prefix="p.")
        with m.open("p.a3").read() as found:
            np.testing.assert_array_equal(found, arrays["a3"][3:30, 2:9])
