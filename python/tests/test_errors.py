"""Errors give advice in Python's words: the library's texts name functions of Rust."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

import ndshm


def open_released(m: ndshm.Manager) -> None:
    handle = m.zeros(1).handle
    ndshm.open(handle)


def read_poisoned(m: ndshm.Manager) -> None:
    a = m.zeros(1)
    with contextlib.suppress(ZeroDivisionError), a.write():
        raise ZeroDivisionError
    a.to_numpy()


def write_while_reading(m: ndshm.Manager) -> None:
    a = m.zeros(1)
    with a.read(), a.write():
        pass


def take_every_guard(m: ndshm.Manager) -> None:
    # A store has 16,446. Each guard looks at those of its array, so there are many arrays.
    arrays = [m.zeros(100) for _ in range(256)]
    with contextlib.ExitStack() as guards:
        for at in range(100):
            for a in arrays:
                guards.enter_context(a[at].write())


def lock_overlapping(m: ndshm.Manager) -> None:
    a = m.zeros(2)
    with ndshm.lock(a.reading(), a[1:].writing()):
        pass


def write_frozen(m: ndshm.Manager) -> None:
    a = m.zeros(1)
    a.freeze()
    a[0] = 1


CASES: dict[str, tuple[type[Exception], Callable[[ndshm.Manager], object], str]] = {
    "released": (ndshm.Released, open_released, "scope='remote' or scope=None"),
    "poisoned": (ndshm.Poisoned, read_poisoned, "Array.recover()"),
    "deadlock": (ndshm.WouldDeadlock, write_while_reading, "leave the block of that guard"),
    "overlap": (ndshm.WouldDeadlock, lock_overlapping, "would wait for a guard of its own"),
    "guards": (ndshm.TooManyGuards, take_every_guard, "leave the block of a guard"),
    "empty name": (ndshm.Name, lambda m: m.zeros(1, name=""), "(name=)"),
    "no name": (ndshm.NotFound, lambda m: ndshm.Manager(mode="r+"), "by path or name="),
    "frozen": (ndshm.Frozen, write_frozen, "copy it"),
    "mode": (ValueError, lambda m: ndshm.Manager(mode="w"), "mode must be"),
    "order": (ValueError, lambda m: m.zeros(1, order="K"), "order must be"),
    "scope": (ValueError, lambda m: m.zeros(1, scope="global"), "scope must be"),
    "huge pages": (ValueError, lambda m: ndshm.Manager(huge_pages="no"), "huge_pages must be"),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_names_functions_of_python_and_none_of_rust(m: ndshm.Manager, case: str) -> None:
    kind, fail, advice = CASES[case]
    with pytest.raises(kind) as caught:
        fail(m)
    text = str(caught.value)
    assert advice in text and "::" not in text and "panic" not in text, text
