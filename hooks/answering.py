"""A look at requests for ComfyUI's own routes before it handles them: one middleware a seam.

The server runs on one event loop, so whatever takes time is done in a thread here before the handler needs it.
aiohttp takes middlewares only until it starts, and gives none back: undone means inert.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
    Answer = Callable[[web.Request], Awaitable[web.Response | None]]


def middleware_problem() -> str:
    """Why no middleware can be added; empty when one can."""
    middlewares = getattr(_app(), "middlewares", None)
    takes_more = hasattr(middlewares, "append") and not getattr(middlewares, "frozen", False)
    return "" if takes_more else "the server takes no more middlewares"


def answer_first(route: str, answer: Answer) -> Callable[[], None]:
    """``answer`` is asked for every GET below ``route`` (also under /api) before ComfyUI; None lets ComfyUI answer.

    Returns the undo.
    """
    from aiohttp import web

    paths = (route, "/api" + route)
    active = True

    @web.middleware
    async def first(request: web.Request, handler: Handler) -> web.StreamResponse:
        if active and request.method == "GET" and request.path.startswith(paths):
            ours = await answer(request)
            if ours is not None:
                return ours
        return await handler(request)

    def undo() -> None:
        nonlocal active
        active = False

    _app().middlewares.append(first)
    return undo


def _app() -> Any:
    instance = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    return getattr(instance, "app", None)
