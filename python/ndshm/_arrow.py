"""Arrays as columns of Arrow: for pyarrow, polars, and what else takes its objects."""

from __future__ import annotations

from typing import Any

from ._ndshm import Array


def arrow_array(array: Array, type: Any = None) -> Any:  # noqa: A002
    """Return a pyarrow array with a copy of the elements: numbers, or structs of columns."""
    import pyarrow  # type: ignore[import-not-found, unused-ignore]

    if array.ndim == 1:
        return pyarrow.array(array.to_numpy(), type=type)
    if array.ndim != 2:
        raise ValueError(f"an Arrow array has one axis, or is a table of two, not {array.ndim}")
    columns = array.to_numpy("F").T
    names = [f"column_{at}" for at in range(len(columns))]
    return pyarrow.StructArray.from_arrays([pyarrow.array(one) for one in columns], names)


def arrow_c_array(array: Array, requested_schema: Any = None) -> Any:
    """Return the capsules of the Arrow PyCapsule interface."""
    return arrow_array(array).__arrow_c_array__(requested_schema)
