"""The arrows of docs/architecture.md: who may import whom, read from the source and never from a running import."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "storage": set(),
    "cache": {"storage"},
    "telemetry": {"storage"},
    "hooks": {"cache", "storage", "telemetry"},
    "nodes": {"cache", "storage", "hooks"},
    "cli": {"cache", "storage", "hooks"},
}
TELEMETRY_SEES = {"events", "events_comfy", "events_publish", "events_restore", "objects", "people", ""}
"""of storage: what happens, the values that name an object, how sizes are written, and the room's version"""
COMFYUI = {
    "comfy",
    "comfy_api",
    "comfy_config",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
    "app",
}
TORCH = {"torch", "torchvision", "numpy"}


def imported(path: Path) -> list[tuple[int, str, int]]:
    """(relative level, dotted name, line) of every import in a file, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            # "from .. import storage" names the room only in the imported name
            names = [base] if base else [alias.name for alias in node.names]
            found += [(node.level, name, node.lineno) for name in names]
    return found


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def test_every_room_has_something_to_check():
    assert all(sources(room) for room in ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_below_it(room):
    wrong = []
    for path in sources(room):
        depth = len(path.relative_to(ROOT).parts)
        for level, name, line in imported(path):
            if level != depth:
                continue  # inside the room (or from outside, see the next tests)
            target = name.split(".")[0]
            if target not in ROOMS[room] | {room}:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


@pytest.mark.parametrize("room", ROOMS)
def test_imports_inside_the_package_are_relative_and_stay_in_it(room):
    wrong = []
    for path in sources(room):
        depth = len(path.relative_to(ROOT).parts)
        for level, name, line in imported(path):
            if level > depth or (level == 0 and name.split(".")[0] in {"modelstream", "tests", "bench", "rig"}):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {'.' * level}{name}")
    assert not wrong


@pytest.mark.parametrize("room", ["storage", "cache", "telemetry", "cli"])
def test_only_hooks_and_nodes_know_comfyui(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        for level, name, line in imported(path)
        if level == 0 and name.split(".")[0] in COMFYUI
    ]
    assert not wrong


@pytest.mark.parametrize("room", ["storage", "telemetry"])
def test_buckets_and_telemetry_know_no_tensors(room):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(room)
        for level, name, line in imported(path)
        if level == 0 and name.split(".")[0] in TORCH
    ]
    assert not wrong


def test_telemetry_sees_events_and_values_only():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources("telemetry")
        for level, name, line in imported(path)
        if level == 2 and name.partition("storage")[2].lstrip(".") not in TELEMETRY_SEES
    ]
    assert not wrong


def test_a_forbidden_import_would_be_noticed(tmp_path):
    source = tmp_path / "x.py"
    source.write_text("def f():\n    from ..hooks.boot import prestart\n    import torch.nn\n    from .. import telemetry\n")
    assert imported(source) == [(2, "hooks.boot", 2), (0, "torch.nn", 3), (2, "telemetry", 4)]
