"""The compiled part: arrays, guards, and what the class of managers stands on."""

import os
from types import TracebackType
from typing import Any, Literal, Mapping, Sequence, SupportsIndex

import numpy as np
import xarray

from ._manager import Manager as _Manager

Scope = Literal["local", "remote"] | None

class Guard:
    """A lock on the elements of an array or view, as a context manager.

    ``with a.read() as x`` gives them as a zero-copy ndarray of the array's shape, read-only; ``with a.write() as x`` as one that can be written. The lock is
    held until the block ends. Then ``x`` is emptied: all its axes get the length 0 (one without axes shows a private zero).

    Views of ``x``, memoryviews, iterators and capsules of it must be gone by then, and it may have no other references than variables: else
    ``BufferError`` is raised, they stay usable, and the lock is kept until the last of them is gone.

    An exception that ends a block that writes leaves the elements *poisoned*, as the death of the process does: see :meth:`Array.recover`.
    """

    def __enter__(self) -> np.ndarray: ...
    def __exit__(
        self, kind: type[BaseException] | None = None, value: BaseException | None = None, traceback: TracebackType | None = None
    ) -> Literal[False]: ...

class Keeper:
    """The base of ndarrays without a lock: it keeps their memory."""

    @property
    def array(self) -> Array:
        """The array whose memory it is."""
    @property
    def address(self) -> int:
        """Where the memory begins."""

class Array:
    """A typed n-dimensional array, or a view of one, in memory that many processes share.

    It has NumPy's attributes. Its elements are reached through guards (:meth:`read`, :meth:`write`), as copies (:meth:`to_numpy`,
    ``numpy.asarray``), or by indexing. Basic indexing (integers, slices, ``...``, ``None``, the name of a field) gives a view of the same memory, any
    other a plain ndarray, copied under the lock. Assigning to an index locks what it names.

    Pickling gives a reference of less than 300 bytes.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
    @property
    def strides(self) -> tuple[int, ...]:
        """In bytes."""
    @property
    def ndim(self) -> int:
        """How many axes there are."""
    @property
    def size(self) -> int:
        """How many elements there are."""
    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, NumPy's."""
    @property
    def order(self) -> Literal["C", "F"] | None:
        """The order in which the elements lie in memory; ``None`` where they are not contiguous."""
    @property
    def name(self) -> str | None:
        """The name in the store, if one was chosen."""
    @property
    def id(self) -> str:
        """The array's identity: one for all its views, in all processes."""
    @property
    def path(self) -> str:
        """The array's file."""
    @property
    def handle(self) -> str:
        """One line of text that names this array or view for any process of the same user, in whatever language: see :func:`ndshm.open`."""
    @property
    def scope(self) -> Scope:
        """Who deletes the array, as this process holds it: ``'local'``, ``'remote'``, or ``None``."""
    @scope.setter
    def scope(self, scope: Scope) -> None: ...
    @property
    def writable(self) -> bool:
        """Whether this process may write the elements."""
    @property
    def is_view(self) -> bool:
        """Whether this is less than the whole array, or lies otherwise."""
    @property
    def frozen(self) -> bool:
        """Whether nobody will ever write the array again."""
    @property
    def attrs(self) -> dict[str, Any]:
        """What was said of the array when it was made: a new dict each time."""
    @property
    def axis_names(self) -> list[str | None]:
        """Of the whole array's axes: one for each, or none at all."""
    @property
    def manager(self) -> _Manager:
        """A manager of the array's store, as a member."""
    @property
    def T(self) -> Array:
        """The view with its axes in the opposite order."""
    def transpose(self, *axes: Any) -> Array:
        """A view with its axes in another order, as NumPy's."""
    def swapaxes(self, axis1: int, axis2: int) -> Array:
        """A view in which two axes have changed places."""
    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Array:
        """A view without the axes of length 1, or without these."""
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
        """A view of a diagonal of two axes, which becomes the last axis."""
    def reshape(self, *shape: Any) -> Array:
        """The same memory in another shape. Raises ``ValueError`` where that needs a copy."""
    def view(self) -> Array:
        """The same view once more."""
    def read_only(self) -> Array:
        """The same view, through which nobody writes."""
    def read(self, timeout: float | None = None) -> Guard:
        """Shared access, for ``with``: waits while overlapping bytes are written, ``timeout`` seconds at most.

        Raises :class:`WouldBlock` (``timeout=0``), :class:`Timeout`, :class:`Poisoned`, :class:`WouldDeadlock` where this thread holds the other guard.
        """
    def write(self, timeout: float | None = None) -> Guard:
        """Exclusive access, for ``with``; guards on other bytes of the same array do not wait for each other.

        Raises what :meth:`read` does, and :class:`ReadOnly` and :class:`Frozen`.
        """
    def recover(self) -> Guard:
        """Exclusive access to what may be poisoned: set the elements anew. The poison is gone when the block ends without an exception."""
    def poisoned(self) -> list[tuple[int, int]]:
        """The poisoned ranges that touch this view: bytes from the start of the array's data, the end exclusive."""
    def freeze(self) -> np.ndarray:
        """Ends all writing to the array for ever, and gives a read-only ndarray that needs no guard."""
    def unlocked(self) -> np.ndarray:
        """The memory as an ndarray without a lock, for those who coordinate by themselves. It keeps a local array from being deleted."""
    def to_numpy(self, order: str = "K") -> np.ndarray:
        """A private copy, made under the lock."""
    def copy(self, manager: _Manager | None = None, **labels: Any) -> Array:
        """A new shared array with a copy of the elements, in the same store or in another one."""
    def to_xarray(self, data: np.ndarray | None = None) -> xarray.DataArray:
        """A DataArray with the names of axes and the attributes: of ``data``, the ndarray of a guard say, else of a copy, or of a frozen array itself."""
    def item(self) -> Any:
        """The only element, as a scalar of Python."""
    def release(self) -> None:
        """Deletes the array now, whoever owns it. What is open goes on working."""
    def flush(self) -> None:
        """Writes changed pages to the disk of a persistent store, and waits for that."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray: ...
    def __dlpack__(
        self, *, stream: Any = None, max_version: tuple[int, int] | None = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int) -> memoryview: ...
    def __getitem__(self, index: Any) -> Any: ...
    def __setitem__(self, index: Any, value: Any) -> None: ...
    def __len__(self) -> int: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...

class Manager:
    """What the class of managers stands on."""

    def __new__(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        root: str | os.PathLike[str] | None = None,
        persistent: bool | None = None,
        any_file_system: bool = False,
        lock_timeout: float | None = None,
        huge_pages: Literal["auto", "never", "require"] | None = None,
        prefault: bool = False,
        recycle: int | None = None,
        cache: int | None = None,
        janitor: bool = False,
        mode: Literal["a", "x", "r+"] = "a",
        _pickled: str | None = None,
    ) -> _Manager: ...
    @property
    def path(self) -> str:
        """The store's directory."""
    @property
    def is_owner(self) -> bool:
        """Whether the end of this manager deletes the store."""
    @property
    def closed(self) -> bool:
        """Whether this manager has let go of its store."""
    def open(self, name: str) -> Array:
        """The array with this name. Raises :class:`NotFound`."""
    def __getitem__(self, name: str) -> Array: ...
    def __contains__(self, name: object) -> bool: ...
    def remove(self, name: str) -> None:
        """Deletes the array with this name, whoever owns it."""
    def close(self) -> None:
        """Deletes the store with all its arrays, a persistent one too."""
    def leave(self) -> None:
        """Lets go of the store, as the end of ``with`` does: an ephemeral one that this process made is deleted, another one stays."""
    def persist(self) -> str:
        """Makes the store persistent, and gives its path."""
    def _make(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: np.dtype[Any],
        order: str = "C",
        name: str | None = None,
        scope: Scope = ...,
        attrs: Mapping[str, Any] | None = None,
        axis_names: Sequence[str] | None = None,
        element: bytes | None = None,
    ) -> Array: ...
    def _copy(
        self,
        source: np.ndarray,
        order: str = "C",
        name: str | None = None,
        scope: Scope = ...,
        attrs: Mapping[str, Any] | None = None,
        axis_names: Sequence[str] | None = None,
    ) -> Array: ...
    def _list(self) -> list[dict[str, Any]]: ...
    def _usage(self) -> dict[str, int]: ...
    def _sweep(self) -> dict[str, Any]: ...

def open(handle: str) -> Array: ...
def open_path(path: str | os.PathLike[str]) -> Array: ...
def unpickle_array(handle: str) -> Array: ...
def wait_frozen(handle: str, timeout: float) -> None: ...
