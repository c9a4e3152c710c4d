"""The seams over the real ComfyUI's own modules, each file of tests/inside_comfy in a process of its own.

ComfyUI's module names (``nodes``, ``utils``, ``server``) are too common to be let into the process of all other tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rig.checkpoints import comfyui_path

INSIDE = Path(__file__).parent / "inside_comfy"


@pytest.mark.parametrize("name", ["names", "loads", "own_reader", "lookahead", "precision"])
def test_the_seams_hold_over_comfyuis_own_modules(name: str) -> None:
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui_path())}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        f"--confcutdir={INSIDE}",
        str(INSIDE / f"{name}.py"),
    ]
    done = subprocess.run(command, env=environment, cwd=INSIDE.parent.parent, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
