"""Is this file what its name says, and does it belong there?  Asked before a byte is sent.

A safetensors header passes the strict reader that every load goes through, so what is pushed can be loaded; a pickle is
recognised by its bytes and not by its name, and refused unless the owner allows it; a GGUF file has to begin like one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .config import FolderRule
from .errors import InvalidSafetensors, PickleRefused, PublishRefused
from .layout import is_safe_name
from .model_kinds import ModelKind, kind_of_model, label
from .publish_source import SourceFile
from .safetensors_header import header_bytes, kind_of, parse_header

SAFETENSORS = frozenset({".safetensors", ".sft"})
PICKLES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
GGUF = frozenset({".gguf"})
GGUF_FOLDERS = frozenset({"diffusion_models", "unet", "text_encoders", "clip", "unet_gguf", "clip_gguf"})
FOLDERS = frozenset(
    {"checkpoints", "loras", "vae", "text_encoders", "clip", "diffusion_models", "unet", "clip_vision", "style_models", "embeddings"}
    | {"diffusers", "vae_approx", "controlnet", "t2i_adapter", "gligen", "upscale_models", "latent_upscale_models", "hypernetworks"}
    | {"photomaker", "classifiers", "model_patches", "audio_encoders"}
)
"""of ComfyUI itself; other folders belong to other extensions and take every kind of model file"""
KEY_BYTES_MAX = 1024
_GGUF_COUNT_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file is.  form: "safetensors", "gguf", "pickle" or "unknown"; tensors: how many, 0 where it is not known."""

    form: str
    kind: ModelKind
    tensors: int = 0
    said: tuple[tuple[str, str], ...] = ()
    """what the header says of licence, source and version, by our names for them"""


def examine(source: SourceFile, *, allow_pickle: bool = False) -> Examined:
    """Raises InvalidSafetensors, PickleRefused or PublishRefused."""
    suffix = source.path.suffix.lower()
    form = kind_of(source.read(0, 16))
    if suffix in SAFETENSORS:
        return _safetensors(source)
    if suffix in GGUF:
        return _gguf(source, form)
    if suffix in PICKLES or form in ("zip", "pickle"):
        if not allow_pickle:
            step = "convert it to safetensors; or allow it with --allow-pickle, or allow_pickles of this origin"
            cause = "loading a pickle can run code that somebody put into it"
            raise PickleRefused("pickles are not pushed", subject=source.name, cause=cause, next_step=step)
        return Examined("pickle", ModelKind())
    known = ", ".join(sorted(SAFETENSORS | GGUF | PICKLES))
    raise PublishRefused("this is no model file", subject=source.name, cause=f'its extension is "{suffix}"', next_step=f"known: {known}")


def check_place(path: str, form: str, folder: str, *, prefix: str = "") -> None:
    """path: the key without the origin's prefix.  Raises PublishRefused where ComfyUI could never show or load it."""
    if not is_safe_name(path, windows=True) or len((prefix + path).encode("utf-8", "surrogatepass")) > KEY_BYTES_MAX:
        cause = "a part of it is empty, too long, ends in a dot or blank, or has signs that some file system forbids"
        raise PublishRefused("this name cannot be a model's", subject=ascii(path)[:120], cause=cause, next_step="choose a plainer name")
    if "/" not in path and not folder:
        cause = "a name without a folder appears in no loader"
        raise PublishRefused("the folder is missing", subject=path, cause=cause, next_step="write --to ORIGIN:FOLDER/NAME")
    if form == "gguf" and folder in FOLDERS - GGUF_FOLDERS:
        raise PublishRefused(
            "this file does not belong into that folder",
            subject=path,
            cause=f"nothing loads GGUF files from {folder}",
            next_step="GGUF files go into diffusion_models or text_encoders",
        )


def folder_of(path: str, rules: Sequence[FolderRule]) -> str:
    """ComfyUI's folder of a key without the origin's prefix: by the longest rule, else its first directory."""
    rule = next((rule for rule in rules if path.startswith(rule.prefix)), None)
    return rule.folder if rule is not None else path.partition("/")[0] if "/" in path else ""


def directory_for(folder: str, rules: Sequence[FolderRule]) -> str:
    """Where a model of ComfyUI's ``folder`` is put, without the origin's prefix; ends with "/"."""
    return next((rule.prefix for rule in rules if rule.folder == folder), f"{folder}/")


def _safetensors(source: SourceFile) -> Examined:
    try:
        length = header_bytes(source.read(0, 8), source.size_bytes)
        header = parse_header(source.read(0, length), source.size_bytes)
    except InvalidSafetensors as error:
        raise error.about(source.name) from None
    metadata = header.metadata or {}
    names = {"modelspec.license": "licence", "modelspec.version": "version"}
    said = tuple((ours, text) for theirs, ours in names.items() if (text := label(metadata.get(theirs, ""))))
    return Examined("safetensors", kind_of_model(header.tensors, metadata), len(header.tensors), said)


def _gguf(source: SourceFile, form: str) -> Examined:
    """The fixed head (magic, version, two counts) and the first key, which by convention is the architecture."""
    head = source.read(0, 24 + 8 + 64 + 4 + 8 + 64)
    if form != "gguf" or len(head) < 24:
        raise _no_gguf(source.name, "it does not begin like one")
    version, tensors, keys = struct.unpack_from("<IQQ", head, 4)
    if version not in (2, 3) or not 0 < tensors <= _GGUF_COUNT_MAX or keys > _GGUF_COUNT_MAX:
        raise _no_gguf(source.name, f"version {version}, {tensors} tensors and {keys} keys are not possible")
    return Examined("gguf", ModelKind("diffusion_models", _first_text(head[24:], b"general.architecture")), tensors)


def _first_text(raw: bytes, key: bytes) -> str:
    head = struct.pack("<Q", len(key)) + key + struct.pack("<I", 8)
    if not raw.startswith(head) or len(raw) < len(head) + 8:
        return ""
    (length,) = struct.unpack_from("<Q", raw, len(head))
    return label(raw[len(head) + 8 : len(head) + 8 + min(length, 64)].decode("ascii", "replace"))


def _no_gguf(name: str, cause: str) -> PublishRefused:
    return PublishRefused("it is not a valid GGUF file", subject=name, cause=cause, next_step="download or write it again")
