"""References to arrays that travel between machines: what a pickle has, and what its receiver gets.

A plain pickle of an array is its handle, which means something on one machine alone. The references
of this module also name the boot and the store, and a process that serves the elements. Their
receiver decides: where the boot is its own and the store opens as the same one, it gets the array;
elsewhere a copy of the elements, or a :class:`RemoteArray`.

Nothing of Dask or Ray is imported here: the scheduler's process unpickles references too.
"""

from __future__ import annotations

import copyreg
import functools
import json
import operator
import os
import uuid
import weakref
from collections.abc import Iterator
from typing import Any, Callable, NamedTuple, NoReturn

import numpy as np

from . import _ndshm
from ._errors import Closed, Error, NotFound, Released
from ._manager import Manager, unpickle_manager
from ._ndshm import Array, GrowingArray, MappedArray, Ring


class Elsewhere(Error):
    """An array is in the memory of another machine, where its guards are."""


class Gone(Elsewhere, ConnectionError):
    """The process that served an array of another machine has ended, or lost the array.

    To Dask it is a failed connection: it gets the result from another worker, or computes it again.
    """


class Reference(NamedTuple):
    """The contents of a pickled array.

    ``version`` tells copies of one array apart: the same one for all references to a frozen array,
    a new one for each reference to any other. ``origin`` is where the sender serves the elements,
    or ``None``: in Dask an address, ``#``, and the token that each request must have. ``nbytes`` is
    the size of the elements.
    """

    handle: str
    boot: str
    store: str
    id: str
    version: str
    origin: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    nbytes: int
    frozen: bool
    mapped: bool


#: The address at which this process serves elements, and the function that fetches an array of
#: another machine as a frozen array of this one. Set by the modules for Dask and Ray.
origin: str | None = None
fetch: Callable[[Reference], Array] | None = None
#: Whether frozen arrays are fetched when they are unpickled, or at their first use.
is_eager = True
#: The arrays of the references that this process gave out, by their places: their files may be
#: deleted before the elements are fetched.
sent: weakref.WeakValueDictionary[str, Array] = weakref.WeakValueDictionary()

# The references that this process received, by the identities of the objects that it made of them.
# Dask's scheduler passes them on, and serves nothing.
_received: dict[int, Reference] = {}

#: The errors of a fetch: this machine has no space, or no process serves the elements.
FAILURES = (Error, OSError, RuntimeError, ValueError)
_offered: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


@functools.cache
def boot_id() -> str:
    """Return the identity of the running kernel, which no two machines share."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def place_of(handle: str) -> str:
    """Return what a handle tells of an array and a view: the same in all processes of a machine.

    That is the array's id and type, and where the view lies. The scope and the right to write
    differ between processes, and the path is another one after the array got another name.
    """
    head, _, _ = handle.partition(":p=")
    return ":".join(word for word in head.split(":") if word[:2] not in ("m=", "s="))


def token_of(array: Array) -> tuple[str, str] | str:
    """Return Dask's token: the same in all processes for a frozen array, else a new one."""
    return ("ndshm", place_of(array.handle)) if array.frozen else uuid.uuid4().hex


def _store_of(array: Array) -> str:
    """Return the uuid of the array's store. Another store may have the same path by now."""
    try:
        text = array.manager.__reduce__()[1][0]  # type: ignore[index, unused-ignore]
    except Closed:
        return ""
    return str(json.loads(text)["store"])


def reference(array: Array, *, of: MappedArray | None = None, hand_over: bool = True) -> Reference:
    """Return what is sent for an array, or for the memory of one.

    With ``hand_over`` the receiver may inherit it.
    """
    offers: Any = array.__reduce__() if hand_over else None
    handle = array.handle if offers is None else str(offers[1][0])
    frozen = array.frozen
    version, served = "frozen" if frozen else uuid.uuid4().hex, origin
    place = place_of(handle)
    if of is None:
        sent[place] = array
    elif place not in sent:
        # The array that was found for mapped memory lives as long as that.
        sent[place] = array
        weakref.finalize(of, _keep, array).atexit = False
    received = _received.get(id(array if of is None else of))
    if served is None and received is not None:
        served = received.origin
    return Reference(
        handle,
        boot_id(),
        _store_of(array),
        array.id,
        version,
        served,
        array.shape,
        array.dtype,
        array.nbytes,
        frozen,
        of is not None,
    )


def _keep(_array: Array) -> None:
    pass


def offer_while_alive(value: Any, array: Array, handle: str) -> None:
    """Let an offer end with the object that was sent, if no process has taken it up by then.

    A receiver that is killed before it opens the handle would leave an array that no process
    deletes. The sender's engine keeps the object until the receiver has answered.
    """
    if _offered.get(handle) is not value:
        _offered[handle] = value
        weakref.finalize(value, _withdraw, array.view(), handle).atexit = False


def _withdraw(array: Array, handle: str) -> None:
    # To the library, the owner who opens its own handle takes the offer back, and an heir that has
    # the array open stays one.
    if array.scope == "local":
        try:
            _ndshm.open(handle)
        except (Error, OSError):
            # The store is gone, and the array with it.
            pass


def array_of(ndarray: MappedArray) -> tuple[Array, bool] | None:
    """Return the shared array that an ndarray shows, and whether it is frozen.

    ``None`` if its elements have another type there.
    """
    base: Any = ndarray
    while isinstance(base, np.ndarray):
        base = base.base
    found = _ndshm.reduce_mapped(base, ndarray, ndarray.flags.writeable)
    if found is None:
        return None
    array = _ndshm.open(found[1][0])
    return array, array.frozen


def reduce_array(array: Array) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return the pickle of an array, for ``copyreg``."""
    return receive, tuple(reference(array))


def reduce_mapped(ndarray: MappedArray) -> Any:
    """Return the pickle of mapped memory, for ``copyreg``: a reference for that of a frozen array.

    Any other memory goes by value: a handle of it fails to unpickle on another machine.
    """
    found = array_of(ndarray)
    if found is None or not found[1]:
        # Pickles of older protocols take no buffers.
        return ndarray.view(np.ndarray).__reduce_ex__(4)
    return receive, tuple(reference(found[0], of=ndarray))


def reduce_local(value: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return the pickle of what lives on one machine and is never copied, for ``copyreg``."""
    function, arguments = value.__reduce__()
    return receive_local, (type(value).__name__, boot_id(), function.__name__, *arguments)


def receive_local(kind: str, boot: str, function: str, text: str) -> Any:
    """Return the ring, the growing array or the manager of a pickle, or an :class:`Unreachable`."""
    known = (kind, boot, function, text)
    register()
    if boot != boot_id():
        return Unreachable(known, None)
    try:
        return _OPEN[function](text)
    except FAILURES as error:
        return Unreachable(known, error)


_OPEN: dict[str, Callable[[str], Any]] = {
    "unpickle_growing": _ndshm.unpickle_growing,
    "unpickle_ring": _ndshm.unpickle_ring,
    "unpickle_manager": unpickle_manager,
}


class Unreachable:
    """A ring, a growing array or a manager of another machine, or one that is gone.

    Each use raises an error that says so. A pickle of it is what its own pickle was.
    """

    def __init__(self, known: tuple[str, str, str, str], error: Exception | None) -> None:
        self._known = known
        self._error = error

    def _refuse(self, *_args: Any, **_keywords: Any) -> NoReturn:
        if self._error is not None:
            raise self._error
        kind, boot, _, _ = self._known
        raise Elsewhere(
            f"this {kind} lives on another machine (boot {boot}), and is used there only: run the "
            "task on a worker of that machine, or send elements, numpy.asarray(..)"
        )

    __len__ = __iter__ = __getitem__ = __setitem__ = __contains__ = _refuse
    __array__ = __enter__ = __bool__ = _refuse

    def __exit__(self, *_: object) -> None:
        self._refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._refuse()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return receive_local, self._known

    def __repr__(self) -> str:
        return f"<ndshm.Unreachable: {self._known[0]}, boot={self._known[1]}>"


def register() -> None:
    """Let this process pickle arrays as references, unless it does so already.

    A scheduler of Dask pickles again what it unpickled, and imports no module for Dask of this
    package: it would send plain handles, whose unpickling fails on another machine.
    """
    for kind, reduce in REDUCERS.items():
        copyreg.dispatch_table.setdefault(kind, reduce)


REDUCERS: dict[type, Callable[[Any], Any]] = {
    Array: reduce_array,
    MappedArray: reduce_mapped,
    GrowingArray: reduce_local,
    Ring: reduce_local,
    Manager: reduce_local,
}


def receive(*fields: Any) -> Any:
    """Return the array that a reference names: itself, a copy, or a :class:`RemoteArray`.

    It raises nothing where the elements cannot be had: an exception here would end the connection
    of a worker to its scheduler. The use of the :class:`RemoteArray` fetches again, and raises.
    """
    try:
        return received(Reference(*fields))
    except FAILURES:
        return RemoteArray(Reference(*fields))


def received(known: Reference) -> Any:
    """Return the same. Raises one of :data:`FAILURES` if a frozen array cannot be fetched."""
    register()
    array = open_here(known)
    if array is None and known.frozen and fetch is not None and is_eager:
        array = fetch(known)
    if array is None:
        return RemoteArray(known)
    made: Any = array.freeze() if known.mapped else array
    if origin is None:
        _received[id(made)] = known
        weakref.finalize(made, _received.pop, id(made), None).atexit = False
    return made


def open_here(known: Reference) -> Array | None:
    """Return the array that a reference names, or ``None`` if it is not on this machine."""
    if known.boot != boot_id():
        return None
    try:
        array = _ndshm.unpickle_array(known.handle)
    except (Error, OSError):
        # Another mount of /dev/shm, or an array that was released: its elements may be had.
        return None
    return array if known.store in ("", _store_of(array)) else None


def _is_mounted_elsewhere(handle: str) -> bool:
    """Return whether the store roots of a handle's process are not those of this one.

    That is so in containers, which have the kernel of their machine, and folders of their own.
    """
    root = os.path.dirname(os.path.dirname(handle.partition(":p=")[2]))
    return not os.path.isdir(root)


# What the copy of an array here has too, but tells of the copy.
_THERE = frozenset({"path", "manager", "changed", "poisoned"})


class RemoteArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that lives on another machine.

    ``numpy.asarray(a)``, ``a[...]``, operators, NumPy's functions and the methods that only read
    use its elements as they were when they were fetched: at the first use, and once for all
    processes of this machine that got the same pickle. It cannot be locked or written: send the
    task to a worker of its machine, or return the elements.

    A pickle of it is a reference to the array.
    """

    def __init__(self, known: Reference) -> None:
        self._reference = known
        self._copy: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self._reference.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the elements."""
        return self._reference.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.nbytes // max(1, self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """The size of all elements in bytes."""
        return self._reference.nbytes

    @property
    def id(self) -> str:
        """The identity of the array on its machine."""
        return self._reference.id

    @property
    def handle(self) -> str:
        """The handle that opens the array on its machine."""
        return self._reference.handle

    def fetched(self) -> Array:
        """Return the frozen array of this machine that has the elements; fetch them if needed.

        Raises :class:`Elsewhere` if no process serves them, or this one cannot fetch.
        """
        if self._copy is None:
            if fetch is None:
                self._raise_if_released()
                raise self._elsewhere(
                    "this process cannot fetch its elements: call ndshm.dask.install(client), or "
                    "send the elements, numpy.asarray(a)"
                )
            try:
                self._copy = fetch(self._reference)
            except Elsewhere:
                self._raise_if_released()
                raise
        return self._copy

    def _raise_if_released(self) -> None:
        known = self._reference
        if known.boot == boot_id() and not _is_mounted_elsewhere(known.handle):
            raise Released(
                f"array {known.id} of this machine was released, or deleted with its last user or "
                "its store: keep the array that you pass until the tasks are done"
            ) from None

    def _elsewhere(self, then: str) -> Elsewhere:
        known = self._reference
        return Elsewhere(
            f"array {known.id} lives on another machine (boot {known.boot}, served at "
            f"{(known.origin or 'no address').partition('#')[0]}): {then}"
        )

    def _refuse(self, *_args: Any, **_keywords: Any) -> NoReturn:
        self._raise_if_released()
        raise self._elsewhere(
            "it is locked and written there only: run the task on a worker of that machine, or use "
            "its elements here, numpy.asarray(a)"
        )

    read = write = recover = atomic = unlocked = freeze = release = _refuse
    reading = writing = recovering = updating = __setitem__ = _refuse
    fill = put = partition = sort = flush = wait_changed = _refuse

    def __getattr__(self, name: str) -> Any:
        # Only what an array has, and nothing by which libraries find out what a value can do.
        if name.startswith("_") or not hasattr(Array, name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in _THERE:
            self._refuse()
        return getattr(self.fetched(), name)

    @property
    def itemsize(self) -> int:
        """The size of one element in bytes."""
        return self.dtype.itemsize

    @property
    def frozen(self) -> bool:
        """Whether the array was frozen when the reference was made."""
        return self._reference.frozen

    @property
    def name(self) -> None:
        """``None``: the array has its name on its machine."""

    @property
    def scope(self) -> None:
        """``None``: this process never deletes the array."""

    @property
    def writable(self) -> bool:
        """``False``: the array is written on its machine only."""
        return False

    def __bool__(self) -> bool:
        return bool(self.fetched())

    def __float__(self) -> float:
        return float(self.fetched())

    def __int__(self) -> int:
        return int(self.fetched())

    def __index__(self) -> int:
        return operator.index(self.fetched())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetched().freeze())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.fetched().freeze(), dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        if any(isinstance(out, RemoteArray) for out in keywords.get("out", ())):
            self._refuse()
        return getattr(ufunc, method)(*map(_plain, inputs), **keywords)

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        return function(*_plain(args), **{key: _plain(value) for key, value in keywords.items()})

    def __getitem__(self, index: Any) -> Any:
        return self.fetched().freeze()[index]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return receive, tuple(self._reference)

    def __dask_tokenize__(self) -> Any:
        known = self._reference
        place = place_of(known.handle)
        return ("ndshm", place) if known.frozen else ("ndshm", place, known.version)

    def __repr__(self) -> str:
        return f"<ndshm.RemoteArray: shape={self.shape}, dtype={self.dtype}, id={self.id}>"


def _plain(value: Any) -> Any:
    if isinstance(value, RemoteArray):
        return value.fetched().freeze()
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value


def open_by_id(handle: str) -> Array:
    """Return the array that this process sent by this handle, for another machine.

    It claims nothing, whichever process owns the array or may inherit it, so it does not delete it
    afterwards. Raises :class:`NotFound` if the array is gone.
    """
    if (found := sent.get(place_of(handle))) is not None:
        return found
    try:
        return _ndshm.open(_without_claim(handle))
    except (Error, OSError) as error:
        raise NotFound(f"the array is gone from its machine: {error}") from None


def _without_claim(handle: str) -> str:
    """Return a handle of the same array whose opener does not become its owner."""
    head, separator, path = handle.partition(":p=")
    return head.replace(":s=remote", ":s=store") + separator + path
