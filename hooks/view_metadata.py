"""Seams: the header of a safetensors file that is only in a bucket, for previews.

``/view_metadata/{folder}`` runs on the event loop and would open the path: for an object of ours a middleware
answers it first and reads the header in a thread.  ``comfy.utils.safetensors_header`` serves everybody else.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import folder_paths

from ..storage.errors import ModelStreamError
from ..storage.objects import RemoteObject
from ..storage.safetensors_header import SafetensorsHeader
from .answering import answer_first, middleware_problem
from .context import on_event_loop
from .folders import view_of
from .pickles import is_safetensors_name
from .runtime import Runtime
from .seam import Seam, Wrapped, shape_problem

if TYPE_CHECKING:
    from aiohttp import web


class HeaderSeam(Seam):
    name = "safetensors_header"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def problem(self) -> str:
        return shape_problem(getattr(sys.modules.get("comfy.utils"), "safetensors_header", None), "safetensors_path", "max_size")

    def wrap_all(self) -> None:
        self.wrap(sys.modules["comfy.utils"], "safetensors_header", self._safetensors_header)

    def _safetensors_header(self, original: Wrapped, safetensors_path: Any, *args: Any, **kwargs: Any) -> bytes | None:
        obj = self._runtime.object_at(safetensors_path)
        cache = self._runtime.opened
        if obj is None or cache is None or cache.is_on_disk(obj):
            found: bytes | None = original(safetensors_path, *args, **kwargs)
            return found
        if on_event_loop():
            return None  # as for a header that is too large: no preview
        raw = header_json(cache.header(obj))
        most = kwargs.get("max_size", args[0] if args else len(raw))
        return raw if len(raw) <= most else None


class ViewMetadataSeam(Seam):
    name = "view_metadata"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def problem(self) -> str:
        return middleware_problem()

    def wrap_all(self) -> None:
        self.undo_with(answer_first("/view_metadata/", self._answer))

    async def _answer(self, request: web.Request) -> web.Response | None:
        """None: not about an object of ours."""
        from aiohttp import web

        folder_name, filename = request.match_info.get("folder_name", ""), request.query.get("filename", "")
        obj = self._object(folder_name, filename)
        if obj is None:
            return None
        try:
            header = await asyncio.get_running_loop().run_in_executor(None, self._header, obj, folder_name, filename)
        except ModelStreamError as error:
            body = {"error": error.code, "message": str(error)}
            return web.json_response(body, status=502, headers={"X-Content-Type-Options": "nosniff"})
        if header is None:
            return None
        if header.metadata is None:
            return web.Response(status=404)
        return web.json_response(dict(header.metadata))

    def _object(self, folder_name: str, filename: str) -> RemoteObject | None:
        """The bucket object of that name, from memory."""
        view = view_of(folder_name)
        if view is None or not is_safetensors_name(filename):
            return None
        return self._runtime.catalog.find(view, filename)

    def _header(self, obj: RemoteObject, folder_name: str, filename: str) -> SafetensorsHeader | None:
        """None when a local file has that name.  Blocks: disk and network."""
        cache = self._runtime.cache
        path = folder_paths.get_full_path(folder_name, filename)
        is_local = path is not None and self._runtime.object_at(path) is None
        return None if is_local else cache.header(obj)


def header_json(header: SafetensorsHeader) -> bytes:
    """The header as a file has it, without the length before it."""
    shown: dict[str, Any] = {} if header.metadata is None else {"__metadata__": dict(header.metadata)}
    for name, tensor in header.tensors.items():
        offsets = [tensor.start - header.data_start, tensor.end - header.data_start]
        shown[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()
