"""Seam: ``ModelFileManager.get_model_file_list``, which fills the model library's sidebar; it walks the disk by itself."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import folder_paths

from ..storage.layout import FolderView
from .answering import answer_first, middleware_problem
from .folders import view_of
from .runtime import Runtime
from .seam import Seam, Wrapped, shape_problem

if TYPE_CHECKING:
    from aiohttp import web


@dataclass(frozen=True, slots=True)
class _Entries:
    generation: int
    entries: list[dict[str, Any]]


class LibrarySeam(Seam):
    name = "library"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._catalog = runtime.catalog
        self._made: dict[str, _Entries] = {}

    def problem(self) -> str:
        return shape_problem(getattr(_owner(), "get_model_file_list", None), "self", "folder_name") or middleware_problem()

    def wrap_all(self) -> None:
        self.undo_with(answer_first("/experiment/models/", self._prepare))
        self.wrap(_owner(), "get_model_file_list", self._get_model_file_list)

    async def _prepare(self, request: web.Request) -> None:
        """100,000 entries take 0.3 s to make: off the event loop, before ComfyUI's handler asks for them there."""
        view = view_of(request.match_info.get("folder", ""))
        if view is not None and self._is_stale(view):
            await asyncio.get_running_loop().run_in_executor(None, self._make, view)

    def _get_model_file_list(self, original: Wrapped, manager: Any, folder_name: str, *args: Any, **kwargs: Any) -> Any:
        local = original(manager, folder_name, *args, **kwargs)
        try:
            return self._with_remote(folder_name, local)
        except Exception as error:
            self.ours_failed(error)
            return local

    def _with_remote(self, folder_name: str, local: list[dict[str, Any]]) -> list[dict[str, Any]]:
        view = view_of(folder_name)
        # pathIndex says in which of the folder's directories an entry is; a folder without one has no place for ours
        if view is None or not folder_paths.folder_names_and_paths[view.folder][0]:
            return local
        if self._is_stale(view):
            self._make(view)
        known = {entry["name"].replace("\\", "/") for entry in local}
        return local + [entry for entry in self._made[view.folder].entries if entry["name"] not in known]

    def _is_stale(self, view: FolderView) -> bool:
        made = self._made.get(view.folder)
        return made is None or made.generation != self._catalog.generation

    def _make(self, view: FolderView) -> None:
        generation = self._catalog.generation  # before reading: what changes meanwhile makes it stale
        entries = [
            {"name": name, "pathIndex": 0, "modified": obj.modified_s, "created": obj.modified_s, "size": obj.size_bytes}
            for name, obj in self._catalog.entries(view)
        ]
        self._made[view.folder] = _Entries(generation, entries)


def _owner() -> Any:
    return getattr(sys.modules.get("app.model_manager"), "ModelFileManager", None)
