"""The compiled part: arrays, guards, and the base class of managers."""

import os
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import (
    Any,
    AsyncIterator,
    Callable,
    Iterator,
    Literal,
    Mapping,
    Sequence,
    SupportsIndex,
    Unpack,
)

import numpy as np
import xarray
from numpy.typing import ArrayLike

from ._errors import Holder
from ._labels import Labels
from ._manager import Manager as _Manager
from ._ring import SubscriberState

Scope = Literal["local", "remote"] | None
_Element = SupportsIndex | tuple[SupportsIndex, ...]

class LockedArray(np.ndarray[Any, Any]):
    """The elements of a guard: an ndarray that shows nothing once its block has ended.

    NumPy's functions and methods work on it without a copy, and what they compute is a plain
    ndarray. Its views are emptied with it, wherever they are kept.

    To code that takes it for a plain ndarray it is read-only, ``numpy.asarray(x)`` too. Use
    ``x.view(numpy.ndarray)`` for a function that writes a plain ndarray: that one keeps the lock.
    """

class MappedArray(np.ndarray[Any, Any]):
    """The memory of a frozen array, or memory without a lock: an ndarray that is pickled by
    reference.

    A pickle of it, or of a view of it, has less than 300 bytes, and opens the same memory. What is
    computed with it is a plain ndarray. ``numpy.array(x)`` is a copy whose pickle has the elements.
    """

class Guard:
    """A lock on the elements of an array or view, as a context manager.

    ``with a.read() as x`` returns the elements as a read-only zero-copy ndarray of the array's
    shape; ``with a.write() as x`` as a writable one: a :class:`LockedArray`. The lock is held until
    the block ends. Then ``x`` and all its views are emptied, wherever they are kept: all their axes
    get the length 0 (an ndarray without axes shows a private zero).

    Memory that left the block by other objects keeps the lock until the last of them is gone: a
    memoryview, a capsule, a plain ndarray such as ``numpy.asarray(x)``. Then the guard raises
    ``BufferError``, which names the way.

    An exception that ends a writing block leaves the elements *poisoned*, as the death of the
    process does: see :meth:`Array.recover`. ``GeneratorExit`` and ``SystemExit`` do not, and
    :class:`WouldDeadlock` does not where the block wrote nothing.
    """

    def __enter__(self) -> LockedArray: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...

class Request:
    """A guard to be taken with others by :func:`ndshm.lock`: see :meth:`Array.reading`,
    :meth:`Array.writing`, :meth:`Array.recovering` and :meth:`Array.updating`.
    """

class Guards:
    """Locks on several arrays or views, as a context manager: see :func:`ndshm.lock`."""

    def __enter__(self) -> tuple[np.ndarray, ...]: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...

class Atomics:
    """The integers of an array or view by atomic operations, as a context manager.

    ``with a.atomic() as n`` lets any number of threads and processes change elements at once,
    without a lock between them: ``n.add(3, 1)``. Guards on overlapping bytes wait until the block
    ends. Threads may share ``n``.

    An index is one integer for each axis, as in NumPy: ``3``, ``-1``, ``(2, 5)``, and ``()`` for an
    array without axes. Any other raises ``IndexError``, and a value outside of the range of the
    type ``OverflowError``. All operations are sequentially consistent.

    An exception that ends the block poisons nothing.
    """

    def __enter__(self) -> Atomics: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
    def load(self, index: _Element) -> int:
        """Return the value of an element."""
    def store(self, index: _Element, value: SupportsIndex) -> None:
        """Set an element."""
    def add(self, index: _Element, value: SupportsIndex) -> int:
        """Add to an element, and return its old value.

        The sum wraps around at the ends of the type's range, as in NumPy's arrays.
        """
    def subtract(self, index: _Element, value: SupportsIndex) -> int:
        """Subtract from an element, and return its old value.

        The difference wraps around at the ends of the type's range, as in NumPy's arrays.
        """
    def exchange(self, index: _Element, value: SupportsIndex) -> int:
        """Set an element, and return its old value."""
    def compare_exchange(self, index: _Element, old: SupportsIndex, new: SupportsIndex) -> bool:
        """Set an element to ``new`` if it has the value ``old``. Return whether it had."""
    def wait(self, index: _Element, old: SupportsIndex, timeout: float | None = None) -> int:
        """Wait while an element has the value ``old``, and return its new value.

        Returns at once if it has another value already. The thread sleeps until a thread of any
        process changes the element and calls :meth:`notify`; it sees a change without ``notify``
        within 20 ms. It waits at most ``timeout`` seconds, or without a limit for ``None``.

        Raises :class:`Timeout` if the element kept its value; :class:`Released` if the array was
        released meanwhile; :class:`Abandoned` if the process that made the array was alive when the
        wait began and ended since. These two are noticed within 25 ms.
        """
    def notify(self, index: _Element) -> None:
        """Wake all threads of all processes that :meth:`wait` for a change of an element.

        Call it after the change. It costs a system call.
        """

class Keeper:
    """The base of an ndarray without a lock: it keeps the array, and so its mapping and a local
    array's file.
    """

    @property
    def array(self) -> Array:
        """The array that owns the memory."""
    @property
    def address(self) -> int:
        """The address of the memory."""

class Array:
    """A typed n-dimensional array, or a view of one, in memory that many processes share.

    It is used like an ndarray. Operators and NumPy's functions lock what they read or write,
    compute on the memory itself, and give plain ndarrays; ``a += 1`` and ``out=a`` write the
    memory, in one step for other processes. A block of :meth:`read` or :meth:`write` holds the lock
    for several steps.

    Basic indexing (slices, ``...``, ``None``, the name of a field, fewer integers than axes)
    returns a view of the same memory. An integer for each axis gives the element, copied under the
    lock, as in NumPy; ``a[0, ...]`` gives its view. Any other indexing returns a plain ndarray,
    copied too. Assigning to an index locks the selected elements. ``a[0] += 1`` reads, adds and
    writes in three steps: for a counter use :meth:`atomic` or ``numpy.add.at``.

    ``numpy.asarray(a)`` is a read-only copy, of a frozen array the memory itself.

    A pickle of an array is a reference of less than 300 bytes.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
    @property
    def strides(self) -> tuple[int, ...]:
        """The strides of the axes in bytes."""
    @property
    def ndim(self) -> int:
        """The number of axes."""
    @property
    def size(self) -> int:
        """The number of elements."""
    @property
    def itemsize(self) -> int:
        """The size of one element in bytes."""
    @property
    def nbytes(self) -> int:
        """The size of all elements in bytes."""
    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the elements."""
    @property
    def order(self) -> Literal["C", "F"] | None:
        """The order of the elements in memory, or ``None`` if they are not contiguous."""
    @property
    def name(self) -> str | None:
        """The name in the store, or ``None`` for an array without a name."""
    @property
    def id(self) -> str:
        """The identity of the array: the same for all its views, in all processes."""
    @property
    def path(self) -> str:
        """The path of the array's file."""
    @property
    def handle(self) -> str:
        """One line of text from which any process of the same user opens this array or view.

        The process may be written in Rust or Python. See :func:`ndshm.open`.
        """
    @property
    def scope(self) -> Scope:
        """The array's scope in this process: ``'local'``, ``'remote'`` or ``None``.

        It decides when the array is deleted: see :class:`ndshm.Manager`.
        """
    @scope.setter
    def scope(self, scope: Scope) -> None: ...
    @property
    def writable(self) -> bool:
        """Whether this process may write the elements."""
    @property
    def is_view(self) -> bool:
        """Whether this is a part of the whole array, or has another layout."""
    @property
    def frozen(self) -> bool:
        """Whether the array is frozen: no process will ever write it again."""
    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes from the array's creation, in a dict that refuses changes.

        They are fixed then. ``dict(a.attrs)`` is a copy that can be changed.
        """
    @property
    def axis_names(self) -> list[str | None]:
        """The names of the whole array's axes: one for each axis, or none at all."""
    @property
    def manager(self) -> _Manager:
        """A new manager of the array's store, as a member."""
    @property
    def T(self) -> Array:
        """The view with its axes in the opposite order."""
    @property
    def mT(self) -> Array:
        """The view with its last two axes exchanged."""
    @property
    def real(self) -> Array | np.ndarray:
        """The real parts: a view of real elements, a read-only copy of complex ones.

        Setting it writes the memory.
        """
    @real.setter
    def real(self, value: Any) -> None: ...
    flat: Any
    @property
    def imag(self) -> np.ndarray:
        """The imaginary parts, as a read-only copy. Setting it writes the memory."""
    @imag.setter
    def imag(self, value: Any) -> None: ...
    def transpose(self, *axes: Any) -> Array:
        """Return a view with its axes in another order, as ``numpy.transpose`` does."""
    def swapaxes(self, axis1: int, axis2: int) -> Array:
        """Return a view with two axes exchanged."""
    def squeeze(self, axis: int | tuple[int, ...] | None = None) -> Array:
        """Return a view without the axes of length 1, or without the given ones of them."""
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
        """Return a view of a diagonal of two axes, which becomes the last axis."""
    def reshape(self, *shape: Any, order: Literal["C", "F", "A"] = "C") -> Array:
        """Return a view of the same memory in another shape.

        Raises ``ValueError`` if the shape needs a copy.
        """
    def view(self) -> Array:
        """Return the same view as a new object."""
    def read_only(self) -> Array:
        """Return the same view without the right to write through it."""
    def read(self, timeout: float | None = None) -> Guard:
        """Return a guard for shared access: ``with a.read() as x``.

        The guard waits at most ``timeout`` seconds while overlapping bytes are written; without
        ``timeout``, as long as the store's ``lock_timeout`` allows.

        Raises :class:`WouldBlock` (only with ``timeout=0``), :class:`Timeout`, :class:`Poisoned`,
        and :class:`WouldDeadlock` if this thread itself holds the other guard. Their ``holders``
        name the processes in the way, with the slices that they hold: see :class:`Holder`.
        """
    def write(self, timeout: float | None = None) -> Guard:
        """Return a guard for exclusive access: ``with a.write() as x``.

        The guard waits at most ``timeout`` seconds while overlapping bytes are read or written;
        without ``timeout``, as long as the store's ``lock_timeout`` allows. Guards on other bytes
        of the same array do not exclude each other.

        Raises the exceptions of :meth:`read`, and :class:`ReadOnly` and :class:`Frozen`.
        """
    def recover(self) -> Guard:
        """Return a guard for exclusive access to elements that may be poisoned.

        Set the elements anew in its block. The poison is gone when the block ends without an
        exception.
        """
    def reading(self) -> Request:
        """Return a request for :func:`ndshm.lock` to read, with other arrays or views."""
    def writing(self) -> Request:
        """Return a request for :func:`ndshm.lock` to write, with other arrays or views.

        An array that cannot be written is refused there.
        """
    def recovering(self) -> Request:
        """Return a request for :func:`ndshm.lock` to recover, with other arrays or views.

        The elements may be poisoned, as for :meth:`recover`. The poison is gone when the block ends
        without an exception. If the call does not get all of its guards, it stays as it was.
        """
    def updating(self) -> Request:
        """Return a request for :func:`ndshm.lock` for atomic operations, with other arrays.

        The block gets :class:`Atomics`, as that of :meth:`atomic`. Raises ``TypeError`` for
        elements that are no integers of up to 8 bytes.
        """
    def atomic(self) -> Atomics:
        """Return the elements, integers of up to 8 bytes, for atomic operations:
        ``with a.atomic() as n``.

        Any number of such blocks may run at once, in any processes. The start of the block waits
        while overlapping bytes are read or written, as long as the store's ``lock_timeout`` allows.

        Raises ``TypeError`` for elements of another type. The start of the block raises the
        exceptions of :meth:`write`.
        """
    def poisoned(self) -> list[tuple[int, int]]:
        """Return the poisoned ranges that touch this view.

        A range is its first byte and the byte after its last, from the start of the array's data.
        """
    def changed(self) -> int:
        """Return how often write guards on elements of this view were given back.

        The number goes up with each, in all processes, and never goes down. It goes up after the
        elements can be read. It also goes up where a block wrote nothing, where an exception ended
        it, and where the process of the writer died. It does not count operations of
        :meth:`atomic` and :meth:`unlocked`.

        The array is counted in eight parts of equal length, so the number may also go up by writes
        to elements close by. The first call by any process makes write guards of this array count,
        for ever; before it the number is 0.
        """
    def wait_changed(self, seen: int, timeout: float | None = None) -> int:
        """Wait while :meth:`changed` is ``seen``, and return the new number.

        Returns at once if it is another one already. Ask for the number first, then read, then wait
        with that number: no change is missed. The end of a write guard wakes the thread, and the
        death of a writer counts as a change. It waits at most ``timeout`` seconds, or without a
        limit for ``None``.

        Raises :class:`Timeout` if the number was the same for so long; :class:`Frozen` if the array
        is frozen, which no write can change; :class:`Released` if it was released meanwhile;
        :class:`Abandoned` if the process that made it was alive when the wait began and ended
        since. The last two are noticed within 25 ms.
        """
    def freeze(self) -> MappedArray:
        """Freeze the array, and return a read-only ndarray that needs no guard.

        No process ever writes a frozen array again. The ndarray is pickled by reference.
        """
    def unlocked(self) -> MappedArray:
        """Return the memory as an ndarray without a lock, which is pickled by reference.

        Its users coordinate by other means. The ndarray keeps a local array from being deleted.
        Once the array is frozen, a write through it ends the process (SIGSEGV).
        """
    def to_numpy(self, order: str = "K") -> np.ndarray:
        """Return a private copy of the elements, made under the lock."""
    def copy(self, manager: _Manager | None = None, **labels: Unpack[Labels]) -> Array:
        """Return a new shared array with a copy of the elements.

        The copy is in the same store, or in the store of ``manager``. It takes the keywords of
        :meth:`ndshm.Manager.array`.
        """
    def to_xarray(self, data: np.ndarray | None = None) -> xarray.DataArray:
        """Return a DataArray with the array's axis names and attributes.

        Its elements are ``data``, for example the ndarray of a guard; without ``data`` the memory
        of a frozen array, or a copy of any other.
        """
    def all(self, *args: Any, **keywords: Any) -> Any:
        """Return whether all elements are true, as ``numpy.ndarray.all`` does."""
    def any(self, *args: Any, **keywords: Any) -> Any:
        """Return whether any element is true, as ``numpy.ndarray.any`` does."""
    def argmax(self, *args: Any, **keywords: Any) -> Any:
        """Return the indices of the greatest elements, as ``numpy.ndarray.argmax`` does."""
    def argmin(self, *args: Any, **keywords: Any) -> Any:
        """Return the indices of the least elements, as ``numpy.ndarray.argmin`` does."""
    def argpartition(self, *args: Any, **keywords: Any) -> Any:
        """Return the indices of a partition, as ``numpy.ndarray.argpartition`` does."""
    def argsort(self, *args: Any, **keywords: Any) -> Any:
        """Return the indices that would sort the array, as ``numpy.ndarray.argsort`` does."""
    def astype(self, *args: Any, **keywords: Any) -> Any:
        """Return a private copy with elements of another type, as ``numpy.ndarray.astype`` does."""
    def choose(self, *args: Any, **keywords: Any) -> Any:
        """Return an ndarray of choices, as ``numpy.ndarray.choose`` does."""
    def clip(self, *args: Any, **keywords: Any) -> Any:
        """Return the elements within limits, as ``numpy.ndarray.clip`` does."""
    def compress(self, *args: Any, **keywords: Any) -> Any:
        """Return the slices that a condition selects, as ``numpy.ndarray.compress`` does."""
    def conj(self, *args: Any, **keywords: Any) -> Any:
        """Return the complex conjugates, as ``numpy.ndarray.conj`` does."""
    def conjugate(self, *args: Any, **keywords: Any) -> Any:
        """Return the complex conjugates, as ``numpy.ndarray.conjugate`` does."""
    def cumprod(self, *args: Any, **keywords: Any) -> Any:
        """Return the products up to each element, as ``numpy.ndarray.cumprod`` does."""
    def cumsum(self, *args: Any, **keywords: Any) -> Any:
        """Return the sums up to each element, as ``numpy.ndarray.cumsum`` does."""
    def dot(self, *args: Any, **keywords: Any) -> Any:
        """Return the dot product, as ``numpy.ndarray.dot`` does."""
    def fill(self, *args: Any, **keywords: Any) -> Any:
        """Set all elements to one value, as ``numpy.ndarray.fill`` does."""
    def flatten(self, *args: Any, **keywords: Any) -> Any:
        """Return a private copy with one axis, as ``numpy.ndarray.flatten`` does."""
    def item(self, *args: Any, **keywords: Any) -> Any:
        """Return one element as a Python scalar, as ``numpy.ndarray.item`` does."""
    def max(self, *args: Any, **keywords: Any) -> Any:
        """Return the greatest elements, as ``numpy.ndarray.max`` does."""
    def mean(self, *args: Any, **keywords: Any) -> Any:
        """Return the means, as ``numpy.ndarray.mean`` does."""
    def min(self, *args: Any, **keywords: Any) -> Any:
        """Return the least elements, as ``numpy.ndarray.min`` does."""
    def nonzero(self, *args: Any, **keywords: Any) -> Any:
        """Return where elements are not zero, as ``numpy.ndarray.nonzero`` does."""
    def partition(self, *args: Any, **keywords: Any) -> Any:
        """Partition the elements in place, as ``numpy.ndarray.partition`` does."""
    def prod(self, *args: Any, **keywords: Any) -> Any:
        """Return the products, as ``numpy.ndarray.prod`` does."""
    def put(self, *args: Any, **keywords: Any) -> Any:
        """Set the elements at flat indices, as ``numpy.ndarray.put`` does."""
    def ravel(self, *args: Any, **keywords: Any) -> Any:
        """Return a view with one axis, or else a copy, as ``numpy.ndarray.ravel`` does."""
    def repeat(self, *args: Any, **keywords: Any) -> Any:
        """Return the elements repeated, as ``numpy.ndarray.repeat`` does."""
    def round(self, *args: Any, **keywords: Any) -> Any:
        """Return the elements rounded, as ``numpy.ndarray.round`` does."""
    def searchsorted(self, *args: Any, **keywords: Any) -> Any:
        """Return where values would be inserted, as ``numpy.ndarray.searchsorted`` does."""
    def sort(self, *args: Any, **keywords: Any) -> Any:
        """Sort the elements in place, as ``numpy.ndarray.sort`` does."""
    def std(self, *args: Any, **keywords: Any) -> Any:
        """Return the standard deviations, as ``numpy.ndarray.std`` does."""
    def sum(self, *args: Any, **keywords: Any) -> Any:
        """Return the sums, as ``numpy.ndarray.sum`` does."""
    def take(self, *args: Any, **keywords: Any) -> Any:
        """Return the elements at indices, as ``numpy.ndarray.take`` does."""
    def tobytes(self, *args: Any, **keywords: Any) -> Any:
        """Return the bytes of the elements, as ``numpy.ndarray.tobytes`` does."""
    def tofile(self, *args: Any, **keywords: Any) -> Any:
        """Write the bytes of the elements to a file, as ``numpy.ndarray.tofile`` does."""
    def tolist(self, *args: Any, **keywords: Any) -> Any:
        """Return the elements as nested lists, as ``numpy.ndarray.tolist`` does."""
    def trace(self, *args: Any, **keywords: Any) -> Any:
        """Return the sums along diagonals, as ``numpy.ndarray.trace`` does."""
    def var(self, *args: Any, **keywords: Any) -> Any:
        """Return the variances, as ``numpy.ndarray.var`` does."""
    def release(self) -> None:
        """Delete the array now, whichever process owns it.

        Processes that have the array open continue to use it.
        """
    def flush(self) -> None:
        """Write changed pages to the disk of a persistent store, and wait for the disk."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray: ...
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int) -> memoryview: ...
    def __getitem__(self, index: Any) -> Any: ...
    def __setitem__(self, index: Any, value: Any) -> None: ...
    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __add__(self, other: Any) -> Any: ...
    def __radd__(self, other: Any) -> Any: ...
    def __sub__(self, other: Any) -> Any: ...
    def __rsub__(self, other: Any) -> Any: ...
    def __mul__(self, other: Any) -> Any: ...
    def __rmul__(self, other: Any) -> Any: ...
    def __matmul__(self, other: Any) -> Any: ...
    def __rmatmul__(self, other: Any) -> Any: ...
    def __truediv__(self, other: Any) -> Any: ...
    def __rtruediv__(self, other: Any) -> Any: ...
    def __floordiv__(self, other: Any) -> Any: ...
    def __rfloordiv__(self, other: Any) -> Any: ...
    def __mod__(self, other: Any) -> Any: ...
    def __rmod__(self, other: Any) -> Any: ...
    def __divmod__(self, other: Any) -> Any: ...
    def __rdivmod__(self, other: Any) -> Any: ...
    def __lshift__(self, other: Any) -> Any: ...
    def __rlshift__(self, other: Any) -> Any: ...
    def __rshift__(self, other: Any) -> Any: ...
    def __rrshift__(self, other: Any) -> Any: ...
    def __and__(self, other: Any) -> Any: ...
    def __rand__(self, other: Any) -> Any: ...
    def __or__(self, other: Any) -> Any: ...
    def __ror__(self, other: Any) -> Any: ...
    def __xor__(self, other: Any) -> Any: ...
    def __rxor__(self, other: Any) -> Any: ...
    def __pow__(self, other: Any) -> Any: ...
    def __rpow__(self, other: Any) -> Any: ...
    def __iadd__(self, other: Any) -> Array: ...
    def __isub__(self, other: Any) -> Array: ...
    def __imul__(self, other: Any) -> Array: ...
    def __imatmul__(self, other: Any) -> Array: ...
    def __itruediv__(self, other: Any) -> Array: ...
    def __ifloordiv__(self, other: Any) -> Array: ...
    def __imod__(self, other: Any) -> Array: ...
    def __ilshift__(self, other: Any) -> Array: ...
    def __irshift__(self, other: Any) -> Array: ...
    def __iand__(self, other: Any) -> Array: ...
    def __ior__(self, other: Any) -> Array: ...
    def __ixor__(self, other: Any) -> Array: ...
    def __ipow__(self, other: Any) -> Array: ...
    def __neg__(self) -> Any: ...
    def __pos__(self) -> Any: ...
    def __abs__(self) -> Any: ...
    def __invert__(self) -> Any: ...
    def __lt__(self, other: Any) -> Any: ...
    def __le__(self, other: Any) -> Any: ...
    def __eq__(self, other: Any) -> Any: ...
    def __ne__(self, other: Any) -> Any: ...
    def __gt__(self, other: Any) -> Any: ...
    def __ge__(self, other: Any) -> Any: ...
    __hash__: None  # type: ignore[assignment]
    def __array_ufunc__(self, *args: Any, **keywords: Any) -> Any: ...
    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any: ...
    def __contains__(self, value: object) -> bool: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __reversed__(self) -> Iterator[Any]: ...
    def __complex__(self) -> complex: ...
    def __index__(self) -> int: ...
    def __round__(self, digits: int | None = None) -> np.ndarray: ...
    def __copy__(self) -> Array: ...
    def __deepcopy__(self, memo: Any) -> Array: ...
    def __dask_tokenize__(self) -> Any: ...
    def _repr_html_(self) -> str: ...
    def __arrow_array__(self, type: Any = None) -> Any: ...
    def __arrow_c_array__(self, requested_schema: Any = None) -> Any: ...

class Frame(np.ndarray[Any, Any]):
    """A published frame of a ring: a read-only ndarray over its memory, without a copy.

    While it lives, or a view, a memoryview or another object over its memory, the producer does not
    overwrite it, and needs another frame to write: a ring needs two frames more than all
    subscribers hold at once. It stays valid after the subscriber is closed and the ring released.

    What is computed with it is a plain ndarray. ``frame.copy()`` holds no frame. A pickle of it has
    the elements. In the child of a fork it holds nothing: do not read it there.
    """

    @property
    def number(self) -> int:
        """The number of the frame.

        The first frame of a ring has the number 1, and each later one the number after that of the
        frame before.
        """
    @property
    def time(self) -> float:
        """When the frame was published, in seconds since 1970, as ``time.time()`` does."""
    @property
    def time_ns(self) -> int:
        """When the frame was published, in nanoseconds since 1970, as ``time.time_ns()`` does."""
    @property
    def info(self) -> Any:
        """The information that the producer put beside the frame, as a NumPy scalar or record.

        Zeros where it put none; ``None`` if the ring has no information.
        """

class GrowingArray:
    """An array whose first axis grows: rows are appended behind the others, by any number of
    processes, one after the other.

    Made by :meth:`Manager.growing`, and opened by its name, path or handle, only as what it is.
    ``log.append(rows)`` appends a copy, and ``with log.reserve(k) as rows`` writes rows in place.

    Appended rows never change, so no lock is needed to read them: ``log[a:b]``, ``log[i]``,
    iteration and ``numpy.asarray(log)`` give the rows that are there at that moment, as read-only
    ndarrays over the memory itself. They are pickled by reference.

    A row is there as a whole, or not at all: a process that is killed while it appends leaves
    nothing to recover. :meth:`freeze` ends the growth.

    It is deleted as an array is: see :class:`Manager`. Rows that were taken from it keep it, as
    views keep an array. A pickle of it is a reference of less than 300 bytes.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows that are there, and the shape of a row."""
    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a row."""
    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the elements."""
    @property
    def max_len(self) -> int:
        """The most rows that the array can have."""
    @property
    def is_frozen(self) -> bool:
        """Whether the growth has ended for good."""
    @property
    def name(self) -> str | None:
        """The name in the store, or ``None`` for an array without a name."""
    @property
    def id(self) -> str:
        """The identity of the array, in all processes."""
    @property
    def path(self) -> str:
        """The path of the array's file."""
    @property
    def handle(self) -> str:
        """One line of text from which any process of the same user opens this array.

        The process may be written in Rust or Python. See :func:`ndshm.open_growing`.
        """
    @property
    def scope(self) -> Scope:
        """The array's scope in this process: ``'local'``, ``'remote'`` or ``None``.

        It decides when the array is deleted: see :class:`ndshm.Manager`.
        """
    @scope.setter
    def scope(self, scope: Scope) -> None: ...
    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes from the array's creation, in a dict that refuses changes."""
    @property
    def axis_names(self) -> list[str | None]:
        """The names of the axes, that of the rows first: one for each axis, or none at all."""
    @property
    def rows(self) -> int:
        """The rows of the block of :meth:`reserve` that its end appends: all, unless it is set.

        Set it in the block, to the number of the first rows that are valid.
        """
    @rows.setter
    def rows(self, rows: int) -> None: ...
    def append(self, rows: ArrayLike, timeout: float | None = None) -> int:
        """Append a copy of one row, or of several. Returns the index of the first of them.

        The shape decides: an array of the shape of a row is one row, and one with a further axis in
        front is that many rows. All of them become visible at once. A list is converted as
        ``x[...] = list`` converts it.

        Waits at most ``timeout`` seconds while another process or thread appends; without
        ``timeout``, as long as the store's ``lock_timeout`` allows.

        Raises ``ValueError`` for another shape, ``TypeError`` for elements that would lose more
        than precision (the casting ``'same_kind'``); :class:`Full` if they do not fit;
        :class:`NoSpace`; :class:`Frozen`; :class:`Released`; :class:`ReadOnly`;
        :class:`WouldBlock` (only with ``timeout=0``) and :class:`Timeout`, whose ``holders`` name
        the process; :class:`WouldDeadlock` in the block of :meth:`reserve`. Then nothing was
        appended.
        """
    def reserve(self, rows: int, timeout: float | None = None) -> ReservedRows:
        """Return a block that writes rows in place: ``with log.reserve(k) as rows``.

        ``rows`` is a writable ndarray of ``k`` rows, a :class:`LockedArray`, whose elements are
        unspecified at first. The end of the block appends them, or the first ones: see
        :attr:`rows`. It empties the ndarray and all its views. An exception that ends the block
        appends nothing. No other process or thread appends before the end.

        Memory that left the block by other objects, such as a memoryview, raises ``BufferError``:
        then nothing is appended, and no process can append before they are gone.

        Its start waits as :meth:`append` does, and raises the exceptions of it; its end raises
        :class:`NotOwner` in a forked child.
        """
    def wait_grown(self, seen: int, timeout: float | None = None) -> int:
        """Wait until there are more than ``seen`` rows, and return how many there are.

        Returns at once if the growth has ended, also without more rows: then :attr:`is_frozen` says
        so. Waits at most ``timeout`` seconds, or without a limit for ``None``.

        Raises :class:`Timeout`; :class:`Released` and :class:`Closed`, within 25 ms.
        """
    def freeze(self) -> None:
        """End the growth for good, in every process. Waits while another process or thread appends.

        Raises :class:`ReadOnly`, and the exceptions of the wait of :meth:`append`. It is no error
        if the growth has ended before.
        """
    def flush(self) -> None:
        """Write the rows to the disk, and note how many there are.

        After a loss of power, or another start of the machine, exactly these are there.
        """
    def release(self) -> None:
        """Delete the array now, whichever process owns it.

        Its rows can be read where it is open; no more are appended.
        """
    def __len__(self) -> int: ...
    def __getitem__(self, index: Any) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __array__(
        self, dtype: np.dtype[Any] | None = None, *, copy: bool | None = None
    ) -> np.ndarray: ...

class ReservedRows:
    """A block that writes rows of an array that grows: see :meth:`GrowingArray.reserve`.

    ``with log.reserve(k) as rows`` gives a writable ndarray over their memory. The end of the block
    appends them; an exception does not.
    """

    def __enter__(self) -> LockedArray: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...

class Ring:
    """A ring of frames: one process at a time publishes frames of one shape and type, and any
    subscriber takes the newest or the next one, without a copy.

    Made by :meth:`Manager.ring`, and opened by its name, path or handle, in any process of the
    user, and only as a ring. A ring needs two frames more than its subscribers hold at once: the
    newest, and one to write.

    A producer that dies leaves the ring usable, and its unfinished frame is never seen. A
    subscriber that dies blocks no process. The frames of a persistent ring outlive all processes,
    but not the machine: after another boot the ring is empty, and its numbers go on.

    A ring is deleted as an array is: see :class:`Manager`. Frames that are held stay valid. A
    pickle of a ring is a reference of less than 300 bytes.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a frame."""
    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the elements."""
    @property
    def info(self) -> np.dtype[Any] | None:
        """NumPy's type of the information beside each frame; ``None`` if there is none."""
    @property
    def frames(self) -> int:
        """The number of frames."""
    @property
    def max_subscribers(self) -> int:
        """The most subscribers."""
    @property
    def newest(self) -> int:
        """The number of the newest frame; 0 before the first one."""
    @property
    def has_ended(self) -> bool:
        """Whether the stream has ended."""
    @property
    def producer(self) -> Holder | None:
        """The process that has the turn to produce, if any has."""
    @property
    def subscribers(self) -> list[SubscriberState]:
        """The subscribers, in the order of their seats, dead ones included."""
    @property
    def name(self) -> str | None:
        """The name in the store, or ``None`` for a ring without a name."""
    @property
    def id(self) -> str:
        """The identity of the ring, in all processes."""
    @property
    def path(self) -> str:
        """The path of the ring's file."""
    @property
    def handle(self) -> str:
        """One line of text from which any process of the same user opens this ring.

        The process may be written in Rust or Python. See :func:`ndshm.open_ring`.
        """
    @property
    def scope(self) -> Scope:
        """The ring's scope in this process: ``'local'``, ``'remote'`` or ``None``.

        It decides when the ring is deleted: see :class:`ndshm.Manager`.
        """
    @scope.setter
    def scope(self, scope: Scope) -> None: ...
    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes from the ring's creation, in a dict that refuses changes."""
    @property
    def axis_names(self) -> list[str | None]:
        """The names of the axes of a frame: one for each axis, or none at all."""
    def produce(self, timeout: float | None = None) -> Producer:
        """Take the turn to produce: ``with ring.produce() as producer``.

        Waits at most ``timeout`` seconds while another process or thread has it; without
        ``timeout``, as long as the store's ``lock_timeout`` allows. The turn is given back when the
        block ends, or by :meth:`Producer.close`.

        Raises :class:`WouldBlock` (only with ``timeout=0``) and :class:`Timeout`, whose ``holders``
        name the process; :class:`Released`.
        """
    def subscribe(self, lossless: bool = False, spin: float = 0.0) -> Subscriber:
        """Subscribe to the frames that are published from now on:
        ``with ring.subscribe() as subscriber``.

        The producer does not wait: where it is faster, frames are missed. With ``lossless=True`` it
        waits until this subscriber has taken each frame, as long as its process lives. A stopped
        process stops the producer, whose :class:`Timeout` names it.

        Each wait spins for ``spin`` seconds before it sleeps: a frame is then seen some
        microseconds sooner, at the cost of a processor.

        Raises :class:`TooManySubscribers`; :class:`Released`.
        """
    def frame(self, number: int) -> Frame | None:
        """Return the frame of a number, or ``None`` if it was overwritten: for processes that send
        each other numbers of frames.

        Raises the exceptions of :meth:`subscribe`.
        """
    def release(self) -> None:
        """Delete the ring now, whichever process owns it.

        Frames that are held stay valid. Producer and subscribers get :class:`Released`.
        """

class Producer:
    """The turn to produce the frames of a ring: one process or thread has it at a time.

    Made by :meth:`Ring.produce`. The end of its block gives the turn back, and ends nothing:
    subscribers wait for the next producer. A producer that dies loses the turn; its subscribers get
    :class:`Abandoned` once.

    ``with producer.next() as frame`` writes a frame in place, and ``producer.publish(array)``
    copies an array into one.
    """

    @property
    def ring(self) -> Ring:
        """The ring."""
    @property
    def rows(self) -> int:
        """The rows of the frame that is being written that are valid: all, unless it is set.

        Subscribers see a frame whose first axis is so long. Set it in the block of :meth:`next`.
        """
    @rows.setter
    def rows(self, rows: SupportsIndex) -> None: ...
    @property
    def info(self) -> Any:
        """The information beside the frame that is being written; all zeros, unless it is set.

        Set it in the block of :meth:`next` to a value of the type that the ring was made with: a
        number, a tuple of all fields, or a dictionary of some of them. The others are zero.
        """
    @info.setter
    def info(self, info: Any) -> None: ...
    def next(self, timeout: float | None = None) -> FrameMut:
        """Return a block that writes the next frame: ``with producer.next() as frame``.

        The frame is the oldest one that no subscriber holds, and never the newest. ``frame`` is a
        writable ndarray over its memory, a :class:`LockedArray`, and has the elements of an older
        frame at first. The end of the block publishes it, and empties ``frame`` and all its views.
        An exception that ends the block leaves it unpublished: no subscriber sees it, and the next
        frame takes its place. Set :attr:`rows` and :attr:`info` in the block.

        Memory that left the block by other objects, such as a memoryview, raises ``BufferError``:
        then the frame is not published, and no other one can be written before they are gone.

        The block waits at most ``timeout`` seconds where subscribers hold all frames but the
        newest, or a lossless one has not taken the oldest; without ``timeout``, as long as the
        store's ``lock_timeout`` allows.

        Its start raises :class:`WouldBlock` (only with ``timeout=0``) and :class:`Timeout`, whose
        ``holders`` name the subscribers in the way; :class:`Released`; :class:`NotOwner` in a
        forked child.
        """
    def publish(
        self,
        array: Any,
        rows: SupportsIndex | None = None,
        info: Any = None,
        timeout: float | None = None,
    ) -> int:
        """Copy an array into the next frame, publish it, and return its number.

        The array has the shape of a frame, or fewer rows: then only these are valid. ``rows`` is
        their number where the array has more. ``info`` is as :attr:`info`, and ``timeout`` as for
        :meth:`next`.

        Raises ``ValueError`` for another shape, ``TypeError`` for elements that would lose more
        than precision (the casting ``'same_kind'``), and the exceptions of :meth:`next`. A list is
        converted as ``frame[...] = list`` converts it.
        """
    def wait_subscribers(self, count: int, timeout: float | None = None) -> None:
        """Wait until at least so many subscribers are there: a frame that is published before one
        subscribes is lost to it.

        Waits at most ``timeout`` seconds, or without a limit for ``None``. Raises :class:`Timeout`;
        :class:`Released`; :class:`NotOwner` in a forked child.
        """
    def finish(self) -> None:
        """End the stream, and give the turn back.

        Subscribers get the frames that are there, and then none. The next producer begins it anew.

        Raises :class:`NotOwner` in a forked child.
        """
    def close(self) -> None:
        """Give the turn back, as the end of the block does.

        A frame that is being written is not published.
        """
    def __enter__(self) -> Producer: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...

class FrameMut:
    """A block that writes a frame: see :meth:`Producer.next`.

    ``with producer.next() as frame`` gives a writable ndarray over the memory of the frame. The end
    of the block publishes it; an exception does not.
    """

    def __enter__(self) -> LockedArray: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...

class Subscriber:
    """A subscription to the frames of a ring.

    Made by :meth:`Ring.subscribe`. It begins with the frame that is published next. Iterating over
    it, by ``for`` or ``async for``, gives each frame in order until the stream ends: a
    :class:`Frame`, which is held while any object has its memory. The variable of a loop names the
    last frame while the next one is waited for. So a loop holds one frame, and a ring needs two
    more than all subscribers hold.

    The end of its block gives the seat back, when its frames are gone too. One thread at a time
    uses a subscriber.
    """

    @property
    def ring(self) -> Ring:
        """The ring."""
    @property
    def missed(self) -> int:
        """How many frames this subscription missed.

        They were published since it began, and not taken, because the producer was faster or
        :meth:`latest` stepped over them.
        """
    def next(self, timeout: float | None = None) -> Frame | None:
        """Return the next frame in order; ``None`` at the end of the stream.

        Where it was overwritten, it is the newest one. Waits for it at most ``timeout`` seconds;
        without ``timeout``, as long as the store's ``lock_timeout`` allows.

        Raises :class:`Abandoned` once for each producer that died, within 100 ms: the next call
        waits for the next producer. :class:`WouldBlock` (only with ``timeout=0``);
        :class:`Timeout`, whose ``holders`` name the producer; :class:`Released`; :class:`NotOwner`
        in a forked child.
        """
    def latest(self) -> Frame | None:
        """Return the newest frame, also if it was taken before; ``None`` if there is none yet.

        Does not wait. Raises :class:`Released`; :class:`NotOwner` in a forked child.
        """
    def frame(self, number: int) -> Frame | None:
        """Return the frame of a number, or ``None`` if it was overwritten.

        It counts as neither taken nor missed. Raises the exceptions of :meth:`latest`.
        """
    def close(self) -> None:
        """End the subscription, as the end of the block does.

        Frames that are held stay valid, and keep the seat. A thread that waits gets
        ``RuntimeError``.
        """
    def __enter__(self) -> Subscriber: ...
    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> Literal[False]: ...
    def __iter__(self) -> Iterator[Frame]: ...
    def __next__(self) -> Frame: ...
    def __aiter__(self) -> AsyncIterator[Frame]: ...
    async def __anext__(self) -> Frame: ...
    def _take(self) -> tuple[Frame | None] | None: ...
    def _executor(self) -> ThreadPoolExecutor: ...

class Waiter:
    """A wait for the next frame of a subscriber, which then finds it at once."""

    def __init__(self, subscriber: Subscriber) -> None: ...
    def __call__(self) -> None: ...
    def cancel(self) -> None:
        """End the wait, which then leaves the frame to the next call."""

def refuse(value: object) -> None: ...

class Manager:
    """The base class of :class:`ndshm.Manager`."""

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
        core_dumps: bool | None = None,
        janitor: bool = False,
        mode: Literal["a", "x", "r+"] = "a",
        _pickled: str | None = None,
    ) -> _Manager: ...
    @property
    def path(self) -> str:
        """The path of the store's directory."""
    @property
    def is_owner(self) -> bool:
        """Whether the end of this manager deletes the store."""
    @property
    def closed(self) -> bool:
        """Whether this manager has left or deleted its store."""
    def open(self, name: str) -> Array:
        """Open the array with this name. Raises :class:`NotFound`."""
    def open_ring(self, name: str) -> Ring:
        """Open the ring with this name. Raises :class:`NotFound`."""
    def open_growing(self, name: str) -> GrowingArray:
        """Open the array that grows with this name. Raises :class:`NotFound`."""
    def __getitem__(self, name: str) -> Array: ...
    def __contains__(self, name: object) -> bool: ...
    def remove(self, name: str) -> None:
        """Delete the array with this name, whichever process owns it."""
    def rename(self, old: str, new: str) -> None:
        """Give the array with the name ``old`` the name ``new``.

        Processes that have it open go on using it, and pickles and handles that were made before
        find it by its id. Raises :class:`AlreadyExists` if an array has the name.
        """
    def close(self) -> None:
        """Delete the store with all its arrays, even a persistent store."""
    def leave(self) -> None:
        """Leave the store, as the end of a ``with`` block does.

        This deletes an ephemeral store that this process created. Any other store stays.
        """
    def disown(self) -> None:
        """Give up the ownership of an ephemeral store: it lasts until its last process is gone.

        Then its janitor or the next sweep deletes it. It is for processes of one rank that share a
        store and end in any order: give such a store a ``janitor``. Does nothing if this manager
        does not own the store.
        """
    def persist(self) -> str:
        """Make the store persistent, and return its path."""
    def _load(
        self,
        path: str | os.PathLike[str],
        format: str,
        name: str | None = None,
        prefix: str | None = None,
        scope: Scope = ...,
        only: Sequence[str] | None = None,
        skip_unsupported: bool = False,
    ) -> tuple[list[tuple[str, Array]], list[tuple[str, str]]]: ...
    def _checkpoint(
        self,
        place: str | os.PathLike[str],
        settings: Mapping[str, Any],
        progress: Callable[[int, int], object] | None,
    ) -> dict[str, Any]: ...
    def _restore(
        self,
        place: str | os.PathLike[str],
        settings: Mapping[str, Any],
        progress: Callable[[int, int], object] | None,
    ) -> dict[str, Any]: ...
    def _create(
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
    def _open_or_zeros(
        self,
        name: str,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: np.dtype[Any],
        order: str = "C",
        scope: Scope = ...,
        attrs: Mapping[str, Any] | None = None,
        axis_names: Sequence[str] | None = None,
    ) -> Array: ...
    def _ring(
        self,
        shape: SupportsIndex | Sequence[SupportsIndex],
        frames: int,
        dtype: np.dtype[Any],
        max_subscribers: int = 64,
        info: np.dtype[Any] | None = None,
        name: str | None = None,
        scope: Scope = ...,
        attrs: Mapping[str, Any] | None = None,
        axis_names: Sequence[str] | None = None,
    ) -> Ring: ...
    def _growing(
        self,
        row_shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: np.dtype[Any],
        max_len: int,
        name: str | None = None,
        scope: Scope = ...,
        attrs: Mapping[str, Any] | None = None,
        axis_names: Sequence[str] | None = None,
    ) -> GrowingArray: ...
    def damaged(self) -> list[Exception]:
        """Return the reasons why arrays of the store cannot be read."""
    def _copy(
        self,
        source: np.ndarray,
        order: str = "C",
        name: str | None = None,
        scope: Scope = ...,
        attrs: Mapping[str, Any] | None = None,
        axis_names: Sequence[str] | None = None,
    ) -> Array: ...
    def _wait_for(self, name: str, timeout: float | None = None) -> dict[str, Any]: ...
    def _list(self) -> list[dict[str, Any]]: ...
    def _usage(self) -> dict[str, int]: ...
    def _sweep(self) -> dict[str, Any]: ...

def checkpoint_ids(place: str | os.PathLike[str]) -> list[str]:
    """Return the ids of the checkpoints at a place, the newest first."""

def checkpoint_contents(
    place: str | os.PathLike[str], settings: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what a restore would make, as a description and the descriptions of its arrays."""

def lock(*requests: Request, timeout: float | None = None) -> Guards:
    """Take guards on several arrays or views at once, of any stores: all of them or none.

    ``with ndshm.lock(a.reading(), b.writing()) as (x, y)`` gives their ndarrays in the order of the
    call: read-only zero-copy ones for ``reading()``, writable ones for ``writing()`` and
    ``recovering()``, and :class:`Atomics` for ``updating()``. The end of the block ends all of
    them, as :class:`Guard` does for one.

    Threads and processes that take all of their guards by ``lock`` do not deadlock, in whatever
    order they name them: the guards are taken in one order that all of them share. The guards that
    the thread has already are held while it waits for the next one.

    The block waits at most ``timeout`` seconds for all guards together; without ``timeout``, as
    long as the shortest ``lock_timeout`` of their stores allows.

    Raises ``ValueError`` for a negative ``timeout`` or NaN, and ``TypeError`` for other arguments
    than requests. The start of the block raises the exceptions of :meth:`Array.read` and
    :meth:`Array.write`; :class:`WouldDeadlock` also where two views of the call share bytes and one
    of them is to be written. Then no guard is held.
    """

def open(handle: str) -> Array: ...
def open_path(path: str | os.PathLike[str]) -> Array: ...
def open_ring(handle: str) -> Ring: ...
def open_ring_path(path: str | os.PathLike[str]) -> Ring: ...
def unpickle_ring(handle: str) -> Ring: ...
def open_growing(handle: str) -> GrowingArray: ...
def open_growing_path(path: str | os.PathLike[str]) -> GrowingArray: ...
def unpickle_growing(handle: str) -> GrowingArray: ...
def unpickle_array(handle: str) -> Array: ...
def reduce_mapped(
    keeper: object, ndarray: np.ndarray, is_writable: bool
) -> tuple[Any, tuple[str]] | None: ...
def wait_frozen(handle: str, timeout: float | None) -> None: ...
