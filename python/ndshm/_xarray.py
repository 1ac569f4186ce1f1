"""Arrays as those of xarray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray

    from ._ndshm import Array


def to_xarray(array: Array, data: np.ndarray | None = None) -> xarray.DataArray:
    """A DataArray with the array's names of axes and attributes.

    Its elements are ``data``, the ndarray of a guard say; without it those of a frozen array, or else a private copy. The names fit the whole array: a
    view of another number of axes gets none.
    """
    import xarray

    data = np.asarray(array) if data is None else data
    names = array.axis_names if len(array.axis_names) == data.ndim else [None] * data.ndim
    dims = [name if name is not None else f"dim_{axis}" for axis, name in enumerate(names)]
    return xarray.DataArray(data, dims=dims, attrs=array.attrs, name=array.name)
