"""Reports about stores, which the library gives as dictionaries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ArrayInfo:
    """The contents of an array file's header.

    ``kind`` is ``"array"``, ``"ring"`` or ``"growing array"``. The first axis of a ring's shape
    counts its frames, that of an array that grows the rows that are there. ``dtype`` is the text in
    the file, ``created`` is in seconds since 1970.
    """

    name: str | None
    id: str
    kind: str
    path: str
    shape: tuple[int, ...]
    dtype: str
    order: str
    nbytes: int
    created: float
    pid: int
    software: str


@dataclass(frozen=True)
class Usage:
    """The space that a store uses, in bytes.

    ``nbytes`` is the size of all elements. The file system gave ``allocated`` bytes to the files of
    the arrays and ``kept`` bytes to files without an array, and has ``available`` bytes left.
    """

    arrays: int
    nbytes: int
    allocated: int
    kept: int
    available: int


@dataclass(frozen=True)
class Swept:
    """The numbers of stores, arrays and bytes that a sweep deleted.

    ``half_made`` counts files without an array. ``nbytes`` is the size of all of them.
    ``skipped`` has the reason for each leftover that it could not delete.
    """

    stores: int
    arrays: int
    half_made: int
    nbytes: int
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint that was written.

    ``id`` is the name of its folder, which is a Zarr v3 group. ``nbytes`` is the size of all
    elements; of these, the chunks with ``sent`` bytes were sent, and those with ``referred`` bytes
    were there already. ``left`` has what is not in it, with the reasons: rings, arrays without a
    name, damaged arrays. ``deleted`` has the ids of older checkpoints that were deleted.
    ``is_latest`` is false where a newer checkpoint was written meanwhile. ``is_compared`` is false
    where the place does not compare before it replaces the pointer to the latest checkpoint: then
    of two that end at the same time the pointer leads to the one that wrote last.
    """

    id: str
    arrays: int
    nbytes: int
    sent: int
    referred: int
    left: list[tuple[str, str]]
    deleted: list[str]
    is_latest: bool
    is_compared: bool


@dataclass(frozen=True)
class Restored:
    """The arrays that were restored, by their ``names``.

    ``checkpoint`` is the id of the checkpoint, or ``None`` for the group of another program.
    ``left`` has the arrays that were left, with the reasons.
    """

    checkpoint: str | None
    names: list[str]
    nbytes: int
    left: list[tuple[str, str]]


@dataclass(frozen=True)
class CheckpointedArray:
    """An array of a checkpoint, as a restore would make it.

    ``name`` is that in the checkpoint, or the path in another Zarr group. ``shape`` is that of the
    slice, if there is one. ``max_len`` is the most rows of an array that grows. A ``poisoned``
    array has bytes that a dead writer may have left half-written.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    order: str
    nbytes: int
    max_len: int | None
    frozen: bool
    poisoned: bool


@dataclass(frozen=True)
class CheckpointContents:
    """What a checkpoint has.

    ``checkpoint`` is its id, or ``None`` for the group of another program. ``left`` has the arrays
    that cannot be arrays here, with the reasons.
    """

    checkpoint: str | None
    arrays: list[CheckpointedArray]
    left: list[tuple[str, str]]
