"""A cluster of Dask on this machine with shared arrays, and functions that its tasks run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import ndshm

pytest.importorskip("distributed")
import dask
import distributed

import ndshm.dask as shared


def fill(array: ndshm.Array, value: float) -> int:
    with array.write() as x:
        x[...] = value
    return os.getpid()


def total(array: Any) -> float:
    return float(np.asarray(array).sum())


def make(value: float, length: int = 1000) -> Any:
    return shared.share(np.full(length, value))


def kind(value: Any) -> str:
    return type(value).__name__


def id_of(value: Any) -> str:
    """Return the id of the array that is here, also of mapped memory."""
    found = value if isinstance(value, ndshm.Array) else ndshm._travel.array_of(value)[0]
    return str(found.id)


def names(manager: ndshm.Manager) -> list[str]:
    return [info.name or info.id for info in manager.list()]


@contextmanager
def cluster_of(count: int) -> Iterator[Any]:
    """Run a cluster of some workers that start again whenever they end, on a busy machine too.

    By default Dask gives a worker up for lost that takes longer than 15 seconds to start again.
    """
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address=None
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with cluster_of(2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster) as client, shared.install(client) as node:
        yield client
        client.unregister_worker_plugin(node.plugin.name)


@pytest.fixture
def m() -> Iterator[ndshm.Manager]:
    with ndshm.Manager() as manager:
        yield manager


def workers(client: Any) -> list[str]:
    return sorted(client.scheduler_info(n_workers=-1)["workers"])
