"""Code that was written for jztools.shared_memory runs with the same names."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory
from multiprocessing.managers import SharedMemoryManager

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
    for plain in [1 + x, x * x, np.sqrt(x), x.as_ndarray()]:
        assert type(plain) is np.ndarray and not np.shares_memory(plain, x)
    assert (
        np.stack([x, x]).shape == (2, 3, 4) and not getattr(np.stack([x, x]), "is_shared", bool)()
    )
    for fancy in (x[[0, 2]], x[x > 5]):
        assert type(fancy) is xndarray and not fancy.is_shared() and fancy.shared_memory is None
        assert (
            not np.shares_memory(fancy, x) and type(pickle.loads(pickle.dumps(fancy))) is np.ndarray
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


def has_array(path: str) -> bool:
    """Tell whether an array is ready at a path; its file may be kept for reuse."""
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        file.seek(68)
        return file.read(4) == b"UUUU"


def test_scopes_behave_as_jztools_documents_them(smm: XSharedMemoryManager) -> None:
    x = smm.empty(3)
    assert x.scope == "local" and smm.empty(3, scope=None).scope is None
    path = x.shared_memory.array.path
    del x
    assert not has_array(path)
    y = smm.empty(3, scope="remote")
    y[:] = 7
    assert y.scope == "remote" and y[1:].scope is None
    text, slices = pickle.dumps(y), [pickle.dumps(y[at:]) for at in (0, 1, 1)]
    path = y.shared_memory.array.path
    del y
    # Slices can be sent several times, and delete nothing.
    assert [pickle.loads(one).tolist() for one in slices] == [[7] * 3, [7] * 2, [7] * 2]
    z = pickle.loads(text)
    assert z.scope == "local" and os.path.exists(path) and pickle.loads(slices[1]).scope is None
    del z
    assert not has_array(path)
    # A slice has a scope of its own.
    y = smm.empty(3, scope=None)
    path = y.shared_memory.array.path
    part = y[1:]
    part.scope = "remote"
    text = pickle.dumps(part)
    del y, part
    z = pickle.loads(text)
    assert z.tolist() == [0, 0] and z.scope == "local"
    del z
    assert not has_array(path)
    w = smm.empty(3)
    w.scope = None
    w[:] = 5
    path = w.shared_memory.array.path
    w.release()
    w.release()
    assert not has_array(path) and w.tolist() == [5] * 3
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


def test_views_share_one_memory_and_one_manager(smm: XSharedMemoryManager) -> None:
    x = smm.from_ndarray(np.arange(12.0).reshape(3, 4))
    stride_tricks = np.lib.stride_tricks
    for view in (
        x[1:],
        x[:, ::2].T,
        np.squeeze(x[None]),
        x.reshape(4, 3),
        stride_tricks.as_strided(x, (2,), (8,), subok=True),
        stride_tricks.sliding_window_view(x, 2, axis=1, subok=True),
    ):
        assert type(view) is xndarray and view.is_shared()
        assert view.shared_memory is x.shared_memory
        assert view.shared_memory_manager is smm
        received = pickle.loads(pickle.dumps(view))
        assert np.shares_memory(received, x) and (received == view).all()
    text = pickle.loads(pickle.dumps(x[1:]))
    assert text[1:].shared_memory_manager is text.shared_memory_manager


def test_the_memory_of_multiprocessing_is_accepted(smm: XSharedMemoryManager) -> None:
    memory = shared_memory.SharedMemory(create=True, size=80)
    try:
        x = xndarray(memory, smm, (10,), float, 0, None, scope=None)
        x[:] = np.arange(10)
        assert x.is_shared() and x[2:].shared_memory is memory
        received = pickle.loads(pickle.dumps(x[2:5]))
        assert received.tolist() == [2, 3, 4]
        received[0] = 9
        assert x[2] == 9
        del received
    finally:
        del x
        gc.collect()
        memory.close()
        memory.unlink()
    for name in ("psm_never", "/dev/shm/never"):
        with pytest.raises(FileNotFoundError):
            xndarray(name, smm, (1,), float, 0, None)


def test_the_scope_of_the_constructor_is_honoured(smm: XSharedMemoryManager) -> None:
    x = smm.empty(3, scope=None)
    name = x.shared_memory.name
    for scope, is_kept in ((None, True), ("remote", True), ("local", False)):
        attached = xndarray(name, smm, (3,), float, 0, None, scope)
        assert attached.scope == scope
        del attached
        assert os.path.exists(name) == is_kept


def test_a_manager_is_one_of_multiprocessing(smm: XSharedMemoryManager) -> None:
    assert isinstance(smm, SharedMemoryManager)
    items = smm.ShareableList([1, "two", 3.0])
    items[0] = 5
    other = shared_memory.ShareableList(name=items.shm.name)
    assert list(other) == [5, "two", 3.0]
    other.shm.close()
    x = smm.empty(3)
    assert set(smm._list_tracked_segments()) == {x.shared_memory.name, items.shm.name}
    assert pickle.loads(pickle.dumps(smm)).address == smm.address


def test_fields_of_times_are_shared(smm: XSharedMemoryManager) -> None:
    source = np.zeros(4, [("a", "i4"), ("t", "M8[m]"), ("m", "f4", (3, 2))])
    x = smm.from_ndarray(source)
    received = pickle.loads(pickle.dumps({name: x[name] for name in x.dtype.names}))
    x["t"][0] = np.datetime64("2024-02-29T00:01")
    x["m"][1] = 3
    assert received["t"][0] == np.datetime64("2024-02-29T00:01")
    assert (received["m"][1] == 3).all() and received["a"].is_shared()
