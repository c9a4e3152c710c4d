"""Our HTTP routes.  Each goes through the guard; a GET changes nothing; answers come from memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .guard import Guard

if TYPE_CHECKING:
    from aiohttp import web

    from .runtime import Runtime

PREFIX = "/modelstream"


def add_routes(routes: web.RouteTableDef, guard: Guard, status: Callable[[], dict[str, Any]], runtime: Runtime | None) -> None:
    """Registers them with ComfyUI, which serves each under /api too.  Called while extensions are imported."""
    from aiohttp import web

    @routes.get(f"{PREFIX}/status")
    @guard.reading
    async def get_status(_: web.Request) -> web.Response:
        return web.json_response(status())

    @routes.get(f"{PREFIX}/token")
    @guard.reading
    async def get_token(_: web.Request) -> web.Response:
        return web.json_response({"token": guard.rules.token})

    @routes.post(f"{PREFIX}/refresh")
    @guard.changing
    async def refresh(_: web.Request) -> web.Response:
        """Lists the buckets again, in the background."""
        if runtime is None:
            return web.json_response({"error": "not_configured"}, status=409)
        runtime.catalog.refresh()
        return web.json_response({"asked": True}, status=202)
