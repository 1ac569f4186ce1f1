"""Rings of frames, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import datetime
import gc
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest

import ndshm

SOON = 10.0
T = TypeVar("T")


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


# Writing.


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


# Reading.


def test_a_frame_cannot_be_written(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 2, 3])
        frame = taken(subscriber)
        with pytest.raises(ValueError, match="read-only"):
            frame[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            frame += 1
        with pytest.raises(ValueError, match="read-only"):
            frame.sort()
        for ndarray in (frame, frame[1:], np.asarray(frame), frame.view(np.ndarray)):
            with pytest.raises(ValueError):
                ndarray.setflags(write=True)
            with pytest.raises(ValueError):
                ndarray.flags.writeable = True
        assert memoryview(frame).readonly
        with pytest.raises(TypeError):
            memoryview(frame)[0] = 1
        with pytest.raises((BufferError, ValueError)):
            frame.__dlpack__()
        assert frame.tolist() == [1, 2, 3]


def test_what_is_computed_with_a_frame_is_plain(m: ndshm.Manager) -> None:
    ring = m.ring((2, 2), 4, "f8", info="i4")
    with both(ring) as (producer, subscriber):
        producer.publish([[1, 2], [3, 4]], info=5)
        frame = taken(subscriber)
        assert b"ndshm" not in pickle.dumps(frame)
        results = [
            frame + 1, frame.copy(), np.sqrt(frame), frame.astype("f4"), frame[[0]],
            np.concatenate([frame, frame]), pickle.loads(pickle.dumps(frame)),
            copy.copy(frame), copy.deepcopy(frame), frame.sum(axis=0), np.array(frame),
            frame[frame > 1],
        ]  # fmt: skip
        assert [type(result) for result in results] == [np.ndarray] * len(results)
        assert type(frame.sum()) is type(frame.max()) is np.float64
        views = [frame[1:], frame.T, frame.reshape(-1), frame[0], frame[..., None]]
        assert [(type(view), view.number, view.info) for view in views] == [(ndshm.Frame, 1, 5)] * 5
        del frame, views
        assert held(ring) == 0
        assert results[6].tolist() == [[1, 2], [3, 4]]


def test_an_ndarray_of_the_class_that_is_no_frame_is_plain() -> None:
    made = np.arange(3).view(ndshm.Frame)
    assert type(made) is np.ndarray
    assert type(ndshm.Frame(3)) is np.ndarray
    with pytest.raises(TypeError):
        type("Mine", (ndshm.Frame,), {})


KEEPS: dict[str, Callable[[Any], Any]] = {
    "itself": lambda frame: frame,
    "a view": lambda frame: frame[1:],
    "a view of a view": lambda frame: frame[1:].T[:1],
    "a plain ndarray": np.asarray,
    "a view of a plain ndarray": lambda frame: np.asarray(frame)[1:],
    "a memoryview": lambda frame: memoryview(frame)[1:],
    "an iterator": lambda frame: frame.flat,
    "an ndarray of a memoryview": lambda frame: np.frombuffer(memoryview(frame), "i4"),
    "a capsule": lambda frame: np.from_dlpack(frame),
    "ctypes": lambda frame: frame.ctypes,
}


@pytest.mark.parametrize("way", KEEPS)
def test_every_reference_to_the_memory_holds_the_frame(m: ndshm.Manager, way: str) -> None:
    ring = m.ring(4, 3, "i4")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 2, 3, 4])
        kept = KEEPS[way](taken(subscriber))
        gc.collect()
        assert held(ring) == 1
        for value in range(5):
            producer.publish([value] * 4)
        copied = np.array(list(kept) if way == "an iterator" else getattr(kept, "_arr", kept))
        assert set(copied.tolist()) <= {1, 2, 3, 4}
        del kept
        gc.collect()
        assert held(ring) == 0


@pytest.mark.parametrize("way", KEEPS)
def test_a_frame_outlives_subscriber_ring_and_manager(way: str) -> None:
    with ndshm.Manager() as m:
        ring = m.ring(4, 3, "i4")
        with both(ring) as (producer, subscriber):
            producer.publish([1, 2, 3, 4])
            kept = KEEPS[way](taken(subscriber))
        ring.release()
        del ring, producer, subscriber
    del m
    gc.collect()
    copied = np.array(list(kept) if way == "an iterator" else getattr(kept, "_arr", kept))
    assert set(copied.tolist()) <= {1, 2, 3, 4}


def test_a_held_frame_is_never_overwritten(m: ndshm.Manager) -> None:
    ring = m.ring(100, 4, "i8")
    with both(ring) as (producer, subscriber):
        kept = []
        for value in range(1, 200):
            producer.publish(np.full(100, value))
            frame = taken(subscriber)
            kept.append(frame)
            if len(kept) > 2:
                del kept[0]
            assert all((frame == frame.number).all() for frame in kept)
        assert subscriber.missed == 0


def test_a_producer_without_a_free_frame_says_what_holds_them(m: ndshm.Manager) -> None:
    ring = m.ring(3, 3, "i4")
    with both(ring) as (producer, subscriber):
        kept = []
        for value in range(2):
            producer.publish([value] * 3)
            kept.append(taken(subscriber))
        producer.publish([2] * 3)
        for timeout, error in ((0, BlockingIOError), (0.02, TimeoutError)):
            with pytest.raises(error, match="the variable of a loop, a view and a memory") as found:
                producer.publish([3] * 3, timeout=timeout)
            assert "two frames more than subscribers hold" in str(found.value)
        assert found.value.holders[0].is_this_process  # type: ignore[attr-defined]
        threading.Timer(0.1, kept.clear).start()
        producer.publish([3] * 3, timeout=SOON)


def test_garbage_holds_no_frame_for_ever(m: ndshm.Manager) -> None:
    ring = m.ring(3, 2, "i4")
    with both(ring) as (producer, subscriber):
        producer.publish([1] * 3)
        cycle: list[Any] = [taken(subscriber)]
        cycle.append(cycle)
        producer.publish([2] * 3)
        gc.disable()
        try:
            del cycle
            assert held(ring) == 1
            producer.publish([3] * 3, timeout=SOON)
        finally:
            gc.enable()
        assert held(ring) == 0


def test_frames_come_in_order_until_the_stream_ends(m: ndshm.Manager) -> None:
    ring = m.ring(1, 8, "i4")
    with ring.subscribe() as subscriber:
        for values in ([1, 2, 3], [4, 5]):
            with ring.produce() as producer:
                assert not ring.has_ended
                for value in values:
                    producer.publish([value])
                producer.finish()
            assert ring.has_ended and ring.producer is None
            assert [int(frame[0]) for frame in subscriber] == values
            assert subscriber.next() is None and subscriber.next(timeout=0) is None
        assert (ring.newest, subscriber.missed) == (5, 0)


def test_a_slow_subscriber_misses_frames(m: ndshm.Manager) -> None:
    ring = m.ring(1, 3, "i4")
    with both(ring) as (producer, subscriber):
        assert subscriber.latest() is None
        for value in range(1, 11):
            producer.publish([value])
        assert taken(subscriber).number == 10 and subscriber.missed == 9
        latest = subscriber.latest()
        assert latest is not None and latest.number == 10 and subscriber.missed == 9
        assert subscriber.frame(9).tolist() == [9]  # type: ignore[union-attr]
        assert subscriber.frame(2) is None and ring.frame(2) is None and ring.frame(99) is None
        assert ring.frame(10).tolist() == [10]  # type: ignore[union-attr]
        del latest
        producer.publish([11])
        producer.publish([12])
        assert subscriber.latest().number == 12  # type: ignore[union-attr]
        assert subscriber.missed == 10
    with pytest.raises(OverflowError):
        ring.frame(-1)


def test_a_producer_waits_for_a_lossless_subscriber(m: ndshm.Manager) -> None:
    ring = m.ring(1, 3, "i4")
    with ring.produce() as producer, ring.subscribe(lossless=True) as subscriber:
        for value in range(1, 4):
            producer.publish([value])
        with pytest.raises(ndshm.Timeout, match="a lossless subscriber had not taken") as caught:
            producer.publish([4], timeout=0.02)
        assert caught.value.holders[0].is_this_process
        [state] = ring.subscribers
        assert state.is_lossless and state.lag == 3 and state.process.is_alive
        assert [taken(subscriber).number for _ in range(3)] == [1, 2, 3]
        producer.publish([4], timeout=SOON)
        producer.publish([5], timeout=SOON)
        producer.publish([6], timeout=SOON)
        subscriber.close()
        producer.publish([7], timeout=SOON)


def test_a_ring_has_so_many_subscribers(m: ndshm.Manager) -> None:
    ring = m.ring(1, 4, "i4", max_subscribers=2)
    with both(ring) as (producer, one), ring.subscribe():
        with pytest.raises(ndshm.TooManySubscribers, match="close a subscriber"):
            ring.subscribe()
        producer.publish([1])
        frame = taken(one)
        one.close()
        with pytest.raises(ndshm.TooManySubscribers):
            ring.subscribe()
        del frame
        ring.subscribe().close()
        for use in (one.__enter__, one.next, one.latest, lambda: one.frame(1), lambda: next(one)):
            with pytest.raises(RuntimeError, match="is closed"):
                use()
        one.close()


def test_waits_say_what_they_waited_for(m: ndshm.Manager) -> None:
    ring = m.ring(1, 3, "i4")
    with ring.subscribe() as subscriber:
        for timeout, error in ((0, ndshm.WouldBlock), (0.01, ndshm.Timeout)):
            with pytest.raises(error, match="no (process produced|frame is there yet)"):
                subscriber.next(timeout=timeout)
        with ring.produce() as producer:
            with pytest.raises(ndshm.Timeout, match="producer published no frame") as caught:
                subscriber.next(timeout=0.01)
            assert caught.value.holders[0].is_this_process
            producer.wait_subscribers(1, timeout=0)
            with pytest.raises(ndshm.Timeout, match="fewer subscribers"):
                producer.wait_subscribers(2, timeout=0.01)
            came: list[ndshm.Subscriber] = []
            threading.Timer(0.05, lambda: came.append(ring.subscribe())).start()
            producer.wait_subscribers(2, timeout=SOON)
            came.clear()
    with ndshm.Manager(lock_timeout=0.01) as limited:
        with limited.ring(1, 3, "i4").subscribe() as subscriber:
            for wait in (subscriber.next, lambda: next(subscriber)):
                with pytest.raises(ndshm.Timeout):
                    wait()
    for seconds in (-1, float("nan")):
        for use in (
            lambda: ring.produce(timeout=seconds),  # noqa: B023
            lambda: ring.subscribe(spin=seconds),  # noqa: B023
        ):
            with pytest.raises(ValueError, match="number of seconds"):
                use()


def test_a_released_ring_says_so(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4", name="r")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 2, 3])
        frame = taken(subscriber)
        ring.release()
        for use in (
            subscriber.next,
            subscriber.latest,
            lambda: producer.publish([1, 2, 3]),
            ring.subscribe,
            lambda: ring.frame(1),
            lambda: ndshm.open_ring(ring.handle),
        ):
            with pytest.raises(ndshm.Released, match="the ring was released"):
                use()
        assert frame.tolist() == [1, 2, 3] and "r" not in m


# Element types.

TYPES: dict[Any, Any] = {
    "?": [True, False, True],
    "u1": [1, 2, 3],
    "c16": [1j, 2, 3],
    "f2": [1, 2, 3],
    "M8[ns]": np.array(["2020-01-01T01:02:03.123456789"] * 3, "M8[ns]"),
    "m8[s]": [datetime.timedelta(seconds=5)] * 3,
    "U4": ["a", "four", "ä"],
    "S2": [b"a", b"bb", b""],
    "V3": [b"abc"] * 3,
}


@pytest.mark.parametrize("dtype", TYPES)
def test_elements_have_numpys_types(m: ndshm.Manager, dtype: str) -> None:
    values = np.array(TYPES[dtype], dtype)
    ring = m.ring(3, 3, dtype)
    with both(ring) as (producer, subscriber):
        producer.publish(values)
        with producer.next() as x:
            assert x.dtype == values.dtype
            x[...] = values
        opened = pickle.loads(pickle.dumps(ring))
        assert ring.dtype == opened.dtype == values.dtype and ring.attrs == {}
        for frame in (taken(subscriber), taken(subscriber)):
            assert frame.dtype == values.dtype and frame.tolist() == values.tolist()


def test_structs_and_arrays_of_elements_have_numpys_axes(m: ndshm.Manager) -> None:
    struct = np.dtype([("x", "f4", (2,)), ("id", "u2")], align=True)
    ring, nested = m.ring((2,), 3, struct), m.ring((2,), 3, np.dtype(("f4", (3,))))
    assert (ring.shape, ring.dtype) == ((2,), struct)
    assert (nested.shape, nested.dtype) == ((2, 3), np.dtype("f4"))
    with both(ring) as (producer, subscriber):
        with producer.next() as x:
            x["id"] = 7
            x["x"][1] = [1, 2]
        frame = taken(subscriber)
        assert frame["id"].tolist() == [7, 7] and frame["x"][1].tolist() == [1, 2]
        assert frame["id"].number == 1
    with both(nested) as (producer, subscriber):
        producer.publish(np.arange(6).reshape(2, 3))
        producer.publish(np.arange(3).reshape(1, 3))
        assert taken(subscriber).tolist() == [[0, 1, 2], [3, 4, 5]]
        assert taken(subscriber).shape == (1, 3)


def test_types_that_cannot_be_shared_are_refused(m: ndshm.Manager) -> None:
    for dtype in ("O", ">i4", [("a", "O")]):
        with pytest.raises(TypeError):
            m.ring(3, 3, dtype)
        with pytest.raises(TypeError):
            m.ring(3, 3, "i4", info=dtype)
    for info in ("U3", "M8[ns]", [("t", "m8[s]")]):
        with pytest.raises(TypeError, match="information of type"):
            m.ring(3, 3, "i4", info=info)
    with pytest.raises(ValueError, match="at most 4096"):
        m.ring(3, 3, "i4", info="V4097")
    for shape, frames, seats in (
        ((0, 3), 3, 64),
        (3, 1, 64),
        (3, 257, 64),
        (3, 3, 0),
        (3, 3, 5000),
    ):
        with pytest.raises(ndshm.Layout):
            m.ring(shape, frames, "i4", max_subscribers=seats)
    with pytest.raises(ValueError, match="negative"):
        m.ring(-1, 3, "i4")
    with pytest.raises(TypeError):
        m.ring(3, 3)  # type: ignore[call-arg]
    assert m.list() == []


# Stores.


def test_a_ring_is_opened_only_as_a_ring(m: ndshm.Manager) -> None:
    a = m.zeros(3, name="a")
    ring = m.ring((3, 2), 4, "i4", name="r", attrs={"lens": [1, 2]}, axis_names=["row", "column"])
    for use in (
        lambda: m["r"],
        lambda: m.open("r"),
        lambda: ndshm.open(ring.handle),
        lambda: ndshm.open(ring.path),
        lambda: m.zeros(3, name="r", exist_ok=True),
        lambda: m.open_or_zeros("r", 3),
    ):
        with pytest.raises(ndshm.Kind, match=r"it is a ring, not an array: open it with Man"):
            use()
    for use in (
        lambda: m.open_ring("a"),
        lambda: ndshm.open_ring(a.handle),
        lambda: ndshm.open_ring(a.path),
        lambda: m.ring((3, 2), 4, "i4", name="a", exist_ok=True),
    ):
        with pytest.raises(ndshm.Kind, match=r"it is an array, not a ring: open it as an array"):
            use()
    with pytest.raises(ndshm.NotFound):
        m.open_ring("none")
    assert list(m) == ["a", "r"] and "r" in m
    assert [(info.kind, info.shape) for info in m.list()] == [("array", (3,)), ("ring", (4, 3, 2))]
    opened = [m.open_ring("r"), ndshm.open_ring(ring.handle), ndshm.open_ring(ring.path)]
    opened.append(pickle.loads(pickle.dumps(ring)))
    for other in opened:
        assert other.id == ring.id and other.name == "r" and other.path == ring.path
        assert (other.shape, other.frames, other.max_subscribers) == ((3, 2), 4, 64)
        assert other.attrs == {"lens": [1, 2]} and other.axis_names == ["row", "column"]
        assert other.scope is None and other.info is None and other.dtype == np.dtype("i4")
    assert "4 frames, shape=(3, 2), dtype=int32" in repr(ring) and 'name="r"' in repr(ring)
    assert len(pickle.dumps(ring)) < 300
    m.remove("r")
    assert list(m) == ["a"]


def test_a_ring_that_exists_is_opened_if_it_is_alike(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4", name="r", info="f8")
    with ring.produce() as producer:
        producer.publish([1, 2, 3])
    again = m.ring(3, 4, "i4", name="r", info="f8", exist_ok=True)
    assert again.id == ring.id and again.newest == 1
    with pytest.raises(ndshm.AlreadyExists):
        m.ring(3, 4, "i4", name="r", info="f8")
    for shape, frames, dtype, info, error in [
        (3, 4, "f4", "f8", ndshm.Dtype),
        (3, 4, "i4", None, ndshm.Dtype),
        (3, 4, "i4", "i8", ndshm.Dtype),
        (4, 4, "i4", "f8", ndshm.Layout),
        (3, 5, "i4", "f8", ndshm.Layout),
    ]:
        with pytest.raises(error):
            m.ring(shape, frames, dtype, name="r", info=info, exist_ok=True)


def test_a_local_ring_is_deleted_with_its_last_reference(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    assert ring.scope == "local" and ring.name is None and len(m.list()) == 1
    subscriber = ring.subscribe()
    del ring
    assert len(m.list()) == 1
    del subscriber
    assert m.list() == []


# Waits.


def interrupted(call: Callable[[], Any]) -> float:
    """Return how long after a Ctrl-C the call ended."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Timer(0.2, send).start()
    with pytest.raises(KeyboardInterrupt):
        call()
    return time.monotonic() - sent[0]


WAITS: dict[str, Callable[[ndshm.Ring, ndshm.Producer, ndshm.Subscriber], Any]] = {
    "produce": lambda ring, producer, subscriber: ring.produce(),
    "produce for a time": lambda ring, producer, subscriber: ring.produce(timeout=1000),
    "next": lambda ring, producer, subscriber: producer.next().__enter__(),
    "publish": lambda ring, producer, subscriber: producer.publish([1, 2, 3], timeout=1000),
    "subscribers": lambda ring, producer, subscriber: producer.wait_subscribers(3),
    "subscriber": lambda ring, producer, subscriber: subscriber.next(),
    "subscriber for a time": lambda ring, producer, subscriber: subscriber.next(timeout=1000),
    "loop": lambda ring, producer, subscriber: list(subscriber),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_ends_each_wait(m: ndshm.Manager, wait: str) -> None:
    ring = m.ring(3, 2, "i4")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 2, 3])
        frame = taken(subscriber)
        producer.publish([4, 5, 6])
        taken(subscriber)
        assert interrupted(lambda: WAITS[wait](ring, producer, subscriber)) < 0.3
        del frame
        producer.publish([7, 8, 9])
        assert taken(subscriber).tolist() == [7, 8, 9]


@pytest.mark.parametrize("wait", WAITS)
def test_other_threads_run_during_each_wait(m: ndshm.Manager, wait: str) -> None:
    ring = m.ring(3, 2, "i4")
    with both(ring) as (producer, subscriber):
        producer.publish([1, 2, 3])
        frame = taken(subscriber)
        producer.publish([4, 5, 6])
        taken(subscriber)
        ends = threading.Event()
        ran = []

        def run() -> None:
            while not ends.is_set():
                ran.append(1)
                time.sleep(0.001)

        thread = threading.Thread(target=run)
        thread.start()
        interrupted(lambda: WAITS[wait](ring, producer, subscriber))
        ends.set()
        thread.join()
        assert len(ran) > 20
        del frame


def test_a_subscriber_sees_a_frame_of_another_thread_soon(m: ndshm.Manager) -> None:
    ring = m.ring(3, 8, "i4")
    for spin in (0.0, 0.005):
        with both(ring) as (producer, _), ring.subscribe(spin=spin) as subscriber:
            threading.Timer(0.05, lambda: producer.publish([1, 2, 3])).start()  # noqa: B023
            frame = taken(subscriber)
            assert time.time() - frame.time < 1


def test_one_thread_at_a_time_uses_a_subscriber(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    with both(ring) as (producer, subscriber):
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(subscriber.next()))
        thread.start()
        while not ring.subscribers:
            time.sleep(0.001)
        time.sleep(0.05)
        for use in (subscriber.next, subscriber.latest, lambda: subscriber.frame(1)):
            with pytest.raises(RuntimeError, match="another thread waits"):
                use()
        assert subscriber.missed == 0 and "missed=0" in repr(subscriber)
        producer.publish([1, 2, 3])
        thread.join(SOON)
        assert got[0].number == 1
        got.clear()


def test_a_subscriber_that_is_closed_ends_the_wait_of_another_thread(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    subscriber = ring.subscribe()
    got: list[Exception] = []

    def wait() -> None:
        try:
            subscriber.next()
        except RuntimeError as error:
            got.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    subscriber.close()
    thread.join(1)
    assert not thread.is_alive() and "is closed" in str(got[0])
    assert ring.subscribers == []


# Tasks.


def run_tasks(tasks: Coroutine[Any, Any, T], ring: ndshm.Ring) -> T:
    """Run tasks, and wait until their threads and seats are gone."""
    threads = threading.active_count()
    result = asyncio.run(tasks)
    until = time.monotonic() + SOON
    while (threading.active_count() > threads or ring.subscribers) and time.monotonic() < until:
        time.sleep(0.001)
        gc.collect()
    assert threading.active_count() == threads and ring.subscribers == []
    return result


def test_a_task_takes_frames_in_order_until_the_stream_ends(m: ndshm.Manager) -> None:
    ring = m.ring(1, 8, "i4")

    async def consume(subscriber: ndshm.Subscriber) -> list[int]:
        return [int(frame[0]) async for frame in subscriber]

    async def run() -> tuple[list[int], list[int]]:
        with ring.produce() as producer, ring.subscribe() as one, ring.subscribe() as other:
            tasks = [asyncio.create_task(consume(subscriber)) for subscriber in (one, other)]
            for value in range(6):
                producer.publish([value])
                await asyncio.sleep(0.02 if value % 2 else 0)
            producer.finish()
            return await tasks[0], await tasks[1]

    assert run_tasks(run(), ring) == (list(range(6)), list(range(6)))


def test_a_task_that_is_cancelled_loses_no_frame_and_leaks_no_seat(m: ndshm.Manager) -> None:
    ring = m.ring(1, 16, "i4")

    async def run() -> None:
        with both(ring) as (producer, subscriber):
            seen: list[int] = []
            for value in range(1, 31):
                task = asyncio.ensure_future(subscriber.__anext__())
                await asyncio.sleep(0.001 * (value % 3))
                if value % 2:
                    producer.publish([value])
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    seen.append(int((await task)[0]))
                if not value % 2:
                    producer.publish([value])
            while len(seen) < 30:
                frame = await asyncio.wait_for(subscriber.__anext__(), SOON)
                seen.append(int(frame[0]))
                del frame
            assert seen == list(range(1, 31)) and subscriber.missed == 0

    run_tasks(run(), ring)


def test_the_newest_frame_steps_over_one_that_a_cancelled_task_left(m: ndshm.Manager) -> None:
    ring = m.ring(1, 8, "i4")

    async def run() -> None:
        with both(ring) as (producer, subscriber):
            task = asyncio.ensure_future(subscriber.__anext__())
            await asyncio.sleep(0.05)
            producer.publish([1])
            until = time.monotonic() + SOON
            # Not `await`: the task must not run before it is cancelled.
            while not held(ring) and time.monotonic() < until:
                time.sleep(0.001)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.2)
            producer.publish([2])
            latest = subscriber.latest()
            assert latest is not None and latest.number == 2 and subscriber.missed == 1
            del latest
            assert held(ring) == 0

    run_tasks(run(), ring)


def test_errors_reach_a_task(m: ndshm.Manager) -> None:
    ring = m.ring(1, 8, "i4", name="r")

    async def run() -> None:
        with ring.subscribe() as subscriber:
            task = asyncio.ensure_future(subscriber.__anext__())
            await asyncio.sleep(0.05)
            m.remove("r")
            with pytest.raises(ndshm.Released):
                await task

    run_tasks(run(), ring)


def test_rings_and_their_parts_can_be_referred_to_weakly(m: ndshm.Manager) -> None:
    ring = m.ring(1, 8, "i4")
    with both(ring) as parts:
        for part in (ring, *parts):
            assert weakref.ref(part)() is part and "ndshm." in repr(part)
            assert part is ring or part.ring is ring  # type: ignore[union-attr]
