"""Rings of frames: what is written in Python."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _ndshm

if TYPE_CHECKING:
    from ._errors import Holder
    from ._ndshm import Frame, Subscriber


@dataclass(frozen=True)
class SubscriberState:
    """A subscriber of a ring, as :attr:`Ring.subscribers` finds it."""

    process: Holder
    """Its process."""
    is_lossless: bool
    """Whether the producer waits for it."""
    lag: int
    """The number of positions from the last frame that it took to the newest one."""
    held: int
    """The number of frames that it holds."""


async def next_frame(subscriber: Subscriber) -> Frame:
    """Return the next frame: ``__anext__``.

    One thread of the subscriber's waits. A task that is cancelled cancels the wait, and the next
    call finds a frame that the thread took meanwhile.
    """
    while True:
        found = subscriber._take()
        if found is not None:
            (frame,) = found
            if frame is None:
                raise StopAsyncIteration
            return frame
        waiter = _ndshm.Waiter(subscriber)
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(subscriber._executor(), waiter)
        finally:
            waiter.cancel()
