"""The libraries that `figures.py` compares, each behind the same interface."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
from contextlib import ExitStack
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

import ndshm


class Library:
    """One way to share arrays of float64 with one axis.

    The producer has an instance, which stands for a store of arrays. The consumer uses only the
    static methods.
    """

    def __init__(self, stack: ExitStack) -> None:
        """Open the store, which `stack` closes."""

    def empty(self, n: int) -> Any:
        raise NotImplementedError

    def filled(self, source: np.ndarray) -> Any:
        raise NotImplementedError

    def release(self, holder: list[Any]) -> None:
        """Delete the array in `holder`, which has the only reference to it."""
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


class Ndshm(Library):
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


class Compat(Library):
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
    """An array in a block of `multiprocessing.shared_memory`, as programs write it by hand."""

    def __init__(self, memory: SharedMemory, n: int) -> None:
        self.memory, self.array = memory, np.ndarray(n, float, memory.buf)

    def __reduce__(self) -> Any:
        return attach, (self.memory.name, len(self.array))

    def __del__(self) -> None:
        self.array = None
        self.memory.close()


def attach(name: str, n: int) -> Block:
    return Block(SharedMemory(name), n)


class Blocks(Library):
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


class Memmaps(Library):
    """Mapped files on tmpfs. A memmap pickles as a copy, so its path is pickled instead."""

    def __init__(self, stack: ExitStack) -> None:
        self.directory = tempfile.mkdtemp(dir="/dev/shm")
        stack.callback(shutil.rmtree, self.directory)
        self.count = 0

    def path(self) -> str:
        self.count += 1
        return os.path.join(self.directory, str(self.count))

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
    """Files that joblib dumps, and maps when it loads them."""

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


class Copies(Library):
    """No sharing: the elements themselves are pickled."""

    def empty(self, n: int) -> Any:
        return np.empty(n)

    def filled(self, source: np.ndarray) -> Any:
        return source.copy()


LIBRARIES: dict[str, type[Library]] = {
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
