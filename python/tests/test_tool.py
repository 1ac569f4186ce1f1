"""The command-line tool that the package installs, and the same program as a janitor."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time

import pytest

import ndshm
from ndshm import _tool

OWNER = """
import ndshm
manager = ndshm.Manager(janitor=True)
manager.zeros(1000, name="xs")
print(manager.path, flush=True)
input()
"""


def start_owner(**variables: str) -> subprocess.Popen[str]:
    """Starts a process that makes a store with a janitor, prints the store's path, and waits."""
    # Without a PATH: the package knows where its tool is.
    environment = {**os.environ, "PATH": "/nowhere", **variables}
    return subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_gone(path: str) -> None:
    deadline = time.monotonic() + 20
    while os.path.exists(path):
        assert time.monotonic() < deadline, f"the janitor left {path}"
        time.sleep(0.005)


def test_the_tool_is_installed_beside_the_interpreter() -> None:
    tool = _tool.path()
    assert tool is not None
    assert os.path.samefile(tool, os.path.join(sysconfig.get_path("scripts"), "ndshm"))
    version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"ndshm {ndshm.__version__}\n"


def test_the_tool_lists_the_arrays_of_this_process(m: ndshm.Manager) -> None:
    tool = _tool.path()
    assert tool is not None
    m.zeros((3, 4), name="xs")
    listed = subprocess.run([tool, "ls", m.path], capture_output=True, text=True, check=True)
    assert "(3, 4)" in listed.stdout


def test_a_janitor_deletes_the_store_of_a_killed_process() -> None:
    with start_owner() as owner:
        assert owner.stdout is not None
        path = owner.stdout.readline().strip()
        assert os.path.exists(os.path.join(path, "xs.ndshm"))
        owner.kill()
    wait_until_gone(path)


@pytest.mark.parametrize("end", ["return", "exception"])
def test_a_store_with_a_janitor_ends_with_its_process(end: str) -> None:
    with start_owner() as owner:
        assert owner.stdout is not None
        path = owner.stdout.readline().strip()
        # Without a line, input() raises EOFError.
        owner.communicate("\n" if end == "return" else "")
    wait_until_gone(path)


def test_the_environment_overrules_the_tool_of_the_package() -> None:
    with start_owner(NDSHM_JANITOR="/nowhere/ndshm") as owner:
        output, errors = owner.communicate()
    assert output == ""
    assert "NotFound" in errors and "NDSHM_JANITOR" in errors
