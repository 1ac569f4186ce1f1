"""Making arrays: types, orders, shapes, copies, frozen ones, scopes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

import ndshm

DTYPES = [
    "?",
    "u1",
    "i1",
    "u2",
    "i2",
    "u4",
    "i4",
    "u8",
    "i8",
    "f2",
    "f4",
    "f8",
    "c8",
    "c16",
    "V5",
    ml_dtypes.bfloat16,
    "M8[ns]",
    "m8[us]",
]
SHAPES = [(), (5,), (2, 3), (2, 3, 4), (2, 0, 3), (1, 1), (2,) * 8]


def sample(shape: tuple[int, ...], dtype: object, order: str = "C") -> np.ndarray:
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    if dtype.kind == "V" and dtype != ml_dtypes.bfloat16:
        return np.frombuffer(bytes(k % 251 for k in range(count * dtype.itemsize)), dtype).reshape(
            shape, order=order
        )
    return np.asarray(np.arange(count).reshape(shape), order=order).astype(dtype, order=order)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_order_and_rank_comes_back_as_it_was_made(
    m: ndshm.Manager, dtype: object
) -> None:
    for shape, order in itertools.product(SHAPES, "CF"):
        source = sample(shape, dtype, order)
        a = m.array(source)
        assert (a.dtype, a.shape, a.ndim, a.size, a.nbytes, a.itemsize) == (
            source.dtype,
            source.shape,
            source.ndim,
            source.size,
            source.nbytes,
            source.itemsize,
        )
        assert a.strides == source.strides or source.size == 0
        with a.read() as x:
            assert isinstance(x, np.ndarray) and x.dtype == source.dtype
            assert not x.flags.writeable
            assert x.tobytes() == source.tobytes()
        del x
        copy = np.array(a)
        assert copy.dtype == source.dtype and copy.tobytes() == source.tobytes()
        opened = ndshm.open(a.handle)
        assert (opened.dtype, opened.shape, opened.strides) == (a.dtype, a.shape, a.strides)


def test_arrays_are_created_as_numpy_creates_them(m: ndshm.Manager) -> None:
    assert m.zeros(3).to_numpy().tolist() == [0.0] * 3 and m.zeros(3).dtype == float
    assert m.ones((2, 2), "i4").to_numpy().tolist() == [[1, 1], [1, 1]]
    assert m.empty((2, 2), order="F").strides == (8, 16)
    assert m.full((2,), 7).dtype == np.int64 and m.full(2, 2.5, "f4").to_numpy().tolist() == [
        2.5,
        2.5,
    ]
    assert (
        m.full((), np.datetime64("2024-01-01", "D")).item()
        == np.datetime64("2024-01-01", "D").item()
    )
    assert m.array([[1, 2], [3, 4]]).to_numpy().tolist() == [[1, 2], [3, 4]]
    assert m.array(np.arange(3, dtype=">i4")).to_numpy().tolist() == [0, 1, 2]
    assert m.array(np.arange(12).reshape(3, 4)[::2, ::-1]).to_numpy().tolist() == [
        [3, 2, 1, 0],
        [11, 10, 9, 8],
    ]
    assert m.from_ndarray(np.ones((2, 3), order="F")).order == "F"
    for wrong in ["O", "T", [("a", "i4"), ("b", "O")]]:
        with pytest.raises(TypeError):
            m.zeros(3, wrong)
    with pytest.raises(ValueError):
        m.zeros(-1)
    with pytest.raises(ndshm.NoSpace):
        m.zeros(1 << 50, "u1")
    with pytest.raises(TypeError):
        m.zeros(3, colour="red")


@pytest.mark.parametrize("order", ["C", "F"])
def test_zeros_are_zeros_where_an_array_was_before(m: ndshm.Manager, order: str) -> None:
    """``zeros`` showed the elements of the array that had the file before."""
    makers: list[Callable[[], ndshm.Array]] = [
        lambda: m.zeros((3, 4), order=order),
        lambda: m.full((3, 4), 0.0, order=order),
        lambda: m.array(np.zeros((3, 4)), order=order),
        lambda: m.open_or_zeros("zeros", (3, 4), order=order),
    ]
    used = 0
    for make in makers:
        former = m.full((3, 4), 7.0)
        path = former.path
        former.release()
        del former
        a = make()
        used += a.path == path
        assert not a.to_numpy().any() and a.order == order
        a.release()
    assert used, "no file was used again"
    m.full((3, 4), 7.0).release()
    assert m.empty((3, 4), order=order).shape == (3, 4)


def test_copies_are_private_or_new(m: ndshm.Manager) -> None:
    a = m.array(np.arange(4.0))
    private, shared = a.to_numpy(), a.copy(name="b")
    a[:] = 0
    assert (
        private.tolist() == shared.to_numpy().tolist() == [0, 1, 2, 3]
        and shared.id != a.id
        and m["b"].id == shared.id
    )
    assert np.asarray(a).base is None and np.asarray(a, "f4").dtype == np.float32
    with pytest.raises(ValueError, match="lock"):
        np.array(a, copy=False)


def test_frozen_arrays_are_ndarrays_without_a_guard(m: ndshm.Manager) -> None:
    a = m.array(np.arange(6.0).reshape(2, 3))
    with pytest.raises(BufferError, match="lock"):
        memoryview(a)
    with pytest.raises(BufferError, match="lock"):
        np.from_dlpack(a)
    x = a.freeze()
    assert a.frozen and not a.writable and x.sum() == 15 and not x.flags.writeable
    with pytest.raises(ValueError):
        x.flags.writeable = True
    with pytest.raises(ndshm.Frozen), a.write():
        pass
    assert (
        np.shares_memory(np.asarray(a), x)
        and np.shares_memory(np.from_dlpack(a), x)
        and not np.from_dlpack(a).flags.writeable
    )
    assert (
        memoryview(a).readonly and memoryview(a).shape == (2, 3) and bytes(a[0]) == x[0].tobytes()
    )
    with pytest.raises(BufferError, match="version"):
        a.__dlpack__()
    assert not np.shares_memory(np.from_dlpack(a, copy=True), x)
    del a
    assert x.sum() == 15
    handle = m.array([1.0]).handle
    del x, handle


def test_unlocked_is_the_memory_itself(m: ndshm.Manager) -> None:
    a = m.zeros(3)
    x = a.unlocked()
    x[1] = 5
    assert (
        a.to_numpy().tolist() == [0, 5, 0]
        and x.flags.writeable
        and not a.read_only().unlocked().flags.writeable
    )
    # The ndarray keeps the array's memory, and the file of a local array.
    handle = a.handle
    del a
    assert ndshm.open(handle)[1].item() == 5
    del x
    with pytest.raises(ndshm.Released):
        ndshm.open(handle)


def test_the_scope_decides_when_an_array_is_deleted(m: ndshm.Manager) -> None:
    local, store = m.zeros(1), m.zeros(1, scope=None)
    assert (
        local.scope,
        store.scope,
        m.zeros(1, name="n").scope,
        m.zeros(1, scope="remote").scope,
    ) == ("local", None, None, "remote")
    handles = local.handle, store.handle
    del local, store
    with pytest.raises(FileNotFoundError):
        ndshm.open(handles[0])
    assert ndshm.open(handles[1]).scope is None
    a = m.zeros(1)
    a.scope = None
    handle = a.handle
    del a
    a = ndshm.open(handle)
    a.release()
    with pytest.raises(ndshm.Released):
        ndshm.open(handle)
    with pytest.raises(ValueError):
        a.scope = "global"
    with pytest.raises(ValueError):
        m.zeros(1, scope="global")


def test_bad_shapes_are_type_errors(m: ndshm.Manager) -> None:
    for shape in (None, 1.5, "3", [None], (2, "x")):
        with pytest.raises(TypeError, match="integer"):
            m.zeros(shape)  # type: ignore[arg-type]
    a = m.zeros((2, 3))
    assert a.reshape(3, 2, order="C").shape == a.reshape((3, 2)).shape == (3, 2)
    with pytest.raises(ValueError, match="copy"):
        a.reshape((3, 2), order="F")
    assert m.zeros((2, 3), order="F").reshape((3, 2), order="F").order == "F"
    for shape in ((4, 2), (-1, 4)):
        with pytest.raises(ValueError, match="cannot reshape"):
            a.reshape(shape)
