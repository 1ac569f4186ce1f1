"""Frozen arrays as datasets of torch, batches through rings, and tensors of shared memory.

>>> dataset = ndshm.torch.FrozenDataset(images, labels)  # doctest: +SKIP
>>> loader = DataLoader(  # doctest: +SKIP
...     dataset, 256, num_workers=4, collate_fn=ndshm.torch.RingCollate(manager)
... )

Needs the package ``torch``: ``pip install ndshm[torch]``.
"""

# mypy: disable-error-code="no-untyped-call, attr-defined"

from __future__ import annotations

import functools
import mmap
import multiprocessing
import multiprocessing.util
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch  # type: ignore[import-not-found, unused-ignore]
import torch.utils.data  # type: ignore[import-not-found, unused-ignore]

from . import _ndshm
from ._errors import Abandoned, Layout, NotFrozen, Released, Timeout, WouldBlock
from ._manager import Manager
from ._ndshm import Array, Frame, LockedArray, MappedArray, Producer, Ring

__all__ = ["FrozenDataset", "RingCollate", "tensor"]


def tensor(source: Array | LockedArray | MappedArray | np.ndarray) -> torch.Tensor:
    """Return a tensor of shared memory, without a copy, a warning or a crash.

    - The ndarray of a block that writes, ``with a.write() as x``: a tensor that writes the array.
      Use it in the block: a tensor that left it keeps the lock, and the block raises
      ``BufferError``.
    - A frozen array, or the memory of one: a tensor that reads it. torch has no tensors that refuse
      writes, so the memory is mapped once more, privately: what is written to the tensor is its
      own, page by page, and changes no array. It stays valid when the array is deleted, and keeps a
      local array's file, as a view does. Made after the array was deleted, or where the system
      gives no more private memory, it is a copy.
    - The ndarray of a block that reads, or a frame of a ring: a tensor of a copy, because a write
      through it would change what others read.

    Raises :class:`ndshm.NotFrozen` for an array that is not frozen: take a guard, or freeze it; and
    ``TypeError`` for elements that torch has no type for.
    """
    if isinstance(source, Array):
        if not source.frozen:
            raise NotFrozen(
                f"{source.path}: other processes may write this array: give the ndarray of "
                "`with a.write() as x`, or freeze it"
            )
        source = source.freeze()
    if isinstance(source, MappedArray) and not source.flags.writeable:
        private = _private(source)
        return _from_numpy(np.array(source) if private is None else private)
    if isinstance(source, LockedArray):
        try:
            plain = source.view(np.ndarray)
        except (ValueError, TypeError):
            plain = np.array(source)
        if plain.flags.writeable:
            plain, kind = _plain(plain)
            return _as_kind(torch.from_dlpack(plain), kind)
        return _from_numpy(np.array(plain))
    return _from_numpy(source if source.flags.writeable else np.array(source))


def _from_numpy(array: np.ndarray) -> torch.Tensor:
    plain, kind = _plain(array)
    return _as_kind(torch.from_numpy(plain), kind)


def _private(mapped: np.ndarray) -> np.ndarray | None:
    """Return the same elements of a file in a private mapping; ``None`` where there can be none."""
    if not mapped.size:
        return np.array(mapped)
    low, high = np.lib.array_utils.byte_bounds(mapped)
    found = _file_of(low, high)
    if found is None:
        return None
    file, at = found
    try:
        first = at - at % mmap.ALLOCATIONGRANULARITY
        memory = mmap.mmap(
            file,
            at - first + high - low,
            # Only pages that are written need memory.
            flags=mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0x4000),
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
            offset=first,
        )
    except OSError:
        # Where vm.overcommit_memory is 2, all of the mapping counts all the same.
        return None
    finally:
        os.close(file)
    start = mapped.__array_interface__["data"][0] - low + at - first
    plain = np.ndarray(mapped.shape, mapped.dtype, memory, start, mapped.strides)
    # The pool of files knows only `mapped`: without it the file serves the next array, whose
    # elements show through each page that was not written here.
    held = np.asarray(_Held(plain, mapped))
    # An array interface has no name for the types of other packages.
    return held if held.dtype == mapped.dtype else held.view(mapped.dtype)


def _file_of(low: int, high: int) -> tuple[int, int] | None:
    """Return a descriptor of the file that is mapped at some addresses, and the place in it."""
    with open("/proc/self/maps") as lines:
        for line in lines:
            span, _, offset, device, inode, *path = line.split(maxsplit=5)
            start, end = (int(word, 16) for word in span.split("-"))
            if not start <= low < end:
                continue
            if high > end or not path:
                return None
            try:
                file = os.open(path[0].rstrip("\n"), os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                # Deleted: `path` ends with that word.
                return None
            found = os.fstat(file)
            major, minor = (int(word, 16) for word in device.split(":"))
            if (found.st_ino, found.st_dev) == (int(inode), os.makedev(major, minor)):
                return file, int(offset, 16) + low - start
            os.close(file)
            return None
    return None


class FrozenDataset(torch.utils.data.Dataset):  # type: ignore[misc, type-arg, unused-ignore]
    """The rows of frozen arrays of equal length, as a map-style dataset.

    Made of arrays, ``FrozenDataset(images, labels)``, whose items are tuples of tensors, one row of
    each; of one array, whose items are tensors; or of a manager or a dictionary of arrays, whose
    items are dictionaries: ``FrozenDataset(manager)`` takes all named arrays of the store.

    Nothing is copied: rows are tensors over the arrays' memory, which all workers of a
    ``DataLoader`` share, forked or spawned. A pickle of it has references. What is written to a row
    changes no array: it stays in that process, which reads it again in each later epoch. Rows of
    arrays that were deleted, or that the system maps no second time, are copies.

    Raises :class:`ndshm.NotFrozen` for arrays that are not frozen, and :class:`ndshm.Layout` for
    arrays of different lengths, or without axes.
    """

    def __init__(self, *arrays: Any, names: Sequence[str] | None = None) -> None:
        keys: list[str] | None = None
        if len(arrays) == 1 and isinstance(arrays[0], Manager):
            keys = list(names if names is not None else arrays[0])
            arrays = tuple(arrays[0].open(name) for name in keys)
        elif len(arrays) == 1 and isinstance(arrays[0], Mapping):
            keys = list(names if names is not None else arrays[0])
            arrays = tuple(arrays[0][name] for name in keys)
        if not arrays:
            raise Layout("a dataset needs an array, and the store has none with a name")
        self._keys = keys
        self._arrays: list[np.ndarray] = [_frozen(array) for array in arrays]
        lengths = {array.shape[:1] for array in self._arrays}
        if lengths == {()} or len(lengths) != 1:
            raise Layout(
                "the arrays of a dataset have one length of their first axis, not "
                f"{[array.shape for array in self._arrays]}"
            )
        self._tensors: list[torch.Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self._arrays[0])

    @property
    def arrays(self) -> list[np.ndarray]:
        """The arrays, as read-only ndarrays of their memory."""
        return self._arrays

    def __getitem__(self, index: int) -> Any:
        if self._tensors is None:
            privates = [_private(array) for array in self._arrays]
            self._tensors = [None if one is None else _from_numpy(one) for one in privates]
        rows = zip(self._tensors, self._arrays, strict=True)
        # A copy of the whole array would take its memory once for each worker.
        return self.packed(
            [
                _from_numpy(np.array(array[index])) if one is None else one[index]
                for one, array in rows
            ]
        )

    def __getitems__(self, indices: Sequence[int]) -> _Rows:
        return _Rows(self, indices)

    def packed(self, fields: list[Any]) -> Any:
        """Return one value for each array in the form of an item."""
        if self._keys is not None:
            return dict(zip(self._keys, fields, strict=True))
        return fields[0] if len(fields) == 1 else tuple(fields)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tensors": None}


def _frozen(array: Any) -> np.ndarray:
    if isinstance(array, Array):
        if not array.frozen:
            raise NotFrozen(f"{array.path}: the array is not frozen: call a.freeze() first")
        return array.freeze()
    if isinstance(array, MappedArray) and not array.flags.writeable:
        return array
    raise TypeError(f"a dataset has frozen arrays of ndshm, not {type(array).__name__}")


class _Field(NamedTuple):
    """A part of a batch that becomes one tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """The type of the elements in memory."""
    kind: str | None
    """The name of torch's type of the same bytes, where NumPy has none."""
    fill: Callable[[Any], Any]
    """Writes the batch into memory of that shape and type."""


def _plain(array: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Return the elements as NumPy's own types, and the name of torch's type where it has none.

    ``ml_dtypes`` has torch's names for its types.
    """
    if array.dtype.kind != "V" or not isinstance(
        getattr(torch, array.dtype.name, None), torch.dtype
    ):
        return array, None
    return array.view(f"i{array.dtype.itemsize}"), array.dtype.name


def _values(value: Any) -> tuple[np.ndarray, str | None]:
    """Return the values of a part of an item, as :func:`_plain` does."""
    if not isinstance(value, torch.Tensor):
        return _plain(np.asarray(value))
    # A gradient goes to no other process, and torch's own conversion refuses these three.
    value = value.detach().resolve_conj().resolve_neg()
    if _has_numpys(value.dtype):
        return value.numpy(), None
    kind = str(value.dtype).removeprefix("torch.")
    carriers = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return value.view(carriers[value.dtype.itemsize]).numpy(), kind


@functools.cache
def _has_numpys(dtype: torch.dtype) -> bool:
    try:
        torch.empty(0, dtype=dtype).numpy()
    except (TypeError, RuntimeError):
        return False
    return True


def _as_kind(found: torch.Tensor, kind: str | None) -> torch.Tensor:
    return found if kind is None else found.view(getattr(torch, kind))


class _Rows(list[Any]):
    """The items of a batch, as any collate function takes them, and their indices for ours."""

    def __init__(self, dataset: FrozenDataset, indices: Sequence[int]) -> None:
        super().__init__(dataset[int(index)] for index in indices)
        self.dataset = dataset
        self.indices = np.asarray(indices)

    def fields(self) -> list[_Field]:
        """Return a field for each array."""
        found = []
        for array in self.dataset.arrays:
            plain, kind = _plain(array)
            shape = (len(self), *plain.shape[1:])
            found.append(_Field(shape, plain.dtype, kind, functools.partial(self._fill, plain)))
        return found

    def _fill(self, array: np.ndarray, out: np.ndarray) -> None:
        # NumPy copies twice where it checks the indices itself.
        indices = np.where(self.indices < 0, self.indices + len(array), self.indices)
        if len(indices) and not (0 <= indices.min() and indices.max() < len(array)):
            raise IndexError(f"an index of the batch is outside of the {len(array)} rows")
        np.take(array, indices, axis=0, out=out, mode="clip")


class RingCollate:
    """A ``collate_fn`` whose batches go to the training process through rings, with one copy.

    Each worker of a ``DataLoader`` makes a ring for each field of its batches in the store of
    ``manager``, and writes the rows into the next frame. The training process gets tensors over the
    frames: a frame is not written again while a tensor of it lives. With a :class:`FrozenDataset`
    the copy into the frame is the only one. Items of other datasets may be tensors, ndarrays,
    numbers, or tuples and dictionaries of them. Their values are taken, without gradients. The
    batches of the loader have a ``batch_size``: with ``None`` it raises ``TypeError``.

    ``frames`` is the number of batches that a worker's ring has: two more than ``prefetch_factor``
    of the loader and the batches of one worker that the training process keeps. A worker whose
    frames are all held waits for ``timeout`` seconds, and raises :class:`ndshm.Timeout` then: keep
    fewer batches, or ``clone()`` them.

    Without workers (``num_workers=0``) the batches are ordinary tensors.
    """

    def __init__(self, manager: Manager, frames: int = 8, timeout: float = 60.0) -> None:
        self._path = manager.path
        self._frames = frames
        self._timeout = timeout
        self._rings: dict[int, tuple[Manager, Ring, Producer]] = {}
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rings": {}, "_pid": None}

    def __call__(self, batch: Sequence[Any]) -> Any:
        if not isinstance(batch, list):
            raise TypeError(
                f"RingCollate makes a batch of a list of items, not of a {type(batch).__name__}: "
                "give the DataLoader a batch_size"
            )
        if not batch:
            raise Layout("a batch needs an item")
        rows = batch if isinstance(batch, _Rows) else _Items(batch)
        if torch.utils.data.get_worker_info() is None:
            made = []
            for shape, dtype, kind, fill in rows.fields():
                out = np.empty(shape, dtype)
                fill(out)
                made.append(_as_kind(torch.from_numpy(out), kind))
            return rows.dataset.packed(made)
        if self._pid != os.getpid():
            self._pid, self._rings = os.getpid(), {}
        parts = [self._written(at, field) for at, field in enumerate(rows.fields())]
        return _Batch(parts, rows.dataset.packed(list(range(len(parts)))))

    def _written(self, at: int, field: _Field) -> _Part:
        """Write one field of a batch into the next frame of its ring."""
        shape, dtype, kind, fill = field
        before = self._rings.get(at)
        if before is None:
            self._open(at, field)
        elif shape[1:] != before[1].shape[1:] or dtype != before[1].dtype:
            raise Layout(
                f"a batch has the shape {shape} and the type {dtype}, but the first one of this "
                f"worker had {before[1].shape} and {before[1].dtype}: all have one shape but for "
                "their number of rows"
            )
        elif shape[0] > before[1].shape[0]:
            # The batches before were short ones: the last one of an epoch, for example.
            self._open(at, field)
        _, ring, producer = self._rings[at]
        try:
            self._wait_for_subscriber(ring)
            with producer.next(timeout=self._timeout) as frame:
                fill(frame[: shape[0]].view(np.ndarray))
                producer.rows = shape[0]
        except Timeout as error:
            raise Timeout(
                f"all {self._frames} frames of a worker's batches are held: keep fewer batches in "
                "the training process, clone() them, or give RingCollate more frames, two more "
                f"than these and the prefetch_factor of the DataLoader: {error}"
            ) from None
        # No other process produces frames of it.
        return _Part(ring.handle, ring.newest, kind)

    def _open(self, at: int, field: _Field) -> None:
        manager = Manager(self._path, mode="r+")
        ring = manager.ring(field.shape, self._frames, field.dtype)
        self._rings[at] = (manager, ring, ring.produce())
        # Workers end without the ends of their objects. A ring that a longer one follows stays
        # until then too, for batches that are on their way.
        multiprocessing.util.Finalize(None, ring.release, exitpriority=10)

    def _wait_for_subscriber(self, ring: Ring) -> None:
        """Wait where the next frame overwrites the first one and the training process took none."""
        end = time.monotonic() + self._timeout
        while ring.newest >= self._frames and not ring.subscribers:
            if time.monotonic() > end:
                raise Timeout(f"{ring.path}: no process takes the batches")
            time.sleep(0.001)


class _Part(NamedTuple):
    """One field of a batch in a frame."""

    handle: str
    number: int
    kind: str | None


class _Items:
    """The items of any dataset as fields."""

    def __init__(self, batch: Sequence[Any]) -> None:
        self._batch = batch
        first = batch[0]
        self._keys: list[Any] | None = None
        if isinstance(first, Mapping):
            self._keys = list(first)
        self._is_tuple = isinstance(first, (tuple, list))
        self.dataset = self

    def packed(self, fields: list[Any]) -> Any:
        """Return one value for each field in the form of an item."""
        if self._keys is not None:
            return dict(zip(self._keys, fields, strict=True))
        return tuple(fields) if self._is_tuple else fields[0]

    def fields(self) -> list[_Field]:
        """Return the fields of the batch."""
        if self._keys is not None:
            columns = [[item[key] for item in self._batch] for key in self._keys]
        elif self._is_tuple:
            columns = [list(column) for column in zip(*self._batch, strict=True)]
        else:
            columns = [list(self._batch)]
        return [_field(column) for column in columns]


def _field(column: list[Any]) -> _Field:
    found = [_values(value) for value in column]
    values, kinds = [plain for plain, _ in found], {kind for _, kind in found}
    dtypes = {plain.dtype for plain in values}
    if any(dtype.kind == "O" for dtype in dtypes):
        raise TypeError(
            "the items of a batch are tensors, ndarrays, numbers, or tuples and dictionaries of "
            f"them, not of {type(column[0]).__name__}"
        )
    shapes = {plain.shape for plain in values}
    if len(shapes) > 1 or (len(dtypes) > 1 and kinds != {None}) or len(kinds) > 1:
        raise Layout(
            "the items of a batch have one shape and type, not "
            f"{sorted((plain.shape, kind or plain.dtype.name) for plain, kind in found)}"
        )
    dtype = np.result_type(*dtypes)
    shape = (len(values), *values[0].shape)
    return _Field(shape, dtype, kinds.pop(), functools.partial(_stack, values))


def _stack(values: list[np.ndarray], out: np.ndarray) -> None:
    np.stack(values, out=out)


class _Batch:
    """A batch in frames of rings. Its pickle is opened as tensors."""

    def __init__(self, parts: list[_Part], form: Any) -> None:
        self._parts = parts
        self._form = form
        self._worker = os.getpid()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _received, (self._parts, self._form, self._worker)


def _received(parts: list[_Part], form: Any, worker: int) -> Any:
    tensors = [
        _as_kind(_source(handle, worker, number).tensor(number), kind)
        for handle, number, kind in parts
    ]
    if isinstance(form, dict):
        return {key: tensors[at] for key, at in form.items()}
    return tensors[form] if isinstance(form, int) else tuple(tensors[at] for at in form)


class _Source:
    """The ring of one worker as the training process has it."""

    def __init__(self, handle: str, first: int) -> None:
        self._handle = handle
        self.ring = _ndshm.open_ring(handle)
        # Frames that are published from now on are not written again before they were taken here.
        self._subscriber = self.ring.subscribe(lossless=True)
        # The number of the last frame that was taken, and the frames that were taken too soon.
        self._last = 0
        self._early: dict[int, Frame] = {}
        # Frames that were published before are not kept for the subscriber.
        for number in range(first, self.ring.newest + 1):
            frame = self._subscriber.frame(number)
            if frame is not None:
                self._early[number] = frame
        with open(self.ring.path, "r+b") as file:
            # No other process reads a frame that is held here, so it may be written in place.
            self._memory = mmap.mmap(file.fileno(), 0)
        self._places: dict[int, int] = {}

    def tensor(self, number: int) -> torch.Tensor:
        """Return a tensor over a frame, which holds it."""
        frame = self._frame(number)
        address = frame.__array_interface__["data"][0]
        if address not in self._places:
            found = _file_of(address, address + frame.nbytes)
            if found is None:
                return torch.from_numpy(np.array(frame))
            os.close(found[0])
            self._places[address] = found[1]
        if not frame.size:
            return torch.from_numpy(np.array(frame))
        plain = np.ndarray(frame.shape, frame.dtype, self._memory, self._places[address])
        held = _Held(plain, frame)
        weakref.finalize(held, _forget_if_gone, self._handle, self.ring.path).atexit = False
        return torch.from_numpy(np.asarray(held))

    def _frame(self, number: int) -> Frame:
        found = self._early.pop(number, None)
        if found is None:
            found = self._subscriber.frame(number)
        while self._last < number:
            try:
                taken = self._subscriber.next(timeout=0)
            except (WouldBlock, Abandoned):
                # The frame was published before the subscription began.
                break
            if taken is None:
                break
            self._last = taken.number
            if taken.number > number:
                self._early[taken.number] = taken
        if found is None:
            raise Released(f"{self.ring.path}: frame {number} of a batch was overwritten")
        return found


class _Held:
    """Memory that is mapped once more, with what keeps its file as it is: a frame of a ring, or the
    memory of a frozen array. NumPy's chain of bases takes it.
    """

    def __init__(self, plain: np.ndarray, keeper: np.ndarray) -> None:
        self.__array_interface__ = plain.__array_interface__
        self._kept = (plain, keeper)


# A source lasts as long as its worker, also where the training process holds no frame: it would
# miss frames otherwise. Then it is forgotten, because it has the whole ring mapped.
_sources: dict[str, _Source] = {}
_lock = threading.Lock()


def _source(handle: str, worker: int, number: int) -> _Source:
    """Return the ring of a worker, of which the frame of a number is taken first."""
    with _lock:
        found = _sources.get(handle)
        if found is None:
            # The rings of workers that have ended, or were killed.
            for other, source in list(_sources.items()):
                _forget_if_gone(other, source.ring.path)
            found = _sources[handle] = _Source(handle, number)
            # The loader has its workers for as long as it takes batches of them.
            for process in multiprocessing.active_children():
                if process.pid == worker:
                    weakref.finalize(process, _forget, handle).atexit = False
        return found


# Garbage collection calls these two, in any thread: they take no lock.
def _forget(handle: str) -> None:
    _sources.pop(handle, None)


def _forget_if_gone(handle: str, path: str) -> None:
    if not os.path.exists(path):
        _forget(handle)


def _forget_sources() -> None:
    """Forget the rings that another process subscribes to. Runs in the child of a fork."""
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.Lock()
    _sources.clear()


os.register_at_fork(after_in_child=_forget_sources)
