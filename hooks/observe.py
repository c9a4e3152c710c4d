"""Starts telemetry for one runtime, and puts together what the routes show.  Nothing here imports torch or Prometheus."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage import VERSION
from ..storage.events import Event
from ..storage.events_comfy import AlertCleared, AlertRaised, TelemetryDegraded
from ..telemetry.alert_rules import CRITICAL, UNITS
from ..telemetry.delivery import Delivery
from ..telemetry.gpu import GpuProbe
from ..telemetry.observatory import Sources, Telemetry
from .figures import observe, transfers
from .folders import all_views
from .gpus import other_gpus
from .guard import Guard
from .models_table import ModelsTable
from .panels import Panels
from .routes_panel import tick_of
from .runtime import Runtime
from .seam import place_of
from .site import Site

if TYPE_CHECKING:
    from .boot import Extension

EVENT = "modelstream"
"""type of our messages on ComfyUI's websocket"""


def start_telemetry(runtime: Runtime, panels_open: Any) -> Telemetry | None:
    """None where [metrics] is off.  panels_open: whether anybody looks."""
    config, bus = runtime.config, runtime.bus
    if not config.metrics.enabled:
        return None
    holdings = runtime.holdings

    def lost(code: str, cause: str) -> None:
        bus.emit(TelemetryDegraded("gpu", code, cause))

    sources = Sources(
        observe=lambda: observe(runtime),
        gpu=GpuProbe(other_gpus, told=lost),
        origin_price=holdings.price,
        origins=tuple(runtime.origins),
        watched=panels_open,
        store=_open_store if config.metrics.history else None,
        folder=runtime.places.state / "telemetry",
    )
    return Telemetry(bus, sources, metrics=config.metrics, alerts=config.alerts, cost=config.cost)


def deliver_alerts(runtime: Runtime) -> Delivery | None:
    """To the configuration's webhook; None where there is none."""
    settings, bus = runtime.config.alerts, runtime.bus
    if not settings.webhook or not settings.enabled:
        return None
    from ..storage.webhook import Webhook

    def failed(code: str) -> None:
        bus.emit(TelemetryDegraded("webhook", code, "an alert could not be posted to the webhook"))

    return Delivery(Webhook(settings.webhook, settings.webhook_timeout_s).post, failed, everything=settings.webhook_all)


def serve_metrics(ours: Extension, exposition: Any) -> None:
    """Prometheus' own small server on loopback, in a thread; only where the configuration names a port."""
    port = ours.config.metrics.port
    if not port or exposition is None:
        return

    def start() -> None:
        from prometheus_client import start_http_server

        try:
            server, _ = start_http_server(port, addr="127.0.0.1", registry=exposition.registry())
        except OSError as error:
            ours.bus.emit(TelemetryDegraded("metrics", "port", f"metrics.port cannot be opened: {error.strerror}"))
        else:
            ours.undo_with(server.server_close)
            ours.undo_with(server.shutdown)

    threading.Thread(target=start, name="modelstream-metrics", daemon=True).start()


def _open_store(folder: Path, max_bytes: int) -> Any:
    """diskcache is imported when history is read for the first time."""
    from ..storage.plain_disk import LongRows, open_store

    return open_store(folder, max_bytes, LongRows)


def make_site(ours: Extension, runtime: Runtime, guard: Guard) -> Site:
    """For the routes.  Panels get alerts at once; where everybody may read, every browser does."""
    telemetry, config = ours.telemetry, ours.config
    panels = Panels(
        _send,
        tick_of(
            runtime,
            telemetry,
            health=ours.health,
            totals=ours.history.totals,
            changes=ours.generation,
            node=executing_node,
            wall_clock=ours.wall_clock,
        ),
        moving=lambda: bool(transfers(runtime)) or (telemetry is not None and telemetry.executions.running() is not None),
        last_event=lambda: telemetry.feed.last if telemetry is not None else 0,
        opened=lambda: telemetry.wake() if telemetry is not None else None,
        failed=lambda error: ours.bus.emit(TelemetryDegraded("panel", type(error).__name__, place_of(error))),
    )
    ours.panels = panels
    everybody = not guard.rules.public or guard.rules.open_reading

    def tell(event: Event) -> None:
        if isinstance(event, AlertRaised | AlertCleared) and event.severity == CRITICAL:
            panels.tell(_alert_message(event), everybody=everybody)

    ours.undo_with(ours.bus.subscribe(tell))
    ours.undo_with(panels.close)
    exposition = _exposition(ours, telemetry, runtime)
    serve_metrics(ours, exposition)
    uses = telemetry.uses.by_subject if telemetry is not None else dict
    return Site(
        config,
        ours.bus,
        ours.status,
        runtime,
        telemetry,
        ModelsTable(runtime, all_views, uses),
        panels,
        exposition,
        ours.wall_clock,
    )


def _exposition(ours: Extension, telemetry: Telemetry | None, runtime: Runtime) -> Any:
    if telemetry is None:
        return None
    from ..telemetry.exposition import Exposition

    return Exposition(
        telemetry, lambda: observe(runtime), version=VERSION, gpu=ours.config.metrics.gpu, errors=lambda: ours.bus.subscriber_errors
    )


def _alert_message(event: AlertRaised | AlertCleared) -> dict[str, Any]:
    raised = isinstance(event, AlertRaised)
    alert = {"rule": event.rule, "severity": event.severity, "component": event.component, "subject": event.subject, "active": raised}
    if isinstance(event, AlertRaised):
        alert |= {"value": event.value, "threshold": event.threshold, "unit": UNITS.get(event.rule, "")}
        alert |= {"message": event.message, "recommendation": event.recommendation}
    return {"kind": "alert", "alert": alert}


def executing_node() -> str:
    """The node that ComfyUI's server says it executes; empty when it says none."""
    return str(getattr(_server(), "last_node_id", None) or "")


def _send(message: dict[str, Any], client: str | None) -> None:
    server = _server()
    if server is not None:
        server.send_sync(EVENT, message, client)


def _server() -> Any:
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
