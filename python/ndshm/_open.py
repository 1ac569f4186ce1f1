"""Functions that open arrays without a manager: by a handle or a path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from . import _ndshm

if TYPE_CHECKING:
    from ._ndshm import Array, GrowingArray, MappedArray, Ring


def open(what: str | os.PathLike[str]) -> Array:
    """Open the array or view that a handle's text names, or the array in the file at a path."""
    text = os.fspath(what)
    is_handle = text.startswith("ndshm") and ":" in text
    return _ndshm.open(text) if is_handle else _ndshm.open_path(text)


def open_ring(what: str | os.PathLike[str]) -> Ring:
    """Open the ring that a handle's text names, or the ring in the file at a path."""
    text = os.fspath(what)
    is_handle = text.startswith("ndshm") and ":" in text
    return _ndshm.open_ring(text) if is_handle else _ndshm.open_ring_path(text)


def open_growing(what: str | os.PathLike[str]) -> GrowingArray:
    """Open the array that grows that a handle's text names, or the one in the file at a path."""
    text = os.fspath(what)
    is_handle = text.startswith("ndshm") and ":" in text
    return _ndshm.open_growing(text) if is_handle else _ndshm.open_growing_path(text)


def open_frozen(handle: str, timeout: float | None = None) -> MappedArray:
    """Return a read-only ndarray of the array or view that a handle names, once it is frozen.

    Waits for the producer at most ``timeout`` seconds, or without a limit for ``None``.

    Raises :class:`Abandoned` if the producer ended before it froze the array, and
    :class:`Released` if the array is gone, both at once.
    """
    _ndshm.wait_frozen(handle, timeout)
    return _ndshm.open(handle).freeze()
