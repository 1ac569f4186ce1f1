"""Errors give advice in Python's words: the library's texts name functions of Rust."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Callable

import pytest

import ndshm
from ndshm import _errors


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
                guards.enter_context(a[at : at + 1].write())


def lock_overlapping(m: ndshm.Manager) -> None:
    a = m.zeros(2)
    with ndshm.lock(a.reading(), a[1:].writing()):
        pass


def write_frozen(m: ndshm.Manager) -> None:
    a = m.zeros(1)
    a.freeze()
    a[0] = 1


def take_a_name(m: ndshm.Manager) -> None:
    m.zeros(1, name="xs")
    m.zeros(1, name="xs")


def open_another_type(m: ndshm.Manager) -> None:
    m.zeros(1, name="xs")
    m.open_or_zeros("xs", 1, "i4")


def wait_for_a_guard(m: ndshm.Manager, timeout: float = 0.01) -> None:
    a = m.zeros(1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, a.write():
        pool.submit(lambda: a.read(timeout).__enter__()).result()


CASES: dict[str, tuple[type[Exception], Callable[[ndshm.Manager], object], str]] = {
    "released": (ndshm.Released, open_released, "scope='remote' or scope=None"),
    "poisoned": (ndshm.Poisoned, read_poisoned, "Array.recover()"),
    "deadlock": (ndshm.WouldDeadlock, write_while_reading, "leave the block of that guard"),
    "overlap": (ndshm.WouldDeadlock, lock_overlapping, "would wait for a guard of its own"),
    "guards": (ndshm.TooManyGuards, take_every_guard, "leave the block of a guard"),
    "empty name": (ndshm.Name, lambda m: m.zeros(1, name=""), "(name=)"),
    "no name": (ndshm.NotFound, lambda m: ndshm.Manager(mode="r+"), "by path or name="),
    "frozen": (ndshm.Frozen, write_frozen, "copy it"),
    "no array": (ndshm.NotFound, lambda m: m["typo"], "Manager.list() has the arrays"),
    "no file": (ndshm.NotFound, lambda m: ndshm.open("typo"), "typo: not found: no such array"),
    "other file": (ndshm.Header, lambda m: ndshm.open("/etc/passwd"), "not an ndshm file"),
    "store": (ndshm.Untrusted, lambda m: ndshm.open(m.path), "open it with Manager(path)"),
    "no store": (ndshm.NotFound, lambda m: ndshm.Manager("/etc", mode="r+"), "Manager(path)"),
    "taken path": (ndshm.AlreadyExists, lambda m: ndshm.Manager(m.path, mode="x"), "Manager(path)"),
    "taken name": (ndshm.AlreadyExists, take_a_name, "open it, remove it"),
    "type": (ndshm.Dtype, open_another_type, "choose another name"),
    "time": (ndshm.Timeout, wait_for_a_guard, "Array.unlocked()"),
    "busy": (ndshm.WouldBlock, lambda m: wait_for_a_guard(m, 0), "without timeout=0"),
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


def test_every_error_is_exported() -> None:
    classes = {name for name, value in vars(_errors).items() if isinstance(value, type)}
    errors = {name for name in classes if issubclass(getattr(_errors, name), ndshm.Error)}
    assert len(errors) > 20 and errors <= set(ndshm.__all__)
    assert all(getattr(ndshm, name) is getattr(_errors, name) for name in errors)
