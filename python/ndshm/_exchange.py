"""The elements of arrays between machines, by connections of their own.

Every process that takes part serves the arrays that it sent, in a thread with an event loop of its
own. So it answers while its main loop waits for the elements of another process, and no circle of
such waits can form. Elements go in slabs of a few mebibytes, from the mapping into the mapping.

A request is JSON, and so is what comes before the elements, which are plain bytes. Dask's own
messages are not used: any of them can have a pickle, which runs code of its sender.
"""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import asyncio
import concurrent.futures
import hmac
import json
import secrets
import ssl
import threading
from typing import Any, Callable

import numpy as np

from . import _copies, _travel
from ._manager import Manager
from ._ndshm import Array
from ._travel import Elsewhere, Gone, Reference

SLAB = 8 << 20
# Seconds until the writer of an array that is asked for must be done.
LOCK_TIMEOUT = 60.0
# Seconds for a connection, with the checks of TLS.
CONNECT_TIMEOUT = 5.0
# Seconds in which the other side must send something, or take what was sent.
STALL_TIMEOUT = 30.0
# Seconds between the signs of life of a process that waits for a lock.
ALIVE_SECONDS = 5.0
# The longest request, and the longest message before the elements, which has the attributes.
REQUEST_BYTES = 1 << 16
HEADER_BYTES = 1 << 28


class Exchange:
    """Serves the elements of this process's arrays, and fetches those of others.

    ``address`` is a Dask address of this machine, and ``security`` Dask's ``Security``: with TLS
    both sides of each connection are checked. The attribute ``origin`` is the address at which
    this process serves, with the token that each request must have.
    """

    def __init__(self, manager: Manager, address: str, security: Any) -> None:
        self._manager = manager
        self._security = security
        self._token = secrets.token_hex(16)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.name = "ndshm-exchange"
        self._thread.start()
        self._pool = concurrent.futures.ThreadPoolExecutor(4, "ndshm-elements")
        self._run(self._listen(address))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self, address: str) -> None:
        # The port of the worker is taken: a free one of the same host. A worker that is a thread of
        # its client's process has no host.
        scheme, _, rest = address.partition("://")
        host = "" if scheme == "inproc" else rest.rpartition(":")[0].strip("[]")
        host = host or "127.0.0.1"
        tls = self._security.get_listen_args("worker").get("ssl_context")
        self._server = await asyncio.start_server(
            self._serve,
            host,
            0,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else CONNECT_TIMEOUT,
        )
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        self.origin = f"{self.address}#{self._token}"

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
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._pool.shutdown()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request: a token and a handle, then the elements in slabs."""
        try:
            # One slab at most is in this process's memory, however slow the other side is. With a
            # limit of 0 connections of TLS wait for ever.
            writer.transport.set_write_buffer_limits(1 << 16)
            request = await _received(reader, REQUEST_BYTES)
            if not hmac.compare_digest(str(request["token"]).encode(), self._token.encode()):
                await _send(writer, {"error": "the request does not have this process's token"})
                return
            opening = self._pool.submit(_Slabs, str(request["handle"]))
            try:
                opened = asyncio.wrap_future(opening)
                while not (await asyncio.wait([opened], timeout=ALIVE_SECONDS))[0]:
                    await _send(writer, {"waits": True})
            except BaseException:
                opening.add_done_callback(_end_unused)
                raise
            if (error := opened.exception()) is not None:
                await _send(writer, {"error": f"{type(error).__name__}: {error}"})
                return
            slabs = opened.result()
            try:
                await _send(writer, slabs.header)
                for at in range(0, slabs.nbytes, SLAB):
                    writer.write((await self._threaded(slabs.part, at, at + SLAB)).data)
                    await asyncio.wait_for(writer.drain(), STALL_TIMEOUT)
            finally:
                await self._threaded(slabs.end)
        except (OSError, EOFError, ValueError, LookupError, asyncio.TimeoutError):
            # The other side is done, was killed, takes nothing, or is none of this package.
            writer.transport.abort()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

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
        address, _, token = known.origin.partition("#")
        host, _, port = address.partition("://")[2].rpartition(":")
        try:
            tls = self._security.get_connection_args("worker").get("ssl_context")
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(host.strip("[]"), int(port), ssl=tls), CONNECT_TIMEOUT
            )
        except (OSError, asyncio.TimeoutError) as error:
            raise Gone(
                f"array {known.id} lives on another machine, and the process that served it at "
                f"{address} is gone: {error or 'it did not answer'}"
            ) from None
        try:
            await _send(writer, {"token": token, "handle": known.handle})
            while "waits" in (header := await _received(reader, HEADER_BYTES)):
                pass
            if "error" in header:
                raise Gone(
                    f"array {known.id} lives on another machine, and {address} could not read "
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
                wanted = min(SLAB, known.nbytes - at)
                part = await asyncio.wait_for(reader.read(wanted), STALL_TIMEOUT)
                if not part:
                    raise EOFError("the connection ended")
                flat[at : at + len(part)] = np.frombuffer(part, "u1")
                at += len(part)
            del into, flat
            made.freeze()
            return made
        except Gone:
            # It is a ConnectionError too.
            raise
        except (asyncio.TimeoutError, ConnectionError, ssl.SSLError, EOFError) as error:
            raise Gone(
                f"array {known.id} lives on another machine, and the process that served it at "
                f"{address} ended, or sent nothing for {STALL_TIMEOUT:.0f} seconds: "
                f"{error or type(error).__name__}"
            ) from None
        finally:
            writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    text = json.dumps(message).encode()
    writer.write(len(text).to_bytes(8, "little") + text)
    await asyncio.wait_for(writer.drain(), STALL_TIMEOUT)


async def _received(reader: asyncio.StreamReader, longest: int) -> dict[str, Any]:
    length = int.from_bytes(await asyncio.wait_for(reader.readexactly(8), STALL_TIMEOUT), "little")
    if length > longest:
        raise EOFError(f"a message of {length} bytes")
    found = json.loads(await asyncio.wait_for(reader.readexactly(length), STALL_TIMEOUT))
    if not isinstance(found, dict):
        raise EOFError("a message that is none of ndshm")
    return found


def _end_unused(opening: concurrent.futures.Future[_Slabs]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().end()


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
