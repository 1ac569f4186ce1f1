"""Stores as xarray's datasets: its backend ``engine="ndshm"``, and :meth:`ndshm.Manager.to_xarray`.

xarray finds the backend by an entry point of this package, and nothing else imports this module.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
from xarray import Dataset, Variable
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from . import _manager
from ._errors import Error, NotFound, ReadOnly, Released
from ._ndshm import Array, GrowingArray


class _Elements(BackendArray):
    """An array that is read when its elements are needed: a slice at a time, under its lock."""

    def __init__(self, array: Array | GrowingArray) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Any:
        if isinstance(self.array, GrowingArray):
            return self.array[: self.shape[0]][key]
        # Also for an index that names one element: a view without axes.
        view = self.array[(*key, ...)]
        return view.freeze() if view.frozen else view.to_numpy()

    def __dask_tokenize__(self) -> Any:
        return self.array[:] if isinstance(self.array, GrowingArray) else self.array


def dataset(
    manager: _manager.Manager, drop: Iterable[str] = (), source: str | None = None
) -> Dataset:
    """Return the named arrays of a store as a dataset of variables that are read when needed.

    The axis names of an array are its dimensions. Where two arrays have one name for axes of
    different lengths, that of the later array has the array's name behind it: ``time_b``. Axes
    without a name are ``dim_0_b``. Rings are left out, and of a growing array the rows that are
    there now are taken. On a file system that is mounted read-only, arrays that are not frozen are
    left out with a warning.
    """
    lengths: dict[str, int] = {}
    variables: dict[str, Variable] = {}
    for info in manager.list():
        if info.name is None or info.kind == "ring" or info.name in drop:
            continue
        try:
            found: Any
            if info.kind == "growing array":
                found = manager.open_growing(info.name)
            else:
                found = manager.open(info.name)
        except (NotFound, Released):
            # Deleted meanwhile.
            continue
        except ReadOnly as error:
            warnings.warn(f"{info.name} is left out of the dataset: {error}", stacklevel=3)
            continue
        elements = _Elements(found)
        names: list[str | None] = found.axis_names or [None] * len(elements.shape)
        dims = _dimensions(info.name, names, elements.shape, lengths)
        data = indexing.LazilyIndexedArray(elements)
        variables[info.name] = Variable(dims, data, dict(found.attrs))
    made = Dataset(variables)
    made.encoding["source"] = source or manager.path
    return made


def _dimensions(
    name: str, names: list[str | None], shape: tuple[int, ...], lengths: dict[str, int]
) -> list[str]:
    """Return names for the axes of an array, each of one length in the dataset."""
    dims: list[str] = []
    for axis, (wanted, length) in enumerate(zip(names, shape, strict=True)):
        dim = wanted if wanted is not None else f"dim_{axis}_{name}"
        # xarray takes a variable with the name of its dimension for the coordinates of that.
        is_taken = dim in dims or (dim == name and len(shape) != 1)
        if is_taken or lengths.get(dim, length) != length:
            dim = f"{dim}_{name}"
        while dim in dims or lengths.get(dim, length) != length:
            dim += "_"
        lengths[dim] = length
        dims.append(dim)
    return dims


class Backend(BackendEntrypoint):
    """Opens the store at a path as a dataset."""

    description = "Open the arrays of an ndshm store, which other processes may write meanwhile"
    url = "https://docs.xarray.dev/en/stable/internals/how-to-add-new-backend.html"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables")

    def open_dataset(  # type: ignore[override, unused-ignore]
        self,
        filename_or_obj: str | os.PathLike[str],
        *,
        drop_variables: str | Iterable[str] | None = None,
    ) -> Dataset:
        """Return a dataset of the store at this path: see :meth:`ndshm.Manager.to_xarray`."""
        drop = [drop_variables] if isinstance(drop_variables, str) else drop_variables
        path = os.path.expanduser(os.fspath(filename_or_obj))
        found = _manager.Manager(path, mode="r+")
        made = dataset(found, drop or (), path)
        if not all(_is_fixed(variable) for variable in made.variables.values()):
            # xarray names the chunks of Dask by the path and its time. Elements that may have
            # changed need another name, or Dask takes its earlier results. The directory may be
            # another user's, or mounted read-only: then only that is lost.
            with contextlib.suppress(OSError):
                os.utime(path)
        return made

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return whether this is the directory of a store."""
        try:
            path = os.path.expanduser(os.fspath(filename_or_obj))
        except TypeError:
            return False
        if not os.path.isfile(os.path.join(path, ".lock")):
            return False
        try:
            _manager.Manager(path, mode="r+")
        except (Error, OSError):
            return False
        return True


def _is_fixed(variable: Variable) -> bool:
    data = variable._data
    if not isinstance(data, indexing.LazilyIndexedArray):
        return isinstance(data, np.ndarray)
    elements: Any = data.array
    if not isinstance(elements, _Elements):
        return False
    array = elements.array
    return array.is_frozen if isinstance(array, GrowingArray) else array.frozen
