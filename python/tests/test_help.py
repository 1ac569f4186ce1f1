"""`help()` shows the docstrings of the type stubs."""

from __future__ import annotations

import ast
import inspect
import pathlib

import ndshm._ndshm
import pytest

STUBS = ast.parse((pathlib.Path(ndshm.__file__).parent / "_ndshm.pyi").read_text())
CLASSES = [node for node in STUBS.body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("stub", CLASSES, ids=lambda stub: stub.name)
def test_every_public_member_has_the_docstring_of_the_stubs(stub: ast.ClassDef) -> None:
    found = getattr(ndshm._ndshm, stub.name)
    members = [
        node
        for node in stub.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    documented = {
        node.name: docstring for node in members if (docstring := ast.get_docstring(node))
    }
    assert {node.name for node in members} == documented.keys(), "members without a docstring"
    assert inspect.getdoc(found) == ast.get_docstring(stub)
    assert {name: inspect.getdoc(getattr(found, name)) for name in documented} == documented
