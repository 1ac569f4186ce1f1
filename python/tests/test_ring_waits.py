"""Rings of frames: waits in threads and tasks, and the signals that end them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

import ndshm
from ring_helpers import SOON, both, held, taken

T = TypeVar("T")


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
