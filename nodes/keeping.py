"""Pin / Unpin and Evict: what stays near and what goes."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hooks.progress import NodeWatch
from ..storage.objects import RemoteObject
from ..storage.people import size_text
from .ours import CATEGORY, always, chosen, one_by_one, runtime
from .prefetch import after_input, after_output, models_input

REFUSED = {
    "leased": "in use",
    "pinned": "pinned",
    "loaded": "a loaded model holds its memory",
    "busy": "the file cannot be moved now",
    "newer": "kept by another version",
}


class Pin(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamPin",
            display_name="Pin / Unpin Models",
            category=CATEGORY,
            description="A pinned model is never evicted from RAM or SSD. A pin stays until it is taken away, also over restarts.",
            inputs=[
                models_input(),
                io.Combo.Input(
                    "action", options=["pin", "unpin"], default="pin", tooltip="pin: keep; unpin: the policy may evict it again"
                ),
                after_input(),
            ],
            outputs=[
                after_output(),
                io.String.Output("report", display_name="report", tooltip="A line each model."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, models: str, action: str, after: Any = None) -> io.NodeOutput:
        cache = runtime().cache

        def act(obj: RemoteObject, _: NodeWatch) -> str:
            (cache.pin if action == "pin" else cache.unpin)(obj)
            return f"{action}ned"

        report = "\n".join(one_by_one(chosen(models), act))
        return io.NodeOutput(after, report, ui=ui.PreviewText(report))


class Evict(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamEvict",
            display_name="Evict Models",
            category=CATEGORY,
            description="Frees the RAM or SSD space that models take. They stay in the bucket.",
            inputs=[
                models_input(),
                io.Combo.Input("tier", options=["all", "ram", "ssd"], default="all", tooltip="From where; the bucket is never touched."),
                after_input(),
            ],
            outputs=[
                after_output(),
                io.Int.Output("freed_bytes", display_name="freed bytes", tooltip="All of them together."),
                io.String.Output("report", display_name="report", tooltip="A line each model."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, models: str, tier: str, after: Any = None) -> io.NodeOutput:
        cache = runtime().cache
        freed_bytes = 0

        def act(obj: RemoteObject, _: NodeWatch) -> str:
            nonlocal freed_bytes
            outcome = cache.evict(obj, None if tier == "all" else tier)
            freed_bytes += outcome.total_bytes
            freed = [f"{size_text(freed)} of {where} freed" for where, freed in outcome.freed_bytes.items()]
            kept = [f"stays in {where}: {REFUSED.get(why, why)}" for where, why in outcome.refused.items()]
            return ", ".join([*freed, *kept]) or "was not there"

        report = "\n".join(one_by_one(chosen(models), act))
        return io.NodeOutput(after, freed_bytes, report, ui=ui.PreviewText(report))
