"""The route with which a browser tells which graph it has open.  Without ``[prefetch] open_graph`` it does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .bodies import Refused, only, read_object
from .panels import CLIENT_ID
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    from .routes import Registrar

GRAPH_BODY_MAX = 256 << 10
NODES_MAX = 1000


def add(to: Registrar, site: Site) -> None:
    async def graph(request: web.Request) -> Any:
        graphs = site.runtime.open_graphs if site.runtime is not None else None
        if graphs is None:
            raise Refused(409, "not_configured", "prefetch.open_graph is off")
        client, prompt = read_graph(await read_object(request, GRAPH_BODY_MAX))
        graphs.opened(client, prompt)
        return {"nodes": len(prompt)}

    to.post("/graph", graph)


def read_graph(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """(client id, prompt in API format; empty for no graph).  Raises Refused."""
    only(body, "client_id", "prompt")
    client, prompt = body.get("client_id"), body.get("prompt")
    if not isinstance(client, str) or not CLIENT_ID.fullmatch(client):
        raise Refused(400, "body", "client_id: that of the websocket")
    nodes = isinstance(prompt, dict) and all(isinstance(n, dict) and isinstance(n.get("class_type"), str) for n in prompt.values())
    if not isinstance(prompt, dict) or not nodes or len(prompt) > NODES_MAX:
        raise Refused(400, "body", f"prompt: nodes in ComfyUI's API format, at most {NODES_MAX}")
    return client, prompt
