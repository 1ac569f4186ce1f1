"""Measure appended rows beside other libraries: python growing.py [SECONDS]

Prints a table in Markdown: rows a second, and the longest append. Needs ndshm, h5py, zarr and
npy-append-array; all files are on tmpfs, so that no disk is measured. Each variant appends one row
at a time; those of four processes append to one array. The rows of the last round are read back and
compared. Run it on a quiet machine.
"""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h5py
import numpy as np
import zarr
from npy_append_array import NpyAppendArray

import ndshm

Append = Callable[[np.ndarray], object]
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
ROUNDS = 3
# At most so many bytes are appended in one round.
MOST = 1 << 29
SIZES = {"64 B": 8, "64 KiB": 8192}


@contextmanager
def shared(place: pathlib.Path, width: int) -> Iterator[tuple[Append, Callable[[], np.ndarray]]]:
    with ndshm.Manager(root=place) as m:
        log = m.growing(width, "f8", (1 << 37) // width)
        yield log.append, lambda: log[:]


@contextmanager
def written(place: pathlib.Path, width: int) -> Iterator[tuple[Append, Callable[[], np.ndarray]]]:
    path = place / "rows.raw"
    with open(path, "ab", buffering=0) as file:
        yield file.write, lambda: np.memmap(path, "f8", "r").reshape(-1, width)


@contextmanager
def truncated(place: pathlib.Path, width: int) -> Iterator[tuple[Append, Callable[[], np.ndarray]]]:
    path = place / "rows.map"
    with open(path, "w+b") as file:
        rows = 0

        def append(row: np.ndarray) -> None:
            nonlocal rows
            os.ftruncate(file.fileno(), (rows + 1) * row.nbytes)
            np.memmap(file, "f8", "r+", rows * row.nbytes, row.shape)[:] = row
            rows += 1

        yield append, lambda: np.memmap(path, "f8", "r").reshape(-1, width)


@contextmanager
def by_h5py(place: pathlib.Path, width: int) -> Iterator[tuple[Append, Callable[[], np.ndarray]]]:
    with h5py.File(place / "rows.h5", "w") as file:
        chunk = (max(1, (1 << 20) // (8 * width)), width)
        rows = file.create_dataset("rows", (0, width), "f8", maxshape=(None, width), chunks=chunk)

        def append(row: np.ndarray) -> None:
            rows.resize(len(rows) + 1, axis=0)
            rows[-1] = row

        yield append, lambda: rows[:]


@contextmanager
def by_zarr(place: pathlib.Path, width: int) -> Iterator[tuple[Append, Callable[[], np.ndarray]]]:
    chunk = (max(1, (1 << 20) // (8 * width)), width)
    rows = zarr.create_array(
        place / "rows.zarr", shape=(0, width), dtype="f8", chunks=chunk, compressors=None
    )
    yield lambda row: rows.append(row[None]), lambda: rows[:]


@contextmanager
def by_npy(place: pathlib.Path, width: int) -> Iterator[tuple[Append, Callable[[], np.ndarray]]]:
    path = place / "rows.npy"
    file = NpyAppendArray(str(path))

    def read() -> np.ndarray:
        # The header has the length from here on.
        file.close()
        return np.load(path, mmap_mode="r")

    yield lambda row: file.append(row[None]), read


VARIANTS = {
    "**ndshm**, `append`": shared,
    "a file, `write`; read by `numpy.memmap`": written,
    "`numpy.memmap` of each row, after `ftruncate`": truncated,
    "h5py, `resize`": by_h5py,
    "npy-append-array": by_npy,
    "zarr, `append`": by_zarr,
}


def appended(append: Append, width: int) -> tuple[int, float, float]:
    """Append rows for a while: their number, the seconds, the longest append in seconds."""
    row, longest = np.empty(width), 0.0
    count, begin = 0, time.perf_counter()
    last = begin
    while last - begin < SECONDS and (count + 1) * row.nbytes <= MOST:
        row[:] = count
        before = time.perf_counter()
        append(row)
        last = time.perf_counter()
        longest = max(longest, last - before)
        count += 1
    return count, last - begin, longest


def one(variant: str, width: int) -> tuple[float, float]:
    """Rows a second and the longest append, by one process."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ndshm-bench-") as place:
        with VARIANTS[variant](pathlib.Path(place), width) as (append, read):
            count, seconds, longest = appended(append, width)
            rows = read()
            assert len(rows) == count and (rows[:, 0] == np.arange(count)).all(), variant
            del rows
    return count / seconds, longest


def child(handle: str, width: int, queue: multiprocessing.SimpleQueue) -> None:
    log = ndshm.open_growing(handle)
    queue.put(appended(log.append, width))


def four(width: int) -> tuple[float, float]:
    """Rows a second and the longest append, by four processes together."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="ndshm-bench-") as place:
        with ndshm.Manager(root=place) as m:
            log = m.growing(width, "f8", (1 << 37) // width)
            context = multiprocessing.get_context("spawn")
            queue = context.SimpleQueue()
            workers = [
                context.Process(target=child, args=(log.handle, width, queue)) for _ in range(4)
            ]
            for worker in workers:
                worker.start()
            parts = [queue.get() for _ in workers]
            for worker in workers:
                worker.join()
            assert len(log) == sum(count for count, _, _ in parts)
    rate = sum(count for count, _, _ in parts) / max(seconds for _, seconds, _ in parts)
    return rate, max(longest for _, _, longest in parts)


def cell(results: list[tuple[float, float]]) -> str:
    rate = statistics.median(rate for rate, _ in results)
    longest = statistics.median(longest for _, longest in results)
    return f"{rate:,.0f} | {longest * 1000:.2f} ms"


def main() -> None:
    head = " | ".join(f"{size}: rows/s | longest append" for size in SIZES)
    print(f"| | {head} |\n| --- |{' ---: | ---: |' * len(SIZES)}")
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for width in SIZES.values():
            for variant in VARIANTS:
                found.setdefault((variant, width), []).append(one(variant, width))
            found.setdefault(("four", width), []).append(four(width))
    for variant in [*VARIANTS, "four"]:
        name = "**ndshm**, four processes, together" if variant == "four" else variant
        cells = " | ".join(cell(found[variant, width]) for width in SIZES.values())
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
