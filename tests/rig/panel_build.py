"""Building the panel: node and npm from the machine, packages from the lockfile."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from .checkpoints import ROOT

BUNDLE = ROOT / "web" / "modelstream.js"
MODULES = ROOT / "node_modules"


def why_not() -> str:
    """Why the panel cannot be built here; empty when it can."""
    if not shutil.which("node"):
        return "node is not installed, so the panel cannot be built here"
    if not (MODULES / "esbuild").is_dir():
        return "the panel's packages are not installed: npm ci"
    return ""


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["node", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def build(output: Path) -> str:
    """What the build said; empty when nothing was wrong."""
    done = run_node("web/src/build.mjs", str(output))
    return "" if done.returncode == 0 and not done.stderr else done.stdout + done.stderr


def installed_as_locked() -> list[str]:
    """Packages of node_modules whose version is not the lockfile's."""
    locked = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    wrong = []
    for place, wanted in locked.items():
        manifest = ROOT / place / "package.json"
        if place and manifest.is_file() and json.loads(manifest.read_text("utf-8"))["version"] != wanted["version"]:
            wrong.append(place)
    return wrong
