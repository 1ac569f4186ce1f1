"""The attributes of arrays as Python sees them."""

from __future__ import annotations

from typing import Any, NoReturn


class FixedDict(dict[Any, Any]):
    """A dictionary that refuses changes, which would reach no array. Its copies are plain."""

    __slots__ = ()

    def _refuse(self, *_args: Any, **_keywords: Any) -> NoReturn:
        raise TypeError(
            "the attributes of an array are fixed when it is created: give them there, by "
            "attrs={...}, or change a copy: dict(a.attrs)"
        )

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[dict[Any, Any]], tuple[dict[Any, Any]]]:
        return dict, (dict(self),)
