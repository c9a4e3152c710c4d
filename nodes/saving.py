"""Save Checkpoint to Bucket and Save LoRA to Bucket: written by ComfyUI's own code into its temporary folder, then published."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths
from comfy_api.latest import io, ui

from ..cache.watch import LoadProgress
from ..hooks.boot import extension
from ..hooks.progress import NodeWatch
from ..hooks.publish_allowed import checked_name, refused_because
from ..storage.errors import PublishRefused
from ..storage.people import size_text
from .ours import CATEGORY, always, runtime

if TYPE_CHECKING:
    from ..storage.publish_plan import Published

NAME = "The model's name in the bucket; / makes a folder. Nothing that exists is replaced."
LICENCE = "Kept with the model in the bucket; may be empty."
VERSION = "Kept with the model in the bucket; may be empty."


def _about_inputs() -> list[Any]:
    return [
        io.String.Input("licence", default="", tooltip=LICENCE, optional=True),
        io.String.Input("version", default="", tooltip=VERSION, optional=True),
    ]


def _report_output() -> Any:
    return io.String.Output("report", display_name="report", tooltip="Where it is now, and how that was verified.")


class SaveCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamSaveCheckpoint",
            display_name="Save Checkpoint to Bucket",
            category=CATEGORY,
            description="Saves a checkpoint like the stock node, and puts it into the bucket: checked, resumable, verified.",
            inputs=[
                io.Model.Input("model", tooltip="With all its patches: they become part of the checkpoint."),
                io.Clip.Input("clip", optional=True, tooltip="Left out of the checkpoint when nothing is connected."),
                io.Vae.Input("vae", optional=True, tooltip="Left out of the checkpoint when nothing is connected."),
                io.String.Input("name", default="merged", tooltip=NAME),
                *_about_inputs(),
            ],
            outputs=[_report_output()],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        """ComfyUI asks only where an input is named."""
        return refused_because(extension().config, "checkpoints") or True

    @classmethod
    def execute(cls, model: Any, name: str, clip: Any = None, vae: Any = None, licence: str = "", version: str = "") -> io.NodeOutput:
        from comfy_extras.nodes_model_merging import save_checkpoint

        prompt, extra = cls.hidden.prompt, cls.hidden.extra_pnginfo

        def write(folder: str) -> None:
            save_checkpoint(model, clip=clip, vae=vae, filename_prefix="model", output_dir=folder, prompt=prompt, extra_pnginfo=extra)

        return _saved(write, "checkpoints", name, version, licence)


class SaveLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamSaveLora",
            display_name="Save LoRA to Bucket",
            category=CATEGORY,
            description="Puts a trained LoRA into the bucket: checked, resumable, verified.",
            inputs=[
                io.Custom("LORA_MODEL").Input("lora", tooltip="What a training node hands out."),
                io.String.Input("name", default="trained", tooltip=NAME),
                *_about_inputs(),
            ],
            outputs=[_report_output()],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return refused_because(extension().config, "loras") or True

    @classmethod
    def execute(cls, lora: Any, name: str, licence: str = "", version: str = "") -> io.NodeOutput:
        import comfy.utils

        def write(folder: str) -> None:
            comfy.utils.save_torch_file(lora, str(Path(folder) / "lora.safetensors"))

        return _saved(write, "loras", name, version, licence)


def _saved(write: Callable[[str], None], folder: str, name: str, version: str, licence: str) -> io.NodeOutput:
    """write: puts one file into the folder that it is given.  The file is gone afterwards, whatever happens."""
    from ..hooks.publishing import publish_model  # what publishing needs is imported when something is published
    from ..storage.publish_plan import Labels

    ours, name = runtime(), checked_name(name)
    because = refused_because(ours.config, folder)  # before minutes are spent on writing
    if because:
        raise PublishRefused(because.rstrip("."))
    temporary = Path(folder_paths.get_temp_directory())
    temporary.mkdir(parents=True, exist_ok=True)
    place = tempfile.mkdtemp(prefix="model-stream-", dir=temporary)
    try:
        write(place)
        (file,) = Path(place).iterdir()
        with NodeWatch(name) as watch:
            published = publish_model(ours, file, folder, name, Labels(version=version, licence=licence), _show_on(watch))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    report = _report(published)
    return io.NodeOutput(report, ui=ui.PreviewText(report))


def _show_on(watch: NodeWatch) -> Callable[[str, int, int], None]:
    def show(what: str, done: int, total: int) -> None:
        watch.check()
        if what == "send":
            watch.progress(LoadProgress(total, done, 0.0, None, "bucket"))

    return show


def _report(published: Published) -> str:
    words = {"unchanged": "was there already", "copied": f"was copied inside the bucket from {published.copied_from}"}
    how = words.get(published.how, f"{size_text(published.size_bytes)} in {published.seconds:.1f} s")
    return f"{published.subject}: {how}, verified by {published.verified or 'nothing: these keys may not look'}"
