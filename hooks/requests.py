"""Seam: ComfyUI's HTTP requests, counted and timed by a middleware around all others.

The endpoint is the route's pattern, so its values are as many as there are routes.  aiohttp takes middlewares only until
it starts, and gives none back: undone means inert.  A websocket is counted when it ends and is not timed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..storage.events import EventBus
from ..storage.events_comfy import NOT_KNOWN_S, HttpRequest
from .answering import middleware_problem
from .seam import Seam

if TYPE_CHECKING:
    from aiohttp import web

CLIENT_GONE = 499


class RequestsSeam(Seam):
    name = "requests"

    def __init__(self, bus: EventBus, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__()
        self._bus = bus
        self._clock = clock

    def problem(self) -> str:
        return middleware_problem()

    def wrap_all(self) -> None:
        from aiohttp import web

        active = True

        @web.middleware
        async def timed(request: web.Request, handler: Any) -> web.StreamResponse:
            if not active:
                return await handler(request)
            started_s, status = self._clock(), 500
            try:
                response: web.StreamResponse = await handler(request)
                status = response.status
                return response
            except web.HTTPException as error:
                status = error.status
                raise
            except asyncio.CancelledError:
                status = CLIENT_GONE
                raise
            finally:
                self._tell(request, status, self._clock() - started_s)

        def undo() -> None:
            nonlocal active
            active = False

        # the outermost: what an inner one refuses is counted too
        sys.modules["server"].PromptServer.instance.app.middlewares.insert(0, timed)
        self.undo_with(undo)

    def _tell(self, request: web.Request, status: int, seconds: float) -> None:
        try:
            self._bus.emit(HttpRequest(request.method, endpoint_of(request), status, NOT_KNOWN_S if status == 101 else seconds))
        except Exception as error:
            self.ours_failed(error)


def endpoint_of(request: web.Request) -> str:
    """The pattern of the route that answers, without /api; "static" for files, "unmatched" where there is no route."""
    resource = getattr(request.match_info.route, "resource", None)
    if resource is None:
        return "unmatched"
    if hasattr(resource, "url_for") and type(resource).__name__ == "StaticResource":
        return "static"
    pattern = str(resource.canonical)
    return pattern.removeprefix("/api") or "/"
