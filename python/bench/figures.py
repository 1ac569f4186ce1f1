"""Measures the package beside its peers, and writes docs/performance-python.md: figures.py FILE

Needs ndshm, joblib, pygments and (without its dependencies) jztools. Each figure is the median of the rounds that fit into about a second, in microseconds.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pathlib
import pickle
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

import ndshm

SIZES = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20]
BUDGET = 1.0
COLUMNS = ["create", "create and fill", "transfer", "re-open", "release", "hand over", "again"]


class Peer:
    """One way to share arrays: a store of them in the producer, nothing in the consumer. Arrays are float64, of one axis."""

    def __init__(self, stack: ExitStack) -> None:
        """Opens the store, which `stack` closes."""

    def empty(self, n: int) -> Any:
        raise NotImplementedError

    def filled(self, source: np.ndarray) -> Any:
        raise NotImplementedError

    def release(self, holder: list[Any]) -> None:
        """Ends the array that is the only thing in `holder`."""
        holder.clear()

    @staticmethod
    def dumps(array: Any) -> bytes:
        return pickle.dumps(array)

    @staticmethod
    def loads(text: bytes) -> Any:
        return pickle.loads(text)

    @staticmethod
    def total(array: Any) -> float:
        return float(array.sum())


class Ndshm(Peer):
    recycle: int | None = None

    def __init__(self, stack: ExitStack) -> None:
        self.m = stack.enter_context(ndshm.Manager(recycle=self.recycle))

    def empty(self, n: int) -> Any:
        return self.m.empty(n)

    def filled(self, source: np.ndarray) -> Any:
        return self.m.array(source)

    @staticmethod
    def total(array: Any) -> float:
        with array.read() as x:
            return float(x.sum())


class Recycling(Ndshm):
    recycle = 1 << 30


class Compat(Peer):
    module = "ndshm.compat.jztools"

    def __init__(self, stack: ExitStack) -> None:
        self.m = stack.enter_context(__import__(self.module, fromlist=["x"]).XSharedMemoryManager())

    def empty(self, n: int) -> Any:
        return self.m.empty(n, float)

    def filled(self, source: np.ndarray) -> Any:
        return self.m.from_ndarray(source)


class Jztools(Compat):
    module = "jztools.shared_memory"


class Block:
    """An array in a block of multiprocessing's, as one writes it by hand."""

    def __init__(self, memory: SharedMemory, n: int) -> None:
        self.memory, self.array = memory, np.ndarray(n, float, memory.buf)

    def __reduce__(self) -> Any:
        return attach, (self.memory.name, len(self.array))

    def __del__(self) -> None:
        self.array = None
        self.memory.close()


def attach(name: str, n: int) -> Block:
    return Block(SharedMemory(name), n)


class Blocks(Peer):
    def block(self, size: int) -> SharedMemory:
        return SharedMemory(create=True, size=size)

    def empty(self, n: int) -> Any:
        return Block(self.block(n * 8), n)

    def filled(self, source: np.ndarray) -> Any:
        block = self.empty(len(source))
        np.copyto(block.array, source)
        return block

    def release(self, holder: list[Any]) -> None:
        holder[0].memory.unlink()
        holder.clear()

    @staticmethod
    def total(array: Any) -> float:
        return float(array.array.sum())


class ManagedBlocks(Blocks):
    def __init__(self, stack: ExitStack) -> None:
        self.m = stack.enter_context(SharedMemoryManager())

    def block(self, size: int) -> SharedMemory:
        return self.m.SharedMemory(size)


class Memmaps(Peer):
    """Files on tmpfs, mapped. A memmap pickles as a copy, so its path and length travel."""

    def __init__(self, stack: ExitStack) -> None:
        self.place = tempfile.mkdtemp(dir="/dev/shm")
        stack.callback(shutil.rmtree, self.place)
        self.made = 0

    def path(self) -> str:
        self.made += 1
        return os.path.join(self.place, str(self.made))

    def empty(self, n: int) -> Any:
        return np.memmap(self.path(), float, "w+", shape=(n,))

    def filled(self, source: np.ndarray) -> Any:
        x = self.empty(len(source))
        x[:] = source
        return x

    def release(self, holder: list[Any]) -> None:
        path = holder[0].filename
        holder.clear()
        os.unlink(path)

    @staticmethod
    def dumps(array: Any) -> bytes:
        return pickle.dumps(str(array.filename))

    @staticmethod
    def loads(text: bytes) -> Any:
        return np.memmap(pickle.loads(text), float, "r+")


class Joblib(Memmaps):
    """joblib's way: a dumped file that is mapped when it is loaded."""

    def empty(self, n: int) -> Any:
        return self.filled(np.empty(n))

    def filled(self, source: np.ndarray) -> Any:
        import joblib

        path = self.path()
        joblib.dump(source, path)
        return path

    def release(self, holder: list[Any]) -> None:
        os.unlink(holder.pop())

    @staticmethod
    def dumps(array: Any) -> bytes:
        return pickle.dumps(array)

    @staticmethod
    def loads(text: bytes) -> Any:
        import joblib

        return joblib.load(pickle.loads(text), mmap_mode="r+")


class Copies(Peer):
    """No sharing: the elements themselves are pickled."""

    def empty(self, n: int) -> Any:
        return np.empty(n)

    def filled(self, source: np.ndarray) -> Any:
        return source.copy()


PEERS: dict[str, type[Peer]] = {
    "ndshm": Ndshm,
    "ndshm, recycle=1 GiB": Recycling,
    "ndshm.compat.jztools": Compat,
    "SharedMemory": Blocks,
    "SharedMemoryManager": ManagedBlocks,
    "numpy.memmap": Memmaps,
    "joblib": Joblib,
    "jztools": Jztools,
    "pickled ndarrays": Copies,
}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def consume(name: str, wire: Connection) -> None:
    """The other process: opens what it is sent, and answers with its sum."""
    peer = PEERS[name]
    while text := wire.recv_bytes():
        array = peer.loads(text)
        total = peer.total(array)
        del array
        wire.send_bytes(repr(total).encode())


def life(peer: Peer, source: np.ndarray, wire: Connection) -> tuple[float, ...]:
    """One array of each kind, in the order of `COLUMNS`."""

    def hand_over(array: Any) -> None:
        wire.send_bytes(peer.dumps(array))
        if (total := float(wire.recv_bytes())) != len(source):
            raise ValueError(f"the other process read {total} instead of {len(source)}")

    def drop() -> None:
        nonlocal array
        holder = [array]
        array = None
        peer.release(holder)

    def make_and_hand_over() -> Any:
        array = peer.filled(source)
        hand_over(array)
        return array

    created, array = timed(lambda: peer.empty(len(source)))
    drop()
    filled, array = timed(lambda: peer.filled(source))
    transferred, (text, copy) = timed(lambda: (text := peer.dumps(array), peer.loads(text)))
    reopened, again = timed(lambda: peer.loads(text))
    del copy, again
    released, _ = timed(drop)
    handed, array = timed(make_and_hand_over)
    repeated, _ = timed(lambda: hand_over(array))
    drop()
    return created, filled, transferred, reopened, released, handed, repeated


def figures(name: str, size: int) -> list[float]:
    """Medians of what one array takes, in microseconds, in the order of `COLUMNS`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    consumer = context.Process(target=consume, args=(name, theirs))
    with ExitStack() as stack:
        peer = PEERS[name](stack)
        consumer.start()
        stack.callback(consumer.join)
        stack.callback(ours.send_bytes, b"")
        source, rounds = np.ones(size // 8), []
        end = time.perf_counter() + BUDGET
        while len(rounds) < 5 or time.perf_counter() < end and len(rounds) < 2000:
            rounds.append(life(peer, source, ours))
    return [statistics.median(column) * 1e6 for column in zip(*rounds[1:])]


class Reduced:
    """What an array is to pickle, without the package: a function and a text."""

    def __reduce__(self) -> Any:
        return str, ("x" * 130, )


def calls() -> list[tuple[str, float]]:
    """What single calls cost, of small arrays, best of several runs."""
    import timeit

    rows = []
    reduced = Reduced()
    with ndshm.Manager(recycle=1 << 24) as m:
        a = m.zeros((32, 16))
        text = pickle.dumps(a)

        def read() -> None:
            with a.read() as x:  # noqa: F841
                pass

        def write() -> None:
            with a.write() as x:  # noqa: F841
                pass

        for name, call in [
            ("`with a.read() as x`", read), ("`with a.write() as x`", write), ("`a[1:, 3]`", lambda: a[1:, 3]), ("`a.handle`", lambda: a.handle),
            ("`pickle.dumps(a)`", lambda: pickle.dumps(a)), ("`pickle.dumps` of an object of Python that is a function and a text", lambda: pickle.dumps(reduced)),
            ("`pickle.loads`, open already", lambda: pickle.loads(text)),
            ("`m.empty((32, 16))`, and its end", lambda: m.empty((32, 16))),
        ]:
            rows.append((name, min(timeit.repeat(call, number=2000, repeat=7)) / 2000 * 1e6))
    return rows


def main(target: str) -> None:
    lines = [
        "# What the Python package costs",
        "",
        "Written by `python/bench/run`. Medians, in microseconds, of arrays of float64: *create* one (unspecified contents); *create and fill* it from an "
        "ndarray; *transfer* it (pickle and unpickle, in one process); *re-open* it (unpickle once more); *release* it; *hand over* a new one: create and fill it, "
        "send it pickled through a `multiprocessing.Pipe` to another process, which opens it, sums it and answers; hand the same one over *again*. What cannot be pickled is opened by its "
        "file's name. Of *pickled ndarrays* the elements are sent, a *transfer* is a copy, and nothing is shared. "
        "ndshm reserves an array's memory when it is made, so that a full tmpfs is an error there and then; SharedMemory, memmap and jztools do not, and pay "
        "for each page, or die, when it is written first: compare *create and fill*.",
        "",
        f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, NumPy {np.__version__}.",
        "",
    ]
    table: dict[tuple[str, int], list[float]] = {}
    for size in SIZES:
        title = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        lines += [f"## {title}", "", "| | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
        for name in PEERS:
            try:
                row = table[name, size] = figures(name, size)
            except ImportError as error:
                print(f"{name} left out: {error}", file=sys.stderr)
                continue
            lines.append(f"| {name} | " + " | ".join(f"{figure:.1f}" for figure in row) + " |")
            print(title, name, [round(figure, 1) for figure in row], flush=True)
            gc.collect()
        lines.append("")
    small = SIZES[0]
    if ("jztools", small) in table:
        lines += ["## Beside the ancestor, at 4 KiB", "", "How many times faster than jztools.", ""]
        lines += ["| | " + " | ".join(COLUMNS) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
        for name in ["ndshm", "ndshm, recycle=1 GiB", "ndshm.compat.jztools"]:
            ratios = [theirs / ours for theirs, ours in zip(table["jztools", small], table[name, small])]
            lines.append(f"| {name} | " + " | ".join(f"{ratio:.1f}" for ratio in ratios) + " |")
        lines.append("")
    lines += ["## Single calls", "", "Of an array of 4 KiB; the best of seven runs.", "", "| | µs |", "| --- | ---: |"]
    lines += [f"| {name} | {cost:.2f} |" for name, cost in calls()]
    rust = subprocess.run([os.environ["NDSHM_PEER"], "bench"], stdout=subprocess.PIPE, text=True) if "NDSHM_PEER" in os.environ else None
    if rust is not None and rust.returncode == 0 and rust.stdout:
        lines += ["", "The same in Rust, over the library itself:", "", "| | µs |", "| --- | ---: |"]
        lines += [f"| {name} | {float(cost):.2f} |" for name, cost in (line.rsplit(" ", 1) for line in rust.stdout.splitlines())]
    pathlib.Path(target).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
