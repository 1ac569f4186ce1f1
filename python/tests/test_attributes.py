"""Attributes, names of arrays and axes, NumPy's types as attributes, xarray."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import ndshm


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
    assert a[0].to_xarray().dims == ("x",) and float(d.sel(time=1).sum()) == 12
    assert np.shares_memory(a.freeze(), a.to_xarray().values)


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


def test_a_change_of_attributes_is_refused(m: ndshm.Manager) -> None:
    """``a.attrs["unit"] = "m"`` changed a copy, and said nothing."""
    attrs = {"unit": "s", "nested": {"n": 1}, "list": [{"x": 1}]}
    a = m.zeros(3, attrs=attrs)
    changes = [
        lambda d: d.__setitem__("unit", "m"),
        lambda d: d.__delitem__("unit"),
        lambda d: d.update(unit="m"),
        lambda d: d.setdefault("unit", "m"),
        lambda d: d.pop("unit"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
        lambda d: d.__ior__({"unit": "m"}),
    ]
    ring = m.ring(3, 4, "f8", attrs=attrs)
    log = m.growing(3, "f8", 100, attrs=attrs)
    for change in changes:
        for found in (a.attrs, a.attrs["nested"], a.attrs["list"][0], ring.attrs, log.attrs):
            with pytest.raises(TypeError, match=r"fixed when it is created.*dict\(a.attrs\)"):
                change(found)
    assert a.attrs == ring.attrs == log.attrs == attrs
    # It is a dict to others, and its copies can be changed.
    assert json.loads(json.dumps(a.attrs)) == attrs and repr(a.attrs["nested"]) == "{'n': 1}"
    copies = [dict(a.attrs), a.attrs.copy(), a.attrs | {}, {**a.attrs}]
    copies += [copy.copy(a.attrs), copy.deepcopy(a.attrs), pickle.loads(pickle.dumps(a.attrs))]
    for changed in copies:
        assert type(changed) is dict
        changed["unit"] = "m"
        assert m.zeros(3, attrs=changed).attrs == attrs | {"unit": "m"}
    copies[-1]["nested"]["n"] = copies[-2]["nested"]["n"] = 2
