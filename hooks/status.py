"""What the extension is doing, kept from events and snapshots; read by the status route, from memory only."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..storage import VERSION
from ..storage import events as ev
from ..storage.events import CatalogRefreshed, CatalogRefreshFailed, Event, LoadFailed, ModelLoaded, TransferFinished, TransferStopped
from . import panel_json

if TYPE_CHECKING:
    from .boot import Extension
    from .runtime import Runtime

LOADS_KEPT = 50
TABLE_CHANGES = frozenset(
    (
        *(ev.Stored, ev.Evicted, ev.ModelLoaded, ev.Pinned, ev.Unpinned, ev.Verified),
        *(ev.TransferStarted, ev.TransferFinished, ev.TransferFailed, ev.TransferStopped),
    )
)
"""events after which the models table may look different"""


class History:
    """A subscriber of the bus.  Any thread; holds no lock while it is not in here."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._loads: deque[dict[str, Any]] = deque(maxlen=LOADS_KEPT)
        self._failures: deque[dict[str, Any]] = deque(maxlen=LOADS_KEPT)
        self._totals: Counter[str] = Counter()
        self.changes = 0

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.changes += type(event) in TABLE_CHANGES
            if isinstance(event, ModelLoaded):
                self._loads.append({"at_s": self._wall_clock(), **_load(event)})
                self._totals["loads"] += 1
                self._totals[f"loads_from_{event.source}"] += 1
                self._totals["bytes_loaded"] += event.size_bytes
            elif isinstance(event, LoadFailed):
                self._failures.append({"at_s": self._wall_clock(), "name": event.name, "code": event.code, "message": event.message})
                self._totals["loads_failed"] += 1
            elif isinstance(event, TransferFinished):
                self._totals["transfers"] += 1
                self._totals["bytes_streamed"] += event.wire_bytes
                self._totals["requests"] += event.requests
                self._totals["retries"] += event.retries
            elif isinstance(event, TransferStopped):
                self._totals["transfers_stopped"] += 1
            elif isinstance(event, ev.Evicted | ev.CorruptionFound):
                self._totals["evictions" if isinstance(event, ev.Evicted) else "corruptions"] += 1
            elif isinstance(event, CatalogRefreshed | CatalogRefreshFailed):
                self._totals["listings" if isinstance(event, CatalogRefreshed) else "listings_failed"] += 1

    def totals(self) -> dict[str, int]:
        with self._lock:
            return {"bytes_streamed": 0, "loads": 0, **self._totals}

    def as_json(self) -> dict[str, Any]:
        totals = self.totals()
        with self._lock:
            return {"loads": list(self._loads), "failures": list(self._failures), "totals": totals}


def status_json(ours: Extension) -> dict[str, Any]:
    """The body of GET /modelstream/status.  Holds no secret, no endpoint and no absolute path."""
    runtime, telemetry, now_s = ours.runtime, ours.telemetry, ours.wall_clock()
    alerts = telemetry.alerts.active() if telemetry is not None else ()
    return {
        "version": VERSION,
        "now_s": now_s,
        "started_s": ours.started_s,
        "configured": ours.configured,
        "enabled": ours.config.enabled,
        "problem": ours.trouble(),
        "setup": _setup(ours),
        "health": ours.health(),
        "seams": [{"name": s.name, "state": s.state, "reason": s.reason} for s in ours.seams.states()],
        **ours.history.as_json(),
        "origins": [] if runtime is None else _origins(runtime),
        "transfers": panel_json.transfer_rows(runtime, telemetry),
        "tiers": panel_json.tiers(runtime),
        "gpus": panel_json.gpus(telemetry),
        "on_devices": panel_json.on_devices(runtime),
        "queue": panel_json.queue(telemetry, _node()),
        "savings": panel_json.savings(telemetry, ours.config.cost.currency, now_s),
        "alerts": {"active": panel_json.alert_rows(alerts), "critical": sum(a.severity == "critical" for a in alerts)},
        "generation": ours.generation(),
        "panels": len(ours.panels.clients()) if ours.panels is not None else 0,
        "prefetch": None,
        **({} if runtime is None else {name: block() for name, block in runtime.status_blocks.items()}),
    }


def _setup(ours: Extension) -> dict[str, Any]:
    path = ours.config.path or ours.directory / "config.toml"  # one that cannot be read is there all the same
    return {"file": f"user/{ours.directory.name}/config.toml", "found": path.exists(), "lines": ours.lines_to_write}


def _node() -> str:
    """That ComfyUI's server says it executes."""
    instance = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    return str(getattr(instance, "last_node_id", None) or "")


def _load(event: ModelLoaded) -> dict[str, Any]:
    names = ("folder", "name", "subject", "source", "size_bytes", "wire_bytes", "seconds", "node", "prompt")
    return {name: getattr(event, name) for name in names}


def _origins(runtime: Runtime) -> list[dict[str, Any]]:
    return [
        {
            "name": state.name,
            "objects": state.objects,
            "skipped": state.skipped,
            "cut": state.cut,
            "listed_s": state.listed_s,
            "refreshing": state.refreshing,
            "error": None if state.error is None else {"code": state.error.code, "message": str(state.error)},
        }
        for state in runtime.catalog.states()
    ]
