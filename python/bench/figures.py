"""Compare the package with other libraries, and write docs/performance-python.md: figures.py FILE

Needs ndshm, joblib, pygments and (without its dependencies) jztools. Each figure is the median of
the rounds that fit into about a second, in microseconds.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pathlib
import pickle
import platform
import statistics
import subprocess
import sys
import textwrap
import time
import timeit
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from libraries import LIBRARIES, Library

import ndshm

SIZES = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20]
BUDGET_SECONDS = 1.0
COLUMNS = ["create", "create and fill", "transfer", "re-open", "release", "hand over", "again"]
INTRODUCTION = """
Written by `python/bench/run`. Medians, in microseconds, of arrays of float64: *create* one
(unspecified contents); *create and fill* it from an ndarray; *transfer* it (pickle and unpickle, in
one process); *re-open* it (unpickle once more); *release* it; *hand over* a new one: create and
fill it, send it pickled through a `multiprocessing.Pipe` to another process, which opens it, sums
it and answers; hand the same one over *again*. A variant whose arrays cannot be pickled opens them
by the file's name. *Pickled ndarrays* send the elements: a *transfer* is a copy, and nothing is
shared. ndshm reserves an array's memory when it makes the array, so a full tmpfs is an error there
and then. SharedMemory, memmap and jztools do not: they pay for each page at its first write, or die
there. Compare *create and fill*.
"""


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def consume(name: str, connection: Connection) -> None:
    """Run the other process: open each array that arrives, and answer with its sum."""
    library = LIBRARIES[name]
    while text := connection.recv_bytes():
        array = library.loads(text)
        total = library.total(array)
        del array
        connection.send_bytes(repr(total).encode())


def hand_over(library: Library, array: Any, length: int, connection: Connection) -> None:
    connection.send_bytes(library.dumps(array))
    if (total := float(connection.recv_bytes())) != length:
        raise ValueError(f"the other process read {total}, expected {length}")


def lifecycle(library: Library, source: np.ndarray, connection: Connection) -> tuple[float, ...]:
    """Time one array for each of `COLUMNS`."""
    length = len(source)

    def release() -> None:
        nonlocal array
        holder = [array]
        array = None
        library.release(holder)

    def create_and_hand_over() -> Any:
        array = library.filled(source)
        hand_over(library, array, length, connection)
        return array

    created, array = timed(lambda: library.empty(length))
    release()
    filled, array = timed(lambda: library.filled(source))
    transferred, (text, copy) = timed(lambda: (text := library.dumps(array), library.loads(text)))
    reopened, again = timed(lambda: library.loads(text))
    del copy, again
    released, _ = timed(release)
    handed, array = timed(create_and_hand_over)
    repeated, _ = timed(lambda: hand_over(library, array, length, connection))
    release()
    return created, filled, transferred, reopened, released, handed, repeated


def figures(name: str, size: int) -> list[float]:
    """Return the medians for one array, in microseconds, in the order of `COLUMNS`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    consumer = context.Process(target=consume, args=(name, theirs))
    with ExitStack() as stack:
        library = LIBRARIES[name](stack)
        consumer.start()
        stack.callback(consumer.join)
        stack.callback(ours.send_bytes, b"")
        source, rounds = np.ones(size // 8), []
        end = time.perf_counter() + BUDGET_SECONDS
        while len(rounds) < 5 or time.perf_counter() < end and len(rounds) < 2000:
            rounds.append(lifecycle(library, source, ours))
    return [statistics.median(column) * 1e6 for column in zip(*rounds[1:])]


class Reduced:
    """The pickle of an array without the package: a function and a text."""

    def __reduce__(self) -> Any:
        return str, ("x" * 130,)


def microseconds(call: Callable[[], Any]) -> float:
    """Return the cost of a call, the best of several runs."""
    return min(timeit.repeat(call, number=2000, repeat=7)) / 2000 * 1e6


def calls() -> list[tuple[str, float]]:
    """Return the costs of single calls on a small array, in microseconds."""
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

        timed_calls: dict[str, Callable[[], Any]] = {
            "`with a.read() as x`": read,
            "`with a.write() as x`": write,
            "`a[1:, 3]`": lambda: a[1:, 3],
            "`a.handle`": lambda: a.handle,
            "`pickle.dumps(a)`": lambda: pickle.dumps(a),
            "`pickle.dumps` of a Python object that is a function and a text": lambda: pickle.dumps(
                reduced
            ),
            "`pickle.loads`, open already": lambda: pickle.loads(text),
            "`m.empty((32, 16))`, and its end": lambda: m.empty((32, 16)),
        }
        return [(name, microseconds(call)) for name, call in timed_calls.items()]


def rust_calls() -> list[tuple[str, float]]:
    """Return the costs of the same calls in Rust, if the Rust peer is built."""
    if "NDSHM_PEER" not in os.environ:
        return []
    command = [os.environ["NDSHM_PEER"], "bench"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return []
    rows = (line.rsplit(" ", 1) for line in done.stdout.splitlines())
    return [(name, float(cost)) for name, cost in rows]


def table(columns: list[str], rows: Iterable[tuple[str, list[float]]], digits: int) -> list[str]:
    """Return the lines of a Markdown table, and an empty line."""
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, row in rows:
        lines.append(f"| {name} | " + " | ".join(f"{figure:.{digits}f}" for figure in row) + " |")
    return [*lines, ""]


def measured(size: int, title: str) -> dict[str, list[float]]:
    """Return the figures of each library that is installed."""
    rows = {}
    for name in LIBRARIES:
        try:
            rows[name] = figures(name, size)
        except ImportError as error:
            print(f"{name} left out: {error}", file=sys.stderr)
            continue
        print(title, name, [round(figure, 1) for figure in rows[name]], flush=True)
        gc.collect()
    return rows


def main(target: str) -> None:
    system = f"{platform.machine()}, {os.cpu_count()} processors, "
    system += f"Linux {platform.release().split('-')[0]}, "
    system += f"Python {platform.python_version()}, NumPy {np.__version__}."
    introduction = textwrap.fill(" ".join(INTRODUCTION.split()), 120, break_on_hyphens=False)
    lines = ["# Performance of the Python package", "", introduction, "", system, ""]
    results = {}
    for size in SIZES:
        title = f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"
        results[size] = measured(size, title)
        lines += [f"## {title}", "", *table(COLUMNS, results[size].items(), 1)]
    small = results[SIZES[0]]
    if "jztools" in small:
        ratios = {
            name: [theirs / ours for theirs, ours in zip(small["jztools"], small[name])]
            for name in ["ndshm", "ndshm, recycle=1 GiB", "ndshm.compat.jztools"]
        }
        lines += ["## Beside the ancestor, at 4 KiB", "", "How many times faster than jztools.", ""]
        lines += table(COLUMNS, ratios.items(), 1)
    lines += ["## Single calls", "", "Of an array of 4 KiB; the best of seven runs.", ""]
    lines += table(["µs"], [(name, [cost]) for name, cost in calls()], 2)
    if rust := rust_calls():
        lines += ["The same in Rust, over the library itself:", ""]
        lines += table(["µs"], [(name, [cost]) for name, cost in rust], 2)
    pathlib.Path(target).write_text("\n".join(lines[:-1]) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
