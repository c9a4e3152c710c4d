"""``doctor``: whether the places of ComfyUI that the extension wraps look as it needs them.

Without running it, from its source: function names and first parameters.  A ComfyUI that runs (``--url``) is asked; what it says counts.
"""

from __future__ import annotations

import argparse
import ast
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..storage.wire import Address, Connection
from .findings import ERROR, NOTE, OK, WARNING, Finding

PART = "ComfyUI"
OLDEST = (0, 3, 64)


@dataclass(frozen=True, slots=True)
class Place:
    """A function that a seam wraps; needed: nothing streams without it"""

    seam: str
    file: str
    function: str
    first: tuple[str, ...]
    needed: bool = False


PLACES = (
    Place("listing", "folder_paths.py", "get_filename_list", ("folder_name",), needed=True),
    Place("resolving", "folder_paths.py", "get_full_path", ("folder_name", "filename"), needed=True),
    Place("loading", "comfy/utils.py", "load_torch_file", ("ckpt",), needed=True),
    Place("embeddings", "comfy/sd1_clip.py", "load_embed", ("embedding_name", "embedding_directory", "embedding_size")),
    Place("library", "app/model_manager.py", "ModelFileManager.get_model_file_list", ("self", "folder_name")),
    Place("safetensors_header", "comfy/utils.py", "safetensors_header", ("safetensors_path", "max_size")),
    Place("assign", "comfy/model_base.py", "BaseModel.load_model_weights", ("self", "sd", "unet_prefix")),
    Place("host_copies", "comfy/model_patcher.py", "ModelPatcher.load", ("self", "device_to")),
    Place("vram_pressure", "comfy/model_management.py", "free_memory", ("memory_required", "device")),
    Place("queue", "execution.py", "PromptQueue.get_current_queue_volatile", ("self",)),
)


def check(options: argparse.Namespace) -> Iterator[Finding]:
    base = (options.comfyui or Path.cwd()).resolve()
    if (base / "folder_paths.py").is_file():
        yield _version(base)
        yield from _places(base)
    elif options.url is None:
        yield Finding(PART, "version", NOTE, "no ComfyUI lies there", "name its directory with --comfyui, or a running one with --url")
    if options.url is not None:
        yield from _running(options.url)


def _version(base: Path) -> Finding:
    text = _text(base / "comfyui_version.py") or _text(base / "pyproject.toml")
    match = re.search(r'version\w*\s*=\s*"(\d+)\.(\d+)\.(\d+)', text)
    if match is None:
        return Finding(PART, "version", NOTE, "it does not say its version")
    numbers = tuple(map(int, match.groups()))
    found = ".".join(match.groups())
    if numbers < OLDEST:
        return Finding(PART, "version", ERROR, f"{found} is too old", f"update ComfyUI to {'.'.join(map(str, OLDEST))} or later", found)
    return Finding(PART, "version", OK, found, value=found)


def _places(base: Path) -> Iterator[Finding]:
    fits, trees = [], {file: _tree(base / file) for file in {place.file for place in PLACES}}
    for place in PLACES:
        tree = trees[place.file]
        problem = f"{place.file} cannot be read" if tree is None else _misfit(tree, place)
        if not problem:
            fits.append(place.seam)
        else:
            step = "update Model Stream; models can be used, this part stays off" if not place.needed else "update Model Stream"
            yield Finding(PART, f"seam {place.seam}", ERROR if place.needed else WARNING, problem, step)
    yield Finding(PART, "seams", OK, f"these would fit, by the source: {', '.join(fits)}", value=fits)


def _misfit(tree: ast.Module, place: Place) -> str:
    body: list[ast.stmt] = tree.body
    *classes, name = place.function.split(".")
    for one in classes:
        found = next((n for n in body if isinstance(n, ast.ClassDef) and n.name == one), None)
        if found is None:
            return f"{place.file} has no {one}"
        body = found.body
    function = next((n for n in body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.name == name), None)
    if function is None:
        return f"{place.file} has no {place.function}"
    names = tuple(a.arg for a in (*function.args.posonlyargs, *function.args.args))
    if names[: len(place.first)] != place.first and function.args.vararg is None:
        return f"{place.function} takes ({', '.join(names)}), expected ({', '.join(place.first)}, …)"
    return ""


def _running(url: str) -> Iterator[Finding]:
    """The status route of a ComfyUI that the caller names; nothing is sent but this one question."""
    try:
        status = _status(url)
    except (OSError, ValueError, http.client.HTTPException) as error:
        step = "check the address, and that the extension is installed"
        yield Finding(PART, "running", ERROR, f"it does not answer: {type(error).__name__}", step)
        return
    yield Finding(PART, "running", OK, f"Model Stream {status.get('version')}, {status.get('problem') or 'no problem'}"[:200])
    for seam in status.get("seams", ()):
        state = str(seam.get("state"))
        finding = OK if state == "on" else NOTE if state == "off" else WARNING
        yield Finding(PART, f"seam {seam.get('name')}", finding, " ".join(filter(None, (state, str(seam.get("reason") or "")))))


def _status(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no address")
    import ssl

    context = ssl.create_default_context() if tls else None
    address = Address(tls, parts.hostname, parts.port or (443 if tls else 80))
    connection = Connection(address, context, connect_timeout_s=5.0, read_timeout_s=10.0)
    try:
        answer = connection.ask("GET", f"{parts.path.rstrip('/')}/modelstream/status", {"Host": parts.netloc.rpartition("@")[2]})
        body = bytearray(1 << 20)
        view, at = memoryview(body), 0
        while count := connection.readinto(view[at:]):
            at += count
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        found = json.loads(bytes(view[:at]))
    finally:
        connection.close()
    if not isinstance(found, dict):
        raise ValueError("no status")
    return found


def _tree(path: Path) -> ast.Module | None:
    try:
        return ast.parse(_text(path)) if path.is_file() else None
    except (SyntaxError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
