"""ComfyUI in a process of its own, as far as a benchmark needs it.  Nothing here runs in the measuring process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from .processes import ROOT


def configure(base: Path, text: str) -> None:
    """Writes our configuration where this ComfyUI looks for it; an empty one is none."""
    if text:
        config = base / "user" / "__modelstream" / "config.toml"
        config.parent.mkdir(parents=True)
        config.touch(0o600)
        config.write_text(text)


def enter(comfyui: str, base: str) -> None:
    """What ComfyUI's main.py does before anything else: its folder in front of sys.path, its arguments read."""
    sys.path.insert(0, comfyui)
    sys.argv = ["main.py", "--cpu", "--base-directory", base, "--disable-auto-launch", "--disable-api-nodes"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.cli_args
    import folder_paths

    folder_paths.set_user_directory(str(Path(base) / "user"))


def prestartup() -> None:
    """As ComfyUI's ``execute_prestartup_script`` does it."""
    _execute("custom_nodes.model_stream_prestartup", ROOT / "prestartup_script.py", package=False)


def extension() -> ModuleType:
    """As ComfyUI's ``load_custom_node`` does it: under a name made from the path."""
    return _execute(str(ROOT).replace(".", "_x_"), ROOT / "__init__.py", package=True)


def _execute(name: str, path: Path, *, package: bool) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)] if package else None)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
