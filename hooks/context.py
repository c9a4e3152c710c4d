"""Where a call of ComfyUI's happens: in which node, in which thread, from whose code."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from types import FrameType

import folder_paths

_COMFY_ROOT = os.path.dirname(os.path.abspath(folder_paths.__file__))
_CORE_MODULES = frozenset(
    ("nodes", "comfy", "comfy_extras", "comfy_api", "comfy_execution", "latent_preview", "server", "app", "modelstream")
)
_CORE_FILES = os.path.join(_COMFY_ROOT, "comfy_extras", "")
"""ComfyUI names the modules of its extra nodes by their path"""
_RESOLVERS = frozenset({"get_full_path", "get_full_path_or_raise"})


@dataclass(frozen=True, slots=True)
class Executing:
    """The node that runs in this thread."""

    prompt: str
    node: str


def executing() -> Executing | None:
    """None outside a node's execution, and in threads that a node has started."""
    utils = sys.modules.get("comfy_execution.utils")
    found = utils.get_executing_context() if utils is not None else None
    return None if found is None else Executing(str(found.prompt_id), str(found.node_id))


def on_event_loop() -> bool:
    """Whether this is ComfyUI's server thread, which must never wait.  The thread that runs prompts has a loop of its own."""
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return False
    server = sys.modules.get("server")
    instance = getattr(getattr(server, "PromptServer", None), "instance", None)
    return instance is None or running is instance.loop


def caller_module(frame: FrameType | None) -> str:
    """The module that asked for a path: the innermost frame that is neither ours nor only passes the question on.

    A wrapper that another extension put on ``get_full_path`` keeps its name and is passed over too.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        passes_on = module == "folder_paths" or module.startswith("modelstream.hooks.") or frame.f_code.co_name in _RESOLVERS
        if not passes_on:
            return module
        frame = frame.f_back
    return ""


def streams_itself(module: str) -> bool:
    """Whether code of this module takes a path only to give it to a loader that we wrap: ComfyUI's own code does."""
    return module.partition(".")[0] in _CORE_MODULES or module.startswith(_CORE_FILES)
