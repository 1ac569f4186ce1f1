"""The rate and the memory of a DataLoader of torch: over frozen arrays and rings, and plain.

    python python/bench/dataloader.py [BYTES OF AN EPOCH]

Each variant reads one epoch in a process of its own, with 4 workers and batches of 64 rows of
150528 bytes of float32, as shuffled indices with replacement over 0.5 GiB. Each variant is measured
once, and printed as Markdown. With more `ROUNDS` the variants take turns, and their medians are
printed. Memory is the most that all processes together had during an epoch: the sum of their
proportional set sizes (PSS), with the shared arrays.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "engines"))
from measure import pss_of_family

ROW = (3, 112, 112)
LENGTH = (1 << 29) // (4 * 3 * 112 * 112)
ROUNDS = 1
VARIANTS = ["plain", "plain dataset, rings", "frozen dataset", "frozen dataset, rings"]


def epoch(variant: str, wanted: int) -> None:
    """Read an epoch, and print its seconds and its bytes of memory."""
    import torch
    from torch.utils.data import DataLoader, RandomSampler

    import ndshm
    import ndshm.torch

    torch.set_num_threads(1)
    row_bytes = 4 * int(np.prod(ROW))
    with ndshm.Manager() as m:
        dataset: Any
        if variant.startswith("frozen"):
            a = m.zeros((LENGTH, *ROW), "f4")
            with a.write() as x:
                x[...] = 1
            a.freeze()
            dataset = ndshm.torch.FrozenDataset(a)
        else:
            # A list of rows, as programs have that load files: pytorch#13246.
            rows = [np.ones(ROW, "f4") for _ in range(LENGTH)]
            dataset = rows
        loader = DataLoader(
            dataset,
            64,
            sampler=RandomSampler(dataset, True, wanted // row_bytes),
            num_workers=4,
            collate_fn=ndshm.torch.RingCollate(m) if variant.endswith("rings") else None,
        )
        peak, ends = 0, threading.Event()

        def look() -> None:
            nonlocal peak
            while not ends.wait(0.5):
                peak = max(peak, pss_of_family(os.getpid()))

        looker = threading.Thread(target=look)
        looker.start()
        start, seen = time.perf_counter(), 0
        for batch in loader:
            seen += len(batch)
            assert batch[0, 0, 0, 0] == 1
        seconds = time.perf_counter() - start
        ends.set()
        looker.join()
    print(seconds, peak, seen * row_bytes)


def main() -> None:
    """Run all variants in turn, and print the table."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000_000
    found: dict[str, list[list[float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(ROUNDS):
        for variant in VARIANTS:
            words = [sys.executable, __file__, "--epoch", variant, str(wanted)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            found[variant].append([float(word) for word in done.stdout.split()])
    plain = statistics.median(seconds for seconds, _, _ in found["plain"])
    print("| | seconds | GB/s | beside plain | peak memory, MiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for variant in VARIANTS:
        seconds = statistics.median(row[0] for row in found[variant])
        peak = statistics.median(row[1] for row in found[variant])
        rate = found[variant][0][2] / seconds / 1e9
        beside = plain / seconds
        print(f"| {variant} | {seconds:.1f} | {rate:.2f} | {beside:.2f} | {peak / 2**20:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--epoch"]:
        epoch(sys.argv[2], int(sys.argv[3]))
    else:
        main()
