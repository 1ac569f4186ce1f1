"""Conversion of arrays to xarray's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

    from ._ndshm import Array


def to_xarray(array: Array, data: np.ndarray | None = None) -> xarray.DataArray:
    """Return a DataArray with the array's axis names and attributes.

    Its elements are ``data``, for example the ndarray of a guard; without ``data`` the memory of a
    frozen array, or a copy of any other. The names belong to the axes of the whole array: a view
    with another number of axes gets none.
    """
    import xarray

    data = np.asarray(array) if data is None else data
    names = array.axis_names if len(array.axis_names) == data.ndim else [None] * data.ndim
    dims = [name if name is not None else f"dim_{axis}" for axis, name in enumerate(names)]
    return xarray.DataArray(data, dims=dims, attrs=array.attrs, name=array.name)
