"""Conversion of arrays to xarray's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from . import _open
from ._errors import Error

if TYPE_CHECKING:
    import xarray

    from ._ndshm import Array


def to_xarray(array: Array, data: np.ndarray | None = None) -> xarray.DataArray:
    """Return a DataArray with the array's axis names and attributes.

    Its elements are ``data``, for example the ndarray of a guard; without ``data`` the memory of a
    frozen array, or a copy of any other. An axis of a view has the name of the axis that it is a
    part of, in any order. No axis of a view that was reshaped, and none of one element of which
    that cannot be told, has a name; nor has data of another shape than the array's.
    """
    import xarray

    data = np.asarray(array) if data is None else data
    names = _names(array) if data.shape == array.shape else [None] * data.ndim
    dims = [name if name is not None else f"dim_{axis}" for axis, name in enumerate(names)]
    return xarray.DataArray(data, dims=dims, attrs=array.attrs, name=array.name)


def _names(array: Array) -> list[str | None]:
    """Return the names of a view's axes. The array itself has those of the whole array."""
    none: list[str | None] = [None] * array.ndim
    if not array.axis_names or not array.is_view:
        return array.axis_names or none
    try:
        whole = _open.open(array.path)
    except (Error, OSError):
        # Released: nothing tells how its axes were laid out.
        return none
    if whole.id != array.id:
        return none
    axes = _axes(array, whole)
    return [None if axis is None else array.axis_names[axis] for axis in axes]


def _axes(view: Array, whole: Array) -> list[int | None]:
    """Return the axis of the whole array that each axis of a view is a part of."""
    # The strides alone do not tell a view that was reshaped: its rows may go over the end of one.
    place = re.match(r"[^/]*?:o=(\d+):", view.handle)
    rest = int(place[1]) if place else 0
    starts = [0] * whole.ndim
    for axis in sorted(range(whole.ndim), key=lambda axis: -whole.strides[axis]):
        if whole.shape[axis] > 1:
            starts[axis], rest = divmod(rest, whole.strides[axis])
    found: list[int | None] = []
    for stride, length in zip(view.strides, view.shape, strict=True):
        fitting = [
            axis
            for axis in range(whole.ndim)
            # The stride of an axis that has one element is anything.
            if length > 1
            and whole.shape[axis] > 1
            and stride % whole.strides[axis] == 0
            and 0 <= starts[axis] + stride // whole.strides[axis] * (length - 1) < whole.shape[axis]
        ]
        if length > 1 and (len(fitting) != 1 or fitting[0] in found):
            # It goes along several axes, so no other one is a part of one of these either.
            return [None] * view.ndim
        found.append(fitting[0] if fitting else None)
    left = set(range(whole.ndim)) - set(found)
    if view.ndim == whole.ndim and len(left) == 1 and view.shape[found.index(None)] <= 1:
        found[found.index(None)] = left.pop()
    return found
