"""How each variant in Python makes an array, hands it over, opens it and gives it back.

A peer is made in the producer and in the consumer. A token travels in the line to the consumer;
`transfer` sends data that does not fit there.
"""

import contextlib
import ctypes
import os
import pickle
import signal
from multiprocessing import shared_memory
from multiprocessing.managers import SharedMemoryManager, dispatch

import joblib
import numpy as np
import SharedArray

PR_SET_PDEATHSIG = 1


def end_with_parent():
    """For a manager's server process: it would outlive a parent that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Peer:
    def __init__(self, directory, side):
        self.directory, self.side, self.count = directory, side, 0
        self.prefix = os.path.basename(directory)
        # Names that the standard library chooses begin with the run's prefix too, so that an
        # interrupted run can be cleaned up.
        shared_memory._SHM_NAME_PREFIX = f"/{self.prefix}-"
        # With as many random digits as without that prefix.
        shared_memory._SHM_SAFE_NAME_LENGTH = len(shared_memory._SHM_NAME_PREFIX) + 8

    def start(self):
        """In the producer, before the consumer is started."""

    def stop(self):
        """In the producer, at the end."""

    def name(self):
        self.count += 1
        return f"{self.prefix}-{type(self).__name__}-{self.count}"

    def path(self):
        return os.path.join(self.directory, self.name())

    def create_empty(self, length):
        return None

    def transfer(self, made):
        """After the line with the token was sent."""

    def array(self, opened):
        return opened

    def again(self, held, token, length):
        """The consumer's step for the name of an array that it has open already."""
        return held

    def close(self, opened):
        """The last reference goes when this returns."""


class NamedMemory(Peer):
    """multiprocessing.shared_memory.SharedMemory."""

    def segment(self, size):
        return shared_memory.SharedMemory(create=True, size=size)

    def create_empty(self, length):
        return self.segment(8 * length)

    def create(self, source):
        made = self.segment(source.nbytes)
        np.copyto(np.ndarray(source.shape, source.dtype, made.buf), source)
        return made

    def token(self, made):
        return made.name.encode()

    def release(self, made):
        made.close()
        made.unlink()

    def open(self, token, length):
        return shared_memory.SharedMemory(token.decode()), length

    def array(self, opened):
        return np.ndarray(opened[1], float, opened[0].buf)

    def close(self, opened):
        opened[0].close()


class Managed(NamedMemory):
    """The same by a SharedMemoryManager.

    It cannot release one segment: `release` does as its users do instead.
    """

    def start(self):
        self.manager = SharedMemoryManager()
        self.manager.start(initializer=end_with_parent)

    def stop(self):
        self.manager.shutdown()

    def segment(self, size):
        return self.manager.SharedMemory(size)

    def release(self, made):
        name = made.name
        made.close()
        key = self.manager._authkey
        with self.manager._Client(self.manager.address, authkey=key) as connection:
            dispatch(connection, None, "release_segment", (name,))


class Memmap(Peer):
    """numpy.memmap of a file on tmpfs."""

    def create_empty(self, length):
        return np.memmap(self.path(), float, "w+", shape=length)

    def create(self, source):
        made = self.create_empty(source.shape)
        made[:] = source
        return made

    def token(self, made):
        return made.filename.encode()

    def release(self, made):
        path = made.filename
        # Without waiting for the last reference, which the caller has.
        made._mmap.close()
        os.unlink(path)

    def open(self, token, length):
        return np.memmap(token.decode(), float, "r", shape=length)


class Pickled(Peer):
    """No sharing: the array is pickled, written to a socket, read and unpickled each time."""

    def create(self, source):
        return source.copy()

    def token(self, made):
        return b""

    def transfer(self, made):
        self.side.send(made)

    def release(self, made):
        pass

    def open(self, token, length):
        return self.side.recv()

    def again(self, held, token, length):
        return self.side.recv()


class Joblib(Peer):
    """joblib's files, mapped when they are loaded, as by its memmapping of large arguments."""

    def create(self, source):
        path = self.path()
        joblib.dump(source, path)
        return path

    def token(self, made):
        return made.encode()

    def release(self, made):
        os.unlink(made)

    def open(self, token, length):
        return joblib.load(token.decode(), mmap_mode="r")


class ByName(Peer):
    """The package SharedArray."""

    def create_empty(self, length):
        name = f"shm://{self.name()}"
        return SharedArray.create(name, length, float), name

    def create(self, source):
        made = self.create_empty(len(source))
        np.copyto(made[0], source)
        return made

    def token(self, made):
        return made[1].encode()

    def release(self, made):
        SharedArray.delete(made[1])

    def open(self, token, length):
        return SharedArray.attach(token.decode())


class Jztools(Peer):
    """jztools.shared_memory: an xndarray travels pickled; its receiver calls the manager."""

    def __init__(self, directory, side):
        super().__init__(directory, side)
        from jztools.shared_memory import XSharedMemoryManager

        self.make_manager = XSharedMemoryManager

    def start(self):
        self.manager = self.make_manager()
        self.manager.start(initializer=end_with_parent)

    def stop(self):
        self.manager.shutdown()

    def create_empty(self, length):
        return self.manager.empty(length)

    def create(self, source):
        return self.manager.from_ndarray(source)

    def token(self, made):
        return pickle.dumps(made)

    def release(self, made):
        made.release()
        # Otherwise the end of the object would release it again.
        made.scope = None

    def open(self, token, length):
        return pickle.loads(token)

    def again(self, held, token, length):
        return pickle.loads(token)

    def close(self, opened):
        with contextlib.suppress(BufferError):
            opened.shared_memory.close()


VARIANTS = {
    "py-shared-memory": NamedMemory,
    "py-manager": Managed,
    "py-memmap": Memmap,
    "py-pickle": Pickled,
    "py-joblib": Joblib,
    "py-SharedArray": ByName,
    "py-jztools": Jztools,
}
