"""Seam: ``comfy.sd1_clip.load_embed``, which looks for textual-inversion embeddings in directories by itself.

An embedding that is in none of them but in a bucket is fetched, then read by the original from where it lies.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import folder_paths

from ..storage.objects import RemoteObject
from .folders import view_of
from .pickles import refuse_by_content, refuse_by_name
from .progress import NodeWatch
from .report import reporting
from .runtime import Request, Runtime
from .seam import Seam, Wrapped, shape_problem

FOLDER = "embeddings"
SUFFIXES = ("", ".safetensors", ".pt", ".bin")
"""in the order in which ComfyUI tries them"""


class EmbeddingsSeam(Seam):
    name = "embeddings"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def problem(self) -> str:
        module = sys.modules.get("comfy.sd1_clip")
        return shape_problem(getattr(module, "load_embed", None), "embedding_name", "embedding_directory", "embedding_size")

    def wrap_all(self) -> None:
        self.wrap(sys.modules["comfy.sd1_clip"], "load_embed", self._load_embed)

    def _load_embed(self, original: Wrapped, embedding_name: str, embedding_directory: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(embedding_name, embedding_directory, *args, **kwargs)
        if found is not None or not isinstance(embedding_name, str) or not _are_comfyuis(embedding_directory):
            return found
        obj = self._find(embedding_name)
        if obj is None:
            return None
        with reporting(self._runtime.bus, obj, Request(FOLDER, embedding_name)) as report, NodeWatch(obj.basename) as watch:
            refuse_by_name(self._runtime.config, obj)
            with self._runtime.cache.open_file(obj, watch) as opened:
                refuse_by_content(self._runtime.config, obj, opened.path)
                directory, base = os.path.split(opened.path)
                tensor = original(base, [directory], *args, **kwargs)
                watch.finished(opened)
                report.loaded(opened)
                return tensor

    def _find(self, name: str) -> RemoteObject | None:
        """None also when there is a local file of that name: then the original has found it, and found it unreadable."""
        view = view_of(FOLDER)
        if view is None:
            return None
        for suffix in SUFFIXES:
            obj = self._runtime.catalog.find(view, name + suffix)
            if obj is not None:
                return None if _is_local(name) else obj
        return None


def _is_local(name: str) -> bool:
    directories = folder_paths.get_folder_paths(FOLDER)
    return any(os.path.isfile(os.path.join(d, name + suffix)) for d in directories for suffix in SUFFIXES)


def _are_comfyuis(directories: str | Iterable[str] | None) -> bool:
    """Whether the caller searches ComfyUI's embedding folders, or some directory of its own, which is not our business."""
    if directories is None:
        return False
    asked = {directories} if isinstance(directories, str) else set(directories)
    return bool(asked & set(folder_paths.get_folder_paths(FOLDER)))
