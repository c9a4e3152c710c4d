"""The extension as a package: loaded the way ComfyUI loads it, under any folder name, it is one set of modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from rig.checkpoints import comfyui_path

ROOT = Path(__file__).resolve().parents[1]

AS_COMFYUI_DOES = """
import asyncio, importlib.util, json, os, sys, threading
folder, steps, comfyui = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
sys.path.insert(0, comfyui)
def run_prestartup():  # main.py, execute_script
    path = os.path.join(folder, "prestartup_script.py")
    spec = importlib.util.spec_from_file_location(os.path.splitext(path)[0], path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
def load(name):  # nodes.py, load_custom_node
    spec = importlib.util.spec_from_file_location(name, os.path.join(folder, "__init__.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
for step in steps:
    if step == "prestartup":
        run_prestartup()
    elif step == "load":
        module = load(folder.replace(".", "_x_"))
    elif step == "import":
        import modelstream as module
from modelstream.storage import errors
print(json.dumps({
    "pack": [n for n in sys.modules if "storage.errors" in n],
    "loaded": sorted(n for n in sys.modules if n.split(".")[0] in {"torch", "boto3", "botocore", "awscrt", "numpy", "structlog"}),
    "threads": [t.name for t in threading.enumerate()],
    "web": getattr(module, "WEB_DIRECTORY", None) if "load" in steps else None,
    "entrypoint": asyncio.iscoroutinefunction(getattr(module, "comfy_entrypoint", None)) if "load" in steps else None,
    "same": sys.modules["modelstream"].__path__[0] == os.path.realpath(folder) or sys.modules["modelstream"].__path__[0] == folder,
}))
"""


def as_comfyui_does(folder: Path, *steps: str) -> dict:
    """Runs the steps in a fresh Python; only "import" may use the installed ``modelstream``."""
    hidden = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in getattr(f, '__module__', '')]\n"
    code = AS_COMFYUI_DOES if "import" in steps else hidden + AS_COMFYUI_DOES
    command = [sys.executable, "-c", code, str(folder), ",".join(steps), str(comfyui_path())]
    environment = {**os.environ, "MODELSTREAM_CONFIG": str(folder / "absent.toml")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def awkward_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "custom nodes.v1.2" / "model-stream.main 2"
    folder.parent.mkdir()
    folder.symlink_to(ROOT, target_is_directory=True)
    return folder


@pytest.mark.parametrize("steps", [("prestartup", "load"), ("load",), ("prestartup", "load", "load"), ("load", "prestartup")], ids="+".join)
def test_under_a_folder_name_with_dots_and_spaces_there_is_one_set_of_modules(awkward_folder, steps):
    seen = as_comfyui_does(awkward_folder, *steps)
    assert seen["pack"] == ["modelstream.storage.errors"]
    assert seen["same"]
    assert (seen["web"], seen["entrypoint"]) == ("./web", True)


def test_importing_the_package_starts_no_thread_and_loads_nothing_heavy():
    seen = as_comfyui_does(ROOT, "import")
    assert seen["loaded"] == []
    assert seen["threads"] == ["MainThread"]


def test_loading_the_pack_without_comfyui_starts_no_thread_and_loads_no_torch(awkward_folder):
    seen = as_comfyui_does(awkward_folder, "prestartup", "load")
    assert seen["threads"] == ["MainThread"]
    assert not [name for name in seen["loaded"] if name.split(".")[0] in {"torch", "boto3", "botocore"}]


def test_the_project_file_says_what_the_registry_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    about, comfy = project["project"], project["tool"]["comfy"]
    assert about["name"] == "model-stream" and "comfyui" not in about["name"].lower()
    assert about["dynamic"] == ["dependencies"]
    assert comfy["PublisherId"] and comfy["DisplayName"]
    assert "web" not in comfy, "ComfyUI would load the panel twice"
    packages = set(project["tool"]["setuptools"]["packages"])
    rooms = {f"modelstream.{path.parent.name}" for path in ROOT.glob("*/__init__.py") if path.parent.name not in {"tests", "bench"}}
    assert packages == rooms | {"modelstream"}


def test_one_version_is_written_everywhere():
    from modelstream.storage import VERSION

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == VERSION
    assert f"## {VERSION}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
