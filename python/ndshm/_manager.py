"""Stores of shared arrays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Sequence

import numpy as np

from . import _ndshm
from ._errors import AlreadyExists, Layout, NotFound

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from ._ndshm import Array

_FLOAT = np.dtype(float)


@dataclass(frozen=True)
class ArrayInfo:
    """What an array file says of itself. ``dtype`` is the text that stands in the file, ``created`` is in seconds since 1970."""

    name: str | None
    id: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    order: str
    nbytes: int
    created: float
    pid: int
    software: str


@dataclass(frozen=True)
class Usage:
    """How much a store holds, and what is left on its file system. Bytes."""

    arrays: int
    nbytes: int
    allocated: int
    kept: int
    available: int


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted, and what it could not, with the reasons."""

    stores: int
    arrays: int
    nbytes: int
    skipped: tuple[str, ...]


class Manager(_ndshm.Manager):
    """A store of shared arrays: a directory on tmpfs, or wherever ``path`` says.

    ``Manager()`` makes an ephemeral store, which is deleted with all its arrays when the block of ``with`` ends, or the manager goes.
    ``Manager(path)`` opens the persistent store at that path, or makes it: it stays until :meth:`close`.

    All verbs that make an array take ``name`` (to open it by), ``scope``, ``attrs`` (a dictionary of numbers, texts, bytes, lists and dictionaries) and
    ``axis_names``. The scope says who deletes the array: ``'local'``, the default, the process that made it, with its last reference to it;
    ``'remote'`` whoever opens or unpickles it first; ``None``, the default of arrays with a name, the end of the store, or :meth:`Array.release`.

    Other arguments: ``root``, the directory of ephemeral stores instead of ``NDSHM_ROOT`` or ``/dev/shm/ndshm-<uid>``; ``persistent``;
    ``any_file_system``, to allow others than tmpfs; ``lock_timeout`` in seconds, for guards without one of their own; ``huge_pages`` (``'auto'``,
    ``'never'``, ``'require'``); ``prefault``; ``recycle`` and ``cache``, bytes that are kept for new arrays and of arrays that may be opened again;
    ``janitor``, to give an ephemeral store a small process that deletes it when its last process is gone, even after ``kill -9``;
    ``mode``, ``'a'`` to open or create, ``'x'`` to create, ``'r+'`` to open.

    A manager is pickled as the name of its store: who unpickles it is a member, and deletes nothing.
    """

    __slots__ = ()

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.leave()

    def zeros(self, shape: int | Sequence[int], dtype: DTypeLike = _FLOAT, order: str = "C", **labels: Any) -> Array:
        """A new array of zeros. Raises :class:`NoSpace` where it does not fit, and leaves nothing then."""
        return self._make(shape, dtype if type(dtype) is np.dtype else np.dtype(dtype), order, **labels)

    empty = zeros

    def ones(self, shape: int | Sequence[int], dtype: DTypeLike = _FLOAT, order: str = "C", **labels: Any) -> Array:
        """A new array of ones."""
        return self.full(shape, 1, dtype, order, **labels)

    def full(self, shape: int | Sequence[int], fill_value: Any, dtype: DTypeLike | None = None, order: str = "C", **labels: Any) -> Array:
        """A new array of one value; its type is that of the value, if none is given."""
        element = np.asarray(fill_value, None if dtype is None else np.dtype(dtype))
        if element.ndim:
            raise ValueError("the value must be one element: use array() for an array of several")
        return self._make(shape, element.dtype, order, element=element.tobytes(), **labels)

    def array(self, source: ArrayLike, dtype: DTypeLike | None = None, order: str = "K", **labels: Any) -> Array:
        """A new array with a copy of what ``numpy.asarray`` makes of ``source``: of an ndarray, a shared array, a list, a number, ...

        ``order='K'`` keeps that of a contiguous source, any other becomes C.
        """
        source = np.asarray(source, dtype)
        if not source.dtype.isnative:
            source = source.astype(source.dtype.newbyteorder("="))
        wanted: Literal["C", "F"] = "F" if order == "F" or order in ("K", "A") and source.flags.fnc else "C"
        return self._copy(np.asarray(source, order=wanted), wanted, **labels)

    def from_ndarray(self, source: np.ndarray, **labels: Any) -> Array:
        """A new array with a copy of an ndarray, in its order."""
        return self.array(source, **labels)

    def open_or_zeros(self, name: str, shape: int | Sequence[int], dtype: DTypeLike = _FLOAT, order: str = "C", **labels: Any) -> Array:
        """The array with this name, or a new one of zeros; whoever comes first makes it.

        Raises :class:`Layout` where there is one of another shape or type.
        """
        dtype = np.dtype(dtype)
        wanted = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)
        while True:
            try:
                found = self.open(name)
            except NotFound:
                pass
            else:
                if found.shape != wanted + dtype.shape or found.dtype != dtype.base:
                    raise Layout(f"{name} has shape {found.shape} and type {found.dtype}, not {wanted} and {dtype}")
                return found
            try:
                return self.zeros(shape, dtype, order, name=name, **labels)
            except AlreadyExists:
                continue

    def list(self) -> list[ArrayInfo]:
        """What is in the store, oldest first."""
        return [ArrayInfo(**info) for info in self._list()]

    def usage(self) -> Usage:
        """How much the store holds, and what is left."""
        return Usage(**self._usage())

    def sweep(self) -> Swept:
        """Deletes what the dead left, in this store and of ephemeral stores beside it."""
        swept = self._sweep()
        return Swept(**{**swept, "skipped": tuple(swept["skipped"])})

    def __repr__(self) -> str:
        state = "closed" if self.closed else "owner" if self.is_owner else "member"
        return f"<ndshm.Manager: {self.path} ({state})>"


def unpickle_manager(text: str) -> Manager:
    """The manager that was pickled, as a member."""
    return Manager(_pickled=text)


def open(what: str | os.PathLike[str]) -> Array:
    """The array or view that the text of a handle names, or the array in the file at a path."""
    text = os.fspath(what)
    return _ndshm.open(text) if text.startswith("ndshm") and ":" in text else _ndshm.open_path(text)


def open_frozen(handle: str, timeout: float | None = None) -> np.ndarray:
    """A read-only ndarray of what a handle names, as soon as its producer has frozen it: ``timeout`` seconds at most, ``None`` for no limit.

    Raises :class:`Abandoned` where the producer ended before, and :class:`Released` where the array is gone, both at once.
    """
    if timeout is None:
        timeout = float("inf")
    _ndshm.wait_frozen(handle, min(timeout, 1e9))
    return _ndshm.open(handle).freeze()
