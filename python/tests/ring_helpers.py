"""What the tests of rings share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import ndshm

SOON = 10.0
"""Seconds within which what must happen happens, also on a busy machine."""


@contextlib.contextmanager
def both(ring: ndshm.Ring) -> Iterator[tuple[ndshm.Producer, ndshm.Subscriber]]:
    """Return a producer and a subscriber of a ring."""
    with ring.produce() as producer, ring.subscribe() as subscriber:
        yield producer, subscriber


def held(ring: ndshm.Ring) -> int:
    return sum(state.held for state in ring.subscribers)


def taken(subscriber: ndshm.Subscriber) -> ndshm.Frame:
    frame = subscriber.next(timeout=SOON)
    assert frame is not None
    return frame
