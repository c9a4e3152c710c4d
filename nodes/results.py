"""Save Images to Bucket and Load Image from Bucket: what workflows make, in the owner's bucket for results."""

from __future__ import annotations

import io as bytes_io
import json
import time
from typing import Any

import numpy
import torch
from comfy.cli_args import args
from comfy_api.latest import io, ui
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from ..hooks.boot import extension
from ..hooks.progress import NodeWatch
from ..hooks.publish_allowed import results_refused_because
from ..storage.errors import ModelStreamError, NameTaken, ObjectMissing, PublishRefused
from ..storage.layout import is_safe_name
from ..storage.objects import ObjectId, RemoteObject
from .ours import CATEGORY, always, runtime

FORMATS = ("PNG", "JPEG", "WEBP")
NAME_TRIES = 20
DESCRIPTION = "Puts images into the bucket for results, as PNG. The owner of this server decides on names and on what is kept in them."
READ_BYTES = 8 << 20


class SaveImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamSaveImages",
            display_name="Save Images to Bucket",
            category=CATEGORY,
            description=DESCRIPTION,
            inputs=[
                io.Image.Input("images", tooltip="The images to save."),
                io.String.Input("prefix", default="image", tooltip="Stands for {prefix} in the owner's pattern; never a folder."),
                io.Int.Input(
                    "seed", default=0, min=0, max=(1 << 64) - 1, optional=True, tooltip="Stands for {seed} in the owner's pattern."
                ),
            ],
            outputs=[
                io.String.Output("names", display_name="names", tooltip="A line each image: what Load Image from Bucket takes."),
                io.String.Output(
                    "links", display_name="links", tooltip="A line each image: opens it for a few minutes, if the owner allows that."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def validate_inputs(cls, prefix: str | None = None) -> bool | str:
        """ComfyUI asks only where an input is named."""
        return results_refused_because(extension().config) or True

    @classmethod
    def execute(cls, images: Any, prefix: str, seed: int = 0) -> io.NodeOutput:
        from ..hooks.publishing import results_origin
        from ..storage.result_keys import Pattern

        ours = runtime()
        origin, settings = results_origin(ours), ours.config.results
        pattern = Pattern.checked(settings.pattern)
        info = _workflow(cls) if settings.metadata == "keep" and not args.disable_metadata else None
        names = []
        now_s = time.time()
        with NodeWatch("images") as watch:
            for batch, image in enumerate(images):
                watch.check()
                picture = Image.fromarray(numpy.clip(255.0 * image.cpu().numpy(), 0, 255).astype(numpy.uint8))
                values = {"prefix": prefix, "seed": seed, "batch": batch, "width": picture.width, "height": picture.height}
                before, after = pattern.halves(values, now_s)
                names.append(_put(ours, origin.prefix, before, after, _png(picture, info), watch))
        links = [origin.link(origin.prefix + name, settings.link_s) for name in names] if settings.links else []
        shown = {"text": ("\n".join(names),), **ui.PreviewImage(images, cls=None).as_dict()}
        # links only go to who is connected: what a node shows is kept in ComfyUI's history
        return io.NodeOutput("\n".join(names), "\n".join(links), ui=shown)


class LoadImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamLoadImage",
            display_name="Load Image from Bucket",
            category=CATEGORY,
            description="Loads an image from the bucket for results.",
            inputs=[
                io.String.Input("name", default="", tooltip="As Save Images to Bucket says it: folder/name.png. The first line counts.")
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The image."),
                io.Mask.Output("mask", display_name="mask", tooltip="Its transparency; empty where it has none."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str) -> Any:
        """Another version of the object is another image; where that cannot be asked, executing tells why."""
        try:
            return _stated(name).id.version
        except ModelStreamError:
            return always()

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return results_refused_because(extension().config) or True

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        from ..hooks.publishing import results_origin
        from ..storage.front import PinnedReader

        ours = runtime()
        obj, limit = _stated(name), ours.config.results.max_bytes
        if obj.size_bytes > limit:
            cause = f"it has {obj.size_bytes / 1e6:.1f} MB, max_mb under [results] allows {limit / 1e6:.1f} MB"
            raise PublishRefused("the picture is too large", subject=obj.subject, cause=cause, next_step="raise max_mb")
        content = bytearray()
        with NodeWatch(obj.basename) as watch, PinnedReader(results_origin(ours), obj) as reader:
            while len(content) < obj.size_bytes:
                watch.check()
                content += reader.read(len(content), READ_BYTES)
        return io.NodeOutput(*_tensors(bytes(content), obj.subject))


def _workflow(cls: Any) -> PngInfo:
    """As ComfyUI's own node writes it."""
    info = PngInfo()
    if cls.hidden.prompt:
        info.add_text("prompt", json.dumps(cls.hidden.prompt))
    for name, value in (cls.hidden.extra_pnginfo or {}).items():
        info.add_text(name, json.dumps(value))
    return info


def _png(picture: Image.Image, info: PngInfo | None) -> bytes:
    buffer = bytes_io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=info, compress_level=4)
    return buffer.getvalue()


def _put(ours: Any, prefix: str, before: str, after: str, content: bytes, watch: NodeWatch) -> str:
    """Under the next free number; two who save at once take different ones.  Returns the name below the origin's prefix."""
    from ..hooks.publishing import publish_result, results_origin
    from ..storage.publish_bucket import Bucket
    from ..storage.result_keys import key_of, next_counter

    bucket = Bucket(results_origin(ours))
    counter = next_counter((key[len(prefix) :] for key in bucket.keys(prefix + before)), before)
    for number in range(counter, counter + NAME_TRIES):
        name = key_of(before, number, after, "png")
        try:
            publish_result(ours, prefix + name, content, "image/png", {}, watch.check)
        except NameTaken:
            continue
        return name
    raise NameTaken("no free number was found", subject=before, cause="others save there too", next_step="try again")


def _stated(name: str) -> RemoteObject:
    """Raises ModelStreamError."""
    from ..hooks.publishing import results_origin
    from ..storage.publish_bucket import Bucket

    name = name.strip().splitlines()[0] if name.strip() else ""
    origin = results_origin(runtime())
    if not is_safe_name(name, windows=True):
        step = "write it as Save Images to Bucket says it: folder/name.png"
        raise PublishRefused("this is no name of a result", subject=ascii(name)[:80], cause="a part of it is unsafe", next_step=step)
    key = origin.prefix + name
    there = Bucket(origin).head(key)
    if there is None:
        step = "look at the names that Save Images to Bucket hands out"
        raise ObjectMissing("there is no such image", subject=origin.subject(key), cause="HEAD finds none", next_step=step)
    version = ObjectId(origin.endpoint, origin.bucket, key, there.etag)
    return RemoteObject(origin.name, version, there.size_bytes, there.modified_s, there.storage_class)


def _tensors(content: bytes, subject: str) -> tuple[Any, Any]:
    """(image [1, height, width, 3], mask [1, height, width]), both 0 to 1.  Pillow refuses pictures of absurd size."""
    try:
        with Image.open(bytes_io.BytesIO(content), formats=FORMATS) as opened:
            picture = ImageOps.exif_transpose(opened)
            has_mask = "A" in picture.getbands() or "transparency" in picture.info
            rgba = picture.convert("RGBA" if has_mask else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        step = f"only {', '.join(FORMATS)} are read"
        raise PublishRefused("this is no picture", subject=subject, cause=type(error).__name__, next_step=step) from None
    values = torch.from_numpy(numpy.array(rgba).astype(numpy.float32) / 255.0)
    mask = 1.0 - values[..., 3] if has_mask else torch.zeros(values.shape[:2])
    return values[None, ..., :3], mask[None]
