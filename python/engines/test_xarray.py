"""Stores as xarray's datasets with chunks of Dask."""

from __future__ import annotations

import numpy as np
import pytest

import ndshm

pytest.importorskip("dask")
xarray = pytest.importorskip("xarray")
from ndshm._xarray_backend import Backend


@pytest.mark.parametrize("kind", ["array", "growing"])
def test_chunks_are_read_anew_after_a_write(kind: str) -> None:
    with ndshm.Manager() as m:
        if kind == "array":
            a = m.array(np.arange(12.0).reshape(4, 3), name="t", axis_names=["time", "x"])
        else:
            log = m.growing(3, "f8", 100, name="t", axis_names=["time", "x"])
            log.append(np.arange(12.0).reshape(4, 3))

        def opened() -> object:
            return xarray.open_dataset(m.path, engine=Backend, chunks={"time": 2})["t"]

        before = opened()
        assert before.chunks == ((2, 2), (3,)) and float(before.sum()) == 66
        if kind == "array":
            a[...] = 1
            assert opened().data.name != before.data.name
            assert float(opened().sum()) == 12
            a.freeze()
            assert opened().data.name == opened().data.name
            assert float(opened().sum()) == 12
        else:
            log.append([1.0, 1.0, 1.0])
            assert opened().shape == (5, 3) and float(opened().sum()) == 69
        assert float(m.to_xarray()["t"].chunk(time=1).sum()) in (12, 69)


def test_a_cluster_reads_a_store() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as one,
        distributed.Client(one),
        ndshm.Manager() as m,
    ):
        a = m.array(np.arange(12.0).reshape(4, 3), name="t", axis_names=["time", "x"])
        for _ in range(2):
            ds = xarray.open_dataset(m.path, engine=Backend, chunks={"time": 2})
            assert ds["t"].mean("time").compute().values.tolist() == [4.5, 5.5, 6.5]
            a.freeze()
