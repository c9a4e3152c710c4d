"""Load Diffusion Model (Fit) and Load Checkpoint (Fit): of a model's variants the one that a rule takes, and why."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import comfy.sd
import folder_paths
from comfy_api.latest import io, ui

from ..hooks.fit_folders import CHECKPOINTS, DIFFUSION, GGUF_FOLDER
from ..storage.errors import ModelStreamError
from ..storage.variant_rules import BEST, RULES
from .ours import CATEGORY, always, runtime

if TYPE_CHECKING:
    from ..hooks.fit_variants import Chosen

# What decides is imported when a node runs: a start of ComfyUI pays nothing for it.

RULE = (
    "best that fits: the most bits of those that fit whole; smallest; at most N bits: the most bits up to that; "
    "this one: no other than the chosen file."
)
LOG = logging.getLogger("modelstream")


def inputs(input_name: str, folder: str) -> list[Any]:
    return [
        io.Combo.Input(
            input_name, options=folder_paths.get_filename_list(folder), tooltip="Any variant of the model: it stands for all of them."
        ),
        io.Combo.Input("rule", options=list(RULES), default=BEST, tooltip=RULE),
        io.Float.Input("bits", default=8.0, min=1.0, max=64.0, step=0.5, tooltip="N of the rule at most N bits."),
        io.Int.Input("width", default=1024, min=16, max=16384, step=8, tooltip="Of the picture, in pixels."),
        io.Int.Input("height", default=1024, min=16, max=16384, step=8, tooltip="Of the picture, in pixels."),
        io.Int.Input("frames", default=1, min=1, max=4096, tooltip="Of a video; 1 for a picture."),
    ]


def report_output() -> Any:
    return io.String.Output("report", display_name="report", tooltip="What was chosen and why, and why none of the others.")


def chosen(folder: str, name: str, rule: str, bits: float, width: int, height: int, frames: int) -> Chosen:
    from ..hooks.fit_shapes import Size
    from ..hooks.fit_variants import choose

    runtime().cache  # noqa: B018 - opened here if nobody has yet: headers may lie in a tier
    return choose(runtime(), folder, name, rule, bits, Size(width, height, frames))


def fingerprint(folder: str, name: str, **asked: Any) -> str | float:
    """Another variant, or another version of it, is another model."""
    from ..hooks.folders import view_of

    try:
        found = chosen(folder, name, **asked)
    except (ModelStreamError, OSError) as error:
        LOG.debug("[modelstream] %s", error)
        return always()
    view = view_of(found.folder)
    obj = None if view is None else runtime().catalog.find(view, found.choice.variant.name)
    return f"{found.choice.variant.name} {obj.id.digest if obj is not None else ''}"


class LoadDiffusionModelFit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamLoadDiffusionFit",
            display_name="Load Diffusion Model (Fit)",
            category=CATEGORY,
            description="Loads of a diffusion model's variants the one that fits this machine, or that a rule asks for, and says why.",
            inputs=inputs("unet_name", DIFFUSION),
            outputs=[io.Model.Output(), report_output()],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, unet_name: str, **asked: Any) -> str | float:
        return fingerprint(DIFFUSION, unet_name, **asked)

    @classmethod
    def execute(cls, unet_name: str, **asked: Any) -> io.NodeOutput:
        found = chosen(DIFFUSION, unet_name, **asked)
        name = found.choice.variant.name
        if found.folder == GGUF_FOLDER:
            from ..hooks.fit_variants import load_gguf

            model = load_gguf(name)
        else:
            model = comfy.sd.load_diffusion_model(folder_paths.get_full_path_or_raise(DIFFUSION, name))
        return io.NodeOutput(model, found.text, ui=ui.PreviewText(found.text))


class LoadCheckpointFit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamLoadCheckpointFit",
            display_name="Load Checkpoint (Fit)",
            category=CATEGORY,
            description="Loads of a checkpoint's variants the one that fits this machine, or that a rule asks for, and says why.",
            inputs=inputs("ckpt_name", CHECKPOINTS),
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output(), report_output()],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, ckpt_name: str, **asked: Any) -> str | float:
        return fingerprint(CHECKPOINTS, ckpt_name, **asked)

    @classmethod
    def execute(cls, ckpt_name: str, **asked: Any) -> io.NodeOutput:
        found = chosen(CHECKPOINTS, ckpt_name, **asked)
        path = folder_paths.get_full_path_or_raise(CHECKPOINTS, found.choice.variant.name)
        embeddings = folder_paths.get_folder_paths("embeddings")
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(
            path, output_vae=True, output_clip=True, embedding_directory=embeddings
        )
        return io.NodeOutput(model, clip, vae, found.text, ui=ui.PreviewText(found.text))
