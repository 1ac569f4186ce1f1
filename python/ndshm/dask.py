"""Shared arrays in Dask: by reference on one machine, by value between machines.

>>> with distributed.Client(cluster) as client, ndshm.dask.install(client):  # doctest: +SKIP
...     client.submit(function, array)

Needs the packages ``dask`` and ``distributed``: ``pip install ndshm[dask]``. Importing this module
makes all pickles of arrays in this process references that also tell the machine.
"""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import copyreg
import functools
import hashlib
import os
import threading
import uuid
from types import TracebackType
from typing import Any

import dask  # type: ignore[import-not-found, unused-ignore]
import dask.array  # type: ignore[import-not-found, unused-ignore]
import distributed  # type: ignore[import-not-found, unused-ignore]
import numpy as np
from dask.array.dispatch import (  # type: ignore[import-not-found, unused-ignore]
    concatenate_lookup,
)
from dask.base import normalize_token  # type: ignore[import-not-found, unused-ignore]
from dask.sizeof import sizeof  # type: ignore[import-not-found, unused-ignore]
from distributed.protocol import (  # type: ignore[import-not-found, unused-ignore]
    dask_deserialize,
    dask_serialize,
)

from . import _copies, _dask_sizeof, _travel
from ._errors import Error
from ._exchange import Exchange
from ._manager import Manager
from ._ndshm import Array, MappedArray
from ._tool import path as _tool_path
from ._travel import Elsewhere, Gone, Reference, RemoteArray

__all__ = [
    "Elsewhere",
    "RemoteArray",
    "SharedArrays",
    "from_array",
    "install",
    "node_store",
    "share",
    "to_store",
]

_SWEEP_SECONDS = 10


class _Node:
    """The membership of this process in the store of its machine, and its exchange."""

    def __init__(self, name: str, address: str, security: Any) -> None:
        janitor = bool(os.environ.get("NDSHM_JANITOR")) or _tool_path() is not None
        self.name = name
        self.manager = Manager(name=name, persistent=False, janitor=janitor)
        # The workers of a machine end in any order.
        self.manager.disown()
        self.exchange = Exchange(self.manager, address, security)
        # The client does it too: it may be the last process of the cluster on its machine.
        self.exchange.repeat(_SWEEP_SECONDS, self._sweep)
        self.users = 1

    def _sweep(self) -> None:
        try:
            _copies.sweep(self.manager)
        except (Error, OSError):
            # Another process deletes the store, or all of its guards are taken.
            pass

    def close(self) -> None:
        self.exchange.close()
        self.manager.leave()


_node: _Node | None = None
_lock = threading.RLock()


def _join(name: str, address: str, security: Any) -> None:
    global _node
    with _lock:
        if _node is not None:
            _node.users += 1
            return
        _node = _Node(name, address, security)
        _travel.origin = _node.exchange.origin
        _travel.fetch, _travel.is_eager = _node.exchange.fetch, True


def _leave() -> None:
    global _node
    with _lock:
        if _node is None:
            return
        _node.users -= 1
        if _node.users:
            return
        node, _node = _node, None
        _travel.origin = _travel.fetch = None
    node.close()


def node_store() -> Manager:
    """Return the manager of the store that all workers of this machine share.

    The store is made by :class:`SharedArrays`, and deleted when the last process of the cluster on
    this machine is gone. Raises ``RuntimeError`` in a process without it.
    """
    node = _node
    if node is None:
        raise RuntimeError(
            "this process has no store of a cluster: call ndshm.dask.install(client) in the "
            "client, which gives one to the client and to the workers of each machine"
        )
    return node.manager


def share(values: Any) -> Array:
    """Return a frozen array with a copy of some values in the store of this machine.

    A task that returns it hands it over: other workers of the machine get the same memory, those of
    other machines a copy. ``x.map_blocks(share)`` moves the chunks of a Dask array into shared
    memory; their slices are views of it. It is deleted with its last user.

    Raises :class:`ndshm.NoSpace` if it does not fit, and ``RuntimeError`` in a process without a
    store, as :func:`node_store`.
    """
    if isinstance(values, Array):
        values = values.to_numpy()
    made = node_store().array(values)
    made.freeze()
    return made


class SharedArrays(distributed.WorkerPlugin):  # type: ignore[misc, unused-ignore]
    """A worker plugin for shared arrays: see :func:`install`, which registers it.

    It gives the workers of a machine one store, with a janitor where the tool of this package is
    installed. Each worker joins it, serves the elements of its arrays to other machines, and
    deletes the leftovers of killed workers every ten seconds, as the client does, and when it
    starts.
    """

    name = "ndshm"
    # A second client of a cluster leaves the plugin of the first one, by which workers have arrays.
    idempotent = True

    def __init__(self, store: str | None = None) -> None:
        self.store = store or f"dask-{uuid.uuid4().hex[:16]}"

    def setup(self, worker: Any) -> None:
        """Join the store of the machine. Dask calls it in each worker."""
        _join(self.store, worker.address, worker.security)
        _copies.sweep(node_store())

    def teardown(self, worker: Any) -> None:
        """Leave the store. Dask calls it when a worker ends."""
        _leave()

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store}


class install:  # noqa: N801
    """Make the workers of a cluster, and this client, use shared arrays by reference.

    Registers the plugin :class:`SharedArrays` with all workers, those that start later too. This
    process serves the elements of its arrays to the workers of other machines, and gets the results
    of those. Use it as a context manager, or call :meth:`close` before the client is closed; the
    plugin stays with the workers.

    A scheduler that is started again knows no plugin, and its workers are new: install it again.

    ``store`` is the name of the store on each machine, in its ``NDSHM_ROOT``; by default that of
    this process if it has one, else one that all clients of the scheduler choose. The workers have
    the store of the client that installs first, and keep it.
    """

    def __init__(self, client: Any, store: str | None = None) -> None:
        node = _node
        if store is None and node is not None:
            store = node.name
        elif store is None:
            scheduler_id = str(client.scheduler_info()["id"])
            store = "dask-" + hashlib.sha256(scheduler_id.encode()).hexdigest()[:16]
        self.plugin = SharedArrays(store)
        client.register_plugin(self.plugin)
        scheduler = client.scheduler.address
        scheme, _, rest = scheduler.partition("://")
        if scheme == "inproc":
            scheme, rest = "tcp", "127.0.0.1:0"
        host = rest.rpartition(":")[0].strip("[]")
        own = distributed.utils.get_ip(host) if host else "127.0.0.1"
        address = f"{scheme}://[{own}]:0" if ":" in own else f"{scheme}://{own}:0"
        _join(self.plugin.store, address, client.security)
        self._is_open = True

    def close(self) -> None:
        """Stop serving the arrays of this process, and leave the store of this machine."""
        if self._is_open:
            self._is_open = False
            _leave()

    def __enter__(self) -> install:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Elements:
    """A task that returns the elements of one chunk of a shared array."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __call__(self) -> Any:
        array = self.array
        if isinstance(array, RemoteArray):
            return array.fetched()
        # Dask copies small slices of an ndarray, but not those of an array.
        return array if array.frozen else array.to_numpy()


def from_array(array: Array, chunks: Any = "auto") -> Any:
    """Return a Dask array of the elements of a shared array.

    Each task has a reference to its own chunk. On the machine of the array, chunks of a frozen
    array are its memory, without a copy; those of any other are copies under the lock, made when
    the task runs. Elsewhere, each machine fetches a chunk once. ``chunks`` is as for
    ``dask.array.from_array``.

    A frozen array has the same name each time, so Dask knows equal computations; any other has a
    new name each time, because its elements may have changed.
    """
    if not isinstance(array, Array):
        raise TypeError(
            f"from_array takes an ndshm.Array, not {type(array).__name__}: use "
            "dask.array.from_array for anything else"
        )
    lengths = dask.array.core.normalize_chunks(chunks, array.shape, dtype=array.dtype)
    name = "ndshm-" + dask.base.tokenize(array, lengths)
    places = dask.array.core.slices_from_chunks(lengths)
    layer = {
        (name, *index): (_Elements(array[(*slices, ...)]),)
        for index, slices in zip(np.ndindex(*map(len, lengths)), places, strict=True)
    }
    return dask.array.Array(layer, name, lengths, dtype=array.dtype)


class _Place:
    """The place of one chunk in a shared array: an argument that Dask does not look into."""

    def __init__(self, array: Any) -> None:
        self.array = array


def _write(place: _Place, chunk: Any) -> Any:
    """Write one chunk in place, or return it where the array is elsewhere."""
    if isinstance(place.array, RemoteArray):
        return np.asarray(chunk)
    # A worker that was killed at this chunk leaves it poisoned.
    with place.array.recover() as elements:
        elements[...] = chunk
    return None


def to_store(
    array: Any, manager: Manager, name: str, *, freeze: bool = False, **labels: Any
) -> Array:
    """Compute a Dask array into a new shared array of a store, and return that.

    The store is one of this machine. Its workers write their chunks in place, each under the lock
    of its own bytes; chunks of other machines come by value to this process, which writes them.
    ``freeze`` freezes the array at the end. ``labels`` are the keywords of
    :meth:`ndshm.Manager.zeros`: ``scope``, ``attrs``, ``axis_names``.

    Raises :class:`ndshm.AlreadyExists` and :class:`ndshm.NoSpace` before anything is computed, and
    ``ValueError`` for a Dask array of unknown chunk sizes. If a task fails, its exception is
    raised, and the shared array is deleted.
    """
    if any(np.isnan(array.shape)):
        raise ValueError("the Dask array has unknown chunk sizes: call compute_chunk_sizes() first")
    made = manager.zeros(array.shape, array.dtype, name=name, **labels)
    try:
        places = dask.array.core.slices_from_chunks(array.chunks)
        views = [made[(*slices, ...)] for slices in places]
        write = dask.delayed(_write, pure=False)
        blocks = array.to_delayed().ravel()
        _run([write(_Place(at), block) for at, block in zip(views, blocks, strict=True)], views)
        if freeze:
            made.freeze()
    except BaseException:
        made.release()
        raise
    return made


def _run(tasks: list[Any], views: list[Array]) -> None:
    try:
        client = distributed.get_client()
    except ValueError:
        # Threads or processes of this machine.
        dask.compute(*tasks)
        return
    futures = client.compute(tasks)
    at = {future.key: view for future, view in zip(futures, views, strict=True)}
    waiting = distributed.as_completed(futures)
    del futures
    for future in waiting:
        chunk = future.result()
        if chunk is not None:
            with at[future.key].recover() as elements:
                elements[...] = chunk


def _concatenate(chunks: list[Any], axis: int = 0) -> Any:
    """Concatenate shared chunks for Dask, which calls this for each axis in turn.

    One chunk alone that cannot change stays what it is: so a chunk of slices is copied once, not
    once for each axis.
    """
    if len(chunks) == 1 and isinstance(chunks[0], Array) and chunks[0].frozen:
        return chunks[0]
    return np.concatenate(chunks, axis)


def _send_chunks_by_value() -> None:
    """Let the p2p method of Dask's rechunk take shared chunks.

    It writes pickles of slices to a disk, where references keep no array alive: it gets the
    elements. Without this it asks each slice for its ``base``, which an array does not have.
    """
    try:
        from distributed.shuffle import (  # type: ignore[import-not-found, unused-ignore]
            _rechunk,
        )
    except ImportError:
        # Another version of Dask, whose method says itself what it does not take.
        return
    module: Any = _rechunk
    transfer = module.rechunk_transfer

    @functools.wraps(transfer)
    def by_value(chunk: Any, *arguments: Any) -> Any:
        if isinstance(chunk, Array):
            chunk = chunk.freeze().view(np.ndarray) if chunk.frozen else chunk.to_numpy()
        return transfer(chunk, *arguments)

    module.rechunk_transfer = by_value


def _register() -> None:
    dask.array.register_chunk_type(Array)
    concatenate_lookup.register(Array, _concatenate)
    for kind, reduce in _travel.REDUCERS.items():
        copyreg.pickle(kind, reduce)
    _dask_sizeof.register(sizeof)
    _send_chunks_by_value()
    normalize_token.register(Array, _travel.token_of)
    normalize_token.register(MappedArray, _token)
    for kind in (Array, MappedArray):
        dask_serialize.register(kind, _dump)
        dask_deserialize.register(kind, _load)


def _token(ndarray: MappedArray) -> Any:
    """Return the token of mapped memory: a frozen array's is its identity, which needs no read."""
    found = _travel.array_of(ndarray)
    if found is not None and found[1]:
        return _travel.token_of(found[0])
    return normalize_token.dispatch(np.ndarray)(np.asarray(ndarray).view(np.ndarray))


_NESTED: Any = object()


def _dump(value: Any, context: Any = _NESTED) -> tuple[dict[str, Any], list[Any]]:
    """Return a reference for messages, and the elements for a disk.

    Dask gives no context where it spills a value. The memory of a frozen array is freed by that, so
    its elements go to the disk. Any other array may be written by others: it stays where it is.
    """
    mapped = isinstance(value, MappedArray)
    found = _travel.array_of(value) if mapped else (value, value.frozen)
    if found is None or (mapped and not found[1]):
        plain = np.asarray(value).view(np.ndarray)
        header, frames = dask_serialize.dispatch(np.ndarray)(plain)
        return {"plain": header}, frames
    array, frozen = found
    spills = context is None and frozen and _node is not None
    known = _travel.reference(array, of=value if mapped else None, hand_over=not spills)
    if context is not None and context is not _NESTED:
        _travel.offer_while_alive(value, array, known.handle)
    header = {"reference": distributed.protocol.pickle.dumps(tuple(known))}
    if not spills:
        return header, []
    order = array.order or "C"
    elements = array.freeze()
    elements = np.ascontiguousarray(elements.T if order == "F" else elements)
    header["order"] = order
    header["attrs"] = distributed.protocol.pickle.dumps(
        (dict(array.attrs), array.axis_names) if not array.is_view else ({}, [])
    )
    return header, [elements.reshape(-1).view("u1").view(np.ndarray).data]


def _load(header: dict[str, Any], frames: list[Any]) -> Any:
    if "plain" in header:
        return dask_deserialize.dispatch(np.ndarray)(header["plain"], frames)
    known = Reference(*distributed.protocol.pickle.loads(header["reference"]))
    if "order" not in header:
        try:
            return _travel.received(known)
        except Gone:
            # To Dask it is a failed connection: it asks another worker for the value.
            raise
        except _travel.FAILURES:
            # Any other exception would end the connection that the value came by.
            return RemoteArray(known)
    # It may still be there, because another process uses it.
    array = _travel.open_here(known)
    if array is None:
        array = _unspilled(known, header, frames)
    return array.freeze() if known.mapped else array


def _unspilled(known: Reference, header: dict[str, Any], frames: list[Any]) -> Array:
    attrs, names = distributed.protocol.pickle.loads(header["attrs"])
    order = header["order"]
    made = node_store().zeros(
        known.shape,
        known.dtype,
        order,
        attrs=attrs,
        axis_names=names if names and all(names) else None,
    )
    into = made.unlocked()
    flat = (into.T if order == "F" else into).reshape(-1).view("u1")
    flat[:] = np.concatenate([np.frombuffer(frame, "u1") for frame in frames]) if frames else 0
    del into, flat
    made.freeze()
    return made


_register()
