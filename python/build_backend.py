"""Builds the package with maturin, and the command-line tool `ndshm` into its scripts.

`pip install ./python -C features=s3` builds both with a feature of the manifest.

maturin builds an extension module or programs, not both in one wheel. So the tool is built first,
into the folder that maturin copies into the wheel as its data. Source distributions are maturin's.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import maturin  # type: ignore[import-untyped, unused-ignore]
from maturin import build_sdist as build_sdist
from maturin import get_requires_for_build_editable as get_requires_for_build_editable
from maturin import get_requires_for_build_sdist as get_requires_for_build_sdist
from maturin import get_requires_for_build_wheel as get_requires_for_build_wheel
from maturin import prepare_metadata_for_build_editable as prepare_metadata_for_build_editable
from maturin import prepare_metadata_for_build_wheel as prepare_metadata_for_build_wheel

# The manifest of the extension module and the tool. A source distribution has it one level below
# pyproject.toml, and the library's manifest beside that.
CANDIDATES = (pathlib.Path("python/Cargo.toml"), pathlib.Path("Cargo.toml"))
MANIFEST = next(path for path in CANDIDATES if path.exists())
# Where maturin looks for the data of `ndshm._ndshm`: files in its `scripts` become programs.
DATA = pathlib.Path("ndshm._ndshm.data")


def environment() -> dict[str, str]:
    """The environment of cargo: the installed one, else the one that maturin fetches."""
    if shutil.which("cargo"):
        return dict(os.environ)
    from puccinialin import setup_rust  # type: ignore[import-not-found, unused-ignore]

    return {**os.environ, **setup_rust()}


def build_tool(features: list[str]) -> str:
    """Builds the tool, and returns the path of its program."""
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(MANIFEST)]
    command += ["--bin", "ndshm", "--features", ",".join(["tool", *features])]
    command += ["--message-format", "json-render-diagnostics"]
    built = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    messages = map(json.loads, built.stdout.splitlines())
    programs = (message.get("executable") for message in messages)
    return next(str(program) for program in programs if program)


@contextmanager
def tool(settings: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Puts the tool where maturin takes it from, and removes it afterwards.

    Gives the settings for maturin, with the features.
    """
    settings = dict(settings or {})
    features = ["pyo3/extension-module", *filter(None, settings.pop("features", "").split(","))]
    arguments = [*maturin.get_maturin_pep517_args(settings), "--features", ",".join(features)]
    settings["maturin.build-args"] = arguments
    scripts = DATA / "scripts"
    scripts.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(build_tool(features), scripts / "ndshm")
        yield settings
    finally:
        shutil.rmtree(DATA)


def build_wheel(
    directory: str, settings: dict[str, Any] | None = None, metadata: str | None = None
) -> str:
    with tool(settings) as settings:
        return str(maturin.build_wheel(directory, settings, metadata))


def build_editable(
    directory: str, settings: dict[str, Any] | None = None, metadata: str | None = None
) -> str:
    with tool(settings) as settings:
        return str(maturin.build_editable(directory, settings, metadata))
