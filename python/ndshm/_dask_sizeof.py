"""The sizes of arrays for Dask's scheduler, which Dask finds by an entry point of this package."""

from __future__ import annotations

from typing import Any


def register(sizeof: Any) -> None:
    """Register the sizes with ``dask.sizeof.sizeof``. Nothing of Dask is imported."""
    from ._ndshm import Array, GrowingArray
    from ._travel import RemoteArray

    # A reference to an array elsewhere is as small as it looks until its elements are fetched, and
    # then the machine has them once.
    sizeof.register(Array, lambda array: int(array.nbytes))
    sizeof.register(RemoteArray, lambda array: int(array.nbytes))

    @sizeof.register(GrowingArray)  # type: ignore[untyped-decorator, unused-ignore]
    def of_growing(log: GrowingArray) -> int:
        elements = 1
        for length in log.shape:
            elements *= length
        return elements * log.dtype.itemsize
