"""From a model's name in a prompt to the bucket's object, as the loader will find it: a local file of that name wins."""

from __future__ import annotations

import os
from collections.abc import Iterator

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

    def __init__(self, catalog: Catalog, config: Config) -> None:
        self._catalog = catalog
        self._config = config

    def find(self, ref: ModelRef) -> RemoteObject | None:
        """None: nothing to fetch.  It is local, in no bucket, or of a kind that the owner does not let anybody load."""
        for view in self._views(ref):
            for suffix in SUFFIXES if ref.is_embedding else ("",):
                name = ref.name + suffix
                if is_local(view.folder, name):
                    return None
                obj = self._catalog.find(view, name)
                if obj is not None:
                    return obj if self._allowed(obj) else None
        return None

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
