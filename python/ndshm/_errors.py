"""The package's exceptions: one class for each reason, named as in the Rust library.

All are subclasses of :class:`Error`. Where Python has a class for the reason, the exception is an
instance of it too: ``except FileNotFoundError`` and ``except TimeoutError`` work.
"""

from __future__ import annotations

import dataclasses as _dataclasses
import pathlib as _pathlib


@_dataclasses.dataclass(frozen=True)
class Holder:
    """A guard, or the wait for one, that kept a call from its guard.

    The exceptions :class:`WouldBlock`, :class:`Timeout` and :class:`WouldDeadlock` have them in
    their attribute ``holders``, as the call saw them when it gave up. ``str()`` gives a phrase:
    ``process 4242 (python train.py) holds results[3] to write, for at least 1.2s``.
    :class:`Poisoned` has the writer that left the elements half-written.
    """

    pid: int | None
    """Its process, where the number is known and means something: in the same pid namespace."""
    command: str | None
    """The command of the process with its arguments, if it lived and the command can be read."""
    path: _pathlib.Path | None
    """The file of the array; ``None`` if it is no longer in the store."""
    slice: str | None
    """Its view as a slice of the array, where one says it: ``[3]``, ``[:, 128:256]``, ``[:]``."""
    start: int
    """The first byte of its view, counted from the start of the array's data."""
    stop: int
    """The end of its last byte; the view need not have all bytes in between."""
    kind: str | None
    """``"read"``, ``"write"`` or ``"atomic"``; ``None`` for the lock word of the array, which a
    process holds for less than a microsecond unless it is stopped."""
    is_waiting: bool
    """Whether the guard is waited for, not held."""
    since: float | None
    """Seconds for which the call saw this guard in its way, or for which this wait has lasted.

    ``None`` for a guard that the call did not wait for.
    """
    member: int
    """The member of the store that has it."""
    is_alive: bool
    """Whether that member lived when the call gave up."""
    is_this_process: bool
    """Whether it is the process of the call."""
    is_this_thread: bool
    """Whether it is the thread of the call."""
    _text: str = ""

    def __str__(self) -> str:
        """Return the phrase that the exception's text has."""
        return self._text


class Error(Exception):
    """Any error of the library.

    Its text names the file, the expected and the found value, and the remedy where one is known.
    """

    holders: tuple[Holder, ...] = ()
    """The guards and waits in the way of the call, 16 at most; empty where there are none."""


class NoSpace(Error, OSError):
    """The array does not fit. Nothing was left behind."""


class Full(Error, ValueError):
    """The array that grows has no room for so many rows more. Nothing was appended."""


class AddressSpace(Error, OSError):
    """This process cannot map all that the array may grow to."""


class TooManyMappings(Error, OSError):
    """The process has as many memory mappings as the kernel allows (vm.max_map_count)."""


class TooManyGuards(Error):
    """All guards of the store are taken."""


class TooManySubscribers(Error):
    """Subscribers that live have all seats of the ring."""


class Released(Error, FileNotFoundError):
    """The array was released, or its store is gone. Open arrays stay usable."""


class NotFound(Error, FileNotFoundError, KeyError):
    """The array or store does not exist."""

    __str__ = Exception.__str__


class AlreadyExists(Error, FileExistsError):
    """The name or the path is taken."""


class Closed(Error):
    """The store was closed, or the manager has left it: it can neither create nor open arrays."""


class NotOwner(Error, PermissionError):
    """Only the owner of the array or store may do this."""


class PathReused(Error):
    """Another array or store took the path."""


class Dtype(Error, TypeError):
    """The elements have another type."""


class Kind(Error, TypeError):
    """The file is an array, a ring or an array that grows, and was opened as another of these."""


class Rank(Error, ValueError):
    """The array has another number of axes."""


class Layout(Error, ValueError):
    """The shape, strides or indices do not fit."""


class NotShared(Error, ValueError):
    """The elements do not lie in shared memory."""


class WouldBlock(Error, BlockingIOError):
    """A guard on overlapping bytes is held, another process appends, or no frame is there, and the
    call does not wait.

    ``holders`` has the guards or the processes in the way.
    """


class Timeout(Error, TimeoutError):
    """A guard on overlapping bytes, a lock of the store or a frame was held for the whole timeout,
    or no frame was published, or no row appended.

    ``holders`` has the guards or the processes that were in the way at last.
    """


class Interrupted(Error, InterruptedError):
    """The wait was interrupted. A signal's exception is raised instead if it has one."""


class WouldDeadlock(Error, RuntimeError):
    """This thread would wait for a guard of its own, or in a circle with other threads.

    ``holders`` has that guard, or the other guards and waits of the circle.
    """


class Poisoned(Error):
    """The elements may be half-written: their writer died, or an exception ended its block.

    ``with a.recover() as x`` sets them anew. ``holders`` has the writer.
    """


class Frozen(Error, ValueError):
    """The array was frozen and is never written again."""


class NotFrozen(Error):
    """The array was not frozen yet."""


class Abandoned(Error):
    """The process that the call waits for ended: the producer, or the owner of the store."""


class ReadOnly(Error, ValueError):
    """The array or view cannot be written."""


class Untrusted(Error, PermissionError):
    """The directory or file is refused, for example because other users may write it."""


class Handle(Error, ValueError):
    """The text is not a handle."""


class Name(Error, ValueError):
    """The text cannot be a name."""


class Attrs(Error, ValueError):
    """The attributes or axis names cannot be stored."""


class Header(Error):
    """The file is not an array, or it is damaged."""


class Transfer(Error, ValueError):
    """The file of another format cannot be taken, or not all of it."""


class Io(Error, OSError):
    """The operating system reported an error."""
