"""Stores of shared arrays."""

from __future__ import annotations

import os
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Iterator, Literal, Mapping, Sequence, Unpack

import numpy as np

from . import _checkpoints, _ndshm
from ._errors import Dtype, Layout
from ._labels import Common, Labels, OfFile, check_type, created, like
from ._reports import ArrayInfo, Checkpointed, Restored, Swept, Usage

if TYPE_CHECKING:
    import xarray
    from numpy.typing import ArrayLike, DTypeLike

    from ._ndshm import Array, GrowingArray, Ring

_FLOAT = np.dtype(float)


class Manager(_ndshm.Manager):
    """A store of shared arrays: a directory on tmpfs, or at ``path``.

    ``Manager()`` creates an ephemeral store. It is deleted with all its arrays when the ``with``
    block ends, or with the manager.
    ``Manager(path)`` opens the persistent store at that path, or creates it. It stays until
    :meth:`close`.

    All methods that create an array take the keywords ``name`` (to open it by), ``scope``,
    ``attrs`` (a dictionary of numbers, texts, bytes, lists and dictionaries), ``axis_names``, and
    ``exist_ok``: with ``True`` an array of that name, with the same shape and type, is opened with
    the elements that it has. Iterating over a manager gives the names.

    The scope decides when an array is deleted:

    - ``'local'``, the default: with the last reference in the process that created it. If that
      process has pickled it, the process that opens the pickle first inherits the array, unless it
      has closed it by then.
    - ``'remote'``: the process that opens or unpickles it first owns it; there it is local.
    - ``None``, the default of arrays with a name: with its store, or by :meth:`Array.release`.

    The other arguments are

    - ``root``: the directory of ephemeral stores, instead of ``NDSHM_ROOT`` or
      ``/dev/shm/ndshm-<uid>``;
    - ``persistent``: ``True`` or ``False`` instead of the default for ``path``;
    - ``any_file_system``: also accept file systems other than tmpfs, ext4, xfs and overlays over
      them, at your own risk;
    - ``lock_timeout``: seconds, for guards without a timeout of their own, and for the store's
      own locks;
    - ``huge_pages``: ``'auto'``, ``'never'`` or ``'require'``;
    - ``prefault``: map all pages of an array when it is created or opened;
    - ``recycle``: bytes of freed memory to keep for new arrays; by default a
      little of small arrays, for a second; 0 keeps none;
    - ``cache``: bytes of mappings to keep for arrays that may be opened again;
    - ``core_dumps``: ``True`` leaves arrays in the core dumps of this process, as far as
      ``/proc/self/coredump_filter`` allows;
    - ``janitor``: give an ephemeral store a small process that deletes it when its last process is
      gone, even after ``kill -9``;
    - ``mode``: ``'a'`` to open or create, ``'x'`` to create, ``'r+'`` to open.

    A manager is pickled as the name of its store. The process that unpickles it is a member of the
    store, and deletes nothing.
    """

    __slots__ = ()

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()

    def zeros(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = _FLOAT,
        order: str = "C",
        **labels: Unpack[Labels],
    ) -> Array:
        """Create an array of zeros.

        Raises :class:`NoSpace` if it does not fit, and leaves nothing behind then.
        """
        element_type = dtype if type(dtype) is np.dtype else np.dtype(dtype)
        return self._made(
            lambda **rest: self._create(shape, element_type, order, element=b"", **rest),
            lambda: like(shape, element_type),
            labels,
        )

    def empty(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = _FLOAT,
        order: str = "C",
        **labels: Unpack[Labels],
    ) -> Array:
        """Create an array of any elements: zeros, or those of a former array of this process."""
        element_type = dtype if type(dtype) is np.dtype else np.dtype(dtype)
        return self._made(
            lambda **rest: self._create(shape, element_type, order, **rest),
            lambda: like(shape, element_type),
            labels,
        )

    def _made(
        self, create: Callable[..., Array], example: Callable[[], np.ndarray], labels: Labels
    ) -> Array:
        """Create an array, or open the one of its name if the labels say so and it is alike."""

        def check(found: Array) -> None:
            wanted = example()
            check_type(found.path, found.dtype, wanted.dtype)
            if found.shape != wanted.shape:
                raise Layout(f"{found.path}: shape is {found.shape}, expected {wanted.shape}")

        return created(create, self.open, check, labels)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the arrays and rings that have one, oldest first."""
        return iter([info.name for info in self.list() if info.name is not None])

    def ones(
        self,
        shape: int | Sequence[int],
        dtype: DTypeLike = _FLOAT,
        order: str = "C",
        **labels: Unpack[Labels],
    ) -> Array:
        """Create an array of ones."""
        return self.full(shape, 1, dtype, order, **labels)

    def full(
        self,
        shape: int | Sequence[int],
        fill_value: Any,
        dtype: DTypeLike | None = None,
        order: str = "C",
        **labels: Unpack[Labels],
    ) -> Array:
        """Create an array of one value. Without ``dtype`` it has the type of the value."""
        element = np.asarray(fill_value, None if dtype is None else np.dtype(dtype))
        if element.ndim:
            raise ValueError("fill_value must be one element: use array() for several")
        return self._made(
            lambda **rest: self._create(
                shape, element.dtype, order, element=element.tobytes(), **rest
            ),
            lambda: like(shape, element.dtype),
            labels,
        )

    def array(
        self,
        source: ArrayLike,
        dtype: DTypeLike | None = None,
        order: str = "K",
        **labels: Unpack[Labels],
    ) -> Array:
        """Create an array with a copy of anything that ``numpy.asarray`` takes.

        The source is an ndarray, a shared array, a list, a number, and so on. ``order='K'`` keeps
        the order of a contiguous source; any other source gets the order C.
        """
        _ndshm.refuse(source)
        source = np.asarray(source, dtype)
        if not source.dtype.isnative:
            source = source.astype(source.dtype.newbyteorder("="))
        keeps_fortran = order in ("K", "A") and source.flags.fnc
        wanted: Literal["C", "F"] = "F" if order == "F" or keeps_fortran else "C"
        return self._made(
            lambda **rest: self._copy(np.asarray(source, order=wanted), wanted, **rest),
            lambda: source,
            labels,
        )

    def ring(
        self,
        shape: int | Sequence[int],
        frames: int,
        dtype: DTypeLike,
        *,
        max_subscribers: int = 64,
        info: DTypeLike | None = None,
        **labels: Unpack[Labels],
    ) -> Ring:
        """Create a ring of ``frames`` frames, 2 to 256, of this shape.

        ``info`` is the type of the information beside each frame: numbers, booleans, raw bytes, or
        a struct of these, of at most 4096 bytes. ``max_subscribers`` is 1 to 4096. ``axis_names``
        are those of a frame. :meth:`open_ring` opens the ring by its name.
        """
        element_type = np.dtype(dtype)
        info_type = None if info is None else np.dtype(info)

        def create(**rest: Any) -> Ring:
            return self._ring(shape, frames, element_type, max_subscribers, info_type, **rest)

        def check(found: Ring) -> None:
            wanted = like(shape, element_type)
            check_type(found.path, found.dtype, wanted.dtype)
            check_type(found.path, found.info, info_type, "type of information")
            if (found.frames, found.shape) != (frames, wanted.shape):
                raise Layout(
                    f"{found.path}: has {found.frames} frames of shape {found.shape}, expected "
                    f"{frames} of {wanted.shape}"
                )

        return created(create, self.open_ring, check, labels)

    def growing(
        self,
        row_shape: int | Sequence[int],
        dtype: DTypeLike,
        max_len: int,
        **labels: Unpack[Labels],
    ) -> GrowingArray:
        """Create an array to which rows of this shape are appended, ``max_len`` at most.

        ``()`` is the shape of numbers. ``max_len`` takes address space, not memory: choose it
        large. Memory is reserved in steps of 2 to 8 MiB as rows come. ``axis_names`` begin with
        that of the rows. :meth:`open_growing` opens the array by its name, and ``exist_ok=True``
        does so if it exists: the log goes on where it was.

        Raises :class:`Layout` if ``max_len`` is 0, or a row has no bytes; :class:`AddressSpace`.
        """
        element_type = np.dtype(dtype)

        def create(**rest: Any) -> GrowingArray:
            return self._growing(row_shape, element_type, max_len, **rest)

        def check(found: GrowingArray) -> None:
            wanted = like(row_shape, element_type)
            check_type(found.path, found.dtype, wanted.dtype)
            if (found.max_len, found.row_shape) != (max_len, wanted.shape):
                raise Layout(
                    f"{found.path}: has at most {found.max_len} rows of shape {found.row_shape}, "
                    f"expected {max_len} of {wanted.shape}"
                )

        return created(create, self.open_growing, check, labels)

    def from_ndarray(self, source: np.ndarray, **labels: Unpack[Labels]) -> Array:
        """Create an array with a copy of an ndarray, in the ndarray's order."""
        return self.array(source, **labels)

    def load(
        self,
        path: str | os.PathLike[str],
        *,
        only: str | Sequence[str] | None = None,
        skip_unsupported: bool = False,
        format: Literal["npy", "npz", "safetensors"] | None = None,
        **labels: Unpack[OfFile],
    ) -> Any:
        """Create the arrays of a ``.npy``, ``.npz`` or ``.safetensors`` file, without pickle.

        A ``.npy`` file gives an array; ``name`` is its name. The others give a dictionary of arrays
        by their keys; with ``prefix``, which may be empty, the arrays are named by it and their
        keys. ``scope`` is that of all arrays. ``format`` is for files without one of the suffixes.

        ``only`` is a key or several, which may be patterns: ``'layer.*.weight'``. Arrays that
        cannot be taken, such as those of objects, are an error that lists all of them, and nothing
        is created. With ``skip_unsupported=True`` they are left, and a warning lists them.

        Text of fixed width, times and ``longdouble`` have NumPy's type. Titles of fields are lost.
        """
        path = os.fspath(path)
        format = format or path.rpartition(".")[2]  # type: ignore[assignment]
        only = [only] if isinstance(only, str) else only
        arrays, left = self._load(
            path, str(format), only=only, skip_unsupported=skip_unsupported, **labels
        )
        if left:
            reasons = "; ".join(f"{key!r}: {reason}" for key, reason in left)
            warnings.warn(f"{path}: left {reasons}", stacklevel=2)
        return arrays[0][1] if format == "npy" else dict(arrays)

    def checkpoint(
        self,
        place: str | os.PathLike[str],
        *,
        only: str | Sequence[str] | None = None,
        keep: int | None = None,
        structs: Literal["fields", "struct"] = "fields",
        zstd: int | None = None,
        shards: int | None = None,
        poisoned: bool = False,
        each: bool = False,
        timeout: float | None = None,
        in_flight: int = 4,
        progress: Callable[[int, int], object] | None = None,
    ) -> Checkpointed:
        """Write the named arrays into a directory or an object store, as a Zarr v3 group.

        ``place`` is a directory, which is made, or ``s3://BUCKET/PREFIX``. The group is a folder in
        it; zarr, xarray and tensorstore read it, and :meth:`restore` brings it back. It is there
        whole or not at all. All arrays are read at one moment: a writer waits for the slabs before
        its own. ``each=True`` reads one array after another. Only chunks that the place does not
        have yet are sent.

        ``only`` is a name or several, which may be patterns. ``keep`` deletes all but the newest
        checkpoints afterwards. ``structs="struct"`` writes structs as zarr 3.4 has them, instead of
        an array for each field. ``zstd`` is a level from 1 to 22, ``shards`` the bytes of the inner
        chunks of shards. ``poisoned=True`` takes half-written arrays as they are, and marks them.
        ``timeout`` is the longest wait for the locks, in seconds. ``progress`` is called with the
        bytes that are done and all bytes, by other threads.

        Raises :class:`Poisoned`; :class:`Timeout`; :class:`Transfer` where a pattern has no array;
        :class:`Io`. Then the last checkpoint stands.
        """
        settings = {
            "only": [only] if isinstance(only, str) else only,
            "keep": keep,
            "structs": structs,
            "zstd": zstd,
            "shards": shards,
            "poisoned": poisoned,
            "each": each,
            "timeout": timeout,
            "in_flight": in_flight,
        }
        if zstd is not None and not 1 <= zstd <= 22:
            raise ValueError(f"zstd must be a level from 1 to 22, not {zstd}")
        return Checkpointed(**self._checkpoint(place, settings, progress))

    def restore(
        self,
        place: str | os.PathLike[str],
        *,
        checkpoint: str | None = None,
        only: str | Sequence[str] | None = None,
        slices: Mapping[str, Sequence[slice]] | None = None,
        prefix: str = "",
        skip_unsupported: bool = False,
        in_flight: int = 4,
        progress: Callable[[int, int], object] | None = None,
    ) -> Restored:
        """Make the arrays of a checkpoint, or of another Zarr v3 group: all or none.

        ``place`` is that of :meth:`checkpoint`, the folder of one checkpoint, or another Zarr v3
        group or array. The latest checkpoint is taken, or the one with the id ``checkpoint``.
        ``only`` is a name or several, which may be patterns. ``slices`` takes parts of arrays: by
        names, a slice with a start and a stop for each axis. ``prefix`` stands before all names.
        Arrays of other groups that cannot be taken are an error, or with ``skip_unsupported=True``
        left.

        Raises :class:`NoSpace` before anything is fetched; :class:`AlreadyExists` where a name is
        taken; :class:`Transfer` where there is no checkpoint, and where a chunk is missing or
        damaged; :class:`Layout` where a slice does not fit; :class:`Io`.
        """

        settings = _checkpoints.settings(
            checkpoint, only, slices, prefix, skip_unsupported, in_flight
        )
        return Restored(**self._restore(place, settings, progress))

    def open_or_zeros(
        self,
        name: str,
        shape: int | Sequence[int],
        dtype: DTypeLike = _FLOAT,
        order: str = "C",
        **labels: Unpack[Common],
    ) -> Array:
        """Open the array with this name, or create it with zeros.

        Of several processes that call this at once, one creates the array and the others open it.

        The name of an array that was released is free.

        Raises :class:`Layout` or :class:`Dtype` if the array exists with another shape or type.
        """
        element_type = np.dtype(dtype)
        found = self._open_or_zeros(name, shape, element_type, order, **labels)
        if found.dtype != element_type.base:
            raise Dtype(f"{found.path}: element type is {found.dtype}, expected {element_type}")
        return found

    def wait_for(self, name: str, timeout: float | None = None) -> ArrayInfo:
        """Wait until an array of this name exists, and return its description.

        Returns at once if it exists already. :meth:`open` opens it. The thread sleeps until the
        array is there. It waits at most ``timeout`` seconds, or without a limit for ``None``.

        Raises :class:`Timeout` if there was none; :class:`Closed` if the store was closed
        meanwhile; :class:`Abandoned` if the store is ephemeral, its owner was alive when the wait
        began, and has ended since; :class:`Name` if no array can have the name. A closed store and
        an ended owner are noticed within 25 ms.
        """
        return ArrayInfo(**self._wait_for(name, timeout))

    def list(self) -> list[ArrayInfo]:
        """Return the arrays and rings of the store, oldest first.

        Damaged arrays are left out, and :meth:`damaged` has the reasons. So are files that are not
        the store's.
        """
        return [ArrayInfo(**info) for info in self._list()]

    def usage(self) -> Usage:
        """Return the space that the store uses, and the space that is left."""
        return Usage(**self._usage())

    def sweep(self) -> Swept:
        """Delete the leftovers of dead processes: in this store, and ephemeral stores beside it."""
        swept = self._sweep()
        return Swept(**{**swept, "skipped": tuple(swept["skipped"])})

    def to_xarray(self) -> xarray.Dataset:
        """Return the arrays of the store that have a name as an xarray Dataset.

        The names of the axes are the dimensions. Where two arrays have one name for axes of
        different lengths, that of the later array has the array's name behind it; axes without a
        name are ``dim_0_<array>``. An array of one axis that has its name is the coordinates of
        that. Attributes are those of the arrays. Rings are left out, and of a growing array the
        rows that are there now are taken.

        Elements are read when they are needed: slices under the array's lock, as copies, or the
        memory of a frozen array. ``xarray.open_dataset(path, engine="ndshm")`` does the same for
        the store at a path.
        """
        from ._xarray_backend import dataset

        return dataset(self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "owner" if self.is_owner else "member"
        return f"<ndshm.Manager: {self.path} ({state})>"


def unpickle_manager(text: str) -> Manager:
    """Return the pickled manager as a member of its store."""
    return Manager(_pickled=text)
