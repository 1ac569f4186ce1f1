"""Copies of arrays of other machines: one for all processes of this machine.

A copy is a frozen array with a name in the store of the node. It is made by another name, and
published by a rename that never replaces. Beside it lies an array of two bytes: each user of the
copy holds a read guard on the first one, and the process that makes it a write guard on the second.
The kernel's end of a process ends its guards, so the copy is deleted with its last user, however
that ends: a process that gets a write guard on the first byte knows that there is none.
"""

from __future__ import annotations

import hashlib
import threading
import traceback
import uuid
import weakref
from typing import Any, Callable

from ._errors import AlreadyExists, Closed, Error, NotFound, Poisoned, Released, WouldBlock
from ._manager import Manager
from ._ndshm import Array, Guard, lock
from ._travel import Reference, place_of

_SUFFIX = ".users"
_PREFIX = "copy-"

# The copies that this process uses, by their names.
_mine: weakref.WeakValueDictionary[str, Array] = weakref.WeakValueDictionary()
_mine_lock = threading.Lock()


def _name(known: Reference) -> str:
    """Return the name of a copy: one for each array or view, and each version of its elements."""
    view = repr((place_of(known.handle), known.version, known.boot, known.store))
    return f"{_PREFIX}{known.id}-{hashlib.sha256(view.encode()).hexdigest()[:16]}"


def shared_copy(manager: Manager, known: Reference, fill: Callable[[str], Array]) -> Array:
    """Return the copy of an array, which ``fill`` makes if this machine has none yet.

    ``fill`` makes a frozen array with the name that it gets and the scope ``'local'``. Of several
    processes that call this at once, one fetches, and the others wait for it.
    """
    name = _name(known)
    with _mine_lock:
        if (mine := _mine.get(name)) is not None:
            return mine
    while True:
        users = manager.open_or_zeros(name + _SUFFIX, 2, "u1")
        use = _begin_use(users)
        try:
            # A last user may have deleted both while this one waited.
            if manager.open(name + _SUFFIX).id == users.id:
                copy = _opened_or_made(manager, name, users, fill)
                break
        except (NotFound, Released):
            pass
        except BaseException as error:
            use.__exit__()
            _delete_unused(manager, name, users)
            # Dask keeps the errors of tasks, and their tracebacks would keep arrays of this store.
            traceback.clear_frames(error.__traceback__)
            del users, use
            raise
        use.__exit__()
    with _mine_lock:
        if (mine := _mine.get(name)) is not None:
            use.__exit__()
            return mine
        _mine[name] = copy
    weakref.finalize(copy, _forget, manager, name, users, use)
    return copy


def _begin_use(users: Array) -> Guard:
    while True:
        use: Guard = users[0:1].read()
        try:
            use.__enter__()
        except Poisoned:
            # A process was killed while it deleted a copy. The deletion is looked for afterwards.
            with users[0:1].recover():
                pass
        else:
            return use


def _opened_or_made(
    manager: Manager, name: str, users: Array, fill: Callable[[str], Array]
) -> Array:
    # A process that was killed while it fetched leaves its byte poisoned.
    with users[1:2].recover():
        try:
            return manager.open(name)
        except NotFound:
            draft = f"draft-{uuid.uuid4().hex}"
            made = fill(draft)
        try:
            manager.rename(draft, name)
        except AlreadyExists:
            return manager.open(name)
    made.scope = None
    # Handles have the path by which this process opened the array: it is opened by its name anew.
    del made
    return manager.open(name)


def _forget(manager: Manager, name: str, users: Array, use: Guard) -> None:
    """End one use, and delete the copy if it was the last one."""
    try:
        use.__exit__()
        _delete_unused(manager, name, users)
    except Error:
        # The store is gone, or another process is deleting the copy.
        pass


def _delete_unused(manager: Manager, name: str, users: Array) -> None:
    try:
        # Also where a process was killed while it deleted.
        with lock(users[0:1].recovering(), timeout=0):
            # Several may have opened it before the first one deleted both, and another process may
            # use new ones by now. The process with this lock deletes the name of this one.
            if manager.open(name + _SUFFIX).id != users.id:
                return
            for found in (name, name + _SUFFIX):
                try:
                    manager.remove(found)
                except (NotFound, Released):
                    pass
    except (WouldBlock, Closed, NotFound, Released):
        pass


def sweep(manager: Manager) -> None:
    """Delete the leftovers of dead processes, and the copies whose users were killed."""
    manager.sweep()
    for name in manager:
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            try:
                users: Any = manager.open(name)
                _delete_unused(manager, name.removesuffix(_SUFFIX), users)
            except Error:
                continue
