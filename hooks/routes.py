"""Our HTTP routes, as docs/routes.md describes them.  Each goes through the guard; a GET changes nothing.

Whatever takes more than a look into memory runs in a thread: the event loop is ComfyUI's.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from .bodies import Refused
from .guard import Guard
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[Any]]

PREFIX = "/modelstream"
METRICS = "/metrics"


class Registrar:
    """Puts handlers that return JSON values behind the guard.  A handler may raise ``Refused``."""

    def __init__(self, routes: web.RouteTableDef, guard: Guard) -> None:
        self._routes = routes
        self._guard = guard

    def get(self, path: str, handler: Handler, *, prefix: str = PREFIX) -> None:
        self._routes.get(prefix + path)(self._guard.reading(_answering(handler)))

    def post(self, path: str, handler: Handler) -> None:
        self._routes.post(PREFIX + path)(self._guard.changing(_answering(handler)))


def add_routes(routes: web.RouteTableDef, guard: Guard, site: Site) -> None:
    """Registers them with ComfyUI, which serves each under /api too.  Called while extensions are imported."""
    from . import routes_actions, routes_fit, routes_graph, routes_panel, routes_publish, routes_reading

    to = Registrar(routes, guard)

    async def token(_: web.Request) -> Any:
        return {"token": guard.rules.token}

    to.get("/token", token)
    routes_reading.add(to, site)
    routes_actions.add(to, site)
    routes_panel.add(to, site)
    routes_graph.add(to, site)
    routes_publish.add(to, site)
    routes_fit.add(to, site)
    taken = {getattr(route, "path", "") for route in routes}
    if site.exposition is not None:
        metrics = routes_reading.metrics(site)
        to.get("/metrics", metrics)
        if METRICS not in taken:
            to.get(METRICS, metrics, prefix="")


def _answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """JSON values become answers; a value with a status is (status, value); a ready response stays as it is."""

    @functools.wraps(handler)
    async def answering(request: web.Request) -> web.Response:
        from aiohttp import web

        try:
            answer = await handler(request)
        except Refused as refused:
            return _json(refused.body, refused.status)
        if isinstance(answer, web.Response):
            return answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return _json(body, status)

    return answering


def _json(body: Any, status: int) -> web.Response:
    from aiohttp import web

    text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    return web.Response(text=text, status=status, content_type="application/json")
