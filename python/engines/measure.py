"""Measures of processes: the memory that they have, and the bytes that Dask sends between them."""

from __future__ import annotations

import os
from typing import Any


def pss(pid: int) -> int:
    """Return the proportional set size of a process in bytes: a shared page counts once for all.

    It is 0 for a process that has ended.
    """
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def pss_of_family(pid: int) -> int:
    """Return the sum of the proportional set sizes of a process and its descendants in bytes."""
    total = pss(pid)
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return total
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = file.read().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(pss_of_family(int(child)) for child in children)
    return total


def count_bytes() -> int:
    """Return the bytes that this process sent by Dask; begin to count at the first call."""
    from distributed.comm.tcp import TCP

    if not hasattr(TCP, "sent"):
        write = TCP.write

        async def counted(self: Any, *args: Any, **keywords: Any) -> int:
            sent = await write(self, *args, **keywords)
            TCP.sent += sent
            return int(sent)

        TCP.sent, TCP.write = 0, counted
    return int(TCP.sent)
