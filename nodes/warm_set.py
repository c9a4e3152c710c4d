"""Warm Set: the bucket models of this very workflow, as the file that the boot fetch and `modelstream warm` read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io, ui

from ..cache.prefetch_set import WarmModel, to_toml
from ..hooks.lookahead_find import Finder
from ..hooks.lookahead_prompt import model_refs
from ..hooks.lookahead_shapes import ComfyShapes
from ..storage.errors import ConfigError
from .ours import CATEGORY, always, runtime
from .prefetch import TIERS

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FOLDER = "model-stream"


class MakeWarmSet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamWarmSet",
            display_name="Warm Set",
            category=CATEGORY,
            description="Lists the bucket models of this workflow, as a file that is fetched while ComfyUI starts.",
            inputs=[
                io.Combo.Input("tier", options=TIERS, default="ram", tooltip="Where the models are brought: ram or ssd."),
                io.String.Input(
                    "file_name",
                    default="warm-set",
                    tooltip="Written to output/model-stream/NAME.toml: letters, digits, dot, dash and underscore. Empty: no file.",
                ),
            ],
            outputs=[
                io.String.Output("warm_set", display_name="warm set", tooltip="The file's text."),
                io.Int.Output("count", display_name="count", tooltip="How many models it lists."),
            ],
            hidden=[io.Hidden.prompt],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def validate_inputs(cls, file_name: str) -> bool | str:
        named = not file_name or FILE_NAME.fullmatch(file_name) is not None
        return named or "file_name is letters, digits, dot, dash and underscore, at most 64"

    @classmethod
    def execute(cls, tier: str, file_name: str) -> io.NodeOutput:
        models = models_of(cls.hidden.prompt or {})
        text = to_toml(models, tier)
        if file_name:
            _write(file_name, text)
        return io.NodeOutput(text, len(models), ui=ui.PreviewText(text))


def models_of(prompt: dict[str, Any]) -> list[WarmModel]:
    """Each bucket model once, in the order of use; by folder and name where the loader says its folder, else by origin and key."""
    ours = runtime()
    finder = Finder(ours.catalog, ours.config)
    models = []
    for ref in model_refs(prompt, list(prompt), ComfyShapes()):
        obj = finder.find(ref)
        if obj is not None:
            plain = bool(ref.folder) and not ref.is_embedding
            models.append(WarmModel(ref.folder, ref.name) if plain else WarmModel(origin=obj.origin, key=obj.id.key))
    return list(dict.fromkeys(models))


def _write(name: str, text: str) -> None:
    """Raises ConfigError.  The name was checked by `validate_inputs`, and is checked again: a link hands values over unchecked."""
    if FILE_NAME.fullmatch(name) is None:
        raise ConfigError("this is no name for a file", cause=name[:80], next_step="use letters, digits, dot, dash and underscore")
    folder = Path(folder_paths.get_output_directory()) / FOLDER
    partial = folder / f"{name}.toml.{os.getpid()}"
    try:
        folder.mkdir(exist_ok=True)
        partial.write_text(text, "utf-8")
        os.replace(partial, folder / f"{name}.toml")
    except OSError as error:
        raise ConfigError("the warm set cannot be written", cause=error.strerror or "", next_step="look at the output folder") from None
