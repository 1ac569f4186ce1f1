"""Code that was written for jztools.shared_memory runs with the same names."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

from ndshm.compat.jztools import InvalidAsXndarray, XSharedMemoryManager, xndarray


@pytest.fixture
def smm() -> Iterator[XSharedMemoryManager]:
    with XSharedMemoryManager() as manager:
        yield manager


def test_the_documented_example_runs(smm: XSharedMemoryManager) -> None:
    N = int(1e6)
    rng = np.random.default_rng(0)
    xarr = smm.empty(N)
    rng.random(N, out=xarr)
    futures = []
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        futures.append(pool.submit(np.mean, xarr[: N // 2]))
        futures.append(pool.submit(np.mean, xarr[N // 2 :]))
    results = [x.result().item() for x in futures]
    assert np.allclose(results, [0.5001123274748334, 0.5002061854525354], rtol=1e-14)


def test_an_xndarray_is_an_ndarray_in_shared_memory(smm: XSharedMemoryManager) -> None:
    x = smm.from_ndarray(np.arange(12).reshape(3, 4))
    assert (
        isinstance(x, np.ndarray)
        and type(x) is xndarray
        and x.is_shared()
        and x[1:].is_shared()
        and x.T.is_shared()
    )
    x += 1
    np.multiply(x, 2, out=x)
    assert (
        type(x) is xndarray and x.is_shared() and x.sum() == 156 and isinstance(x.sum(), np.int64)
    )
    for plain in [1 + x, x * x, x[[0, 2]], x[x > 5], np.sqrt(x), x.as_ndarray()]:
        assert type(plain) is np.ndarray and not np.shares_memory(plain, x)
    assert (
        np.stack([x, x]).shape == (2, 3, 4) and not getattr(np.stack([x, x]), "is_shared", bool)()
    )
    assert isinstance(x[0, 1], np.int64)
    with pytest.raises(InvalidAsXndarray, match="list"):
        smm.from_ndarray([1, 2])
    with pytest.raises(InvalidAsXndarray):
        np.zeros(3).view(xndarray).scope = None


def test_copies_are_shared_too(smm: XSharedMemoryManager) -> None:
    x = smm.from_ndarray(np.arange(4.0))
    for other in [x.copy(), copy.copy(x), copy.deepcopy(x), x[::-1].copy()[::-1]]:
        assert (
            other.is_shared() and other.tolist() == [0, 1, 2, 3] and not np.shares_memory(other, x)
        )


def test_orders_and_shapes_are_kept_that_jztools_lost(smm: XSharedMemoryManager) -> None:
    assert (
        smm.empty((2, 3), order="F").flags.f_contiguous
        and smm.from_ndarray(np.ones((2, 3), order="F")).flags.f_contiguous
    )
    assert (
        smm.empty(()).shape == ()
        and smm.empty((0, 3)).shape == (0, 3)
        and smm.empty(3, np.int32, "C", None).dtype == np.int32
    )
    f = smm.from_ndarray(np.asfortranarray(np.arange(6).reshape(2, 3)))
    assert pickle.loads(pickle.dumps(f[:, 1:])).tolist() == [[1, 2], [4, 5]]


def test_views_of_received_views_keep_their_place(smm: XSharedMemoryManager) -> None:
    x = smm.from_ndarray(np.arange(100))
    y = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(x[90:10:-2]))[5:][::3]))
    assert (
        y.tolist() == x[90:10:-2][5:][::3].tolist()
        and np.shares_memory(y, x)
        and type(y) is xndarray
    )
    assert len(pickle.dumps(y)) < 300
    z = pickle.loads(pickle.dumps(x.view(np.uint8)[8:16]))
    assert z.view(np.int64).tolist() == [1]
    locked = x[:3]
    locked.flags.writeable = False
    assert not pickle.loads(pickle.dumps(locked)).flags.writeable
    assert type(pickle.loads(pickle.dumps(np.stack([x, x])))) is np.ndarray


def test_scopes_behave_as_jztools_documents_them(smm: XSharedMemoryManager) -> None:
    x = smm.empty(3)
    assert x.scope == "local" and smm.empty(3, scope=None).scope is None
    path = x.shared_memory.array.path
    del x
    assert not os.path.exists(path)
    y = smm.empty(3, scope="remote")
    assert y.scope == "remote"
    text = pickle.dumps(y[1:])
    path = y.shared_memory.array.path
    del y
    z = pickle.loads(text)
    assert z.scope == "local" and os.path.exists(path)
    del z
    assert not os.path.exists(path)
    w = smm.empty(3)
    w.scope = None
    w[:] = 5
    path = w.shared_memory.array.path
    w.release()
    w.release()
    assert not os.path.exists(path) and w.tolist() == [5] * 3
    with pytest.raises(ValueError, match="scope"):
        smm.empty(3, scope="global")


def test_the_constructor_takes_shared_memory_with_an_offset_and_strides(
    smm: XSharedMemoryManager,
) -> None:
    x = smm.from_ndarray(np.arange(10.0))
    y = xndarray(x.shared_memory.name, smm, (3,), float, 8, (16,))
    assert y.tolist() == [1, 3, 5] and np.shares_memory(x, y)
    assert xndarray(x.shared_memory, smm, (2,), float, 0, None).tolist() == [0, 1]
    assert xndarray(None, smm, (0,), float, 0, None).size == 0
    memory = smm.SharedMemory(16)
    memory.buf[:8] = b"12345678"
    assert (
        memory.size == 16
        and xndarray(memory, smm, 16, np.uint8, 0, None)[:8].tobytes() == b"12345678"
    )
    assert x.shared_memory_manager.address == smm.address


def test_a_manager_goes_to_other_processes() -> None:
    smm = XSharedMemoryManager()
    with pytest.raises(RuntimeError):
        smm.empty(3)
    smm.start()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        x = pool.submit(xndarray.from_ndarray, smm, np.arange(3), scope="remote").result()
    assert x.tolist() == [0, 1, 2] and x.scope == "local"
    del x
    smm.shutdown()
