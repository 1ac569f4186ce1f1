"""Programs that wait for each other in a circle, and programs that only look so."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from test_guards import is_free

import ndshm

SPAWN = multiprocessing.get_context("spawn")
Outcome = tuple[str, float]
# A wait first searches after 100 ms, and then after twice the time each. The rest is for a machine
# with other work.
LONGEST = 10


def take_both(
    first: ndshm.Array, second: ndshm.Array, all_hold: Callable[[], Any], way: str
) -> Outcome:
    """Hold the first array, wait until all do so, and take the second one."""
    with first_block(first, way):
        all_hold()
        began = time.monotonic()
        # Caught here: an exception that leaves the first block poisons its array.
        try:
            with second_block(second, way):
                outcome = "given"
        except ndshm.WouldDeadlock:
            outcome = "told"
        return outcome, time.monotonic() - began


def first_block(a: ndshm.Array, way: str) -> contextlib.AbstractContextManager[Any]:
    ways: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
        "read": a.read,
        "lock": lambda: ndshm.lock(a.writing()),
        "atomic": a.atomic,
        "updating": lambda: ndshm.lock(a.updating()),
        "recover": a.recover,
    }
    return ways.get(way, a.write)()


def second_block(a: ndshm.Array, way: str) -> contextlib.AbstractContextManager[Any]:
    ways: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
        "lock": lambda: ndshm.lock(a.reading()),
        "locked": lambda: ndshm.lock(a.writing()),
        "then recover": a.recover,
        "then atomic": a.atomic,
    }
    return ways.get(way, a.write)()


def check(outcomes: list[Outcome]) -> None:
    """Check that one of the programs was told in time, and that the others went on."""
    assert sorted(outcome for outcome, _ in outcomes) == ["given"] * (len(outcomes) - 1) + ["told"]
    for outcome, seconds in outcomes:
        print(f"{outcome} after {seconds * 1000:.0f} ms")
        assert outcome == "given" or 0.09 < seconds < LONGEST


def threads_take(arrays: list[ndshm.Array], way: str) -> list[Outcome]:
    barrier = threading.Barrier(len(arrays))
    pairs = zip(arrays, arrays[1:] + arrays[:1], strict=True)
    with ThreadPoolExecutor(len(arrays)) as pool:
        calls = [pool.submit(take_both, a, b, barrier.wait, way) for a, b in pairs]
        return [call.result(60) for call in calls]


WAYS = ["write", "read", "lock", "locked", "atomic", "updating", "recover"]
LAST = ["then recover", "then atomic"]


@pytest.mark.parametrize("way", WAYS + LAST)
@pytest.mark.parametrize("count", [2, 3])
def test_one_of_the_threads_of_a_circle_is_told(m: ndshm.Manager, count: int, way: str) -> None:
    arrays = [m.zeros(3, "i8") for _ in range(count)]
    for _ in range(3):
        check(threads_take(arrays, way))


def process_takes(first: ndshm.Array, second: ndshm.Array, way: str, pipe: Any) -> None:
    def all_hold() -> None:
        pipe.send("holds")
        pipe.recv()

    pipe.send(take_both(first, second, all_hold, way))


@pytest.mark.parametrize(("count", "way"), [(2, "write"), (2, "lock"), (3, "write")])
def test_one_of_the_processes_of_a_circle_is_told(
    m: ndshm.Manager, count: int, way: str
) -> None:
    arrays = [m.zeros(3, "i8") for _ in range(count)]
    pipes = [SPAWN.Pipe() for _ in arrays]
    children = [
        SPAWN.Process(
            target=process_takes,
            args=(arrays[i], arrays[(i + 1) % count], way, pipes[i][1]),
            daemon=True,
        )
        for i in range(count)
    ]
    for child in children:
        child.start()
    try:
        for ours, _ in pipes:
            assert ours.poll(60) and ours.recv() == "holds"
        for ours, _ in pipes:
            ours.send("go on")
        assert all(ours.poll(60) for ours, _ in pipes)
        check([ours.recv() for ours, _ in pipes])
    finally:
        for child in children:
            child.join(10)
            child.kill()
            child.join()
            child.close()
        for pair in pipes:
            for end in pair:
                end.close()


def outer(a: ndshm.Array, inner: Callable[[], None]) -> None:
    with a.write():
        inner()


@pytest.mark.parametrize("timeout", [None, 0, 100])
def test_a_thread_is_told_at_once_of_its_own_block(
    m: ndshm.Manager, timeout: float | None
) -> None:
    a, b = m.zeros(3), m.zeros(3)

    def again() -> None:
        for block in (
            a.read(timeout),
            a[1:].write(timeout),
            ndshm.lock(b.writing(), a.reading(), timeout=timeout),
            ndshm.lock(b.writing(), a.recovering(), timeout=timeout),
        ):
            with pytest.raises(ndshm.WouldDeadlock) as caught, block:
                pass
            assert caught.value.holders[0].is_this_thread
        for call in (a.to_numpy, a.freeze, lambda: a[0].item(), a.copy, a[1:].freeze):
            with pytest.raises(ndshm.WouldDeadlock):
                call()
        with pytest.raises(ndshm.WouldDeadlock), a.recover():
            pass

    outer(a, again)

    def generator() -> Iterator[None]:
        with a.write():
            again()
            yield
            again()

    steps = generator()
    next(steps)
    with ThreadPoolExecutor(1) as pool:
        # The generator runs in another thread than the one that took the guard.
        pool.submit(next, steps, None).result(60)

    async def task() -> None:
        with a.write():
            again()

    asyncio.run(task())
    assert a.poisoned() == []


# Any of these guards may be given back by another thread while the first one waits, and is: a
# search that took the guard for the first thread's own would tell one of them of a deadlock.


class Lent:
    """A guard that another thread gives back when it is asked to."""

    def __init__(self, end: Callable[[], Any]) -> None:
        self.end = end


def enter(block: Any) -> Lent:
    block.__enter__()
    return Lent(block.__exit__)


def in_a_stack(block: Any) -> Lent:
    stack = contextlib.ExitStack()
    stack.enter_context(block)
    return Lent(stack.close)


def in_a_context_manager(block: Any) -> Lent:
    @contextlib.contextmanager
    def inside() -> Iterator[None]:
        with block:
            yield

    manager = inside()
    manager.__enter__()
    return Lent(lambda: manager.__exit__(None, None, None))


def in_a_generator(block: Any) -> Lent:
    def steps() -> Iterator[None]:
        with block:
            yield

    generator = steps()
    next(generator)
    return Lent(lambda: next(generator, None))


def by_a_map(block: Any) -> Lent:
    list(map(type(block).__enter__, [block]))
    return Lent(block.__exit__)


def by_an_alias(block: Any) -> Lent:
    class Alias:
        def __enter__(self) -> Any:
            return block.__enter__()

        def __exit__(self, *_: object) -> None:
            pass

    with Alias():
        pass
    return Lent(block.__exit__)


def in_another_thread(block: Any) -> Lent:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(block.__enter__).result(60)
    return Lent(block.__exit__)


LENT = [
    enter,
    in_a_stack,
    in_a_context_manager,
    in_a_generator,
    by_a_map,
    by_an_alias,
    in_another_thread,
]
KINDS: list[Callable[[ndshm.Array], Any]] = [
    lambda a: a.write(),
    lambda a: a.read(),
    lambda a: a.atomic(),
    lambda a: ndshm.lock(a.writing()),
]


@pytest.mark.parametrize("lend", LENT)
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_a_guard_that_another_thread_gives_back_is_no_thread_s_own(
    m: ndshm.Manager, lend: Callable[[Any], Lent], kind: int
) -> None:
    a, b = m.zeros(3, "i8"), m.zeros(3, "i8")
    lent: queue.Queue[Lent] = queue.Queue()
    waits = threading.Event()

    def other() -> None:
        # Holds b and waits for a: a circle, if the guard on a were the main thread's own.
        with b.write():
            guard = lent.get(timeout=60)
            giver = threading.Timer(0.4, guard.end)
            giver.start()
            waits.set()
            with a.write():
                pass
        giver.join()

    with ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            waits.clear()
            call = pool.submit(other)
            while is_free(b):
                time.sleep(0.001)
            lent.put(lend(KINDS[kind](a)))
            assert waits.wait(60)
            with b.write():
                pass
            call.result(60)


def test_a_thread_waits_for_a_guard_that_it_has_lent(m: ndshm.Manager) -> None:
    a = m.zeros(3)
    for lend in LENT:
        guard = lend(a.write())
        with pytest.raises(ndshm.WouldBlock), a.read(timeout=0):
            pass
        with pytest.raises(ndshm.Timeout), a.read(timeout=0.01):
            pass
        timer = threading.Timer(0.3, guard.end)
        timer.start()
        with a.write():
            pass
        timer.join()


def start(block: Any) -> None:
    # A future that keeps the ndarray would keep the lock.
    block.__enter__()


@pytest.mark.parametrize("rounds", [300])
def test_tasks_that_take_guards_through_an_executor_are_never_told(
    m: ndshm.Manager, rounds: int
) -> None:
    a, b = m.zeros(3, "i8"), m.zeros(3, "i8")
    taken = 0

    async def task(loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor, i: int) -> None:
        nonlocal taken
        for turn in range(rounds):
            first = a.write() if (turn + i) % 3 else a.atomic()
            second = b.write() if (turn + i) % 3 else b.atomic()
            for block in (first, second):
                match (turn + i) % 3:
                    case 0:
                        await loop.run_in_executor(pool, block.__enter__)
                    case 1:
                        await loop.run_in_executor(None, start, block)
                    case _:
                        await asyncio.to_thread(start, block)
                if turn % 50 == i:
                    # Long enough for a search.
                    await asyncio.sleep(0.15)
            taken += 1
            first.__exit__()
            await loop.run_in_executor(pool if turn % 2 else None, second.__exit__)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        # Threads for all tasks, and for the ends of their blocks.
        loop.set_default_executor(ThreadPoolExecutor(8))
        with ThreadPoolExecutor(8) as pool:
            await asyncio.gather(*(task(loop, pool, i) for i in range(4)))

    asyncio.run(main())
    assert taken == 4 * rounds


def test_threads_that_take_guards_in_one_order_are_never_told(m: ndshm.Manager) -> None:
    """Blocks, lent guards and sets at once, for some seconds: there is no circle among them."""
    arrays = [m.zeros(4) for _ in range(3)]
    end = time.monotonic() + 5
    taken = [0] * 4

    def work(thread: int) -> None:
        turn = thread
        while time.monotonic() < end:
            turn += 7
            lend = LENT[turn % len(LENT)]
            first, second = arrays[turn % 2], arrays[turn % 2 + 1]
            if turn % 3 == 0:
                guard = lend(first[turn % 4 :].write())
                with second.write():
                    pass
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(guard.end).result(60)
            else:
                with first.write():
                    if turn % 11 == 0:
                        time.sleep(0.12)
                    with ndshm.lock(second[turn % 4 :].writing()):
                        pass
            taken[thread] += 1

    with ThreadPoolExecutor(4) as pool:
        for call in [pool.submit(work, thread) for thread in range(4)]:
            call.result(120)
    assert min(taken) > 0
    print(f"{sum(taken)} pairs of guards")


def test_a_handler_that_waits_in_the_middle_of_a_wait_is_in_no_circle(m: ndshm.Manager) -> None:
    a, b, c, d = (m.zeros(3) for _ in range(4))
    holds, handled = threading.Event(), []

    def handler(*_: object) -> None:
        # Held only until this function ends, which is before the wait of the main thread does.
        with c.write(), d.write():
            handled.append(True)

    def other() -> None:
        with b.write(), d.write():
            holds.set()
            signal.raise_signal(signal.SIGUSR1)
            time.sleep(0.5)
        with b.write(), c.write():
            time.sleep(0.2)

    former = signal.signal(signal.SIGUSR1, handler)
    try:
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(other)
            assert holds.wait(60)
            with a.write(), b.write():
                pass
            call.result(60)
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert handled == [True]


def test_the_frame_of_a_block_does_not_outlive_its_function(m: ndshm.Manager) -> None:
    class Watched:
        pass

    gone = []

    def block(way: str) -> None:
        watched = Watched()
        import weakref

        weakref.finalize(watched, gone.append, way)
        with contextlib.suppress(ZeroDivisionError):
            with m.zeros(3).read() as x:
                if way == "raises":
                    raise ZeroDivisionError
                if way == "keeps":
                    watched.x = memoryview(x)  # type: ignore[attr-defined]

    block("ends")
    block("raises")
    with pytest.raises(BufferError):
        block("keeps")
    gc.collect()
    assert gone == ["ends", "raises", "keeps"]
