"""Seam: ``folder_paths.get_full_path``, which turns a name into a path (``get_full_path_or_raise`` asks it too).

A bucket object's path is the one that it has, or will have, in the SSD tier: stable for one version of it.  What a
caller may do with a path that has no file yet depends on who asks:

* ComfyUI's own code hands it to a loader that we wrap: the path at once, ``loading`` streams it;
* anybody else, while a node runs, may open the file itself: the file is fetched first, with progress and interrupt;
* anybody else outside a node (option lists, routes) never starts a download: the path if the file is there, else None.

Nobody ever gets a path to an incomplete file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import folder_paths

from ..storage.objects import RemoteObject
from .context import Executing, caller_module, executing, on_event_loop, streams_itself
from .folders import view_of
from .pickles import refuse_by_content, refuse_by_name
from .precision import as_owner_wants
from .progress import NodeWatch
from .report import reporting
from .runtime import Request, Runtime
from .seam import Seam, Wrapped, shape_problem


class ResolvingSeam(Seam):
    name = "resolving"

    def __init__(self, runtime: Runtime, *, before_loading: Callable[[], None] = lambda: None) -> None:
        """before_loading: called in the loading thread before a path of ours is handed out."""
        super().__init__()
        self._runtime = runtime
        self.before_loading = before_loading

    def problem(self) -> str:
        return shape_problem(getattr(folder_paths, "get_full_path", None), "folder_name", "filename")

    def wrap_all(self) -> None:
        self.wrap(folder_paths, "get_full_path", self._get_full_path)
        self.undo_with(self._runtime.handed_out.release_all)

    def _get_full_path(self, original: Wrapped, folder_name: str, filename: str, *args: Any, **kwargs: Any) -> str | None:
        found: str | None = original(folder_name, filename, *args, **kwargs)
        if found is not None or not isinstance(filename, str):
            return found
        if "\\" in filename and os.sep == "/":
            found = original(folder_name, filename.replace("\\", "/"), *args, **kwargs)
            if found is not None:
                return found
        obj = self._find(folder_name, filename)
        if obj is None:
            return None
        # from here on errors are ours to tell: the name is in the bucket and nowhere else
        return self._path_for(obj, Request(folder_paths.map_legacy(folder_name), filename), sys._getframe(1))

    def _find(self, folder_name: str, filename: str) -> RemoteObject | None:
        try:
            view = view_of(folder_name)
            return None if view is None else self._runtime.catalog.find(view, filename)
        except Exception as error:
            self.ours_failed(error)
            return None

    def _path_for(self, obj: RemoteObject, request: Request, frame: FrameType) -> str | None:
        running, waiting_allowed = executing(), not on_event_loop()
        trusted = streams_itself(caller_module(frame))
        if self._runtime.opened is None and not (waiting_allowed and (trusted or running)):
            return None  # opening the cache takes a while
        cache = self._runtime.cache
        if self._runtime.config.precision and waiting_allowed and (trusted or running):
            obj = as_owner_wants(self._runtime, obj, request)
        path = cache.path_for(obj)
        self._runtime.asked(path, request.folder, request.name)
        if trusted:
            if running is not None:
                self.before_loading()
            return path
        if running is None or not waiting_allowed:
            return cache.file_of(obj)
        self.before_loading()
        return self._real_file(obj, request, running)

    def _real_file(self, obj: RemoteObject, request: Request, running: Executing) -> str:
        """A file for somebody who opens it himself; it stays at least until a later prompt asks for one."""
        handed_out = self._runtime.handed_out
        counted = handed_out.counted(self._runtime.cache.path_for(obj), running)
        with reporting(self._runtime.bus, obj, request, again=counted) as report:
            refuse_by_name(self._runtime.config, obj)
            with NodeWatch(obj.basename) as watch:
                opened = self._runtime.cache.open_file(obj, watch)
                handed_out.keep(running.prompt, opened.close)
                refuse_by_content(self._runtime.config, obj, opened.path)
                watch.finished(opened)
            report.loaded(opened)
            handed_out.count(opened.path, running)
            return opened.path
