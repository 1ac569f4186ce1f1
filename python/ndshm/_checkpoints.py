"""Checkpoints, without a store: their ids, and what each has."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from . import _ndshm
from ._reports import CheckpointedArray, CheckpointContents


def checkpoints(place: str | os.PathLike[str]) -> list[str]:
    """Return the ids of the checkpoints at a place, the newest first.

    ``place`` is that of :meth:`Manager.checkpoint`: a directory or ``s3://BUCKET/PREFIX``. The list
    is empty where nothing is. Raises :class:`Io` if the place cannot be read.
    """
    return _ndshm.checkpoint_ids(place)


def checkpoint_contents(
    place: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    only: str | Sequence[str] | None = None,
    slices: Mapping[str, Sequence[slice]] | None = None,
    skip_unsupported: bool = False,
) -> CheckpointContents:
    """Return what :meth:`Manager.restore` would make of a place, without fetching any element.

    The arguments are those of :meth:`Manager.restore`: the latest checkpoint is taken, or the one
    with the id ``checkpoint``. Other Zarr v3 groups and arrays have contents too.

    Raises :class:`Transfer` where there is no checkpoint or a pattern has no array;
    :class:`Layout` where a slice does not fit; :class:`Io`.
    """
    chosen = settings(checkpoint, only, slices, "", skip_unsupported, 1)
    described, arrays = _ndshm.checkpoint_contents(place, chosen)
    return CheckpointContents(arrays=[CheckpointedArray(**one) for one in arrays], **described)


def settings(
    checkpoint: str | None,
    only: str | Sequence[str] | None,
    slices: Mapping[str, Sequence[slice]] | None,
    prefix: str,
    skip_unsupported: bool,
    in_flight: int,
) -> dict[str, Any]:
    """Return the settings of a restore."""
    return {
        "checkpoint": checkpoint,
        "only": [only] if isinstance(only, str) else only,
        "slices": [
            (name, [_bounds(name, part) for part in parts])
            for name, parts in (slices or {}).items()
        ],
        "prefix": prefix,
        "skip_unsupported": skip_unsupported,
        "in_flight": in_flight,
    }


def _bounds(name: str, part: slice) -> tuple[int, int]:
    if part.stop is None or part.step not in (None, 1):
        raise ValueError(f"{name}: a slice must have a stop, and no step: {part}")
    start, stop = part.start or 0, part.stop
    if start < 0 or stop < 0:
        raise ValueError(f"{name}: the ends of a slice must not be negative: {part}")
    return start, stop
