"""``modelstream warm --tier ram``: the running ComfyUI fetches into its own memory, and here its progress is shown."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

from ..storage.objects import RemoteObject
from .bars import progress_bar
from .running import Running

POLL_S = 0.2
AT_ONCE = 100
"""digests that the route takes"""
TENSORS = (".safetensors", ".sft")


def fetch(objects: Sequence[RemoteObject], options: argparse.Namespace) -> dict[str, Any]:
    """What RAM cannot hold (a pickle, a GGUF) goes onto that ComfyUI's SSD.  Raises ConfigError and OriginUnreachable."""
    comfyui, began_s = Running(options.server), time.monotonic()
    names = []
    for tier, wanted in _by_tier(objects).items():
        for at in range(0, len(wanted), AT_ONCE):
            body = {"digests": [obj.id.digest for obj in wanted[at : at + AT_ONCE]], "tier": tier}
            names.append(str(comfyui.change("/modelstream/prefetch", body)["warming"]))
    try:
        states, timed_out = _watch(comfyui, names, sum(obj.size_bytes for obj in objects), options, began_s)
    except BaseException:
        _cancel(comfyui, names)
        raise
    if timed_out:
        _cancel(comfyui, names)
    return {
        "done": sum(state["done"] for state in states),
        "wire_bytes": sum(state["wire_bytes"] for state in states),
        "seconds": round(time.monotonic() - began_s, 3),
        "failed": [failure for state in states for failure in state["failed"]],
        "timed_out": timed_out,
    }


def _by_tier(objects: Sequence[RemoteObject]) -> dict[str, list[RemoteObject]]:
    tiers: dict[str, list[RemoteObject]] = {}
    for obj in objects:
        tiers.setdefault("ram" if obj.basename.lower().endswith(TENSORS) else "ssd", []).append(obj)
    return tiers


def _watch(
    comfyui: Running, names: Sequence[str], size_bytes: int, options: argparse.Namespace, began_s: float
) -> tuple[list[dict[str, Any]], bool]:
    """The last states, and whether the time was up."""
    with progress_bar(options, size_bytes) as show:
        while True:
            states = [comfyui.read(f"/modelstream/warming/{name}") for name in names]
            done, objects = (sum(state[key] for state in states) for key in ("done", "objects"))
            show(sum(state["done_bytes"] for state in states), f"{done}/{objects}")
            if all(state["finished"] for state in states):
                return states, False
            if options.timeout is not None and time.monotonic() - began_s > options.timeout:
                return states, True
            time.sleep(POLL_S)


def _cancel(comfyui: Running, names: Sequence[str]) -> None:
    for name in names:
        comfyui.change("/modelstream/cancel", {"warming": name})
