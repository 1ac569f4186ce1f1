"""Batches of torch's ``DataLoader`` from shared arrays."""

from __future__ import annotations

from typing import Any

from ._ndshm import Array


def collate(batch: list[Array], *, collate_fn_map: Any = None) -> Any:
    """Return the elements of several arrays as one tensor, copied under their locks."""
    import torch  # type: ignore[import-not-found, unused-ignore]

    return torch.stack([torch.from_numpy(array.to_numpy()) for array in batch])


def register() -> None:
    """Let ``default_collate`` take arrays. ``torch.utils.data`` is imported already."""
    from torch.utils.data._utils import (  # type: ignore[import-not-found, unused-ignore]
        collate as torchs,
    )

    # Versions before 2.0 have no such table.
    known = getattr(torchs, "default_collate_fn_map", {})
    known[Array] = collate
