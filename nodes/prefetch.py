"""Prefetch Models and Wait For Models: bring models near before a loader asks."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..cache.warming import Warming
from ..cache.watch import LoadProgress
from ..hooks.progress import NodeWatch
from ..storage.errors import DeadlineExceeded, NoRoom
from ..storage.landing import Priority
from ..storage.people import size_text
from .ours import CATEGORY, always, chosen, runtime, total

MODELS = (
    "One model a line, as folder/name: checkpoints/sdxl.safetensors. * and ? stand for any text; a line that ends in / means all below it."
)
AFTER = "Connect anything here to run after it; it is handed on."
TIERS = ["ram", "ssd"]
TIER = "ram: ready in milliseconds; ssd: kept over restarts, read at the disk's speed"
LOOKS_A_SECOND = 10


def models_input() -> Any:
    return io.String.Input("models", multiline=True, default="", placeholder="checkpoints/…", tooltip=MODELS)


def after_input() -> Any:
    return io.AnyType.Input("after", optional=True, tooltip=AFTER)


def after_output() -> Any:
    """Hands on what came in at `after_input`."""
    return io.AnyType.Output("passed", display_name="after", tooltip="What came in at after.")


class Prefetch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamPrefetch",
            display_name="Prefetch Models",
            category=CATEGORY,
            description="Starts fetching models from the bucket, so that loaders find them near.",
            inputs=[
                models_input(),
                io.Combo.Input("tier", options=TIERS, default="ram", tooltip=TIER),
                io.Boolean.Input("wait", default=False, tooltip="Go on only when all of them are there."),
                after_input(),
            ],
            outputs=[
                after_output(),
                io.String.Output("report", display_name="report", tooltip="What was asked for, a line each."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, models: str, tier: str, wait: bool, after: Any = None) -> io.NodeOutput:
        asked = chosen(models)
        warming = runtime().cache.warm([c.obj for c in asked], tier, Priority.QUEUED if wait else Priority.BACKGROUND)
        if wait:
            wait_for(warming, f"{len(asked)} models", None)
        what = "are in" if wait else "are on their way to"
        lines = [
            f"{len(asked)} models, {size_text(total(asked))}, {what} {tier}",
            *(f"{c.line}  {size_text(c.obj.size_bytes)}" for c in asked),
        ]
        report = "\n".join(lines)
        return io.NodeOutput(after, report, ui=ui.PreviewText(report))


class WaitForModels(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamWait",
            display_name="Wait For Models",
            category=CATEGORY,
            description="Holds the prompt until models are near. What is not on its way yet is fetched.",
            inputs=[
                models_input(),
                io.Combo.Input("tier", options=TIERS, default="ssd", tooltip=TIER),
                io.Float.Input("timeout_s", default=0.0, min=0.0, max=86400.0, step=1.0, tooltip="Seconds; 0: as long as it takes."),
                after_input(),
            ],
            outputs=[
                after_output(),
                io.Float.Output("seconds", display_name="seconds", tooltip="How long this waited."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, models: str, tier: str, timeout_s: float, after: Any = None) -> io.NodeOutput:
        asked = chosen(models)
        warming = runtime().cache.warm([c.obj for c in asked], tier, Priority.QUEUED)
        seconds = wait_for(warming, f"{len(asked)} models", timeout_s or None)
        return io.NodeOutput(after, seconds, ui=ui.PreviewText(f"{len(asked)} models are in {tier} after {seconds:.1f} s"))


def wait_for(warming: Warming, name: str, timeout_s: float | None) -> float:
    """Shows the progress on the node; returns the seconds.

    Interrupted or too late, the warming is cancelled: what has landed stays.  Raises NoRoom for what could not be fetched.
    """
    seconds = 0.0
    with NodeWatch(name) as watch:
        try:
            while not warming.wait(1 / LOOKS_A_SECOND):
                seconds += 1 / LOOKS_A_SECOND
                watch.check()
                watch.progress(_progress(warming, seconds))
                if timeout_s is not None and seconds >= timeout_s:
                    raise DeadlineExceeded(f"{name} are not there after {timeout_s:g} s", next_step="give Wait For Models more seconds")
        except BaseException:
            warming.cancel()
            raise
    failures = warming.progress().failures
    if failures:
        cause = "; ".join(failure.message for failure in failures[:5])
        raise NoRoom(f"{len(failures)} of {name} could not be fetched", subject=failures[0].subject, cause=cause)
    return seconds


def _progress(warming: Warming, seconds: float) -> LoadProgress:
    now = warming.progress()
    rate = now.done_bytes / seconds
    left_s = (now.size_bytes - now.done_bytes) / rate if rate else None
    return LoadProgress(now.size_bytes, now.done_bytes, rate, left_s, "bucket")
