"""Estimates and verdicts as JSON values and as lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ..cache.fit import EVICT, NO, OFFLOAD, UNKNOWN, WHOLE, Component, Estimate, Room, Verdict, Work
from ..storage.people import size_text

NAMES = {
    "diffusion_model": "diffusion model",
    "text_encoder": "text encoder",
    "vae": "VAE",
    "clip_vision": "CLIP vision",
    "other": "other",
    "all": "all of it",
}


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {
        "subject": estimate.subject,
        "size_bytes": estimate.size_bytes,
        "architecture": estimate.architecture or None,
        "problem": estimate.problem,
        "components": [{**asdict(one), "stored_bytes": one.stored_bytes, "loaded_bytes": one.loaded_bytes} for one in estimate.components],
        "work": [asdict(one) for one in estimate.work],
        "latent": list(estimate.latent),
        "loaded_bytes": estimate.loaded_bytes,
        "peak_bytes": estimate.peak_bytes,
    }


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "going": list(verdict.going)}


def room_json(room: Room) -> dict[str, Any]:
    return {
        **asdict(room),
        "held": [asdict(one) for one in room.held],
        "left_bytes": room.left_bytes,
        "could_free_bytes": room.could_free_bytes,
    }


def fit_json(estimate: Estimate, verdict: Verdict, rooms: Mapping[str, Room]) -> dict[str, Any]:
    """The body of GET /modelstream/estimate."""
    return {
        "estimate": estimate_json(estimate),
        "verdict": verdict_json(verdict),
        "devices": [room_json(room) for room in rooms.values()],
        "text": "\n".join(fit_lines(estimate, verdict, rooms)),
    }


def fit_lines(estimate: Estimate, verdict: Verdict, rooms: Mapping[str, Room]) -> Iterable[str]:
    """In English: for nodes and the command line."""
    yield f"{estimate.subject}: {estimate.architecture or 'unknown architecture'}, {size_text(estimate.size_bytes)} stored"
    for one in estimate.components:
        yield "  " + _component(one, estimate.work_of(one.kind))
    for room in rooms.values():
        yield "  " + _room(room)
    yield verdict_text(verdict)


def _component(one: Component, work: Work) -> str:
    text = f"{NAMES.get(one.kind, one.kind)}: {_by_dtype(one.stored)} stored"
    if one.loaded:
        text += f", {_by_dtype(one.loaded)} on {one.device}"
    if work.asked_bytes:
        text += f", and {size_text(work.asked_bytes)} that ComfyUI makes room for"
    if work.traced_bytes is not None:
        text += f" ({size_text(work.traced_bytes)} worked out)"
    return text


def _by_dtype(found: Mapping[str, int]) -> str:
    ordered = sorted(found.items(), key=lambda one: -one[1])
    return " + ".join(f"{size_text(size_bytes)} {dtype}".rstrip() for dtype, size_bytes in ordered) or "nothing"


def _room(room: Room) -> str:
    text = f"{room.device}: {size_text(room.left_bytes)} of {size_text(room.total_bytes)} left"
    if room.reserved_bytes:
        text += f" after a reserve of {size_text(room.reserved_bytes)}"
    return text + (f", {size_text(room.could_free_bytes)} could leave" if room.held else "")


def verdict_text(verdict: Verdict) -> str:
    """One line."""
    where = f" on {verdict.device}" if verdict.device else ""
    if verdict.kind == WHOLE:
        return f"fits whole{where}: needs {size_text(verdict.needed_bytes)}"
    if verdict.kind == EVICT:
        return (
            f"fits{where} after {', '.join(verdict.going)} leave{'s' if len(verdict.going) == 1 else ''} ({size_text(verdict.freed_bytes)})"
        )
    if verdict.kind == OFFLOAD:
        cost = f", which costs {verdict.step_seconds:.2f} s a step" if verdict.step_seconds is not None else ""
        return f"fits{where} with {size_text(verdict.offload_bytes)} in host memory{cost}"
    if verdict.kind == NO:
        return f"does not fit{where}: {size_text(verdict.missing_bytes)} of {verdict.reason} are missing"
    assert verdict.kind == UNKNOWN
    return f"nobody can say whether it fits: {verdict.reason}"
