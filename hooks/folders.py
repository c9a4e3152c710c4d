"""ComfyUI's model folders as the catalog sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import folder_paths

from ..storage.layout import FolderView

NOT_FROM_BUCKETS = frozenset({"custom_nodes", "configs", "diffusers", "fonts", "datasets"})
"""code, and folders whose files are not opened through a loader that we wrap"""


def view_of(folder_name: str) -> FolderView | None:
    """How a bucket feeds the folder; None for a folder that takes nothing from buckets.

    The bucket directories are the folder's own directories below ComfyUI's models directory, so that a key such as
    "unet_gguf", which reads models/unet, takes unet/*.gguf; then the key itself and its older names.
    """
    folder = folder_paths.map_legacy(folder_name)
    if folder in NOT_FROM_BUCKETS or folder not in folder_paths.folder_names_and_paths:
        return None
    directories, extensions, *_ = folder_paths.folder_names_and_paths[folder]
    accepted = frozenset(e.lower() for e in extensions if e.startswith("."))
    if extensions and not accepted:
        return None
    names = dict.fromkeys([folder, *_below_models(directories), *_older_names(folder)])
    return FolderView(folder, tuple(names), accepted)


def local_file(folder: str, name: str) -> str | None:
    """The local file that a loader's list calls so, which wins over a bucket's object.  Unlike ``get_full_path`` it fetches nothing,
    whoever asks."""
    inside = os.path.relpath(os.path.join("/", name.replace("\\", "/")), "/")
    paths = (os.path.join(base, inside) for base in folder_paths.get_folder_paths(folder))
    return next((path for path in paths if os.path.isfile(path)), None)


def all_views() -> tuple[FolderView, ...]:
    views = (view_of(folder) for folder in tuple(folder_paths.folder_names_and_paths))
    return tuple(view for view in views if view is not None)


def _below_models(directories: list[str]) -> Iterator[str]:
    root = os.path.join(folder_paths.models_dir, "")
    for directory in directories:
        if directory.startswith(root):
            relative = os.path.normpath(directory[len(root) :]).replace("\\", "/")
            if relative not in ("", "."):
                yield relative


def _older_names(folder: str) -> Iterator[str]:
    return (old for old in ("unet", "clip") if folder_paths.map_legacy(old) == folder)
