"""Measures the package beside its peers, and writes docs/performance-python.md: figures.py FILE

Needs ndshm, joblib, pygments and (without its dependencies) jztools. Each figure is the median of the rounds that fit into about a second, in microseconds.
"""

from __future__ import annotations

import gc
import os
import pathlib
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

import ndshm

SIZES = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20]
BUDGET = 1.0


def measured(once: Callable[[], tuple[float, ...]]) -> list[float]:
    """Medians of what one round takes, in microseconds."""
    rounds = []
    end = time.perf_counter() + BUDGET
    while len(rounds) < 5 or time.perf_counter() < end and len(rounds) < 2000:
        rounds.append(once())
    return [statistics.median(column) * 1e6 for column in zip(*rounds)]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def life(create: Callable[[int], Any], size: int, release: Callable[[Any], None]) -> tuple[float, ...]:
    """Create; pickle and open again in the same process; open again a second time; release."""
    made, array = timed(lambda: create(size))
    transferred, (text, copy) = timed(lambda: (text := pickle.dumps(array), pickle.loads(text)))
    reopened, again = timed(lambda: pickle.loads(text))
    del copy, again
    holder = [array]
    del array
    released, _ = timed(lambda: release(holder))
    return made, transferred, reopened, released


def ndshm_figures(size: int, recycle: int | None = None) -> list[float]:
    with ndshm.Manager(recycle=recycle) as m:
        return measured(lambda: life(lambda n: m.empty(n, np.uint8), size, list.clear))


class Block:
    """An array in a block of multiprocessing's, as one writes it by hand."""

    def __init__(self, memory: SharedMemory, shape: tuple[int, ...]) -> None:
        self.memory, self.array = memory, np.ndarray(shape, np.uint8, memory.buf)

    def __reduce__(self) -> Any:
        return attach, (self.memory.name, self.array.shape)

    def __del__(self) -> None:
        self.array = None
        self.memory.close()


def attach(name: str, shape: tuple[int, ...]) -> Block:
    return Block(SharedMemory(name), shape)


def unlink(holder: list[Block]) -> None:
    holder[0].memory.unlink()
    holder.clear()


def shared_memory_figures(size: int) -> list[float]:
    return measured(lambda: life(lambda n: Block(SharedMemory(create=True, size=n), (n,)), size, unlink))


def shared_memory_manager_figures(size: int) -> list[float]:
    with SharedMemoryManager() as m:
        return measured(lambda: life(lambda n: Block(m.SharedMemory(n), (n,)), size, unlink))


def jztools_figures(size: int) -> list[float]:
    from jztools.shared_memory import XSharedMemoryManager

    with XSharedMemoryManager() as m:
        return measured(lambda: life(lambda n: m.empty(n, np.uint8), size, list.clear))


def compat_figures(size: int) -> list[float]:
    from ndshm.compat.jztools import XSharedMemoryManager

    with XSharedMemoryManager() as m:
        return measured(lambda: life(lambda n: m.empty(n, np.uint8), size, list.clear))


def joblib_figures(size: int) -> list[float]:
    """joblib's way: a dumped file that is mapped when it is loaded. A memmap of it is pickled by joblib as its place."""
    import joblib

    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        path = os.path.join(place, "x")

        def once() -> tuple[float, ...]:
            source = np.empty(size, np.uint8)
            made, _ = timed(lambda: joblib.dump(source, path))
            transferred, array = timed(lambda: joblib.load(path, mmap_mode="r+"))
            reopened, _ = timed(lambda: joblib.load(path, mmap_mode="r+"))
            del array
            released, _ = timed(lambda: os.unlink(path))
            return made, transferred, reopened, released

        return measured(once)


def memmap_figures(size: int) -> list[float]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        path = os.path.join(place, "x")

        def once() -> tuple[float, ...]:
            made, array = timed(lambda: np.memmap(path, np.uint8, "w+", shape=(size,)))
            transferred, _ = timed(lambda: np.memmap(pickle.loads(pickle.dumps(path)), np.uint8, "r+"))
            reopened, _ = timed(lambda: np.memmap(path, np.uint8, "r+"))
            holder = [array]
            del array

            def release() -> None:
                holder.clear()
                os.unlink(path)

            released, _ = timed(release)
            return made, transferred, reopened, released

        return measured(once)


PEERS: dict[str, Callable[[int], list[float]]] = {
    "ndshm": ndshm_figures,
    "ndshm, recycle=1 GiB": lambda size: ndshm_figures(size, 1 << 30),
    "ndshm.compat.jztools": compat_figures,
    "SharedMemory": shared_memory_figures,
    "SharedMemoryManager": shared_memory_manager_figures,
    "numpy.memmap": memmap_figures,
    "joblib": joblib_figures,
    "jztools": jztools_figures,
}

def calls() -> list[tuple[str, float]]:
    """What single calls cost, of small arrays, best of several runs."""
    import timeit

    rows = []
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
            ("`pickle.dumps(a)`", lambda: pickle.dumps(a)), ("`pickle.loads`, open already", lambda: pickle.loads(text)),
            ("`m.empty((32, 16))`, and its end", lambda: m.empty((32, 16))),
        ]:
            rows.append((name, min(timeit.repeat(call, number=2000, repeat=7)) / 2000 * 1e6))
    return rows


def main(target: str) -> None:
    lines = [
        "# What the Python package costs",
        "",
        "Written by `python/bench/run`. Medians, in microseconds, in one process: *create* an array of bytes (unspecified contents), *transfer* it "
        "(pickle and unpickle), *re-open* it (unpickle once more), *release* it. What cannot be pickled is opened by its file's name. "
        "ndshm reserves an array's memory when it is made, so that a full tmpfs is an error there and then; SharedMemory, memmap and jztools do not, and pay "
        "for each page, or die, when it is written first.",
        "",
        f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, NumPy {np.__version__}.",
        "",
    ]
    table: dict[tuple[str, int], list[float]] = {}
    for size in SIZES:
        title = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        lines += [f"## {title}", "", "| | create | transfer | re-open | release |", "| --- | ---: | ---: | ---: | ---: |"]
        for name, peer in PEERS.items():
            try:
                figures = table[name, size] = peer(size)
            except ImportError as error:
                print(f"{name} left out: {error}", file=sys.stderr)
                continue
            lines.append(f"| {name} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")
            print(title, name, [round(figure, 1) for figure in figures], flush=True)
            gc.collect()
        lines.append("")
    small = SIZES[0]
    if ("jztools", small) in table:
        lines += ["## Beside the ancestor, at 4 KiB", "", "How many times faster than jztools.", ""]
        lines += ["| | create | transfer | release |", "| --- | ---: | ---: | ---: |"]
        for name in ["ndshm", "ndshm, recycle=1 GiB", "ndshm.compat.jztools"]:
            ratios = [table["jztools", small][at] / table[name, small][at] for at in (0, 1, 3)]
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
