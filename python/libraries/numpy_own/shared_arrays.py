"""A plugin of pytest: NumPy's own tests, with shared arrays for the ndarrays that they make.

In the names of each test module, the functions that make ndarrays give shared ones instead. The
variable ``NDSHM_FORM`` says which: ``array`` for :class:`ndshm.Array`, ``mapped`` for
``a.unlocked()``, ``locked`` for the ndarray of a block that ends with the test, ``plain`` for
NumPy's own. What a test makes by other means, and types that have no shared array, stay ndarrays.

The outcome of each test goes to the file ``NDSHM_OUTCOMES``, one line of JSON each.
"""

from __future__ import annotations

import gc
import json
import os
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ndshm

FORM = os.environ["NDSHM_FORM"]
MAKERS = ["array", "zeros", "ones", "empty", "full", "arange", "linspace", "eye", "identity"]
# The guards of a test at once. A test that loops over more gets ndarrays for the rest.
MOST = 100

STORE = ndshm.Manager()
guards: list[ndshm.Guard] = []


def shared(made: Any) -> Any:
    """Return a shared array in the place of an ndarray, if there is one of its type and layout."""
    if type(made) is not np.ndarray or not made.flags.owndata or len(guards) >= MOST:
        return made
    has_type = made.dtype.isnative and not made.dtype.hasobject and made.dtype.kind != "T"
    if not has_type or made.itemsize == 0 or made.ndim > 32:
        return made
    try:
        a = STORE.array(made)
    except TypeError as error:
        # Fields that no shared array has.
        assert "elements of" in str(error)
        return made
    if a.dtype != made.dtype or a.strides != made.strides:
        return made
    if FORM == "array":
        return a
    if FORM == "mapped":
        return a.unlocked()
    guard = a.write()
    guards.append(guard)
    return guard.__enter__()


def sharing(maker: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any, **keywords: Any) -> Any:
        made = maker(*args, **keywords)
        # An ndarray that was given is not one that was made.
        is_given = any(made is value for value in (*args, *keywords.values()))
        return made if is_given else shared(made)

    return make


def comparing(check: Callable[..., Any]) -> Callable[..., Any]:
    """Return a check that takes shared arrays: of two objects that are no ndarrays NumPy's asks
    whether they are equal, which is no question with one answer.
    """

    def compare(*args: Any, **keywords: Any) -> Any:
        plain = [v.to_numpy() if isinstance(v, ndshm.Array) else v for v in args]
        return check(*plain, **keywords)

    return compare


REPLACED = {getattr(np, name): sharing(getattr(np, name)) for name in MAKERS}
for check in (np.testing.assert_equal, np.testing.assert_almost_equal):
    REPLACED[check] = comparing(check)


class Numpy(types.ModuleType):
    """NumPy's module with other makers."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


NUMPY = Numpy("numpy")
for maker in REPLACED:
    setattr(NUMPY, maker.__name__, REPLACED[maker])


# Functions in C of NumPy's tests, which do not check that they get an ndarray.
UNCHECKED = ["test_extension_incref_elide"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if FORM == "array":
        items[:] = [item for item in items if not item.name.startswith(tuple(UNCHECKED))]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Replace the makers in the modules of the tests, whose parameters stay ndarrays."""
    for module in {item.module for item in session.items if isinstance(item, pytest.Function)}:
        for key, value in list(vars(module).items()) if FORM != "plain" else []:
            if value is np:
                setattr(module, key, NUMPY)
            elif isinstance(value, types.BuiltinFunctionType | types.FunctionType):
                setattr(module, key, REPLACED.get(value, value))
    # The end of a block may collect garbage, and the tests are none.
    gc.freeze()


@pytest.fixture(autouse=True)
def blocks() -> Iterator[None]:
    """End the blocks of a test behind it. Memory that a test keeps is an error."""
    yield
    try:
        while guards:
            guards.pop().__exit__(None, None, None)
    finally:
        # Where one is an error, the others end as garbage.
        guards.clear()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        crash = getattr(report.longrepr, "reprcrash", None)
        outcome = {
            "test": report.nodeid.split("::", 1)[1],
            "outcome": "xfailed" if hasattr(report, "wasxfail") else report.outcome,
            "when": report.when,
            "error": str(crash.message if crash else ""),
            "place": f"{os.path.basename(crash.path)}:{crash.lineno}" if crash else "",
        }
        with open(os.environ["NDSHM_OUTCOMES"], "a") as file:
            file.write(json.dumps(outcome) + "\n")
