"""Load Checkpoint (Stream): the stock loader with a choice of the origin and of where the model is kept."""

from __future__ import annotations

import comfy.sd
import folder_paths
from comfy_api.latest import io

from ..hooks.boot import extension
from ..hooks.folders import view_of
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from .ours import CATEGORY, origin_names, runtime

NEAREST = "nearest"
KEEP = ["auto", "pin", "ssd"]


class LoadCheckpoint(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamLoadCheckpoint",
            display_name="Load Checkpoint (Stream)",
            category=CATEGORY,
            description="Loads a checkpoint like the stock node, from the origin of your choice, and says where it is kept.",
            inputs=[
                io.Combo.Input("ckpt_name", options=folder_paths.get_filename_list("checkpoints"), tooltip="Local files and buckets."),
                io.Combo.Input(
                    "origin",
                    options=[NEAREST, *origin_names()],
                    default=NEAREST,
                    tooltip="nearest: a local file first, then the origins in the order of the configuration.",
                ),
                io.Combo.Input(
                    "keep",
                    options=KEEP,
                    default="auto",
                    tooltip="auto: the policy decides; pin: never evict it from RAM or SSD; ssd: make sure that the SSD gets a copy.",
                ),
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def fingerprint_inputs(cls, ckpt_name: str, origin: str, keep: str) -> str:
        """Another version of the object is another model."""
        obj = _found(ckpt_name, origin)
        return f"{obj.id.digest if obj else ''} {keep}"

    @classmethod
    def validate_inputs(cls, ckpt_name: str, origin: str) -> bool | str:
        if origin == NEAREST:
            # the list and not the path: a validation runs on the event loop, where no path of a bucket may be waited for
            return ckpt_name in folder_paths.get_filename_list("checkpoints") or f"{ckpt_name} is in no local folder and no bucket"
        return _found(ckpt_name, origin) is not None or f"the origin {origin} has no checkpoint {ckpt_name}"

    @classmethod
    def execute(cls, ckpt_name: str, origin: str, keep: str) -> io.NodeOutput:
        obj = _found(ckpt_name, origin)
        if origin == NEAREST or obj is None:
            path = folder_paths.get_full_path_or_raise("checkpoints", ckpt_name)
            ours = extension().runtime
            obj = None if ours is None else ours.object_at(path)
        else:
            path = _path_in(obj, ckpt_name)
        if obj is not None and keep == "pin":
            runtime().cache.pin(obj)
        embeddings = folder_paths.get_folder_paths("embeddings")
        model, clip, vae, *_ = comfy.sd.load_checkpoint_guess_config(
            path, output_vae=True, output_clip=True, embedding_directory=embeddings
        )
        if obj is not None and keep == "ssd":
            runtime().cache.warm([obj], "ssd", Priority.BACKGROUND)
        return io.NodeOutput(model, clip, vae)


def _found(name: str, origin: str) -> RemoteObject | None:
    ours, view = extension().runtime, view_of("checkpoints")
    if ours is None or view is None:
        return None
    return ours.catalog.find(view, name, origin="" if origin == NEAREST else origin)


def _path_in(obj: RemoteObject, name: str) -> str:
    """What `get_full_path` would hand out, for this very origin."""
    ours, resolving = runtime(), extension().resolving
    if resolving is not None:
        resolving.before_loading()
    path = ours.cache.path_for(obj)
    ours.asked(path, "checkpoints", name)
    return path
