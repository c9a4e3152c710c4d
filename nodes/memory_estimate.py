"""Memory Estimate: what a model will take and whether it fits, before a byte of its weights moves."""

from __future__ import annotations

from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from ..hooks.fit_folders import FOLDERS
from ..storage.errors import ObjectMissing
from .ours import CATEGORY, always, runtime


class MemoryEstimate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamMemoryEstimate",
            display_name="Memory Estimate",
            category=CATEGORY,
            description="Says from a model's header alone how much memory it will take here, and whether that is there.",
            inputs=[
                io.Combo.Input("model", options=models(), tooltip="Of a local folder or a bucket; its weights are not read."),
                io.Int.Input("width", default=1024, min=16, max=16384, step=8, tooltip="Of the picture, in pixels."),
                io.Int.Input("height", default=1024, min=16, max=16384, step=8, tooltip="Of the picture, in pixels."),
                io.Int.Input("frames", default=1, min=1, max=4096, tooltip="Of a video; 1 for a picture."),
                io.Int.Input("batch", default=1, min=1, max=64, tooltip="Pictures at once."),
            ],
            outputs=[
                io.String.Output("report", display_name="report", tooltip="Components, devices and the verdict, a line each."),
                io.Boolean.Output("fits", display_name="fits whole", tooltip="Whether it fits whole, other models sent away if need be."),
                io.Float.Output("gigabytes", display_name="GB", tooltip="Its weights and what ComfyUI makes room for beside them."),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, model: str, width: int, height: int, frames: int, batch: int) -> io.NodeOutput:
        from ..cache.fit import EVICT, WHOLE
        from ..hooks.fit_json import fit_lines
        from ..hooks.fit_shapes import Size

        folder, _, name = model.partition("/")
        estimator = runtime().estimator
        runtime().cache  # noqa: B018 - opened here if nobody has yet: a header may lie in a tier
        fit = None if estimator is None else estimator.by_name(folder, name, Size(width, height, frames, batch))
        if fit is None:
            raise ObjectMissing("no safetensors file of that name", subject=model, next_step="choose one of the list")
        text = "\n".join(fit_lines(fit.estimate, fit.verdict, fit.rooms))
        needed = fit.verdict.needed_bytes or fit.estimate.size_bytes
        return io.NodeOutput(text, fit.verdict.kind in (WHOLE, EVICT), needed / 1e9, ui=ui.PreviewText(text))


def models() -> list[str]:
    """Those that ComfyUI's own loaders would be asked about, as folder/name."""
    return [
        f"{folder}/{name}"
        for folder in FOLDERS
        for name in folder_paths.get_filename_list(folder)
        if name.endswith((".safetensors", ".sft"))
    ]
