"""The modules of python/src import downwards only, in the order of the list in lib.rs."""

from __future__ import annotations

import os
import pathlib
import re

import pytest

SOURCE = pathlib.Path(os.environ.get("NDSHM_SOURCE", pathlib.Path(__file__).parents[2]))
MODULES = SOURCE / "python" / "src"
ROW = re.compile(r"^//! \| (`[^|]*`) \|", re.MULTILINE)
USE = re.compile(r"^(?:pub(?:\([a-z]+\))? )?use crate::(.*?);$", re.MULTILINE | re.DOTALL)


def layers() -> list[list[str]]:
    """Return the modules of each row of the list, the lowest row first."""
    text = (MODULES / "lib.rs").read_text()
    return [re.findall(r"`(\w+)`", row) for row in ROW.findall(text)]


def imports(module: str) -> set[str]:
    """Return the modules that a file or folder imports from the root of the crate."""
    folder = MODULES / module
    files = [MODULES / f"{module}.rs"] if not folder.is_dir() else sorted(folder.rglob("*.rs"))
    found: set[str] = set()
    for file in files:
        for tree in USE.findall(file.read_text()):
            # Nested braces hold the items of a module, not modules.
            while (flat := re.sub(r"(\w)::\{[^{}]*\}", r"\1", tree)) != tree:
                tree = flat
            found |= {path.strip(" \n{}").split("::")[0] for path in tree.split(",")}
    return found - {"", module}


def test_the_list_names_every_module() -> None:
    # The program of the package, which is no module.
    roots = {"lib.rs", "tool.rs"}
    files = {path.stem for path in MODULES.iterdir() if path.name not in roots}
    assert {module for row in layers() for module in row} == files


@pytest.mark.parametrize("module", [module for row in layers() for module in row])
def test_a_module_imports_only_from_modules_above_it_in_the_list(module: str) -> None:
    above: set[str] = set()
    for row in layers():
        if module in row:
            break
        above |= set(row)
    assert imports(module) <= above
