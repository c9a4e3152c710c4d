"""Warm models, hand-over and device memory over the real ComfyUI's own modules, each file in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rig.checkpoints import comfyui_path, models

INSIDE = Path(__file__).parent / "inside_comfy"


@pytest.mark.parametrize("name", ["hand_over", "ladder", "never_written", "pressure", "warm_pool"])
def test_models_in_memory_hold_over_comfyuis_own_modules(name: str) -> None:
    environment = {
        **os.environ,
        "COMFYUI_PATH": str(comfyui_path()),
        "TINY_CHECKPOINT": str(models("tiny").path("checkpoints/tiny.safetensors")),
        "SMALL_CLIP": str(models("loaders").path("text_encoders/small-clip.safetensors")),
        "LOADERS": str(models("loaders").folder),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", f"--confcutdir={INSIDE}"]
    command.append(str(INSIDE / f"{name}.py"))
    done = subprocess.run(command, env=environment, cwd=INSIDE.parent.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
