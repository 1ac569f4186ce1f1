"""What can go wrong: one class for each reason, called as in the Rust library; all of them are :class:`Error`.

Where Python has a class of its own for a reason, the exception is one of that too: ``except FileNotFoundError`` and ``except TimeoutError`` work.
"""


class Error(Exception):
    """Whatever the library reports. Its text names the file, what was expected and found, and what to do where that is known."""


class NoSpace(Error, OSError):
    """The array does not fit; nothing was left behind."""


class TooManyMappings(Error, OSError):
    """The process has as many memory mappings as the kernel allows (vm.max_map_count)."""


class TooManyGuards(Error):
    """The thread holds a guard on the array, and no slot for another one is free."""


class Released(Error, FileNotFoundError):
    """The array was released, or its store is gone. What is open stays usable."""


class NotFound(Error, FileNotFoundError, KeyError):
    """No such array or store."""

    __str__ = Exception.__str__


class AlreadyExists(Error, FileExistsError):
    """The name or the path is taken."""


class Closed(Error):
    """The store was closed, or the manager was left: nothing can be made or opened by it."""


class NotOwner(Error, PermissionError):
    """Only the owner of the array or store can do that."""


class PathReused(Error):
    """Another array or store took the path."""


class Dtype(Error, TypeError):
    """The elements are of another type."""


class Rank(Error, ValueError):
    """The array has another number of axes."""


class Layout(Error, ValueError):
    """Shape, strides or indices that do not fit."""


class NotShared(Error, ValueError):
    """The elements do not lie in shared memory."""


class WouldBlock(Error, BlockingIOError):
    """A guard on overlapping bytes is held, and it was asked not to wait."""


class Timeout(Error, TimeoutError):
    """A guard on overlapping bytes was held for all of the time that was given."""


class WouldDeadlock(Error, RuntimeError):
    """This thread holds a guard on overlapping bytes and would wait for itself."""


class Poisoned(Error):
    """The elements may be half-written: who wrote them died, or left its block by an exception. ``with a.recover() as x`` sets them anew."""


class Frozen(Error, ValueError):
    """The array was frozen and is never written again."""


class NotFrozen(Error):
    """The array was not frozen yet."""


class Abandoned(Error):
    """The producer ended before it froze the array."""


class ReadOnly(Error, ValueError):
    """The array or view cannot be written."""


class Untrusted(Error, PermissionError):
    """The directory or file is not what this user alone may write."""


class Handle(Error, ValueError):
    """The text is not a handle."""


class Name(Error, ValueError):
    """What cannot be a name."""


class Attrs(Error, ValueError):
    """Attributes or names of axes that do not fit."""


class Header(Error):
    """The file is not an array."""


class Io(Error, OSError):
    """What the operating system reports."""
