"""The route with which a panel says that it is open, and what its ticks hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import panel_json
from .bodies import Refused, flag, in_thread, only, read_object
from .panels import CLIENT_ID, EXPIRES_S, TooMany
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    from ..telemetry.observatory import Telemetry
    from .routes import Registrar
    from .runtime import Runtime

TRANSFERS_SHOWN = 12
EVENTS_SHOWN = 8


def add(to: Registrar, site: Site) -> None:
    async def panel(request: web.Request) -> Any:
        body = await read_object(request)
        only(body, "client_id", "open")
        client, panels = body.get("client_id"), site.panels
        if not isinstance(client, str) or not CLIENT_ID.fullmatch(client):
            raise Refused(400, "body", "client_id: that of the websocket")
        wanted = flag(body, "open")
        if panels is None:
            raise Refused(409, "not_configured", "there is nothing to tell")
        if not wanted:
            panels.close_one(client)
            return {"expires_s": 0}
        try:
            tick = await in_thread(lambda: panels.open(client))
        except TooMany:
            raise Refused(429, "busy", "too many panels are open") from None
        return {"expires_s": EXPIRES_S, "tick": tick}

    to.post("/panel", panel)


def tick_of(
    runtime: Runtime | None,
    telemetry: Telemetry | None,
    *,
    health: Callable[[], dict[str, Any]],
    totals: Callable[[], dict[str, Any]],
    changes: Callable[[], int],
    node: Callable[[], str],
    wall_clock: Callable[[], float],
) -> Callable[[int], dict[str, Any]]:
    """(highest event number seen) → the body of a tick.  From memory; any thread."""

    def tick(seen: int) -> dict[str, Any]:
        rows = panel_json.transfer_rows(runtime, telemetry)
        alerts = telemetry.alerts.active() if telemetry is not None else ()
        lines = telemetry.feed.since(seen, EVENTS_SHOWN) if telemetry is not None else []
        asked = panel_json.savings(telemetry, "", wall_clock())
        return {
            "now_s": wall_clock(),
            "health": health(),
            "tiers": panel_json.tiers(runtime),
            "transfers": rows[:TRANSFERS_SHOWN],
            "more_transfers": max(0, len(rows) - TRANSFERS_SHOWN),
            "gpus": panel_json.gpus(telemetry),
            "on_devices": panel_json.on_devices(runtime),
            "queue": panel_json.queue(telemetry, node()),
            "totals": totals(),
            "hit_rate": asked["hit_rate"] if asked is not None else None,
            "alerts": {"active": len(alerts), "critical": sum(a.severity == "critical" for a in alerts)},
            "generation": changes(),
            "last_event": telemetry.feed.last if telemetry is not None else 0,
            "events": [asdict(line) for line in lines],
        }

    return tick
