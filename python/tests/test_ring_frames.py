"""Rings of frames: subscribers, and the frames that they hold."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ndshm
from ring_helpers import SOON, both, held, taken


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
