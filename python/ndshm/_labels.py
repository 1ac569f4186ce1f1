"""The keywords of the methods that create arrays, and the creation of an array that may exist."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Literal,
    Mapping,
    Sequence,
    SupportsIndex,
    TypedDict,
    TypeVar,
)

import numpy as np

from ._errors import AlreadyExists, Dtype, NotFound

if TYPE_CHECKING:
    from ._ndshm import Array, GrowingArray, Ring

Scope = Literal["local", "remote"] | None
_Made = TypeVar("_Made", "Array", "Ring", "GrowingArray")


class Common(TypedDict, total=False):
    scope: Scope
    attrs: Mapping[str, Any] | None
    axis_names: Sequence[str] | None


class Labels(Common, total=False):
    """The keywords of the methods that create an array."""

    name: str | None
    exist_ok: bool


class OfFile(TypedDict, total=False):
    name: str | None
    prefix: str | None
    scope: Scope


def like(shape: int | Sequence[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Return an ndarray of one element in the place of all: for its shape and type."""
    lengths = (shape,) if isinstance(shape, SupportsIndex) else tuple(shape)
    return np.broadcast_to(np.zeros((), dtype.base), (*lengths, *dtype.shape))


def created(
    create: Callable[..., _Made],
    open_by_name: Callable[[str], _Made],
    check: Callable[[_Made], None],
    labels: Labels,
) -> _Made:
    """Create an array, or open the one of its name if the labels say so.

    ``check`` raises if the one that exists is not alike.
    """
    exist_ok, name = labels.pop("exist_ok", False), labels.get("name")
    while True:
        try:
            return create(**labels)
        except AlreadyExists:
            if not exist_ok or name is None:
                raise
        try:
            found = open_by_name(name)
        except NotFound:
            # Removed meanwhile.
            continue
        check(found)
        return found


def check_type(
    path: str,
    found: np.dtype[Any] | None,
    expected: np.dtype[Any] | None,
    of: str = "element type",
) -> None:
    """Raise :class:`Dtype` if the array at a path has another type."""
    # To NumPy, `None` is a type too.
    if (found is None) != (expected is None) or found != expected:
        raise Dtype(f"{path}: {of} is {found}, expected {expected}")
