"""Rings of frames: the turn to produce, and the block that writes a frame."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ndshm
from ring_helpers import both, held, taken


def test_a_frame_is_published_when_its_block_ends_and_emptied_then(m: ndshm.Manager) -> None:
    ring = m.ring((2, 3), 4, "f4")
    with both(ring) as (producer, subscriber):
        with producer.next() as x:
            x[...] = 7
            view = x[1]
            with pytest.raises(ndshm.WouldBlock, match="no frame is there yet"):
                subscriber.next(timeout=0)
            assert ring.newest == 0
        assert x.size == view.size == 0 and ring.newest == 1
        with pytest.raises(ValueError), producer.next() as y:
            x[0] = y
        frame = taken(subscriber)
        with pytest.raises(ValueError, match="read-only"):
            view += 5
        assert frame.tolist() == [[7] * 3] * 2
        assert (frame.number, type(frame)) == (1, ndshm.Frame)
        assert abs(frame.time - time.time()) < 60 and abs(frame.time_ns / 1e9 - frame.time) < 1e-6


def test_a_frame_without_axes_is_emptied_too(m: ndshm.Manager) -> None:
    ring = m.ring((), 3, "f8")
    with both(ring) as (producer, subscriber):
        with producer.next() as x:
            x[...] = 2.5
        with pytest.raises(ValueError, match="read-only"):
            x[...] = 9
        producer.publish(3.5)
        frame = taken(subscriber)
        assert (frame.shape, float(frame), frame.number) == ((), 2.5, 1)
        assert float(taken(subscriber)) == 3.5


@pytest.mark.parametrize(
    "exception", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit]
)
def test_an_exception_leaves_the_frame_unpublished(
    m: ndshm.Manager, exception: type[BaseException]
) -> None:
    ring = m.ring(3, 3, "i4")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 1, 1])
        with pytest.raises(exception), producer.next() as x:
            x[...] = 2
            raise exception
        assert x.size == 0 and ring.newest == 1
        producer.publish([3, 3, 3])
        assert [taken(subscriber).tolist() for _ in range(2)] == [[1] * 3, [3] * 3]
        assert subscriber.missed == 0


def test_a_generator_that_is_closed_amid_a_block_publishes_nothing(m: ndshm.Manager) -> None:
    ring = m.ring(3, 3, "i4")

    def writes() -> Iterator[None]:
        with ring.produce() as producer, producer.next() as x:
            x[0] = 1
            yield

    running = writes()
    next(running)
    running.close()
    assert ring.newest == 0 and ring.producer is None


ESCAPES: dict[str, Callable[[Any], Any]] = {
    "a memoryview": memoryview,
    "a plain ndarray": np.asarray,
    "a writable ndarray": lambda x: x[1:].view(np.ndarray),
    "an iterator": lambda x: x.flat,
    "a capsule": lambda x: x.__dlpack__(max_version=(1, 0)),
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_memory_that_left_the_block_keeps_the_frame_unpublished(
    m: ndshm.Manager, escape: str
) -> None:
    ring = m.ring(3, 4, "i4")
    with both(ring) as (producer, subscriber):
        with pytest.raises(BufferError, match="the frame is not published"):
            with producer.next() as x:
                x[...] = 1
                kept = ESCAPES[escape](x)
        assert ring.newest == 0 and x.size == 0
        for use in (lambda: producer.next().__enter__(), lambda: producer.publish([2, 2, 2])):
            with pytest.raises(BufferError, match="was not published"):
                use()
        del kept
        producer.publish([3, 3, 3])
        assert taken(subscriber).tolist() == [3] * 3


def test_memory_that_left_the_block_keeps_the_turn(m: ndshm.Manager) -> None:
    ring = m.ring(3, 3, "i4")
    with contextlib.suppress(BufferError), ring.produce() as producer, producer.next() as x:
        kept = memoryview(x)
    with pytest.raises(ndshm.WouldBlock, match="has the turn to produce"):
        ring.produce(timeout=0)
    kept[0] = 5
    del kept
    with ring.produce(timeout=0) as producer:
        producer.publish([1, 2, 3])


def test_garbage_that_left_a_block_is_no_obstacle(m: ndshm.Manager) -> None:
    ring = m.ring(3, 3, "i4")
    with ring.produce() as producer:
        with contextlib.suppress(BufferError), producer.next() as x:
            cycle: list[Any] = [memoryview(x)]
            cycle.append(cycle)
        gc.disable()
        try:
            del cycle
            producer.publish([1, 2, 3])
        finally:
            gc.enable()


def test_the_exception_of_a_block_notes_the_memory_that_left_it(m: ndshm.Manager) -> None:
    ring = m.ring(3, 3, "i4")
    with ring.produce() as producer:
        with pytest.raises(ZeroDivisionError) as caught, producer.next() as x:
            kept = memoryview(x)
            raise ZeroDivisionError
        assert "buffer protocol" in caught.value.__notes__[0]
        del kept


def test_a_producer_writes_one_frame_at_a_time(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    with ring.produce() as producer:
        block = producer.next()
        with block as x:
            for use in (
                lambda: block.__enter__(),
                lambda: producer.next().__enter__(),
                lambda: producer.publish([1, 2, 3]),
                lambda: producer.finish(),
                lambda: producer.wait_subscribers(0, 1),
            ):
                with pytest.raises(RuntimeError, match="being written"):
                    use()
            x[...] = 5
        with pytest.raises(RuntimeError, match="not being written"):
            block.__exit__()
        with block as x:
            x[...] = 6
        assert ring.newest == 2


def test_a_closed_producer_publishes_nothing(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    producer = ring.produce()
    with pytest.raises(RuntimeError, match="given back"), producer.next() as x:
        x[...] = 1
        producer.close()
        with pytest.raises(ndshm.WouldBlock):
            ring.produce(timeout=0)
    assert ring.newest == 0 and ring.producer is None
    for use in (producer.__enter__, lambda: producer.publish([1, 2, 3]), producer.finish):
        with pytest.raises(RuntimeError, match="given back"):
            use()
    producer.close()


def test_the_turn_is_one_threads_and_given_back_with_the_last_reference(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    producer = ring.produce()
    assert ring.producer is not None and ring.producer.is_this_process
    with pytest.raises(ndshm.Timeout, match="had the turn to produce") as caught:
        ring.produce(timeout=0.01)
    assert caught.value.holders[0].is_this_process
    del producer
    assert ring.producer is None
    ring.produce(timeout=0).close()


# Rows and information.

CAMERA = np.dtype([("exposure", "f4"), ("gain", "i2"), ("at", "f8", (2,))], align=True)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"gain": 3}, (0, 3, [0, 0])),
        ({"exposure": 0.5, "at": [1, 2]}, (0.5, 0, [1, 2])),
        ((0.25, 7, (3, 4)), (0.25, 7, [3, 4])),
        (np.array((1, 2, (3, 4)), CAMERA), (1, 2, [3, 4])),
        (np.array((1, 2, (3, 4)), CAMERA)[()], (1, 2, [3, 4])),
    ],
)
def test_information_goes_with_a_frame(m: ndshm.Manager, given: Any, wanted: Any) -> None:
    ring = m.ring(3, 4, "u1", info=CAMERA)
    assert ring.info == CAMERA
    with both(ring) as (producer, subscriber):
        with producer.next() as x:
            x[...] = 1
            producer.info = given
            assert producer.info["gain"] == wanted[1]
        producer.publish([1, 2, 3])
        producer.publish([1, 2, 3], info=given)
        for wants in (wanted, (0, 0, [0, 0]), wanted):
            info = taken(subscriber).info
            assert (info["exposure"], info["gain"], info["at"].tolist()) == wants


def test_information_of_a_frame_outlives_it(m: ndshm.Manager) -> None:
    ring = m.ring(3, 2, "u1", info="u8")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 2, 3], info=7)
        info = taken(subscriber).info
        for value in range(3):
            producer.publish([1, 2, 3], info=value)
        assert info == 7 and held(ring) == 0


def test_information_that_does_not_fit_is_refused(m: ndshm.Manager) -> None:
    ring, plain = m.ring(3, 4, "u1", info=CAMERA), m.ring(3, 4, "u1")
    with ring.produce() as producer, plain.produce() as other:
        with producer.next(), other.next():
            for given, error in [
                ({"no": 1}, ValueError),
                ("text", ValueError),
                ((1, 2), ValueError),
                (None, TypeError),
            ]:
                with pytest.raises(error):
                    producer.info = given
            with pytest.raises(ValueError, match="no information"):
                other.info = 1
            assert other.info is None
        for use in (lambda: producer.info, lambda: producer.rows):
            with pytest.raises(RuntimeError, match="no frame is being written"):
                use()
        with pytest.raises(RuntimeError, match="no frame is being written"):
            producer.rows = 1
    assert plain.newest == ring.newest == 1
    assert plain.frame(1).info is None  # type: ignore[union-attr]


def test_a_frame_has_the_rows_that_are_valid(m: ndshm.Manager) -> None:
    ring = m.ring((4, 2), 8, "i2")
    with both(ring) as (producer, subscriber):
        with producer.next() as x:
            assert producer.rows == 4
            x[:3] = [[1, 2], [3, 4], [5, 6]]
            producer.rows = 3
        with producer.next() as x:
            x[...] = 9
        producer.publish(np.ones((4, 2), "i2"), rows=1)
        producer.publish(np.ones((2, 2), "i2"))
        producer.publish(np.ones((0, 2), "i2"))
        frames = [taken(subscriber) for _ in range(5)]
        assert [frame.shape for frame in frames] == [(3, 2), (4, 2), (1, 2), (2, 2), (0, 2)]
        assert frames[0].tolist() == [[1, 2], [3, 4], [5, 6]]
        for rows in (-1, 5, 2**40):
            with pytest.raises(ValueError, match="the frames of this ring have 0 to 4"):
                producer.publish(np.ones((4, 2), "i2"), rows=rows)
        with pytest.raises(ValueError, match="2 rows of an array that has 1"):
            producer.publish(np.ones((1, 2), "i2"), rows=2)
        assert ring.newest == 5


@pytest.mark.parametrize("shape", [(), (2,), (4,), (4, 3), (5, 2), (1, 4, 2)])
def test_an_array_of_another_shape_is_not_published(m: ndshm.Manager, shape: Any) -> None:
    ring = m.ring((4, 2), 3, "i2")
    with ring.produce() as producer, pytest.raises(ValueError, match="is no frame of shape"):
        producer.publish(np.ones(shape, "i2"))
    assert ring.newest == 0


def test_elements_of_another_type_are_converted_or_refused(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "f4")
    with both(ring) as (producer, subscriber):
        producer.publish(np.arange(3))
        producer.publish(np.arange(3.0)[::-1])
        producer.publish(m.array([7.0, 8, 9]))
        assert [taken(subscriber).tolist() for _ in range(3)] == [[0, 1, 2], [2, 1, 0], [7, 8, 9]]
        producer.publish([0.5, 1, 2])
        with pytest.raises(ValueError):
            producer.publish(["a", 1, 2])
        for value in (np.ones(3, "c8"), np.array(["a", "b", "c"]), np.array([None] * 3)):
            with pytest.raises(TypeError):
                producer.publish(value)
        assert ring.newest == 4
        with producer.next() as x:
            x[...] = 1
        assert ring.newest == 5
    narrow = m.ring(3, 4, "u1")
    with narrow.produce() as producer:
        producer.publish([1, 2, 255])
        with pytest.raises(OverflowError):
            producer.publish([1, 2, 256])
        with pytest.raises(TypeError):
            producer.publish(np.arange(3))
    assert narrow.newest == 1
