"""The variants in Python: `peers.py producer NAME DIRECTORY`.

Exchanges the lines of src/producer.rs, and measures inside of Python. Producer and consumer are two
processes of multiprocessing ("spawn") and share its resource tracker, as a program's processes do.
"""

import contextlib
import importlib.metadata
import mmap
import multiprocessing
import os
import platform
import sys
from time import perf_counter_ns as now

import numpy as np

from variants import VARIANTS

# Arrays of a turn that exist at the same time.
ARRAYS_OF_A_TURN = 4
PACKAGES = ["numpy", "joblib", "SharedArray", "jztools"]


def memory():
    """Rss, Pss and page tables of this process, in KiB."""

    def field(path, name):
        with open(path) as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

    rollup = "/proc/self/smaps_rollup"
    return field(rollup, "Rss"), field(rollup, "Pss"), field("/proc/self/status", "VmPTE")


def warm_for(size):
    """Touches and frees somewhat more memory than an array needs: see src/memory.rs."""
    if size >= 16 << 20:
        with mmap.mmap(-1, size + size // 4, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages:
            pages.madvise(mmap.MADV_HUGEPAGE)
            np.frombuffer(pages, np.uint8)[::4096] = 1


def source(length):
    """Whole numbers, whose sum is exact in any order."""
    return (np.arange(length) % 1024).astype(float)


def consume(name, directory, wire, side):
    """The consumer: see src/consumer.rs. Its lines are bytes, because tokens may be."""
    peer = VARIANTS[name](directory, side)
    length, held, kept = 0, None, []
    while True:
        try:
            command, _, rest = wire.recv_bytes().partition(b" ")
        except EOFError:
            break
        if command == b"quit":
            break
        try:
            start = now()
            if command == b"ping":
                answer = ("pong",)
            elif command == b"memory":
                answer = memory()
            elif command in (b"first", b"sum"):
                opened = peer.open(rest, length)
                array = peer.array(opened)
                value = float(array.sum() if command == b"sum" else array[0])
                del array
                peer.close(opened)
                del opened
                answer = now() - start, value
            elif command == b"hold":
                held = peer.open(rest, length)
                answer = now() - start, float(peer.array(held).sum())
            elif command == b"again":
                held = peer.again(held, rest, length)
                answer = now() - start, float(peer.array(held).sum())
            elif command == b"keep":
                kept.append(peer.open(rest, length))
                value = float(peer.array(kept[-1])[0])
                answer = now() - start, value
            elif command == b"drop":
                while kept:
                    peer.close(kept.pop())
                if held is not None:
                    peer.close(held)
                held = None
                answer = ("done",)
            elif command == b"prepare":
                length, answer = int(rest), ("done",)
        except Exception as error:
            answer = "error", repr(error)
        wire.send(answer)


class Producer:
    def __init__(self, name, directory):
        context = multiprocessing.get_context("spawn")
        self.wire, theirs = context.Pipe()
        side, their_side = context.Pipe()
        self.peer = VARIANTS[name](directory, side)
        self.peer.start()
        self.consumer = context.Process(target=consume, args=(name, directory, theirs, their_side))
        self.consumer.start()
        theirs.close()
        their_side.close()

    def stop(self):
        # With a message: a manager's server process inherited this end, so closing it is not
        # enough.
        self.wire.send_bytes(b"quit")
        self.consumer.join(10)
        self.peer.stop()

    def ask(self, line):
        self.wire.send_bytes(line)
        return self.answer()

    def answer(self):
        answer = self.wire.recv()
        if answer[0] == "error":
            raise RuntimeError(answer[1])
        return answer

    def exchange(self, command, made):
        """Publishes an array and has the consumer run `command`.

        Returns the whole time, the consumer's own time, and the value that it read.
        """
        start = now()
        self.wire.send_bytes(command + b" " + self.peer.token(made))
        self.peer.transfer(made)
        inner, value = self.answer()
        return now() - start, inner, value

    def ready(self):
        self.ask(b"ping")
        return ()

    def turn(self, size, calls):
        elements = source(size // 8)
        expected = float(elements.sum())
        self.ask(b"prepare %d" % len(elements))
        for _ in range(calls):
            warm_for(size)
            start = now()
            self.ask(b"ping")
            yield "ping", now() - start

            start = now()
            made = self.peer.create(elements)
            yield "create", now() - start
            yield "open_first", self.exchange(b"first", made)[1]
            whole, inner, value = self.exchange(b"sum", made)
            self.check(value, expected)
            yield "open_sum", inner
            yield "reopened", whole

            self.exchange(b"hold", made)
            whole, _, value = self.exchange(b"again", made)
            self.check(value, expected)
            yield "steady", whole
            self.ask(b"drop")
            start = now()
            self.peer.release(made)
            del made
            yield "release", now() - start

            start = now()
            made = self.peer.create(elements)
            value = self.exchange(b"sum", made)[2]
            yield "fresh", now() - start
            self.check(value, expected)
            self.peer.release(made)
            del made

    def check(self, value, expected):
        if value != expected:
            raise RuntimeError(f"the consumer read {value} instead of {expected}")

    def crowd(self, count, size):
        elements = source(size // 8)
        self.ask(b"prepare %d" % len(elements))
        made = []
        try:
            start = now()
            while len(made) < count:
                made.append(self.peer.create(elements))
            created = now() - start
            opened = sum(self.exchange(b"keep", one)[1] for one in made)
            self.ask(b"drop")
            start = now()
            while made:
                self.peer.release(made.pop())
            released = now() - start
        finally:
            # After an error the arrays go too, and so do those that the consumer has open.
            with contextlib.suppress(Exception):
                self.ask(b"drop")
            while made:
                self.peer.release(made.pop())
        yield "crowd_create", created
        yield "crowd_open", opened
        yield "crowd_release", released

    def large(self, size, calls):
        self.ask(b"prepare %d" % (size // 8))
        for _ in range(calls):
            start = now()
            made = self.peer.create_empty(size // 8)
            created = now() - start
            if made is None:
                raise RuntimeError("it makes no array without filling it")
            yield "large_create", created
            yield "large_open", self.exchange(b"first", made)[1]
            self.peer.release(made)
            del made

    def memory(self, size):
        elements = source(size // 8)
        self.ask(b"prepare %d" % len(elements))

        def since(before, after):
            return " ".join(str(y - x) for x, y in zip(before, after))

        before, their_before = memory(), self.ask(b"memory")
        made = self.peer.create(elements)
        yield "memory alone", since(before, memory())
        self.exchange(b"hold", made)
        yield "memory shared", since(before, memory())
        yield "memory consumer", since(their_before, self.ask(b"memory"))
        self.ask(b"drop")
        self.peer.release(made)


def produce(name, directory):
    # The output of a library must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    producer = Producer(name, directory)
    try:
        for job in sys.stdin:
            verb, *numbers = job.split()
            try:
                figures = getattr(producer, verb)(*map(int, numbers))
                lines = [f"{operation} {figure}" for operation, figure in figures]
                answers.write("\n".join([*lines, "end\n"]))
            except Exception as error:
                answers.write(f"error {error!r}\n")
            answers.flush()
    finally:
        producer.stop()


if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print("CPython", platform.python_version())
        for package in PACKAGES:
            print(package, importlib.metadata.version(package))
    else:
        produce(sys.argv[2], sys.argv[3])
