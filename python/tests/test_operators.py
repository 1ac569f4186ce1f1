"""Arrays compute as NumPy's: each case runs on an ndarray and on a shared array beside it."""

from __future__ import annotations

import bisect
import contextlib
import copy
import operator
import pathlib
import random
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_guards import is_free

import ndshm

FLOATS = np.arange(1.0, 13).reshape(3, 4)
INTEGERS = np.arange(1, 13, dtype="i4").reshape(3, 4)

OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    divmod,
    operator.lt,
    operator.le,
    operator.eq,
    operator.ne,
    operator.gt,
    operator.ge,
]
OF_INTEGERS = [operator.lshift, operator.rshift, operator.and_, operator.or_, operator.xor]


def same(found: Any, wanted: Any) -> None:
    """Fail unless two results have the same types, shapes and elements."""
    if isinstance(wanted, (tuple, list)):
        assert type(found) is type(wanted) and len(found) == len(wanted)
        for one, other in zip(found, wanted):
            same(one, other)
        return
    assert type(found) is type(wanted), (type(found), type(wanted))
    if isinstance(wanted, (np.ndarray, np.generic)):
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        assert np.array_equal(found, wanted, equal_nan=wanted.dtype.kind in "fc")
    else:
        assert found == wanted


@pytest.mark.parametrize("op", OPERATORS + OF_INTEGERS)
def test_an_operator_gives_what_numpy_gives(m: ndshm.Manager, op: Callable[..., Any]) -> None:
    for plain in [INTEGERS] if op in OF_INTEGERS else [FLOATS, INTEGERS]:
        a = m.array(plain)
        for other in (2, np.int64(2), plain, plain[0].copy(), [1, 2, 1, 2]):
            same(op(a, other), op(plain, other))
            same(op(other, a), op(other, plain))
        same(op(a, a), op(plain, plain))
        same(op(a, a[1]), op(plain, plain[1]))
        same(op(a[:, ::2], a[:, 1::2]), op(plain[:, ::2], plain[:, 1::2]))
        with a.read() as x:
            same(op(a, x), op(plain, plain))
            same(op(x, a), op(plain, plain))
        assert is_free(a)


IN_PLACE = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.ifloordiv,
    operator.imod,
    operator.ipow,
    operator.iand,
    operator.ior,
    operator.ixor,
    operator.ilshift,
    operator.irshift,
]


@pytest.mark.parametrize("op", IN_PLACE)
def test_an_operator_in_place_writes_in_place(m: ndshm.Manager, op: Callable[..., Any]) -> None:
    plain, a = INTEGERS.copy(), m.array(INTEGERS)
    before = a
    plain = op(plain, 2)
    a = op(a, 2)
    assert a is before
    part, view = plain[1:, ::2], a[1:, ::2]
    op(part, 3), op(view, 3)
    # Parts that overlap: one guard over both.
    with np.errstate(divide="ignore"):
        op(plain[:-1], plain[1:]), op(a[:-1], a[1:])
        op(plain, plain.T[:4, 0][:, None][:3]), op(a, a.T[:4, 0, None][:3])
    same(a.to_numpy(), plain)
    with pytest.raises(TypeError):
        a @= "text"
    assert a.poisoned() == [] and is_free(a)
    f = m.array(FLOATS)
    f /= 2
    f[0] /= 2
    same(f[0].to_numpy(), FLOATS[0] / 4)
    s = m.array(FLOATS[:, :3])
    s @= np.eye(3) * 2
    same(s.to_numpy(), FLOATS[:, :3] * 2)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "neg": operator.neg,
    "pos": operator.pos,
    "abs": abs,
    "matmul": lambda a: a @ a.T,
    "matmul, reflected": lambda a: FLOATS.T @ a,
    "in": lambda a: (3.0 in a, 99 in a),
    "mean": lambda a: (np.mean(a), a.mean(), a.mean(axis=0), np.mean(a, axis=1, keepdims=True)),
    "sum": lambda a: (a.sum(), np.sum(a, axis=0), a.sum(axis=(0, 1)), a.sum(dtype="f4")),
    "extremes": lambda a: (a.min(), a.max(axis=1), a.argmin(), a.argmax(axis=0), np.ptp(a)),
    "std": lambda a: (a.std(), a.var(axis=0), np.std(a, ddof=1)),
    "products": lambda a: (a.prod(), a.cumsum(), a.cumprod(axis=1), a.trace()),
    "norm": lambda a: (np.linalg.norm(a), np.linalg.norm(a, axis=0)),
    "decompositions": lambda a: tuple(np.linalg.svd(a)),
    "any": lambda a: (a.any(), a.all(), (a > 3).any(axis=0)),
    "astype": lambda a: (a.astype("f4"), a.astype("U8"), a.round(1), a.clip(2, 5)),
    "tolist": lambda a: (a.tolist(), a.tobytes(), a.item(3), a.item(1, 2), a.flatten("F")),
    "sorting": lambda a: (np.sort(a, axis=0), a.argsort(axis=0), np.unique(a), np.flip(a) + 0),
    "searching": lambda a: (a[0].searchsorted(3), np.where(a > 3, a, 0), a.nonzero()),
    "taking": lambda a: (a.take([1, 3]), a.repeat(2), np.compress([1, 0, 1], a, 0)),
    "joining": lambda a: (np.concatenate([a, a]), np.stack((a, a)), np.vstack([a[0], a])),
    "many": lambda a: np.concatenate([a] * 100),
    "einsum": lambda a: np.einsum("ij,ij->i", a, a),
    "dot": lambda a: (np.dot(a, a[0]), a.dot(a[0]), np.inner(a, a), np.outer(a[0], a[1])),
    "median": lambda a: (np.median(a), np.percentile(a, [10, 50]), np.quantile(a, 0.3, axis=0)),
    "fft": lambda a: np.fft.rfft(a),
    "reductions": lambda a: (
        np.add.reduce(a),
        np.maximum.accumulate(a),
        np.hypot.outer(a[0], a[1]),
    ),
    "histogram": lambda a: np.histogram(a, bins=3),
    "interp": lambda a: np.interp([1.5], a[0], a[1]),
    "out": lambda a: np.add(a, 1, out=np.zeros((3, 4))),
    "where": lambda a: np.add(a, 1, where=a > 3, out=np.zeros((3, 4))),
    "gradient": lambda a: np.gradient(a),
    "printing": lambda a: np.array2string(a),
    "shape": lambda a: (np.shape(a), np.ndim(a), np.size(a), len(a)),
    "like": lambda a: (np.zeros_like(a), np.full_like(a, 3), np.ones_like(a, dtype=int)),
    "types": lambda a: (np.result_type(a, 1.5), np.can_cast(a.dtype, "f8"), np.iscomplexobj(a)),
    "comparisons": lambda a: (np.array_equal(a, a), np.allclose(a, a + 1e-12)),
    "nan": lambda a: (np.nan_to_num(a), np.isnan(a), np.nanmax(a)),
    "iteration": lambda a: [v for row in a for v in row],
    "elements": lambda a: (a[0, 0], a[-1, -1], a[1][2], a[np.int8(1), 1], a[(1, 1)]),
    "floats": lambda a: (float(a[0, 0]), int(a[1, 1]), complex(a[0, 1]), f"{a[0, 0]:.3f}"),
    "dtypes": lambda a: np.copysign(a, -1, dtype="f8"),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("form", ["whole", "part", "frozen"])
def test_a_function_gives_what_numpy_gives(m: ndshm.Manager, kind: str, form: str) -> None:
    function, plain = FUNCTIONS[kind], FLOATS
    a = m.array(plain)
    if form == "part":
        a = m.zeros((5, 9))[1:4, 8:0:-2]
        a[...] = plain
    elif form == "frozen":
        a.freeze()
    before = a.to_numpy()
    same(function(a), function(plain.copy()))
    assert (a.to_numpy() == before).all()
    with a.read() as x:
        same(function(x), function(plain.copy()))
    assert a.frozen or is_free(a)


WRITERS: dict[str, Callable[[Any], Any]] = {
    "out": lambda a: np.add(a, 1, out=a),
    "out of a part": lambda a: np.add(a[0], a[1], out=a[1]),
    "out that overlaps": lambda a: np.add(a[:-1], a[1:], out=a[1:]),
    "sum": lambda a: np.sum(FLOATS, axis=0, out=a[0]),
    "sum by place": lambda a: np.sum(FLOATS, 0, None, a[0]),
    "method": lambda a: a[1:].sum(axis=0, out=a[0]),
    "copyto": lambda a: np.copyto(a, 3),
    "copyto by name": lambda a: np.copyto(dst=a, src=FLOATS[::-1]),
    "put": lambda a: np.put(a, [0, 5], [7, 8]),
    "place": lambda a: np.place(a, FLOATS > 3, [1, 2]),
    "putmask": lambda a: np.putmask(a, FLOATS > 3, 0),
    "diagonal": lambda a: np.fill_diagonal(a, 9),
    "along": lambda a: np.put_along_axis(a, np.array([[0], [1], [2]]), 5, 1),
    "at": lambda a: np.add.at(a, ([0, 0], [1, 1]), 1),
    "nan": lambda a: np.nan_to_num(a, False),
    "fill": lambda a: a.fill(4),
    "sort": lambda a: a[:, ::-1].sort(axis=1),
    "partition": lambda a: a[0, ::-1].partition(2),
    "method put": lambda a: a.put([1], [3]),
    "index": lambda a: a.__setitem__((slice(None), [0, 2]), 6),
    "element": lambda a: a.__setitem__((0, 0), 8),
    "swapped": lambda a: (a[0].__setitem__(slice(None), a[2]), None)[1],
    "concatenate": lambda a: np.concatenate([FLOATS[0, :2], FLOATS[1, :2]], out=a[2]),
    "clip": lambda a: np.clip(a, 2, 3, out=a),
    "einsum": lambda a: np.einsum("ij->j", FLOATS, out=a[0]),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_function_that_writes_writes_the_memory(m: ndshm.Manager, kind: str) -> None:
    plain, a, b = FLOATS.copy(), m.array(FLOATS), m.array(FLOATS)
    result, wanted = WRITERS[kind](a), WRITERS[kind](plain)
    same(a.to_numpy(), plain)
    assert (plain != FLOATS).any() or kind == "nan"
    if wanted is not None:
        assert isinstance(result, ndshm.Array)
        same(result.to_numpy(), wanted)
    with b.write() as x:
        WRITERS[kind](x)
    same(b.to_numpy(), plain)
    assert is_free(a) and is_free(b)
    b.freeze()
    with pytest.raises(ndshm.Frozen):
        WRITERS[kind](b)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "reshape": lambda a: np.reshape(a, (4, 3)),
    "ravel": np.ravel,
    "method ravel": lambda a: a.ravel(),
    "transpose": np.transpose,
    "moveaxis": lambda a: np.moveaxis(a, 0, 1),
    "squeeze": lambda a: np.squeeze(a[None]),
    "expand_dims": lambda a: np.expand_dims(a, 1),
    "flip": np.flip,
    "rot90": np.rot90,
    "atleast_3d": np.atleast_3d,
    "diagonal": lambda a: np.diagonal(a),
    "0-d": lambda a: a[1, 2, ...],
}


@pytest.mark.parametrize("kind", VIEWS)
def test_a_function_that_gives_a_view_shares(m: ndshm.Manager, kind: str) -> None:
    plain, a = FLOATS.copy(), m.array(FLOATS)
    view, wanted = VIEWS[kind](a), VIEWS[kind](plain)
    assert isinstance(view, ndshm.Array)
    same(view.to_numpy(), wanted.copy())
    view[...] = 5
    assert (a.to_numpy() == 5).any() and is_free(a)
    assert np.shares_memory(a, view) and not np.shares_memory(a[0], a[1])
    parts = np.split(a, 3)
    assert [type(part) for part in parts] == [ndshm.Array] * 3
    wide = np.broadcast_to(a, (2, 3, 4))
    assert isinstance(wide, ndshm.Array) and not wide.writable


def test_elements_are_copies_and_can_be_swapped(m: ndshm.Manager) -> None:
    a = m.array(np.arange(50))
    a[0], a[3] = a[3], a[0]
    assert a[:4].tolist() == [3, 1, 2, 0]
    a[1] += 10
    assert a[1] == 11 and type(a[1]) is np.int64
    random.shuffle(a)
    assert sorted(a) == sorted([3, 11, 2, 0, *range(4, 50)])
    record = m.zeros(2, [("x", "f8"), ("s", "S8")])
    one = record[0]
    record["x"] = 2
    assert one["x"] == 0 and record[0]["x"] == 2
    # To set a field of the copy would set nothing.
    with pytest.raises(ValueError, match="read-only"):
        record[0]["x"] = 3
    record["x"][0] = 3
    assert record[0]["x"] == 3


def test_copies(m: ndshm.Manager) -> None:
    a = m.array(FLOATS)
    view, deep = copy.copy(a), copy.deepcopy(a)
    a[0, 0] = 77
    assert view[0, 0] == 77 and deep[0, 0] == 1 and isinstance(deep, ndshm.Array)
    for lost in (np.asarray(a), np.asarray(a, dtype="f4")):
        with pytest.raises(ValueError, match="read-only"):
            lost[0, 0] = 1
    np.array(a)[0, 0] = 1
    np.array(a, dtype="f4")[0, 0] = 1


def test_text_for_people(m: ndshm.Manager) -> None:
    a = m.array(FLOATS, name="a<b")
    assert repr(a).startswith("ndshm.Array([[ 1.,  2.,") and "name='a<b'" in repr(a).replace(
        '"', "'"
    )
    assert "a&lt;b" in a._repr_html_() and "<pre>[[ 1.," in a._repr_html_()
    assert len(repr(m.zeros((1000, 1000)))) < 1000
    with a.write():
        assert "locked" in repr(a) and "locked" in a._repr_html_()
    with contextlib.suppress(ZeroDivisionError), a.write():
        raise ZeroDivisionError
    assert "poisoned" in repr(a)
    assert f"{m.full((), 1.5):.3f}" == "1.500" and f"{m.zeros(1)}" == str(np.zeros(1))
    assert str(m.array(FLOATS)) == str(FLOATS) and "%s" % m.full((), 2.5) == "2.5"
    with a.recover():
        assert "locked" in str(a)
    with pytest.raises(TypeError):
        f"{a:.3f}"


def test_a_call_may_take_arrays_of_the_same_memory(m: ndshm.Manager) -> None:
    """An index or a value that is a list waited for the guard of the assignment itself."""
    plain, a = np.arange(6), m.array(np.arange(6))
    for one in (plain, a):
        one[2:][one[:-2] % 4] = 9
        one[one > 8] = 7
        one[one[0:1]] += 1
    same(a.to_numpy(), plain)
    rows, shared = np.arange(6).reshape(2, 3), m.array(np.arange(6).reshape(2, 3))
    rows[:] = [rows[1].copy(), rows[0].copy()]
    shared[:] = [shared[1], shared[0]]
    same(shared.to_numpy(), rows)
    same(shared[shared[:, 0] % 2, shared[0, :2] % 3], rows[rows[:, 0] % 2, rows[0, :2] % 3])
    assert is_free(a) and is_free(shared)


def test_a_sequence_of_python_is_one_of_arrays_too(m: ndshm.Manager) -> None:
    plain, a = np.arange(5.0), m.array(np.arange(5.0))
    same(np.concatenate(a, None), np.concatenate(plain, None))  # type: ignore[call-overload]
    assert bisect.bisect(a, 2.5) == 3 and bytes(a) == bytes(plain)
    with pytest.raises(ValueError, match="delete"):
        del a[0]


def test_arrays_of_other_types_are_unequal(m: ndshm.Manager) -> None:
    for one, other in (([1, 2], ["a", "b"]), ([1.5, 2], [b"a", b"b"])):
        a, b = m.array(one), m.array(other)
        for op in (operator.eq, operator.ne):
            same(op(a, b), op(np.array(one), np.array(other)))
            same(op(b, a), op(np.array(other), np.array(one)))


def test_flat_is_set(m: ndshm.Manager) -> None:
    plain, a = FLOATS.T.copy(), m.zeros((4, 3))
    a.flat = FLOATS
    plain.flat = FLOATS
    same(a.to_numpy(), plain)
    a[1].flat = 5
    assert a[1].tolist() == [5, 5, 5] and is_free(a)


def test_real_and_imaginary_parts(m: ndshm.Manager, tmp_path: pathlib.Path) -> None:
    plain, a = np.array([1 + 2j, 3 - 1j]), m.array(np.array([1 + 2j, 3 - 1j]))
    same(a.real, plain.real)
    same(a.imag, plain.imag)
    for lost in (a.real, a.imag, m.zeros(2).imag):
        with pytest.raises(ValueError, match="read-only"):
            lost[0] = 1
    plain.real, a.real = 5, 5
    plain.imag = a.imag = a.imag + 1
    same(a.to_numpy(), plain)
    f = m.array(FLOATS)
    f.real[0] = 7
    f.real = f.real
    assert f[0, 0] == 7 and isinstance(f.real, ndshm.Array) and is_free(f)
    same(f.mT.to_numpy(), f.to_numpy().mT.copy())
    with pytest.raises(ValueError, match="two dim|ndim"):
        m.zeros(3).mT
    with pytest.raises(TypeError):
        f.imag = 1
    assert f.poisoned() == [] and is_free(f)
    f.tofile(tmp_path / "elements")
    assert (tmp_path / "elements").read_bytes() == f.tobytes() == bytes(f)


def test_what_an_array_lacks_names_the_way(m: ndshm.Manager) -> None:
    a = m.array(FLOATS)
    missing = [name for name in dir(np.ndarray) if name[0] != "_" and not hasattr(a, name)]
    assert {"flat", "resize", "byteswap"} <= {*missing}
    for name in missing:
        with pytest.raises(AttributeError, match=f"a.read.. as x` and x.{name}"):
            getattr(a, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        a.nonsense
    for use in (
        lambda: a.view("i8"),  # type: ignore[call-arg]
        lambda: a.view(type=np.ndarray),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match="x.view"):
            use()
    with pytest.raises(TypeError, match="order="):
        a.copy("F")  # type: ignore[arg-type]
    assert a.copy(order="F").order == "F"


def test_a_matrix_multiplies_as_a_matrix(m: ndshm.Manager) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        row = np.matrix([[1.0, 2, 3, 4]])
        for plain in (FLOATS, FLOATS.T):
            a = m.array(plain)
            for use in (lambda x: row * x, lambda x: x * row, lambda x: row.T * x):
                try:
                    wanted = use(plain)
                except ValueError:
                    with pytest.raises(ValueError, match="aligned"):
                        use(a)
                else:
                    same(use(a), wanted)


def test_what_has_more_than_elements_is_refused(m: ndshm.Manager) -> None:
    class Quantity(np.ndarray):
        unit = "m"

        def to_value(self, unit: str) -> np.ndarray:
            return np.asarray(self)

    a = m.zeros(3)
    masked = np.ma.array([1.0, 2, 3], mask=[0, 1, 0])
    for value in (masked, np.ones(3).view(Quantity)):
        for use in (
            lambda: a.__setitem__(slice(None), value),
            lambda: a.__iadd__(value),
            lambda: m.array(value),
        ):
            with pytest.raises(TypeError, match="would lose"):
                use()
    for use in (lambda: a + masked, lambda: np.add(a, masked, out=a)):
        with pytest.raises(TypeError, match="mask"):
            use()
    a[:] = np.ma.array([1.0, 2, 3])
    assert a.tolist() == [1, 2, 3] and m.array(np.ma.array([1.0])).tolist() == [1]


def test_calls_of_threads_in_opposite_orders_do_not_deadlock(m: ndshm.Manager) -> None:
    a, b = m.zeros(100), m.zeros(100)

    def work(one: ndshm.Array, other: ndshm.Array) -> None:
        for _ in range(300):
            np.add(one, 1, out=other)
            one += other

    threads = [threading.Thread(target=work, args=pair) for pair in ((a, b), (b, a))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert is_free(a) and is_free(b)


def test_a_step_in_place_is_atomic(m: ndshm.Manager) -> None:
    a = m.zeros(1000, "i8")

    def work() -> None:
        nonlocal a
        for _ in range(200):
            a += 1
            np.add.at(a, [0], 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert a[0] == 1600 and (a[1:].to_numpy() == 800).all()


def test_a_call_that_keeps_the_memory_is_told(m: ndshm.Manager) -> None:
    a, kept = m.zeros(3), []

    def keeps(x: np.ndarray) -> float:
        kept.append(x)
        return 0.0

    with pytest.raises(BufferError, match="keeps the memory"):
        np.apply_along_axis(keeps, 0, a)
    kept.clear()
    assert is_free(a)


def test_unhashable_as_an_ndarray(m: ndshm.Manager) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(m.zeros(3))
    with pytest.raises(TypeError, match="0-d"):
        iter(m.zeros(()))
    with pytest.raises(TypeError):
        range(m.zeros(3))  # type: ignore[arg-type]
    assert list(range(m.full((), 3))) == [0, 1, 2]  # type: ignore[arg-type]
    assert [*reversed(m.array([1, 2]))] == [2, 1]


def test_the_generators_of_numpy_take_arrays(m: ndshm.Manager) -> None:
    rng = np.random.default_rng(0)
    a = m.array(np.arange(50))
    assert sorted(rng.permutation(a)) == list(range(50)) and a[7] == 7
    assert rng.choice(a, 3).shape == (3,) and np.random.permutation(a).shape == (50,)
    with a.write() as x:
        rng.shuffle(x)
    assert sorted(a) == list(range(50)) and a.tolist() != list(range(50))
    b = m.zeros(5)
    with pytest.raises(ValueError, match="writable"):
        rng.random(out=b)  # type: ignore[call-overload]
    with b.write() as x:
        rng.random(out=x.view(np.ndarray))
    assert (b.to_numpy() > 0).all()


def test_what_needs_the_lock_says_so(m: ndshm.Manager) -> None:
    a = m.zeros(3)
    for name in ("flat", "ctypes", "data", "__array_interface__", "flags"):
        with pytest.raises(AttributeError, match="needs its lock"):
            getattr(a, name)
    with pytest.raises(AttributeError, match="no attribute 'typo'"):
        a.typo  # type: ignore[attr-defined]  # noqa: B018


def test_an_object_with_a_higher_priority_computes(m: ndshm.Manager) -> None:
    class Unit:
        __array_priority__ = 1000

        def __rmul__(self, other: Any) -> str:
            return "unit"

    class Disabled:
        __array_ufunc__ = None

        def __radd__(self, other: Any) -> str:
            return "disabled"

    a = m.zeros(3)
    assert a * Unit() == "unit" and a + Disabled() == "disabled"  # type: ignore[comparison-overlap]
    with pytest.raises(TypeError):
        a - Disabled()
