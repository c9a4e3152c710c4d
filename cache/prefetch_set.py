"""A warm set: a list of models to fetch ahead, as a TOML or JSON file that people can read and write.

    tier = "ram"                     # or "ssd"; optional
    [[models]]
    folder = "checkpoints"           # as ComfyUI's loader shows it …
    name = "sdxl/base.safetensors"
    [[models]]
    origin = "near"                  # … or as it lies in the bucket
    key = "models/loras/x.safetensors"

A file from outside: names never become paths, and nothing in it can add a bucket or an address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..storage.catalog import Catalog
from ..storage.errors import ConfigError
from ..storage.layout import FolderView
from ..storage.objects import RemoteObject
from .operations import TIERS

MODELS_MAX = 10_000
FILE_BYTES_MAX = 16 << 20
TEXT_MAX = 1024

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "diffusion_models": ("diffusion_models", "unet"),
    "text_encoders": ("text_encoders", "clip"),
    "controlnet": ("controlnet", "t2i_adapter"),
    **{
        name: (name,)
        for name in (
            *("checkpoints", "loras", "vae", "clip_vision", "style_models", "embeddings", "vae_approx", "gligen", "upscale_models"),
            *("latent_upscale_models", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders"),
        )
    },
}
"""ComfyUI's folders and the directories that feed them, for where ComfyUI is not there to ask"""
OLDER_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}


@dataclass(frozen=True, slots=True)
class WarmModel:
    """folder and name, or origin and key; an empty folder: whichever folder has the name."""

    folder: str = ""
    name: str = ""
    origin: str = ""
    key: str = ""

    @property
    def label(self) -> str:
        return f"{self.origin}:{self.key}" if self.key else f"{self.folder or '?'}/{self.name}"


@dataclass(frozen=True, slots=True)
class WarmSet:
    models: tuple[WarmModel, ...] = ()
    tier: str = ""


def plain_view(folder: str) -> FolderView:
    """The folder where no ComfyUI says what it reads: its own directories, every extension."""
    folder = OLDER_NAMES.get(folder, folder)
    return FolderView(folder, FOLDERS.get(folder, (folder,)), frozenset())


def read_warm_set(path: Path) -> WarmSet:
    """Raises ConfigError, which names the file without its directories."""
    content = read_content(path)
    try:
        return warm_set_of(content)
    except ValueError as error:
        raise _wrong(path, str(error)) from None


def read_content(path: Path) -> Any:
    """What a TOML or JSON file holds."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _wrong(path, "it is larger than 16 MB")
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise _wrong(path, "there is no such file") from None
    except OSError as error:
        raise _wrong(path, error.strerror or "it cannot be read") from None
    except UnicodeDecodeError:
        raise _wrong(path, "it is not UTF-8 text") from None
    try:
        return json.loads(text) if text.lstrip()[:1] in ("{", "[") and path.suffix.lower() != ".toml" else _toml(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"it is neither TOML nor JSON: {error}") from None


def warm_set_of(content: Any) -> WarmSet:
    """Raises ValueError."""
    if not isinstance(content, Mapping) or not isinstance(content.get("models"), list):
        raise ValueError("it has no list of models")
    unknown = set(content) - {"models", "tier"}
    if unknown:
        raise ValueError(f"it has an unknown key, {sorted(unknown)[0]}")
    tier = content.get("tier", "")
    if tier not in ("", *TIERS):
        raise ValueError('tier must be "ram" or "ssd"')
    if len(content["models"]) > MODELS_MAX:
        raise ValueError(f"it lists more than {MODELS_MAX} models")
    return WarmSet(tuple(dict.fromkeys(_model(one, place) for place, one in enumerate(content["models"]))), tier)


def _model(one: Any, place: int) -> WarmModel:
    where = f"models[{place}]"
    if not isinstance(one, Mapping) or not all(isinstance(v, str) and len(v) <= TEXT_MAX for v in one.values()):
        raise ValueError(f"{where} is not a table of short texts")
    unknown = set(one) - set(WarmModel.__slots__)
    if unknown:
        raise ValueError(f"{where} has an unknown key, {sorted(unknown)[0]}")
    model = WarmModel(**one)
    if not (model.name or (model.origin and model.key)):
        raise ValueError(f"{where} needs a name, or origin and key")
    return model


def to_toml(models: Iterable[WarmModel], tier: str = "") -> str:
    tables = []
    for model in models:
        given = {name: getattr(model, name) for name in WarmModel.__slots__ if getattr(model, name)}
        tables += ["[[models]]", *(f"{name} = {_quoted(value)}" for name, value in given.items()), ""]
    return "\n".join([*([f'tier = "{tier}"', ""] if tier else []), *(tables or ["models = []", ""])])


def _quoted(text: str) -> str:
    """A JSON string is a TOML string, but for the one control character that JSON takes as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def find_all(
    warm_set: WarmSet, catalog: Catalog, view_of: Callable[[str], FolderView | None], folders: Sequence[str] = tuple(FOLDERS)
) -> tuple[tuple[RemoteObject, ...], tuple[str, ...]]:
    """(objects in the set's order, labels of those that no bucket has).

    view_of: None: such a folder takes nothing from buckets; folders: looked through for a model without one
    """
    wanted = {(m.origin, m.key) for m in warm_set.models if m.key}
    by_key = {(o.origin, o.id.key): o for o in catalog.objects() if (o.origin, o.id.key) in wanted} if wanted else {}
    found: list[RemoteObject] = []
    missing: list[str] = []
    for model in warm_set.models:
        obj = by_key.get((model.origin, model.key)) if model.key else _by_name(model, catalog, view_of, folders)
        if obj is None:
            missing.append(model.label)
        else:
            found.append(obj)
    return tuple(dict.fromkeys(found)), tuple(missing)


def _by_name(
    model: WarmModel, catalog: Catalog, view_of: Callable[[str], FolderView | None], folders: Sequence[str]
) -> RemoteObject | None:
    for folder in (model.folder,) if model.folder else folders:
        view = view_of(folder)
        obj = None if view is None else catalog.find(view, model.name)
        if obj is not None:
            return obj
    return None


def _toml(text: str) -> Any:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[import-not-found, no-redef]
    return tomllib.loads(text)


def _wrong(path: Path, cause: str) -> ConfigError:
    return ConfigError(f"the warm set {path.name} cannot be used", cause=cause, next_step="see docs/prefetch.md for what it looks like")
