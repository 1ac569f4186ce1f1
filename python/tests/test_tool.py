"""The command-line tool that the package installs, and the same program as a janitor."""

from __future__ import annotations

import os
import pathlib
import signal
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


POOL = """
import multiprocessing, os, signal, sys
from concurrent.futures import ProcessPoolExecutor
import ndshm

KEPT = []

def keep(a):
    KEPT.append(a)
    return os.getpid()

if __name__ == "__main__":
    if "handler" in sys.argv:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    context = multiprocessing.get_context(sys.argv[1])
    with ndshm.Manager(janitor=True) as m, ProcessPoolExecutor(2, context) as pool:
        a = m.zeros(1000)
        workers = set(pool.map(keep, [a, m.zeros(10, name="xs"), a[5:]]))
        print(m.path, *workers, flush=True)
        signal.pause()
"""


CHILDREN = """
import multiprocessing, os, signal, sys
import ndshm

def child(a):
    with a.write():
        print(f"child {os.getpid()}\\n", end="", flush=True)
        signal.pause()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    m = ndshm.Manager(janitor=True)
    a = m.zeros(2)
    children = [context.Process(target=child, args=(a[i : i + 1],)) for i in range(2)]
    for started in children:
        started.start()
    print(f"store {m.path}\\n", end="", flush=True)
    signal.pause()
"""


def start_pool(
    directory: pathlib.Path, *arguments: str
) -> tuple[subprocess.Popen[str], str, list[int]]:
    """Starts an owner with workers that keep arrays: the process, its store, the workers."""
    program = directory / "program.py"
    program.write_text(POOL)
    process = subprocess.Popen(
        [sys.executable, program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    path, *workers = process.stdout.readline().split()
    process.stdout.close()
    return process, path, [int(worker) for worker in workers]


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


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_signal_to_a_pool_and_its_owner_leaves_nothing(
    tmp_path: pathlib.Path, method: str
) -> None:
    """As a terminal and service managers send it."""
    process, path, _ = start_pool(tmp_path, method)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    wait_until_gone(path)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_signal_to_the_owner_of_a_pool_leaves_nothing_if_it_is_an_exception_there(
    tmp_path: pathlib.Path, method: str
) -> None:
    process, path, _ = start_pool(tmp_path, method, "handler")
    process.terminate()
    assert process.wait(60) == 143 and not os.path.exists(path)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_store_of_a_pool_whose_owner_alone_was_killed_ends_with_the_last_worker(
    tmp_path: pathlib.Path, method: str
) -> None:
    """Python's pools go on when a signal ends their owner: they use the store."""
    process, path, workers = start_pool(tmp_path, method)
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert workers and os.path.exists(path)
    # Not a kill, which would also end the process that removes multiprocessing's semaphores.
    os.killpg(process.pid, signal.SIGTERM)
    wait_until_gone(path)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("first", ["owner", "children"])
def test_processes_that_signals_end_in_any_order_leave_nothing(
    tmp_path: pathlib.Path, method: str, first: str
) -> None:
    """Processes of multiprocessing that hold guards, and get SIGTERM one after the other."""
    program = tmp_path / "program.py"
    program.write_text(CHILDREN)
    owner = subprocess.Popen(
        [sys.executable, program, method],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    said = [owner.stdout.readline().split() for _ in range(3)]
    owner.stdout.close()
    (path,) = [value for key, value in said if key == "store"]
    children = [int(value) for key, value in said if key == "child"]
    ends = [owner.pid, *children] if first == "owner" else [*children, owner.pid]
    for number, pid in enumerate(ends):
        assert os.path.exists(path), (first, number)
        os.kill(pid, signal.SIGTERM)
        if pid == owner.pid:
            assert owner.wait(60) == -signal.SIGTERM
    wait_until_gone(path)
