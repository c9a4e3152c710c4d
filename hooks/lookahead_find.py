"""From a model's name in a prompt to the bucket's object, as the loader will find it: a local file of that name wins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import folder_paths

from ..storage.catalog import Catalog
from ..storage.config import Config
from ..storage.errors import ModelStreamError
from ..storage.layout import FolderView
from ..storage.objects import RemoteObject
from .embeddings import SUFFIXES
from .folders import all_views, view_of
from .lookahead_prompt import ModelRef
from .pickles import refuse_by_name

InPrecision = Callable[[RemoteObject, str, str], RemoteObject]

HINTS = {
    "lora": "loras",
    "vae": "vae",
    "unet": "diffusion_models",
    "diffusion": "diffusion_models",
    "clip_vision": "clip_vision",
    "clip": "text_encoders",
    "encoder": "text_encoders",
    "control": "controlnet",
    "ckpt": "checkpoints",
    "checkpoint": "checkpoints",
    "upscale": "upscale_models",
    "style": "style_models",
    "embedding": "embeddings",
}
"""what an input is called often says its folder, where its list of choices does not; the first that fits"""


class Finder:
    """Any thread but the event loop: asks the disk for a local file."""

    def __init__(self, catalog: Catalog, config: Config, in_precision: InPrecision | None = None) -> None:
        """in_precision: what the loader will get where the owner's rules convert a model; asked only where there are rules, may
        read a header"""
        self._catalog = catalog
        self._config = config
        self._in_precision = in_precision if config.precision else None

    def find(self, ref: ModelRef) -> RemoteObject | None:
        """None: nothing to fetch.  It is local, in no bucket, or of a kind that the owner does not let anybody load."""
        for view in self._views(ref):
            for suffix in SUFFIXES if ref.is_embedding else ("",):
                name = ref.name + suffix
                if is_local(view.folder, name):
                    return None
                obj = self._catalog.find(view, name)
                if obj is not None:
                    return self._as_loaded(obj, view.folder, name) if self._allowed(obj) else None
        return None

    def _as_loaded(self, obj: RemoteObject, folder: str, name: str) -> RemoteObject | None:
        if self._in_precision is None:
            return obj
        try:
            return self._in_precision(obj, folder, name)
        except (ModelStreamError, OSError):
            return None  # its header cannot be read now; the load will tell

    def _allowed(self, obj: RemoteObject) -> bool:
        try:
            refuse_by_name(self._config, obj)
        except ModelStreamError:
            return False
        return True

    @staticmethod
    def _views(ref: ModelRef) -> Iterator[FolderView]:
        if ref.folder:
            view = view_of(ref.folder)
            if view is not None:
                yield view
            return
        hinted = [folder for hint, folder in HINTS.items() if hint in ref.input.lower()][:1]
        views = [view for view in all_views() if view.accepts(ref.name)]
        yield from sorted(views, key=lambda view: view.folder not in hinted)


def is_local(folder: str, name: str) -> bool:
    """As ``folder_paths.get_full_path`` looks: a name never leaves its folder."""
    relative = os.path.relpath(os.path.join("/", name.replace("\\", "/")), "/")
    directories = folder_paths.folder_names_and_paths.get(folder, ((),))[0]
    return any(os.path.isfile(os.path.join(directory, relative)) for directory in directories)
