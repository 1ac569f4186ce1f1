# mypy: disable-error-code="override,no-any-return,arg-type,assignment,call-overload"
"""``jztools.shared_memory`` over ndshm: the same names, so that one import line changes.

Write ``from ndshm.compat.jztools import XSharedMemoryManager, xndarray`` instead of ``from
jztools.shared_memory import ...``. Like the original, this module has no locks: processes that
write the same elements must coordinate by other means. New code uses :class:`ndshm.Manager`, whose
arrays have guards.

Where the documentation and the code of the original disagree:

- Fancy indexing. The documentation: a plain ndarray. The code, and its tests: an ``xndarray`` whose
  ``is_shared()`` is ``False``. Here as in the code, because callers ask ``is_shared()``.
- The scope of a slice. The documentation: none. The code: its own, which is ``None`` at first. Here
  as in the code, so that slices of one ``'remote'`` array can be sent to several processes, and
  none of them deletes it.
- Attaching by the constructor. The documentation: the scope says when memory is released. The code:
  ``'local'`` is the default, so the memory goes with the new object. Here as in the code.

The differences:

- There is no server process.
- A slice keeps its place when it is sent on, any number of times.
- ``order='F'`` is obeyed.
- ``copy()`` returns shared memory.
- The next process deletes the leftovers of a killed one.
- Arrays stay readable after their release.
"""

from __future__ import annotations

from multiprocessing import shared_memory
from multiprocessing.managers import SharedMemoryManager
from types import TracebackType
from typing import Any, Callable, Sequence

import numpy as np

import ndshm

__all__ = ["InvalidAsXndarray", "XSharedMemoryManager", "xndarray"]

_SCOPES = ("local", "remote", None)
# The scope of an array that is received, by the scope of the one that was sent.
_RECEIVED = {"local": None, "remote": "local", None: None}
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
        """The path of the memory's file, by which any process of the same user attaches to it."""
        return self.array.path

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.array.nbytes

    @property
    def buf(self) -> memoryview:
        """The bytes, without a lock."""
        elements = np.asarray(self.array.unlocked())
        if self.array.order == "F":
            elements = elements.T
        return memoryview(elements.reshape(-1).view(np.uint8))

    def close(self) -> None:
        """Do nothing: the memory stays mapped for as long as an array uses it."""

    def unlink(self) -> None:
        """Delete the memory's file."""
        self.array.release()


_AnyMemory = SharedMemory | shared_memory.SharedMemory


class XSharedMemoryManager(SharedMemoryManager):
    """Creates shared arrays, and deletes the remaining ones when it ends.

    It can be pickled, and passed to other processes as an argument.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._manager: ndshm.Manager | None = None
        self._lists: list[shared_memory.SharedMemory] = []
        self.shutdown: Callable[[], None] = self._shut_down

    def start(self, *_args: Any, **_keywords: Any) -> None:
        """Create the store."""
        if self._manager is None:
            # Programs create and delete many arrays here: the memory of deleted ones is reused.
            self._manager = ndshm.Manager(recycle=_RECYCLED)

    def connect(self) -> None:
        """Do nothing: there is no server."""

    def get_server(self) -> Any:
        """There is no server."""
        raise NotImplementedError("this manager has no server process")

    def _shut_down(self) -> None:
        """Delete the store with all its arrays, and the lists."""
        lists, self._lists = self._lists, []
        for memory in lists:
            memory.close()
            memory.unlink()
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

    def ShareableList(self, sequence: Any) -> shared_memory.ShareableList[Any]:  # noqa: N802
        """Create a list of ``multiprocessing``, deleted when this manager ends."""
        made = shared_memory.ShareableList(sequence)
        self._lists.append(made.shm)
        return made

    def from_ndarray(self, arr: np.ndarray, **kwargs: Any) -> xndarray:
        """Create a shared array with a copy of an ndarray. Takes the keywords of :meth:`empty`."""
        return xndarray.from_ndarray(self, arr, **kwargs)

    def empty(self, *args: Any, **kwargs: Any) -> xndarray:
        """Create a shared array: ``shape``, ``dtype=float``, ``order='C'``, ``scope='local'``."""
        return xndarray.empty(self, *args, **kwargs)

    def _list_tracked_segments(self) -> list[str]:
        return [info.path for info in self.manager.list()] + [one.name for one in self._lists]

    def __reduce__(self) -> tuple[Any, ...]:
        return _manager_of, (self._manager,)


def _manager_of(manager: ndshm.Manager | None) -> XSharedMemoryManager:
    made = XSharedMemoryManager()
    made._manager = manager
    return made


def _checked(scope: str | None) -> str | None:
    if scope not in _SCOPES:
        raise ValueError("Argument `scope` must be one of 'local', 'remote', or `None`.")
    return scope


class xndarray(np.ndarray):  # noqa: N801
    """An ndarray in shared memory without locks. It and its views are pickled by reference.

    Operators that do not work in place return plain ndarrays. What fancy indexing returns is not
    shared: ``is_shared()`` is ``False``. Copies are new shared memory.
    """

    # Of the array that was made or attached; its views find it by their bases.
    _memory: _AnyMemory | None = None
    _of: XSharedMemoryManager | None = None
    _scope: str | None = None

    def __new__(
        cls,
        sh_mem: str | _AnyMemory | ndshm.Array | None,
        manager: XSharedMemoryManager | None,
        shape: int | Sequence[int],
        dtype: Any,
        offset: int,
        strides: Sequence[int] | None,
        scope: str | None = "local",
        **_kwargs: Any,
    ) -> xndarray:
        """Return an array in existing shared memory.

        ``sh_mem`` is the memory or its name, ``offset`` and ``strides`` are in bytes. The memory is
        released with the array if ``scope`` is ``'local'``.

        Raises ``FileNotFoundError`` if there is no memory of that name.
        """
        _checked(scope)
        memory: _AnyMemory
        if sh_mem is None:
            if np.prod(shape):
                raise ValueError(
                    f"without shared memory an array must have size 0, not shape {shape}"
                )
            if manager is None:
                raise ValueError("an array without shared memory needs a manager")
            return cls.empty(manager, shape, dtype, scope=scope)
        if isinstance(sh_mem, str):
            is_path = sh_mem.startswith("/")
            memory = (
                SharedMemory(ndshm.open(sh_mem)) if is_path else shared_memory.SharedMemory(sh_mem)
            )
        elif isinstance(sh_mem, ndshm.Array):
            memory = SharedMemory(sh_mem)
        elif isinstance(sh_mem, (SharedMemory, shared_memory.SharedMemory)):
            memory = sh_mem
        else:
            raise InvalidAsXndarray(sh_mem)
        made = super().__new__(cls, shape, dtype, memory.buf, offset, strides)
        made._memory, made._of, made._scope = memory, manager, scope
        return made

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
        array = manager.manager.empty(shape, dtype, order or "C", scope=_own(_checked(scope)))
        return cls._whole(manager, array, scope)

    @classmethod
    def from_ndarray(
        cls, manager: XSharedMemoryManager, arr: np.ndarray, **kwargs: Any
    ) -> xndarray:
        """Create a shared array with a copy of an ndarray, in the ndarray's order."""
        if not isinstance(arr, np.ndarray):
            raise InvalidAsXndarray(arr)
        scope = _checked(kwargs.pop("scope", "local"))
        kwargs["order"] = kwargs.get("order") or "K"
        array = manager.manager.array(np.asarray(arr), scope=_own(scope), **kwargs)
        return cls._whole(manager, array, scope)

    @classmethod
    def _whole(
        cls, manager: XSharedMemoryManager, array: ndshm.Array, scope: str | None
    ) -> xndarray:
        made = array.unlocked().view(cls)
        made._memory, made._of, made._scope = SharedMemory(array), manager, scope
        return made

    def _owner(self) -> xndarray | None:
        """Return the array that was made or attached, of which this is a view."""
        found: Any = self
        while found is not None:
            if isinstance(found, xndarray) and found._memory is not None:
                return found
            # Also an object between two ndarrays, such as `as_strided` puts there.
            found = getattr(found, "base", None)
        return None

    def is_shared(self) -> bool:
        """Whether the elements lie in shared memory."""
        return self._owner() is not None

    @property
    def shared_memory(self) -> _AnyMemory | None:
        """The memory of the whole array: one object for all its views."""
        owner = self._owner()
        return None if owner is None else owner._memory

    @property
    def shared_memory_manager(self) -> XSharedMemoryManager | None:
        """A manager of the array's store: one object for all its views."""
        owner = self._owner()
        if owner is None:
            return None
        if owner._of is None and isinstance(owner._memory, SharedMemory):
            owner._of = _manager_of(owner._memory.array.manager)
        return owner._of

    @property
    def scope(self) -> str | None:
        """The scope of this object: ``'local'``, ``'remote'`` or ``None``, as a slice has it."""
        return self._scope

    @scope.setter
    def scope(self, scope: str | None) -> None:
        _checked(scope)
        memory = self.shared_memory
        if memory is None:
            raise InvalidAsXndarray(self)
        if self._memory is not None and isinstance(memory, SharedMemory):
            memory.array.scope = _own(scope)
        self._scope = scope

    def release(self) -> None:
        """Delete the memory's file: no process can attach to it any more."""
        memory = self.shared_memory
        if memory is None:
            raise InvalidAsXndarray(self)
        try:
            memory.unlink()
        except (FileNotFoundError, ndshm.Closed):
            pass

    def __del__(self) -> None:
        if self._scope == "local" and self.is_shared():
            self.release()

    def as_ndarray(self) -> np.ndarray:
        """Return a copy in private memory."""
        return np.array(self, subok=False)

    def copy(self, order: str = "C") -> np.ndarray:
        """Return a copy: in new shared memory if this array is shared, else in private memory."""
        manager = self.shared_memory_manager
        if manager is None:
            return super().copy(order)
        return self.from_ndarray(manager, np.array(self, order=order, subok=False))

    def __copy__(self) -> np.ndarray:
        return self.copy("K")

    def __deepcopy__(self, _memo: Any) -> np.ndarray:
        return self.copy("K")

    def __array_wrap__(
        self, array: np.ndarray, context: Any = None, return_scalar: bool = False
    ) -> Any:
        if isinstance(array, xndarray) and array.is_shared():
            return array
        # A view that NumPy made as a plain ndarray first.
        view = array.view(type(self))
        if view.is_shared():
            return view
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar else plain

    def __reduce__(self) -> Any:
        memory = self.shared_memory
        if memory is None:
            return np.asarray(self).__reduce__()
        start = np.frombuffer(memory.buf, np.uint8) if self.size else self
        offset = _address(self) - _address(start)
        dtype = self.dtype if self.dtype.names or self.dtype.kind == "V" else self.dtype.str
        return _attached, (
            memory.name,
            self.shape,
            dtype,
            offset,
            self.strides,
            self.flags.writeable,
            _RECEIVED[self._scope],
        )

    def __reduce_ex__(self, _protocol: Any) -> Any:
        return self.__reduce__()


def _own(scope: str | None) -> str | None:
    """Return the scope of the array in the store: memory that others may delete is the store's."""
    return scope if scope == "local" else None


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _attached(
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    offset: int,
    strides: tuple[int, ...],
    writable: bool,
    scope: str | None,
) -> xndarray:
    array = xndarray(name, None, shape, dtype, offset, strides, scope)
    if not writable:
        array.flags.writeable = False
    return array
