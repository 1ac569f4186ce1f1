"""Rings of frames whose producer and subscribers are processes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

import ndshm

METHODS = ["fork", "spawn", "forkserver"]
SOON = 30.0


def consume(ring: ndshm.Ring, lossless: bool, keep: int) -> tuple[int, int, int]:
    """Return how many frames came, were missed, and were torn or changed while they were held."""
    torn = count = 0
    kept: list[ndshm.Frame] = []
    with ring.subscribe(lossless=lossless) as subscriber:
        for frame in subscriber:
            count += 1
            kept.append(frame)
            if len(kept) > keep:
                del kept[0]
            torn += sum(bool((one != one.number).any()) for one in kept)
            assert frame.info == frame.number % 100
        return count, subscriber.missed, torn


def produce(ring: ndshm.Ring, frames: int) -> int:
    with ring.produce(timeout=SOON) as producer:
        for number in range(1, frames + 1):
            with producer.next(timeout=SOON) as x:
                x[...] = number
                producer.info = number % 100
        producer.finish()
    return os.getpid()


@pytest.mark.parametrize("method", METHODS)
def test_processes_see_every_frame_whole(m: ndshm.Manager, method: str) -> None:
    ring = m.ring((100, 7), 10, "i4", info="u1")
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(3, context) as pool:
        tasks = [pool.submit(consume, ring, lossless, 2) for lossless in (True, False)]
        with ring.produce() as producer:
            producer.wait_subscribers(2, timeout=SOON)
        assert pool.submit(produce, ring, 500).result(60) != os.getpid()
        (all_of_them, none, torn), (some, missed, changed) = (task.result(60) for task in tasks)
    assert (all_of_them, none, torn, some + missed, changed) == (500, 0, 0, 500, 0)
    assert ring.has_ended and ring.newest == 500
    ring.release()


def child(code: str, ring: ndshm.Ring) -> subprocess.Popen[str]:
    """Start a process that has the ring, and wait until it says that it is ready."""
    head = "import os, sys, time, ndshm\nring = ndshm.open_ring(sys.argv[1])\n"
    process = subprocess.Popen(
        [sys.executable, "-c", head + code, ring.handle], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.kill()
    process.wait()
    process.stdout.close()


# Where it is killed.
PRODUCERS = {
    "between frames": "producer = ring.produce()\nproducer.publish([1, 1, 1])\n",
    "amid a frame": """
producer = ring.produce()
producer.publish([1, 1, 1])
block = producer.next()
x = block.__enter__()
x[:2] = 2
""",
}


@pytest.mark.parametrize("place", PRODUCERS)
def test_a_killed_producer_is_told_once_and_succeeded(m: ndshm.Manager, place: str) -> None:
    ring = m.ring(3, 4, "i4", name="r")
    with ring.subscribe() as subscriber:
        process = child(PRODUCERS[place] + "print('ready', flush=True); time.sleep(1000)", ring)
        frame = subscriber.next(timeout=SOON)
        assert frame is not None and frame.tolist() == [1, 1, 1]
        assert ring.producer is not None and ring.producer.pid == process.pid
        with pytest.raises(ndshm.Timeout) as caught:
            subscriber.next(timeout=0.05)
        assert caught.value.holders[0].pid == process.pid
        with pytest.raises(ndshm.WouldBlock) as refused:
            ring.produce(timeout=0)
        assert refused.value.holders[0].pid == process.pid
        kill(process)
        began = time.monotonic()
        with pytest.raises(ndshm.Abandoned, match="the producer, member .* died; the next call"):
            subscriber.next(timeout=SOON)
        assert time.monotonic() - began < 1
        with pytest.raises(ndshm.Timeout, match="no process produced"):
            subscriber.next(timeout=0.05)
        with ring.produce(timeout=SOON) as producer:
            producer.publish([3, 3, 3])
        found = subscriber.next(timeout=SOON)
        assert found is not None and (found.number, found.tolist()) == (2, [3, 3, 3])


@pytest.mark.parametrize("lossless", [True, False])
def test_a_killed_subscriber_blocks_no_producer(m: ndshm.Manager, lossless: bool) -> None:
    ring = m.ring(3, 3, "i4", name="r", max_subscribers=1)
    code = f"""
with ring.subscribe(lossless={lossless}) as subscriber:
    print("ready", flush=True)
    kept = [subscriber.next(), subscriber.next()]
    time.sleep(1000)
"""
    process = child(code, ring)
    with ring.produce() as producer:
        producer.wait_subscribers(1, timeout=SOON)
        until = time.monotonic() + SOON
        for value in (1, 2):
            producer.publish([value] * 3)
            while sum(state.held for state in ring.subscribers) < value:
                assert time.monotonic() < until
                time.sleep(0.001)
        producer.publish([3] * 3)
        with pytest.raises(ndshm.Timeout) as caught:
            producer.publish([4] * 3, timeout=0.05)
        [holder] = caught.value.holders
        assert holder.pid == process.pid and f"process {process.pid}" in str(caught.value)
        with pytest.raises(ndshm.TooManySubscribers):
            ring.subscribe()
        kill(process)
        for value in range(4, 20):
            producer.publish([value] * 3, timeout=SOON)
        with ring.subscribe() as subscriber:
            assert [state.process.pid for state in ring.subscribers] == [os.getpid()]
            assert subscriber.latest() is not None


async def next_of(subscriber: ndshm.Subscriber) -> ndshm.Frame:
    return await subscriber.__anext__()


FORKED: dict[str, Callable[[ndshm.Producer, ndshm.Subscriber], object]] = {
    "next": lambda producer, subscriber: subscriber.next(),
    "next without a wait": lambda producer, subscriber: subscriber.next(timeout=0),
    "latest": lambda producer, subscriber: subscriber.latest(),
    "frame": lambda producer, subscriber: subscriber.frame(1),
    "loop": lambda producer, subscriber: list(subscriber),
    "task": lambda producer, subscriber: asyncio.run(next_of(subscriber)),
    "publish": lambda producer, subscriber: producer.publish([9, 9, 9]),
    "block": lambda producer, subscriber: producer.next().__enter__(),
    "finish": lambda producer, subscriber: producer.finish(),
    "subscribers": lambda producer, subscriber: producer.wait_subscribers(5),
}


def outcome(use: Any) -> int:
    """Return 0 where a call in a child of a fork raises `NotOwner`, else another status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            use()
            status = 2
        except ndshm.NotOwner as error:
            status = 0 if "the process was forked" in str(error) else 3
        finally:
            os._exit(status)
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 99


@pytest.mark.parametrize("use", FORKED)
def test_a_child_of_a_fork_has_neither_turn_nor_seat(m: ndshm.Manager, use: str) -> None:
    ring = m.ring(3, 4, "i4")
    with ring.produce() as producer, ring.subscribe() as subscriber:
        assert outcome(lambda: FORKED[use](producer, subscriber)) == 0
        producer.publish([1, 2, 3])
        frame = subscriber.next(timeout=SOON)
        assert frame is not None and frame.tolist() == [1, 2, 3] and ring.newest == 1
        assert len(ring.subscribers) == 1 and ring.producer is not None


def test_a_child_of_a_fork_does_not_publish_the_frame_of_its_parent(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4", info="i4")
    with ring.produce() as producer, ring.subscribe() as subscriber:
        block = producer.next()
        with block as x:
            x[...] = 5
            producer.info = 6

            def end() -> None:
                producer.info = 7
                block.__exit__()

            assert outcome(end) == 0 and ring.newest == 0

            def write() -> None:
                try:
                    x[...] = 8
                except ValueError:
                    block.__exit__()

            assert outcome(write) == 0
            go, went = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.read(go, 1)
                with contextlib.suppress(ndshm.NotOwner):
                    end()
                os._exit(0)
        frame = subscriber.next(timeout=SOON)
        os.write(went, b"!")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(go)
        os.close(went)
        assert frame is not None and (frame.tolist(), frame.info) == ([5] * 3, 6)


def test_a_child_of_a_fork_waits_for_no_thread_of_its_parent(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    code = """
import asyncio
async def task(subscriber):
    return await asyncio.wait_for(subscriber.__anext__(), 20)
with ring.subscribe() as subscriber, ring.produce() as producer:
    async def first():
        waits = asyncio.ensure_future(task(subscriber))
        await asyncio.sleep(0.05)
        producer.publish([1, 2, 3])
        return await waits
    assert asyncio.run(first()).number == 1
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(task(subscriber))
        except ndshm.NotOwner:
            os._exit(5)
        os._exit(6)
    print("ready", flush=True)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    process = child(code, ring)
    assert process.wait(60) == 5
    assert process.stdout is not None
    process.stdout.close()


def test_a_child_of_a_fork_gives_no_frame_of_its_parent_back(m: ndshm.Manager) -> None:
    ring = m.ring(3, 3, "i4")
    with ring.produce() as producer, ring.subscribe() as subscriber:
        producer.publish([1, 2, 3])
        frame = subscriber.next(timeout=SOON)
        pid = os.fork()
        if pid == 0:
            del frame
            subscriber.close()
            producer.close()
            with ring.subscribe() as own:
                newest = own.latest()
                os._exit(0 if newest is not None and newest.tolist() == [1, 2, 3] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        for value in range(5):
            producer.publish([value] * 3)
        assert frame is not None and frame.tolist() == [1, 2, 3]
        own = [one for one in ring.subscribers if one.process.is_this_process]
        assert ring.producer is not None and [one.held for one in own] == [1]


def test_a_ctrl_c_ends_the_loop_of_a_process(m: ndshm.Manager) -> None:
    ring = m.ring(3, 4, "i4")
    code = """
try:
    with ring.subscribe() as subscriber:
        print("ready", flush=True)
        for frame in subscriber:
            pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    process = child(code, ring)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.stdout is not None and process.stdout.readline() == "interrupted\n"
    assert time.monotonic() - began < 0.3
    process.wait(SOON)
    process.stdout.close()
    assert ring.subscribers == [] or not ring.subscribers[0].process.is_alive
