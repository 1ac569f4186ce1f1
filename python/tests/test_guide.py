"""The Python code of the guide runs, each block as a program of its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

GUIDE = pathlib.Path(os.environ.get("NDSHM_SOURCE", ".")) / "docs" / "guide"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[object]:
    """Return the code blocks of the guide.

    A block that begins with ```` ```python ignore ```` needs packages that are not installed.
    """
    found: list[object] = []
    for page in sorted(GUIDE.glob("*.md")):
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


def test_the_guide_has_code() -> None:
    assert len(blocks()) >= 7, f"the guide is not in {GUIDE}: set NDSHM_SOURCE to the repository"


@pytest.mark.parametrize("code", blocks())
def test_a_block_of_the_guide_runs(code: str, tmp_path: pathlib.Path) -> None:
    program = tmp_path / "block.py"
    program.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
