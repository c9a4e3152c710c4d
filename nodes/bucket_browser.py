"""Bucket Browser: what the buckets hold for a folder, as text that other nodes take."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hooks.folders import all_views
from ..storage.people import size_text
from .ours import CATEGORY, always, runtime, total
from .selection import matching

ALL = "all folders"
SHOWN = 200


class BucketBrowser(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamBrowser",
            display_name="Bucket Browser",
            category=CATEGORY,
            description="Lists the models of the buckets by folder and pattern.",
            inputs=[
                io.Combo.Input(
                    "folder", options=[ALL, *(view.folder for view in all_views())], default=ALL, tooltip="A folder of ComfyUI's."
                ),
                io.String.Input("pattern", default="*", tooltip="* and ? stand for any text; upper and lower case are the same."),
                io.Boolean.Input("refresh", default=False, tooltip="List the buckets again first."),
            ],
            outputs=[
                io.String.Output("models", display_name="models", tooltip="A line each, for Prefetch, Pin, Evict and Wait For Models."),
                io.Int.Output("count", display_name="count", tooltip="How many."),
                io.Float.Output("gigabytes", display_name="GB", tooltip="All of them together."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, folder: str, pattern: str, refresh: bool) -> io.NodeOutput:
        ours = runtime()
        if refresh:
            ours.catalog.refresh(wait=True, timeout_s=60)
        views = [view for view in all_views() if folder in (ALL, view.folder)]
        found = [chosen for view in views for chosen in matching(view, pattern or "*", ours.catalog)]
        lines = [f"{c.line}  {size_text(c.obj.size_bytes)}" for c in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"… and {len(found) - SHOWN} more")
        text = "\n".join(lines) or "nothing of that name"
        return io.NodeOutput("\n".join(c.line for c in found), len(found), total(found) / 1e9, ui=ui.PreviewText(text))
