"""The code of the guide for engines runs: the blocks that name one, each as a program."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest

GUIDE = pathlib.Path(os.environ.get("NDSHM_SOURCE", ".")) / "docs" / "guide"
#: The engine whose code runs; all of them by default.
ENGINE = os.environ.get("NDSHM_ENGINE", "dask|torch|ray|xarray")
BLOCK = re.compile(rf"^```python ({ENGINE})\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[Any]:
    """Return the code blocks of the guide with the library that each needs."""
    found: list[Any] = []
    for page in sorted(GUIDE.glob("*.md")):
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(*match.groups(), id=f"{page.name}:{line}"))
    return found


def test_the_guide_has_code_for_each_engine() -> None:
    found = {library for parameters in blocks() for library in parameters.values[:1]}
    assert found == set(ENGINE.split("|")), f"NDSHM_SOURCE is the repository: {GUIDE}"


@pytest.mark.slow
@pytest.mark.parametrize(("library", "code"), blocks())
def test_a_block_of_the_guide_runs(library: str, code: str, tmp_path: pathlib.Path) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    program = tmp_path / "block.py"
    program.write_text(code)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
