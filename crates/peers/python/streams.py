"""The streams in Python: `streams.py part NAME ROLE BYTES CONSUMERS DIRECTORY STORE`.

Answers the jobs of src/stream/part.rs in the role `ping`, and starts the other process itself.
"""

import ctypes
import importlib.metadata
import multiprocessing
import os
import platform
import resource
import signal
import sys
from multiprocessing import shared_memory
from time import perf_counter_ns as now

import numpy as np

PACKAGES = ["numpy", "pyshmem"]
PR_SET_PDEATHSIG = 1
# The bytes of a frame that are written and read.
TOUCHED = 64


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def switches():
    return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw


class Queued:
    """A multiprocessing.Queue for each way, with frames in SharedMemory."""

    def __init__(self, prefix, size, context):
        self.queues = context.Queue(), context.Queue()
        self.names = f"{prefix}-queue-{size}-there", f"{prefix}-queue-{size}-back"
        self.size = size

    def __getstate__(self):
        # The other process opens the segments itself.
        return {"queues": self.queues, "names": self.names, "size": self.size}

    def open(self, side, is_owner):
        opened = [
            shared_memory.SharedMemory(name, create=is_owner, size=self.size if is_owner else 0)
            for name in self.names
        ]
        self.segments = opened
        frames = [np.frombuffer(segment.buf, np.uint8) for segment in opened]
        self.sends, self.receives = (frames[side], self.queues[side]), (
            frames[1 - side],
            self.queues[1 - side],
        )

    def send(self, touched):
        frame, queue = self.sends
        frame[:TOUCHED] = touched
        queue.put(0)

    def receive(self):
        frame, queue = self.receives
        queue.get()
        return frame[:TOUCHED].copy()

    def remove(self):
        del self.sends, self.receives
        for segment in self.segments:
            segment.close()
            segment.unlink()


class Pyshmem:
    """A pyshmem stream for each way."""

    def __init__(self, prefix, size, context):
        # The script beside run removes the files of these names.
        self.names = f"{prefix}-there-{size}", f"{prefix}-back-{size}"
        self.size = size

    def __getstate__(self):
        # The other process opens the streams itself.
        return {"names": self.names, "size": self.size}

    def open(self, side, is_owner):
        import pyshmem

        if is_owner:
            self.owned = [
                pyshmem.create(name, shape=(self.size,), dtype=np.uint8, notify=True)
                for name in self.names
            ]
        opened = self.owned if is_owner else [pyshmem.open(name) for name in self.names]
        self.sends, self.receives = opened[side], opened[1 - side]
        self.count = self.receives.count

    def send(self, touched):
        with self.sends.write_view() as frame:
            frame[:TOUCHED] = touched

    def receive(self):
        # read_new would miss what was written before it is called.
        frame = self.receives.read_after(self.count, timeout=10)
        self.count += 1
        return frame[:TOUCHED]

    def remove(self):
        for stream in self.owned:
            stream.unlink()


VARIANTS = {"py-queue": Queued, "py-pyshmem": Pyshmem}


def echo(stream, orders, answers):
    """The other process."""
    end_with_parent()
    stream.open(1, False)
    answers.send(0)
    while count := orders.recv():
        for _ in range(count // 10):
            stream.send(stream.receive())
        before = switches()
        for _ in range(count):
            stream.send(stream.receive())
        answers.send(switches() - before)


def exchange(stream, orders, answers, count):
    orders.send(count)
    touched = np.arange(TOUCHED, dtype=np.uint8)
    times = []
    for number in range(-(count // 10), count):
        if number == 0:
            before = switches()
        touched[0] = number % 251
        start = now()
        stream.send(touched)
        answer = stream.receive()
        times.append((now() - start) / 2)
        if answer[0] != touched[0]:
            raise RuntimeError("the echo is of another frame")
    slept = switches() - before + answers.recv()
    return f"times {' '.join(map(str, times[-count:]))}\nswitches {slept / count}\n"


def part(name, directory, size):
    context = multiprocessing.get_context("spawn")
    stream = VARIANTS[name](os.path.basename(directory), size, context)
    theirs, orders = context.Pipe(duplex=False)
    answers, answered = context.Pipe(duplex=False)
    other = context.Process(target=echo, args=(stream, theirs, answered), daemon=True)
    try:
        stream.open(0, True)
        other.start()
        answers.recv()
        for job in sys.stdin:
            verb, *numbers = job.split()
            try:
                lines = ""
                if verb == "exchange":
                    lines = exchange(stream, orders, answers, int(numbers[0]))
                print(lines + "end", flush=True)
            except Exception as error:
                print(f"error {error!r}", flush=True)
        orders.send(0)
        other.join(10)
    finally:
        stream.remove()


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print("CPython", platform.python_version())
        for package in PACKAGES:
            try:
                print(package, importlib.metadata.version(package))
            except importlib.metadata.PackageNotFoundError:
                print(package, "not installed")
    else:
        part(sys.argv[2], sys.argv[6], int(sys.argv[4]))
