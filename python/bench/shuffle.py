"""A shuffle of Dask through the workers of one machine: with shared arrays, and plain.

    python python/bench/shuffle.py [BYTES [ROUNDS]]

1 GiB of float64 in chunks of rows becomes chunks of columns, through 4 workers of one thread. There
are two kinds: the chunks of rows are made and the columns summed in one graph, so nothing is kept;
or the rows are there already and stay, and the columns are kept too. The variants take turns, each
in a cluster of its own, and the medians of the rounds are printed as Markdown.

Bytes are those that the workers sent through sockets. Memory is the most that the workers together
had: the sum of their proportional set sizes (PSS), which counts a shared page once, beyond that of
the idle cluster; or of the tmpfs, where that is more.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import sys
import threading
import time
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np

import ndshm.dask

# The workers get this path too.
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "engines"))
from measure import count_bytes, pss

KINDS = ["made and summed", "kept"]
VARIANTS = {
    "ndshm.dask, tasks": ("tasks", True),
    "plain, tasks": ("tasks", False),
    "plain, p2p": ("p2p", False),
}


def rows(shape: tuple[int, int], is_shared: bool) -> Any:
    """Return a chunk of rows whose elements are there: Dask's own `ones` are one element."""
    made = np.empty(shape)
    made[...] = np.arange(shape[1])
    return ndshm.dask.share(made) if is_shared else made


def run(kind: str, method: str, is_shared: bool, size: int) -> tuple[float, int, int]:
    """Shuffle once. Return the seconds, the bytes sent, and the peak of memory."""
    side = int((size // 8) ** 0.5) // 16 * 16
    with (
        dask.config.set(
            {"distributed.worker.profile.enabled": False, "array.rechunk.method": method}
        ),
        distributed.LocalCluster(
            n_workers=4, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
        ndshm.dask.install(client),
    ):
        pids = list(client.run(os.getpid).values())
        idle, peak, ends = sum(map(pss, pids)), 0, threading.Event()

        def look() -> None:
            nonlocal peak
            store = ndshm.dask.node_store()
            while not ends.wait(0.05):
                mapped = sum(map(pss, pids)) - idle
                peak = max(peak, mapped, store.usage().allocated)

        looker = threading.Thread(target=look)
        x = da.map_blocks(
            lambda block_info=None: rows(block_info[None]["chunk-shape"], is_shared),
            chunks=((side // 16,) * 16, (side,)),
            dtype=float,
            meta=np.empty((0, 0)),
        )
        if kind == "kept":
            x = x.persist()
            distributed.wait(x)
        sent = sum(client.run(count_bytes).values())
        looker.start()
        start = time.perf_counter()
        # In one step: by default Dask takes one more, whose chunks are ordinary ndarrays.
        y = x.rechunk((side, side // 16), threshold=1 << 20)
        if kind == "kept":
            y = y.persist()
            distributed.wait(y)
        else:
            found = y.sum(axis=0).compute()
        seconds = time.perf_counter() - start
        ends.set()
        looker.join()
        sent = sum(client.run(count_bytes).values()) - sent
        if kind == "kept":
            found = y.sum(axis=0).compute()
        assert (found == np.arange(side) * side).all()
    return seconds, sent, peak


def main() -> None:
    """Run all variants in turn, and print a table for each kind."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 30
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    for kind in KINDS:
        found: dict[str, list[tuple[float, int, int]]] = {variant: [] for variant in VARIANTS}
        for _ in range(rounds):
            for variant, (method, is_shared) in VARIANTS.items():
                found[variant].append(run(kind, method, is_shared, size))
        middle = {
            variant: [statistics.median(column) for column in zip(*each, strict=True)]
            for variant, each in found.items()
        }
        plain = middle["plain, tasks"]
        print(f"| {kind} | seconds | beside plain | sent, MiB | peak memory, MiB | beside plain |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for variant, (seconds, sent, peak) in middle.items():
            print(
                f"| {variant} | {seconds:.2f} | {seconds / plain[0]:.2f} | {sent / 2**20:.2f} | "
                f"{peak / 2**20:.0f} | {peak / plain[2]:.2f} |"
            )
        print(flush=True)


if __name__ == "__main__":
    main()
