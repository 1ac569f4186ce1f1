"""A program of a user, for the type checkers: every line is one that they accept, or must refuse.

``.ci/python`` checks it with mypy and pyright. A comment ``type: ignore`` stands where an error
must be found: an unused one is an error itself.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import ndshm


def scale(part: ndshm.Array, factor: float) -> float:
    """Scale a part in place, and return its sum."""
    with part.write(timeout=10.0) as x:
        x *= factor
        return float(x.sum())


def count(hits: ndshm.Array, index: int) -> int:
    with hits.atomic() as n:
        return n.add(index, 1)


def arrays(m: ndshm.Manager) -> dict[str, ndshm.Array]:
    made: dict[str, ndshm.Array] = {
        "zeros": m.zeros((3, 4)),
        "typed": m.zeros(5, dtype=np.float32, order="F", name="typed"),
        "ones": m.ones([2, 2], "i8", scope="remote"),
        "full": m.full((2,), 7.5, attrs={"unit": "m", "limits": [0, 1]}),
        "array": m.array([[1.0, 2.0], [3.0, 4.0]], axis_names=["row", "column"]),
        "named": m.open_or_zeros("named", 3, scope=None),
        "again": m.zeros(3, name="named", exist_ok=True),
    }
    m.zeros(3, nmae="typo")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    m.zeros(3, scope="global")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    m.zeros("3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    return made


def computes(a: ndshm.Array) -> None:
    a += 1
    a[0] = 5.0
    a[1:] *= 2
    total = float(np.sum(a.to_numpy())) + float(a.sum())
    part: ndshm.Array = a[1:]
    view = a.reshape(-1, order="C").T.squeeze()
    for index in (1, slice(1, 3), ..., None, (0, slice(None))):
        _ = a[index]
    print(total, part.shape, view.ndim, a.dtype.itemsize, a.order, len(a), repr(a))
    plain = np.asarray(a) + np.asarray(part)[0]
    print(plain.mean(), a.tolist(), a.astype("f4"))


def locks(a: ndshm.Array, b: ndshm.Array) -> None:
    try:
        with ndshm.lock(a.reading(), b.writing(), timeout=1.0) as (x, y):
            y[...] = x
    except ndshm.WouldDeadlock as error:
        for holder in error.holders:
            print(holder.pid, holder.command, holder.slice)
    except (ndshm.Timeout, ndshm.Poisoned):
        with b.recover() as y:
            y.fill(0)
    except TimeoutError:
        raise
    seen = a.changed()
    print(a.wait_changed(seen, timeout=None), a.poisoned())


def by_reference(a: ndshm.Array, pool: ProcessPoolExecutor) -> float:
    frozen = a.freeze()
    mean = pool.submit(np.mean, frozen).result()
    handle: str = a.handle
    opened = ndshm.open(handle)
    waited = ndshm.open_frozen(handle, timeout=5)
    return float(mean) + float(waited[0]) + float(opened.unlocked()[0])


def rings(m: ndshm.Manager) -> int:
    info = np.dtype([("exposure", "f4")])
    ring = m.ring((480, 640), 8, np.uint8, name="camera", info=info, exist_ok=True)
    opened: ndshm.Ring = m.open_ring("camera")
    print(ring.shape, ring.frames, ring.newest, opened.handle, ndshm.open_ring(ring.path).dtype)
    with ring.produce(timeout=1.0) as producer, ring.subscribe(lossless=True) as subscriber:
        producer.wait_subscribers(1, timeout=1)
        with producer.next(timeout=1.0) as image:
            image[...] = 7
            producer.rows = 100
            producer.info = {"exposure": 0.25}
        number: int = producer.publish(np.zeros((480, 640)), info=(0.5,), rows=3)
        producer.finish()
        for frame in subscriber:
            print(frame.number, frame.time, frame.info["exposure"], frame.mean(), frame[0].shape)
        after = subscriber.next(timeout=0)
        if after is not None:
            print(after.time_ns)
        print(subscriber.missed, subscriber.latest(), ring.frame(number))
    try:
        ring.produce(timeout=0)
    except ndshm.WouldBlock as error:
        print(error.holders)
    print([state.process.pid for state in ring.subscribers if state.lag > 3])
    m.ring((480, 640), 8)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    m.ring(3, 8, "u1", order="F")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    after.number  # type: ignore[union-attr] # pyright: ignore[reportOptionalMemberAccess]
    return number


def growing(m: ndshm.Manager) -> int:
    log = m.growing((), "f8", 1 << 20, name="log", attrs={"unit": "m"}, exist_ok=True)
    opened: ndshm.GrowingArray = m.open_growing("log")
    first: int = log.append([1.0, 2.0], timeout=1)
    with log.reserve(3, timeout=1.0) as rows:
        rows[:2] = 7
        log.rows = 2
    print(np.asarray(log).mean(), log[1:].sum(), log[0], [row for row in opened], log.shape)
    print(log.wait_grown(3, timeout=1), len(log), log.max_len, log.row_shape, log.is_frozen)
    log.freeze()
    m.growing(3, "f8")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    m.growing(3, "f8", 5, order="F")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    return first + ndshm.open_growing(log.handle).append(log)


async def tasks(subscriber: ndshm.Subscriber) -> float:
    total = 0.0
    async for frame in subscriber:
        total += float(frame.sum())
    return total


def stores(path: Path) -> None:
    with ndshm.Manager(path, persistent=True, lock_timeout=3.0, mode="a") as m:
        for name in m:
            print(name, m[name].attrs, m[name].axis_names)
        for info in m.list():
            print(info.name, info.shape, info.nbytes)
        print(m.usage().available, m.sweep().arrays, "x" in m, m.path)
        loaded = m.load("weights.safetensors", only=["layer.*"], prefix="w-")
        print(loaded)
        m.wait_for("x", timeout=1)
        m.close()
    ndshm.Manager(lock_timeout="3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def main() -> None:
    context = multiprocessing.get_context("spawn")
    with ndshm.Manager() as m, ProcessPoolExecutor(mp_context=context) as pool:
        a = m.array(np.arange(1000.0), name="a")
        print(sum(pool.map(scale, [a[:500], a[500:]], [2.0, 3.0])))
        print(by_reference(a, pool), count(m.zeros(4, "u8"), 2))


if __name__ == "__main__":
    main()
