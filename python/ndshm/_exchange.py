"""The elements of arrays between machines, by the connections of Dask.

Every process that takes part serves the arrays that it sent, in a thread with an event loop of its
own. So it answers while its main loop waits for the elements of another process, and no circle of
such waits can form. Elements go in slabs of a few mebibytes, from the mapping into the mapping.
"""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any, Callable

import numpy as np
from distributed.comm import (  # type: ignore[import-not-found, unused-ignore]
    CommClosedError,
    connect,
    listen,
)
from distributed.protocol import to_serialize  # type: ignore[import-not-found, unused-ignore]

from . import _copies, _travel
from ._manager import Manager
from ._ndshm import Array
from ._travel import Elsewhere, Gone, Reference

SLAB = 8 << 20
# Seconds until the writer of an array that is asked for must be done.
LOCK_TIMEOUT = 60.0
# Seconds for a connection. Dask tries again and again until then, though no process listens.
CONNECT_TIMEOUT = 5.0


class Exchange:
    """Serves the elements of this process's arrays, and fetches those of others."""

    def __init__(self, manager: Manager, address: str, security: Any) -> None:
        self._manager = manager
        self._security = security
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.name = "ndshm-exchange"
        self._thread.start()
        self._pool = concurrent.futures.ThreadPoolExecutor(4, "ndshm-elements")
        self._run(self._listen(address))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self, address: str) -> None:
        # The port of the worker is taken: a free one of the same host.
        scheme, _, rest = address.partition("://")
        host = rest.rpartition(":")[0] or "127.0.0.1"
        arguments = self._security.get_listen_args("worker")
        self._listener = listen(f"{scheme}://{host}:0", self._serve, **arguments)
        await self._listener.start()
        self.address: str = self._listener.contact_address

    def repeat(self, seconds: float, function: Callable[[], None]) -> None:
        """Call a function every so many seconds, in a thread, until :meth:`close`."""

        async def repeated() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._threaded(function)

        asyncio.run_coroutine_threadsafe(repeated(), self._loop)

    def close(self) -> None:
        """Stop serving."""

        async def end() -> None:
            self._listener.stop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    async def _serve(self, comm: Any) -> None:
        """Answer the requests of one connection: a handle, then the elements in slabs."""
        try:
            while True:
                request = await comm.read()
                try:
                    slabs = await self._threaded(_Slabs, request["handle"])
                except Exception as error:
                    await comm.write({"error": f"{type(error).__name__}: {error}"})
                    continue
                try:
                    await comm.write(slabs.header)
                    for at in range(0, slabs.nbytes, SLAB):
                        slab = await self._threaded(slabs.part, at, at + SLAB)
                        await comm.write({"slab": to_serialize(slab)})
                finally:
                    await self._threaded(slabs.end)
        except OSError:
            # The other side is done, or was killed.
            comm.abort()

    async def _threaded(self, function: Any, *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._pool, function, *arguments)

    def fetch(self, known: Reference) -> Array:
        """Return a frozen array of this machine with the elements of an array of another one."""

        def fill(name: str) -> Array:
            made: Array = self._run(self._fetch(known, name))
            return made

        return _copies.shared_copy(self._manager, known, fill)

    async def _fetch(self, known: Reference, name: str) -> Array:
        if known.origin is None:
            raise Elsewhere(
                f"array {known.id} lives on another machine (boot {known.boot}), and no process "
                "there serves its elements: call ndshm.dask.install(client) where it is sent"
            )
        try:
            arguments = self._security.get_connection_args("worker")
            comm = await connect(known.origin, timeout=CONNECT_TIMEOUT, **arguments)
        except OSError as error:
            raise Gone(
                f"array {known.id} lives on another machine, and the process that served it at "
                f"{known.origin} is gone: {error}"
            ) from None
        try:
            await comm.write({"handle": known.handle})
            header = await comm.read()
            if "error" in header:
                raise Gone(
                    f"array {known.id} lives on another machine, and {known.origin} could not read "
                    f"it: {header['error']}"
                )
            made = self._manager.zeros(
                known.shape,
                known.dtype,
                header["order"],
                attrs=header["attrs"],
                axis_names=header["axis_names"],
                name=name,
                scope="local",
            )
            # It is not published yet, so no lock is needed.
            into = made.unlocked()
            flat = (into.T if header["order"] == "F" else into).reshape(-1).view("u1")
            at = 0
            while at < known.nbytes:
                slab = (await comm.read())["slab"]
                flat[at : at + len(slab)] = slab
                at += len(slab)
            del into, flat
            made.freeze()
            return made
        except CommClosedError as error:
            raise Gone(
                f"array {known.id} lives on another machine, and the process that served it at "
                f"{known.origin} ended: {error}"
            ) from None
        finally:
            comm.abort()


class _Slabs:
    """The elements of an array as bytes, under its lock until :meth:`end`."""

    def __init__(self, handle: str) -> None:
        array = _travel.open_by_id(handle)
        order = array.order or "C"
        names = array.axis_names
        self.header = {
            "order": order,
            "attrs": dict(array.attrs) if not array.is_view else {},
            "axis_names": names if names and all(names) and not array.is_view else None,
        }
        self.nbytes = array.nbytes
        self._guard = None if array.frozen else array.read(timeout=LOCK_TIMEOUT)
        view = array.freeze() if self._guard is None else self._guard.__enter__()
        view = view.T if order == "F" else view
        self._view: Any = view
        self._is_flat = view.flags.c_contiguous

    def part(self, start: int, end: int) -> np.ndarray:
        """Return a copy of some bytes; of a frozen array's the memory itself."""
        itemsize = max(1, self._view.dtype.itemsize)
        if self._is_flat:
            flat = self._view.reshape(-1).view("u1")[start:end]
            return np.array(flat) if self._guard else flat.view(np.ndarray)
        first, last = start // itemsize, -(-end // itemsize)
        plain = self._view.flat[first:last]
        return np.ascontiguousarray(plain).view("u1")[start - first * itemsize :][: end - start]

    def end(self) -> None:
        """Give the lock back."""
        self._view = None
        if self._guard is not None:
            self._guard.__exit__()
