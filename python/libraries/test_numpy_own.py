"""NumPy's own tests, with shared arrays in the place of the ndarrays that they make.

Each module of NumPy's tests runs in a process of its own, by the plugin ``numpy_own``. What differs
from ndarrays by design is in ``differences.toml``, with the reasons. A test that fails and is not
there is a failure here, and so is one that is there and passes.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from typing import Any

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent / "numpy_own"
DIFFERENCES = tomllib.loads((HERE / "differences.toml").read_text())
FORMS = ["array", "locked", "mapped"]
MODULES = """
    _core.tests.test_indexing _core.tests.test_ufunc _core.tests.test_item_selection
    lib.tests.test_arraysetops lib.tests.test_index_tricks
""".split()

# The differences of these are not all listed yet.
UNLISTED = {("_core.tests.test_ufunc", "array")}

pytestmark = pytest.mark.skipif(
    not np.__version__.startswith(DIFFERENCES["numpy"] + "."),
    reason=f"differences.toml is for NumPy {DIFFERENCES['numpy']}",
)


def failures(module: str, form: str, directory: pathlib.Path) -> dict[str, dict[str, str]]:
    """Run a module, and return the tests that failed."""
    outcomes = directory / f"{form}.json"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
    command += ["-p", "shared_arrays", "-m", "not slow", "--pyargs", f"numpy.{module}"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "NDSHM_FORM": form,
        "NDSHM_OUTCOMES": str(outcomes),
        # Tests that need more are skipped.
        "NPY_AVAILABLE_MEM": "1 GB",
    }
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=1800
    )
    # 1 for failures: no crash, and no error of the collection.
    assert done.returncode in (0, 1), (done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    ran = [json.loads(line) for line in outcomes.read_text().splitlines()]
    counts = Counter(test["outcome"] for test in ran)
    print(f"{module} as {form}: {dict(counts)}")
    assert counts["passed"] > 0
    return {test["test"]: test for test in ran if test["outcome"] == "failed"}


def is_expected(difference: dict[str, Any], module: str, form: str, test: dict[str, str]) -> bool:
    """Return whether a failure is a difference by design: by its error, or by the test's name."""
    if form not in difference["forms"]:
        return False
    if "error" in difference and re.search(difference["error"], test["error"]):
        return True
    return function(module, test["test"]) in difference.get("tests", [])


def function(module: str, test: str) -> str:
    """Return the name of a test without its parameters, as ``differences.toml`` has it."""
    package, _, file = module.split(".")
    return f"{package}/{file}::{test.partition('[')[0]}"


@pytest.mark.parametrize("module", MODULES)
def test_the_tests_of_numpy_pass_but_for_known_differences(
    module: str, tmp_path: pathlib.Path
) -> None:
    plain = failures(module, "plain", tmp_path)
    unknown, reasons = [], Counter[str]()
    for form in FORMS:
        if (module, form) in UNLISTED:
            continue
        failed = failures(module, form, tmp_path)
        functions = {function(module, name) for name in failed}
        for name, test in failed.items():
            if name in plain:
                continue
            for difference in DIFFERENCES["difference"]:
                if is_expected(difference, module, form, test):
                    reasons[f"{form}: {difference['reason']}"] += 1
                    break
            else:
                unknown.append(f"{form}: {name}: {test['place']}: {test['error'][:300]}")
        # Those that pass by now must leave the list.
        listed = {
            name
            for difference in DIFFERENCES["difference"]
            for name in difference.get("tests", [])
            if form in difference["forms"] and name.startswith(function(module, ""))
        }
        unknown += [f"{form}: {name} passes" for name in sorted(listed - functions)]
    for reason, count in sorted(reasons.items()):
        print(f"{count:5} {reason}")
    assert not unknown, "\n".join(unknown)
