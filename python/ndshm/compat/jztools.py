# mypy: disable-error-code="override,no-any-return,arg-type,assignment"
"""``jztools.shared_memory`` over ndshm: the same names, so that one import line changes.

Write ``from ndshm.compat.jztools import XSharedMemoryManager, xndarray`` instead of ``from
jztools.shared_memory import ...``. Like the original, this module has no locks: processes that
write the same elements must coordinate by other means. New code uses :class:`ndshm.Manager`, whose
arrays have guards.

The differences:

- There is no server process.
- A slice keeps its place when it is sent on, any number of times, and a received slice of a
  ``'remote'`` array releases the array.
- ``order='F'`` is obeyed.
- ``copy()`` returns shared memory.
- The next process deletes the leftovers of a killed one.
- Arrays stay readable after their release.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Sequence

import numpy as np

import ndshm
from ndshm import _ndshm

__all__ = ["InvalidAsXndarray", "XSharedMemoryManager", "xndarray"]

_SCOPES = ("local", "remote", None)
_RECYCLED = 64 << 20


class InvalidAsXndarray(Exception):
    """The object is not an array in shared memory."""

    def __init__(self, obj: object) -> None:
        super().__init__(f"Cannot view type `{type(obj).__name__}` as an `xndarray`.")


class SharedMemory:
    """The memory of an array, with the interface of ``multiprocessing.shared_memory``."""

    def __init__(self, array: ndshm.Array) -> None:
        self.array = array

    @property
    def name(self) -> str:
        """The text of the array's handle, from which any process of the same user opens it."""
        return self.array.handle

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.array.nbytes

    @property
    def buf(self) -> memoryview:
        """The bytes, without a lock."""
        return memoryview(_bytes_of(self.array))

    def close(self) -> None:
        """Do nothing: the memory stays mapped for as long as an array uses it."""

    def unlink(self) -> None:
        """Delete the memory's file."""
        self.array.release()


class XSharedMemoryManager:
    """Creates shared arrays, and deletes the remaining ones when it ends.

    It can be pickled, and passed to other processes as an argument.
    """

    def __init__(self, *_args: Any, **_keywords: Any) -> None:
        self._manager: ndshm.Manager | None = None

    def start(self, *_args: Any, **_keywords: Any) -> None:
        """Create the store."""
        if self._manager is None:
            # Programs create and delete many arrays here: the memory of deleted ones is reused.
            self._manager = ndshm.Manager(recycle=_RECYCLED)

    def shutdown(self) -> None:
        """Delete the store with all its arrays."""
        if self._manager is not None:
            self._manager.leave()

    def __enter__(self) -> XSharedMemoryManager:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    @property
    def manager(self) -> ndshm.Manager:
        """The manager of the store."""
        if self._manager is None:
            raise RuntimeError(
                "the manager was not started: use it as a context manager, or call start()"
            )
        return self._manager

    @property
    def address(self) -> str:
        """The path of the store's directory."""
        return self.manager.path

    def SharedMemory(self, size: int) -> SharedMemory:  # noqa: N802
        """Create shared memory of ``size`` bytes."""
        return SharedMemory(self.manager.zeros(size, np.uint8, scope=None))

    def from_ndarray(self, arr: np.ndarray, **kwargs: Any) -> xndarray:
        """Create a shared array with a copy of an ndarray. Takes the keywords of :meth:`empty`."""
        return xndarray.from_ndarray(self, arr, **kwargs)

    def empty(self, *args: Any, **kwargs: Any) -> xndarray:
        """Create a shared array: ``shape``, ``dtype=float``, ``order='C'``, ``scope='local'``."""
        return xndarray.empty(self, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _manager_of, (self._manager,)


def _manager_of(manager: ndshm.Manager | None) -> XSharedMemoryManager:
    made = XSharedMemoryManager()
    made._manager = manager
    return made


def _bytes_of(array: ndshm.Array) -> np.ndarray:
    """Return the bytes of a whole array, in the order of memory."""
    elements = array.unlocked()
    if array.order == "F":
        elements = elements.T
    return elements.reshape(-1).view(np.uint8)


class xndarray(np.ndarray):  # noqa: N801
    """An ndarray in shared memory without locks. It and its views are pickled by reference.

    Operators that do not work in place and fancy indexing return plain ndarrays. Copies are new
    shared memory.
    """

    def __new__(
        cls,
        sh_mem: str | SharedMemory | ndshm.Array | None,
        manager: XSharedMemoryManager | None,
        shape: int | Sequence[int],
        dtype: Any,
        offset: int,
        strides: Sequence[int] | None,
        scope: str | None = "local",
        **_kwargs: Any,
    ) -> xndarray:
        """Return an array in existing shared memory.

        ``sh_mem`` names the memory, ``offset`` and ``strides`` are in bytes.
        """
        if scope not in _SCOPES:
            raise ValueError("Argument `scope` must be one of 'local', 'remote', or `None`.")
        if sh_mem is None:
            if np.prod(shape):
                raise ValueError(
                    f"without shared memory an array must have size 0, not shape {shape}"
                )
            if manager is None:
                raise ValueError("an array without shared memory needs a manager")
            return cls.empty(manager, shape, dtype, scope=scope)
        if isinstance(sh_mem, str):
            array = ndshm.open(sh_mem)
        elif isinstance(sh_mem, (SharedMemory, ndshm.Array)):
            array = sh_mem.array if isinstance(sh_mem, SharedMemory) else sh_mem
        else:
            raise InvalidAsXndarray(sh_mem)
        return super().__new__(cls, shape, dtype, _bytes_of(array), offset, strides)

    @classmethod
    def empty(
        cls,
        manager: XSharedMemoryManager,
        shape: int | Sequence[int],
        dtype: Any = float,
        order: str | None = "C",
        scope: str | None = "local",
    ) -> xndarray:
        """Create a shared array with unspecified contents."""
        if scope not in _SCOPES:
            raise ValueError("Argument `scope` must be one of 'local', 'remote', or `None`.")
        return manager.manager.empty(shape, dtype, order or "C", scope=scope).unlocked().view(cls)

    @classmethod
    def from_ndarray(
        cls, manager: XSharedMemoryManager, arr: np.ndarray, **kwargs: Any
    ) -> xndarray:
        """Create a shared array with a copy of an ndarray, in the ndarray's order."""
        if not isinstance(arr, np.ndarray):
            raise InvalidAsXndarray(arr)
        kwargs.setdefault("scope", "local")
        kwargs["order"] = kwargs.get("order") or "K"
        return manager.manager.array(np.asarray(arr), **kwargs).unlocked().view(cls)

    def _keeper(self) -> Any:
        """Return the object that keeps the shared memory, or ``None`` for an ordinary array."""
        base = self.base
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, memoryview):
            base = base.obj
            while isinstance(base, np.ndarray):
                base = base.base
        return base if isinstance(base, _ndshm.Keeper) else None

    def _shared(self) -> ndshm.Array:
        keeper = self._keeper()
        if keeper is None:
            raise InvalidAsXndarray(self)
        return keeper.array

    def is_shared(self) -> bool:
        """Whether the elements lie in shared memory."""
        return self._keeper() is not None

    @property
    def shared_memory(self) -> SharedMemory | None:
        """The memory of the whole array."""
        keeper = self._keeper()
        return None if keeper is None else SharedMemory(keeper.array)

    @property
    def shared_memory_manager(self) -> XSharedMemoryManager | None:
        """A manager of the array's store."""
        keeper = self._keeper()
        return None if keeper is None else _manager_of(keeper.array.manager)

    @property
    def scope(self) -> str | None:
        """The array's scope: ``'local'``, ``'remote'`` or ``None``.

        All views of the array in this process have the same scope.
        """
        keeper = self._keeper()
        return None if keeper is None else keeper.array.scope

    @scope.setter
    def scope(self, scope: str | None) -> None:
        self._shared().scope = scope

    def release(self) -> None:
        """Delete the memory's file: no process can attach to it any more."""
        try:
            self._shared().release()
        except (ndshm.Released, ndshm.Closed):
            pass

    def as_ndarray(self) -> np.ndarray:
        """Return a copy in private memory."""
        return np.array(self, subok=False)

    def copy(self, order: str = "C") -> np.ndarray:
        """Return a copy: in new shared memory if this array is shared, else in private memory."""
        keeper = self._keeper()
        if keeper is None:
            return super().copy(order)
        return (
            keeper.array.manager.array(np.asarray(self), order=order, scope="local")
            .unlocked()
            .view(type(self))
        )

    def __copy__(self) -> np.ndarray:
        return self.copy("K")

    def __deepcopy__(self, _memo: Any) -> np.ndarray:
        return self.copy("K")

    def __getitem__(self, index: Any) -> Any:
        taken = super().__getitem__(index)
        return (
            taken.view(np.ndarray)
            if isinstance(taken, xndarray) and not taken.is_shared()
            else taken
        )

    def __array_wrap__(
        self, array: np.ndarray, context: Any = None, return_scalar: bool = False
    ) -> Any:
        if isinstance(array, xndarray) and array.is_shared():
            return array
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar else plain

    def __reduce__(self) -> Any:
        keeper = self._keeper()
        if keeper is None:
            return np.asarray(self).__reduce__()
        offset = self.__array_interface__["data"][0] - keeper.address if self.size else 0
        dtype = self.dtype if self.dtype.names or self.dtype.kind == "V" else self.dtype.str
        return _attached, (
            keeper.array.handle,
            self.shape,
            dtype,
            offset,
            self.strides,
            self.flags.writeable,
        )

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return self.__reduce__()


def _attached(
    handle: str,
    shape: tuple[int, ...],
    dtype: Any,
    offset: int,
    strides: tuple[int, ...],
    writable: bool,
) -> xndarray:
    array = xndarray(handle, None, shape, dtype, offset, strides)
    if not writable:
        array.flags.writeable = False
    return array
