"""A shuffle of Dask through the workers of one machine: with shared arrays, and plain.

    python python/bench/shuffle.py [BYTES]

1 GiB of float64 in chunks of rows becomes chunks of columns, whose sums are compared: 4 workers of
one thread. The variants take turns, each in a cluster of its own, and the medians of three rounds
are printed as Markdown. Bytes are those that the workers sent through sockets. Memory is the most
that the workers together had: the sum of their proportional set sizes (PSS), which counts a shared
page once, beyond that of the idle cluster; and of the tmpfs what no worker has mapped.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from typing import Any

import dask
import dask.array as da
import distributed
import numpy as np
from distributed.comm.tcp import TCP

import ndshm.dask

VARIANTS = {
    "ndshm.dask, tasks": ("tasks", ndshm.dask.share),
    "plain, tasks": ("tasks", None),
    "plain, p2p": ("p2p", None),
}


def count_bytes() -> tuple[int, int]:
    """Return this process's id and the bytes that it sent; begin to count at the first call."""
    if not hasattr(TCP, "sent"):
        write = TCP.write

        async def counted(self: Any, *args: Any, **keywords: Any) -> int:
            sent = await write(self, *args, **keywords)
            TCP.sent += sent
            return int(sent)

        TCP.sent, TCP.write = 0, counted
    return os.getpid(), int(TCP.sent)


def pss(pids: list[int]) -> int:
    """Return the sum of the proportional set sizes of some processes in bytes."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                total += sum(int(line.split()[1]) << 10 for line in lines if line[:4] == "Pss:")
        except OSError:
            pass
    return total


def run(method: str, place: Any, size: int) -> tuple[float, int, int]:
    """Shuffle once. Return the seconds, the bytes sent, and the peak of memory."""
    side = int((size // 8) ** 0.5) // 32 * 32
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(
            n_workers=4, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
        ndshm.dask.install(client),
    ):
        pids = [pid for pid, _ in client.run(count_bytes).values()]
        x = da.ones((side, side), chunks=(side // 16, side))
        if place is not None:
            x = x.map_blocks(place, dtype=x.dtype, meta=np.empty((0, 0)))
        with dask.config.set({"array.rechunk.method": method}):
            # In one step: by default Dask takes one more, whose chunks are copies.
            y = x.rechunk((side, side // 16), threshold=1 << 20).sum(axis=0)
        idle, peak, ends = pss(pids), 0, threading.Event()
        sent = sum(count for _, count in client.run(count_bytes).values())

        def look() -> None:
            nonlocal peak
            store = ndshm.dask.node_store()
            while not ends.wait(0.05):
                mapped = pss(pids) - idle
                peak = max(peak, mapped, store.usage().allocated if place else 0)

        looker = threading.Thread(target=look)
        looker.start()
        start = time.perf_counter()
        found = y.compute()
        seconds = time.perf_counter() - start
        ends.set()
        looker.join()
        sent = sum(count for _, count in client.run(count_bytes).values()) - sent
        assert (found == side).all()
    return seconds, sent, peak


def main() -> None:
    """Run all variants in turn, and print the table."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1 << 30
    found: dict[str, list[tuple[float, int, int]]] = {variant: [] for variant in VARIANTS}
    for _ in range(3):
        for variant, (method, place) in VARIANTS.items():
            found[variant].append(run(method, place, size))
    middle = {
        variant: [statistics.median(column) for column in zip(*rows, strict=True)]
        for variant, rows in found.items()
    }
    plain = middle["plain, tasks"]
    print("| | seconds | beside plain | sent, MiB | peak memory, MiB | beside plain |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for variant, (seconds, sent, peak) in middle.items():
        print(
            f"| {variant} | {seconds:.2f} | {seconds / plain[0]:.2f} | {sent / 2**20:.2f} | "
            f"{peak / 2**20:.0f} | {peak / plain[2]:.2f} |"
        )


if __name__ == "__main__":
    main()
