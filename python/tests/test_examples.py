"""The programs in examples/ that use the package run."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(os.environ.get("NDSHM_SOURCE", pathlib.Path(__file__).parents[2]))


def test_the_camera_and_its_viewer_share_frames() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples/camera.py", "0.5"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = re.search(r"^([\d.]+) frames/s, (\d+) missed$", done.stdout, re.MULTILINE)
    assert found is not None, done.stdout
    assert float(found[1]) * 0.5 + int(found[2]) == 30
    assert re.search(r"^seen \d+ us after the publication", done.stdout, re.MULTILINE)
