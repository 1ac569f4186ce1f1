"""Making arrays, their attributes, views, indexing, copies."""

from __future__ import annotations

import itertools
import pathlib

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


def test_basic_indexing_gives_the_view_that_numpy_gives(m: ndshm.Manager) -> None:
    source = np.arange(120).reshape(4, 5, 6)
    a = m.array(source)
    part = [
        0,
        -1,
        2,
        slice(None),
        slice(1, 3),
        slice(None, None, -1),
        slice(3, 0, -2),
        slice(5, 2),
        slice(-100, 100, 3),
        None,
        ...,
    ]
    tried = 0
    for length in range(4):
        for index in itertools.product(part, repeat=length):
            if sum(p is ... for p in index) > 1:
                continue
            wanted, view = source[index], a[index]
            if isinstance(wanted, np.ndarray):
                assert isinstance(view, ndshm.Array) and view.shape == wanted.shape
                assert (view.to_numpy() == wanted).all()
            else:
                assert type(view) is type(wanted) and view == wanted
            tried += 1
    assert tried > 1000
    assert a[np.int64(1), np.array([1, 2])].tolist() == source[1, [1, 2]].tolist()
    assert (
        (a[np.int8(1)].to_numpy() == source[1]).all()
        and a[1, 2, 3].item() == 45
        and int(a[1, 2, 3]) == 45
        and float(a[0, 0, 1]) == 1.0
    )
    for index in [4, -5, (0, 5), (0, 0, 0, 0), (..., ...)]:
        with pytest.raises(IndexError):
            a[index]
    assert [row.shape for row in a] == [(5, 6)] * 4 and len(a) == 4


def test_fancy_indexing_gives_a_plain_ndarray_that_shares_nothing(m: ndshm.Manager) -> None:
    source = np.arange(12).reshape(3, 4)
    a = m.array(source)
    for index in [
        [0, 2],
        (slice(None), [1, 1]),
        source > 5,
        True,
        ([0, 1], [1, 2]),
        np.ix_([0, 1], [2, 3]),
    ]:
        taken = a[index]
        assert type(taken) is np.ndarray and (taken == source[index]).all()
        taken[...] = -1
    assert (a.to_numpy() == source).all()


def test_assignment_sets_the_same_elements_as_numpy(m: ndshm.Manager) -> None:
    source = np.arange(12.0).reshape(3, 4)
    a = m.array(source)
    for index, value in [
        (0, 7),
        ((slice(None), 1), [1, 2, 3]),
        ([0, 2], 5),
        (source > 9, 0),
        ((1, 2), 3.5),
        (..., source),
    ]:
        a[index] = value
        source_copy = np.array(source)
        source_copy[index] = value
        source = source_copy
        assert (a.to_numpy() == source).all()
    a[1:] = a[:-1]
    source[1:] = source[:-1].copy()
    assert (a.to_numpy() == source).all()
    with pytest.raises(ValueError):
        a[0] = [1, 2]
    assert a.poisoned() == []


def test_other_views_share_the_memory(m: ndshm.Manager) -> None:
    source = np.arange(24).reshape(2, 3, 4)
    a = m.array(source)
    views = [
        (a.T, source.T),
        (a.transpose(1, 0, 2), source.transpose(1, 0, 2)),
        (a.transpose((2, 0, 1)), source.transpose(2, 0, 1)),
        (a.swapaxes(0, 2), source.swapaxes(0, 2)),
        (a.reshape(6, 4), source.reshape(6, 4)),
        (a.reshape(-1), source.reshape(-1)),
        (a[None].squeeze(), source),
        (a.diagonal(0, 1, 2), source.diagonal(0, 1, 2)),
        (a.view(), source),
    ]
    for view, wanted in views:
        assert (view.to_numpy() == wanted).all() and view.id == a.id
    a[0, 0, 1] = 99
    assert a.T.to_numpy()[1, 0, 0] == 99 and a.is_view is False and a.T.is_view
    with pytest.raises(ValueError):
        a.T.reshape(-1)
    assert not a.read_only().writable
    with pytest.raises(ndshm.ReadOnly), a.read_only().write():
        pass


def test_record_arrays_have_fields(m: ndshm.Manager) -> None:
    dtype = np.dtype(
        [
            ("position", "f4", (3,)),
            ("charge", "f4"),
            ("inner", [("n", "i8"), ("m", "f4", (2, 2))]),
            ("rest", "u8"),
        ]
    )
    source = np.zeros((2, 2), dtype)
    source["position"] = np.arange(12).reshape(2, 2, 3)
    source["inner"]["n"] = 7
    a = m.array(source)
    assert (
        a.dtype == dtype
        and (a["position"].to_numpy() == source["position"]).all()
        and a["position"].shape == (2, 2, 3)
    )
    assert (a["inner"]["m"].shape, a["inner"]["n"].to_numpy().tolist()) == (
        (2, 2, 2, 2),
        [[7, 7], [7, 7]],
    )
    a["charge"] = 1.5
    with a.write() as x:
        x["position"][0, 0] = 9
    assert a["charge"].to_numpy().tolist() == [[1.5] * 2] * 2 and a["position"][0, 0, 2].item() == 9
    with pytest.raises(ndshm.Layout):
        a["nothing"]
    # A field whose stride is not a multiple of its size cannot be a view. A guard's ndarray has it.
    odd = m.zeros(3, [("c", "c16"), ("n", "u1")])
    with pytest.raises(ndshm.Layout, match="multiple"):
        odd["c"]
    with odd.write() as x:
        x["c"] = 1j
    padded = np.dtype(
        {"names": ["a", "b"], "formats": ["u1", "f8"], "offsets": [0, 8], "itemsize": 24}
    )
    assert m.zeros(3, padded).dtype == padded
    # Several fields are copied: a view would outlive the lock.
    assert a[["charge"]].base is None


def test_times_are_integers_with_an_attribute(m: ndshm.Manager) -> None:
    a = m.array(np.array(["2024-02-29", "NaT"], "M8[ns]"), name="t", attrs={"zone": "UTC"})
    assert (
        a.dtype == np.dtype("M8[ns]") and a.attrs == {"zone": "UTC"} and m.list()[0].dtype == "<i8"
    )
    assert str(m["t"][0]) == "2024-02-29T00:00:00.000000000"


def test_names_attributes_and_axis_names_are_read_back(m: ndshm.Manager) -> None:
    attrs = {
        "unit": "m",
        "n": 1,
        "x": 0.5,
        "list": [1, "two", None, True, b"\0"],
        "big": 2**64 - 1,
        "nested": {"a": -1},
        "np": np.float32(0.5),
    }
    a = m.zeros((2, 3), name="a", attrs=attrs, axis_names=["row", "column"])
    assert (
        m["a"].attrs == attrs
        and m["a"].axis_names == ["row", "column"]
        and a.name == "a"
        and m.zeros(1).name is None
    )
    for wrong in [{"f": object()}, {1: 2}]:
        with pytest.raises((TypeError, ValueError)):
            m.zeros(1, attrs=wrong)
    with pytest.raises(ndshm.Attrs):
        m.zeros(2, axis_names=["a", "b"])


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


def test_xarray_gets_names_and_attributes(m: ndshm.Manager) -> None:
    xarray = pytest.importorskip("xarray")
    a = m.array(
        np.arange(6.0).reshape(2, 3), name="speed", attrs={"unit": "m/s"}, axis_names=["time", "x"]
    )
    d = a.to_xarray()
    assert (
        isinstance(d, xarray.DataArray)
        and d.dims == ("time", "x")
        and d.attrs == {"unit": "m/s"}
        and d.name == "speed"
    )
    assert a[0].to_xarray().dims == ("dim_0",) and float(d.sel(time=1).sum()) == 12
    assert np.shares_memory(a.freeze(), a.to_xarray().values)


def test_stores_by_path_stay_and_ephemeral_ones_go(m: ndshm.Manager) -> None:
    import pathlib

    path = pathlib.Path(m.path).parent / "persistent"
    with ndshm.Manager(path) as p:
        p.array([1.0, 2.0], name="xs")
        assert not p.is_owner and "xs" in p and "ys" not in p and 3 not in p
    with ndshm.Manager(str(path)) as p:
        assert (
            p["xs"].to_numpy().tolist() == [1, 2]
            and [info.name for info in p.list()] == ["xs"]
            and p.list()[0].shape == (2,)
        )
        assert (
            p.open_or_zeros("xs", 2).to_numpy().tolist() == [1, 2]
            and p.open_or_zeros("new", (2, 2), "i4").dtype == np.int32
        )
        with pytest.raises(ndshm.Layout):
            p.open_or_zeros("xs", 3)
        with pytest.raises(ndshm.Dtype):
            p.open_or_zeros("xs", 2, "i8")
        for kind, shape in [("M8[us]", (2,)), ("(3,)f4", (2,)), ("u1,f8", (2, 2)), ("f4", ())]:
            made = p.open_or_zeros("other", shape, kind)
            again = p.open_or_zeros("other", shape, kind)
            assert again.id == made.id and again.dtype == np.dtype(kind).base, kind
            p.remove("other")
        p.open_or_zeros("other", 2, "M8[us]")
        with pytest.raises(ndshm.Dtype):
            p.open_or_zeros("other", 2, "i8")
        p.remove("other")
        assert p.usage().arrays == 2 and p.sweep().skipped == ()
        p.remove("new")
        with pytest.raises(KeyError):
            p["new"]
        with pytest.raises(FileExistsError):
            p.zeros(1, name="xs")
        with pytest.raises(ndshm.Name):
            p.zeros(1, name="../x")
        with pytest.raises(ndshm.AlreadyExists):
            ndshm.Manager(path, mode="x")
        p.close()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        ndshm.Manager(path, mode="r+")
    q = ndshm.Manager()
    a = q.zeros(1)
    q.leave()
    with pytest.raises(ndshm.Closed):
        q.zeros(1)
    assert "closed" in repr(q) and a.to_numpy().tolist() == [0]
    k = ndshm.Manager()
    kept = k.persist()
    k.leave()
    ndshm.Manager(kept, mode="r+").close()


def test_one_damaged_file_does_not_hide_the_others(m: ndshm.Manager) -> None:
    """One damaged file made ``list`` and ``usage`` fail for the whole store."""
    m.zeros(3, name="xs")
    bad = pathlib.Path(m.zeros(3, name="bad").path)
    with bad.open("r+b") as file:
        file.seek(68)
        file.write(b"\x07")
    assert [info.name for info in m.list()] == ["xs"] and m.usage().arrays == 1
    (error,) = m.damaged()
    assert isinstance(error, ndshm.Header) and str(bad) in str(error)
    assert "bad" in m and "xs" in m and "typo" not in m
    bad.unlink()
    assert m.damaged() == []


@pytest.mark.parametrize("wanted", [None, False, True])
def test_core_dumps_have_arrays_only_on_request(wanted: bool | None) -> None:
    with ndshm.Manager(core_dumps=wanted) as manager:
        array = manager.zeros(1000)
        flags = []
        is_of_array = False
        for line in pathlib.Path("/proc/self/smaps").read_text().splitlines():
            if "-" in line.split()[0]:
                is_of_array = line.endswith(array.path)
            elif is_of_array and line.startswith("VmFlags:"):
                flags.append("dd" in line.split())
        assert flags == [wanted is not True]
        array.release()


def test_a_cell_can_run_twice(m: ndshm.Manager) -> None:
    for _ in range(2):
        made = [
            m.zeros((2, 3), name="z", exist_ok=True),
            m.ones(3, name="o", exist_ok=True),
            m.array([1, 2], name="a", exist_ok=True),
            m.zeros(2, [("x", "f8")], name="s", exist_ok=True),
            m.zeros(2, "(3,)f4", name="p", exist_ok=True),
        ]
        assert [a.shape for a in made] == [(2, 3), (3,), (2,), (2,), (2, 3)]
        made[0][:] = 5
    assert (m["z"].to_numpy() == 5).all() and list(m) == ["z", "o", "a", "s", "p"]
    assert m.zeros((2, 3), name="z", exist_ok=True)[0, 0] == 5
    with pytest.raises(ndshm.Layout):
        m.zeros((3, 2), name="z", exist_ok=True)
    with pytest.raises(ndshm.Dtype):
        m.zeros((2, 3), "f4", name="z", exist_ok=True)
    with pytest.raises(ndshm.AlreadyExists):
        m.zeros((2, 3), name="z", exist_ok=False)


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


def test_attributes_that_are_nested_without_an_end_are_refused(m: ndshm.Manager) -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    deep: object = 1
    for _ in range(17):
        deep = [deep]
    assert m.zeros(1, attrs={"deep": deep}).attrs == {"deep": deep}
    assert m.zeros(1, attrs={"deep": deep}, name="deep").attrs == m["deep"].attrs

    class Item:
        def item(self) -> Item:
            return self

    for value in (cycle, {"x": cycle}, [[deep]], [[[[deep]]]], Item()):
        with pytest.raises(ValueError, match="nested"):
            m.zeros(1, attrs={"x": value})
