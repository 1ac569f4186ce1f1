"""Stores as xarray's datasets."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

import ndshm
from ndshm._xarray_backend import Backend

xarray = pytest.importorskip("xarray")


@pytest.fixture
def filled(m: ndshm.Manager) -> ndshm.Manager:
    m.array(np.arange(4.0), name="time", axis_names=["time"])
    attrs = {"unit": "K", "levels": [1, 2]}
    m.array(np.arange(12.0).reshape(4, 3), name="t", axis_names=["time", "x"], attrs=attrs)
    m.array(np.arange(5), name="other", axis_names=["time"])
    m.array(np.eye(2), name="plain")
    m.array(np.zeros((2, 2)), name="same", axis_names=["same", "same"])
    m.ring(3, 4, "u1", name="ring")
    log = m.growing(2, "f4", 100, name="log", axis_names=["step", "joint"])
    log.append(np.ones((3, 2)))
    m.zeros(3)
    return m


def test_a_store_is_a_dataset_by_the_names_of_axes(filled: ndshm.Manager) -> None:
    ds = filled.to_xarray()
    assert set(ds.variables) == {"time", "t", "other", "plain", "same", "log"}
    assert ds["t"].dims == ("time", "x") and ds["t"].attrs == {"unit": "K", "levels": [1, 2]}
    # One name with two lengths would be no dataset.
    assert ds["other"].dims == ("time_other",)
    assert ds["plain"].dims == ("dim_0_plain", "dim_1_plain")
    assert len(set(ds["same"].dims)) == 2
    assert ds["log"].dims == ("step", "joint") and ds["log"].shape == (3, 2)
    assert "time" in ds.coords
    assert float(ds["t"].sel(time=2.0).sum()) == 6 + 7 + 8
    np.testing.assert_array_equal(ds["t"][::-2, 1], [10, 4])
    np.testing.assert_array_equal(ds["t"].isel(time=[3, 0], x=[2, 0]), [[11, 9], [2, 0]])
    assert float(ds["t"][1, 2]) == 5 and float(ds["log"].sum()) == 6


def test_elements_are_read_under_the_lock_when_they_are_needed(filled: ndshm.Manager) -> None:
    ds = filled.to_xarray()
    a = filled.open("t")
    started, found = threading.Event(), []

    def look() -> None:
        started.set()
        found.append(float(ds["t"].sum()))

    with a.write() as x:
        reader = threading.Thread(target=look)
        reader.start()
        started.wait(60)
        assert not found
        x[:] = 2
    reader.join()
    assert found == [24]
    # Only what is asked for is locked.
    with a.write() as x, pytest.raises(ndshm.WouldDeadlock):
        filled.to_xarray()["t"].load()
    a.freeze()
    assert np.shares_memory(filled.to_xarray()["t"].values, a.freeze())


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_axes_of_a_view_have_their_own_names(m: ndshm.Manager, order: Any) -> None:
    names = ["time", "y", "x"]
    source = np.arange(60.0).reshape(5, 4, 3)
    a = m.array(source, order=order, axis_names=names)
    whole = xarray.DataArray(source, dims=names)
    for view, wanted in [
        (a, whole),
        (a.T, whole.T),
        (a.transpose(1, 2, 0), whole.transpose("y", "x", "time")),
        (a[::-1], whole[::-1]),
        (a[1:, ::2, ::-1].T, whole[1:, ::2, ::-1].T),
        (a[0], whole[0]),
        (a[:, 1], whole[:, 1]),
        (a[-1].T, whole[-1].T),
        (a[1:2].swapaxes(0, 2), whole[1:2].transpose("x", "y", "time")),
        (a[2, 3], whole[2, 3]),
        (a[2, 3, 1, ...], whole[2, 3, 1]),
    ]:
        found = view.to_xarray()
        assert found.dims == wanted.dims
        np.testing.assert_array_equal(found, wanted)
        with view.read() as x:
            assert view.to_xarray(x).dims == wanted.dims


def test_an_axis_that_is_no_part_of_one_axis_has_no_name(m: ndshm.Manager) -> None:
    a = m.array(np.arange(16.0).reshape(4, 4), axis_names=["time", "x"])
    for view, dims in [
        (a[:, None], ("time", "dim_1", "x")),
        (a.diagonal(), ("dim_0",)),
        (a.reshape(2, 8), ("dim_0", "dim_1")),
        (a.reshape(2, 2, 4), ("dim_0", "dim_1", "dim_2")),
        # Its rows begin in the middle of the array's.
        (a.reshape(-1)[2:10].reshape(2, 4), ("dim_0", "dim_1")),
        (a[:1, :1], ("dim_0", "dim_1")),
    ]:
        assert view.to_xarray().dims == dims
    assert a.to_xarray(np.zeros((4, 3))).dims == ("dim_0", "dim_1")
    assert a[1:].to_xarray().dims == ("time", "x")
    part = a.T[1:]
    a.release()
    assert part.to_xarray().dims == ("dim_0", "dim_1")


def test_a_store_is_opened_by_its_path(tmp_path: pathlib.Path, filled: ndshm.Manager) -> None:
    path = filled.path
    for kind in (str, pathlib.Path):
        with xarray.open_dataset(kind(path), engine=Backend) as ds:
            assert ds.encoding["source"] == path
            assert float(ds["t"].sum()) == 66
    try:
        importlib.metadata.distribution("ndshm")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        assert float(xarray.open_dataset(path, engine="ndshm")["t"].sum()) == 66
        assert float(xarray.open_dataset(path)["t"].sum()) == 66
    ds = xarray.open_dataset(path, engine=Backend, drop_variables=["t", "other"])
    assert set(ds.variables) == {"time", "plain", "same", "log"}
    assert "t" not in xarray.open_dataset(path, engine=Backend, drop_variables="t")
    again = pickle.loads(pickle.dumps(ds))
    assert float(again["plain"].sum()) == 2
    assert Backend().guess_can_open(path)
    for other in (tmp_path, tmp_path / "none", 5, __file__):
        assert not Backend().guess_can_open(other)
    (tmp_path / ".lock").write_text("no store")
    assert not Backend().guess_can_open(tmp_path)
    with pytest.raises(ndshm.NotFound):
        xarray.open_dataset(str(tmp_path / "none"), engine=Backend)


def test_an_opening_after_a_write_is_told_from_the_one_before(filled: ndshm.Manager) -> None:
    """xarray names the chunks of Dask by the path and its time."""
    path = pathlib.Path(filled.path)
    before = path.stat().st_mtime_ns
    end = time.monotonic() + 60
    while path.stat().st_mtime_ns == before and time.monotonic() < end:
        xarray.open_dataset(str(path), engine=Backend)
    assert path.stat().st_mtime_ns != before


def test_a_store_whose_arrays_are_all_frozen_keeps_its_time(m: ndshm.Manager) -> None:
    m.array(np.ones(3), name="a").freeze()
    log = m.growing(2, "f4", 100, name="log")
    log.append(np.ones((3, 2)))
    log.freeze()
    os.utime(m.path, ns=(0, 0))
    ds = xarray.open_dataset(m.path, engine=Backend)
    assert os.stat(m.path).st_mtime_ns == 0
    assert float(ds["log"].sum()) == 6


def test_a_store_whose_time_cannot_be_set_is_opened(
    filled: ndshm.Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "utime", refuse)
    assert float(xarray.open_dataset(filled.path, engine=Backend)["t"].sum()) == 66


READ_ONLY = """
import sys, warnings
import xarray
from ndshm._xarray_backend import Backend
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    ds = xarray.open_dataset(sys.argv[1], engine=Backend)
assert set(ds.variables) == {"fixed", "rows"}, ds
assert float(ds["fixed"].sum()) == 3 and ds["rows"].shape == (3, 2)
texts = sorted(str(one.message) for one in found)
assert len(texts) == 2, texts
assert "log is left out" in texts[0] and "t is left out" in texts[1], texts
"""


def test_a_store_that_is_mounted_read_only_has_its_frozen_arrays(
    tmp_path: pathlib.Path, m: ndshm.Manager
) -> None:
    kept = [m.array(np.ones(3), name="fixed"), m.zeros(3, name="t")]
    kept[0].freeze()
    logs = [m.growing(2, "f4", 100, name=name) for name in ("rows", "log")]
    for log in logs:
        log.append(np.ones((3, 2)))
    logs[0].freeze()
    space = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    script = 'mount --bind "$0" "$1" && mount -o remount,bind,ro "$1"'
    mount = [*space, "sh", "-c", script, m.path, str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user mounts nothing")
    script += ' && exec "$2" -c "$3" "$1"'
    subprocess.run([*space, "sh", "-c", script, *mount[-2:], sys.executable, READ_ONLY], check=True)


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i8", "f2", "c16", "M8[ns]", "m8[s]", "U4", "f4,i2", "S3"]
)
def test_every_type_is_read(m: ndshm.Manager, dtype: str) -> None:
    source: Any = np.zeros(3, dtype)
    m.array(source, name="a")
    with xarray.set_options(keep_attrs=True):
        found = m.to_xarray()["a"].values
    np.testing.assert_array_equal(found, source)
    assert found.dtype.kind == source.dtype.kind


def test_an_empty_store_and_arrays_without_axes(m: ndshm.Manager) -> None:
    assert len(m.to_xarray()) == 0
    m.array(np.float64(3), name="a")
    m.zeros((0, 2), name="b", axis_names=["y", "x"])
    ds = m.to_xarray()
    assert float(ds["a"]) == 3 and ds["b"].shape == (0, 2) and ds["b"].sum() == 0
