"""The path of the command-line tool ``ndshm`` that this package installs."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from importlib import metadata


def _candidates() -> Iterator[str]:
    """The paths where installers put the tool, the most certain first."""
    try:
        installed = metadata.files("ndshm") or []
    except metadata.PackageNotFoundError:
        installed = []
    for file in installed:
        if file.name == "ndshm":
            yield os.path.realpath(file.locate())
    yield os.path.join(sysconfig.get_path("scripts"), "ndshm")
    # pip install --target
    yield os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin", "ndshm")


def path() -> str | None:
    """The tool's path, or ``None`` where the package was installed without it."""
    programs = (path for path in _candidates() if os.path.isfile(path) and os.access(path, os.X_OK))
    return next(programs, None)
