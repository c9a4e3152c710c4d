"""What the extension is doing, kept from events and snapshots; read by the status route, from memory only."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..storage import VERSION
from ..storage.events import CatalogRefreshed, CatalogRefreshFailed, Event, LoadFailed, ModelLoaded, TransferFinished, TransferStopped
from .seam import Seams

if TYPE_CHECKING:
    from .runtime import Runtime

LOADS_KEPT = 50


class History:
    """A subscriber of the bus.  Any thread; holds no lock while it is not in here."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._loads: deque[dict[str, Any]] = deque(maxlen=LOADS_KEPT)
        self._failures: deque[dict[str, Any]] = deque(maxlen=LOADS_KEPT)
        self._totals: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        with self._lock:
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
            elif isinstance(event, CatalogRefreshed | CatalogRefreshFailed):
                self._totals["listings" if isinstance(event, CatalogRefreshed) else "listings_failed"] += 1

    def as_json(self) -> dict[str, Any]:
        with self._lock:
            totals = {"bytes_streamed": 0, "loads": 0, **self._totals}
            return {"loads": list(self._loads), "failures": list(self._failures), "totals": totals}


def status_json(
    *, configured: bool, enabled: bool, problem: str, seams: Seams, history: History, runtime: Runtime | None
) -> dict[str, Any]:
    """The body of GET /modelstream/status.  Holds no secret, no endpoint and no path."""
    return {
        "version": VERSION,
        "configured": configured,
        "enabled": enabled,
        "problem": problem,
        "seams": [{"name": s.name, "state": s.state, "reason": s.reason} for s in seams.states()],
        **history.as_json(),
        "origins": [] if runtime is None else _origins(runtime),
        "transfers": [] if runtime is None else _transfers(runtime),
        "tiers": {} if runtime is None else _tiers(runtime),
        **({} if runtime is None else {name: block() for name, block in runtime.status_blocks.items()}),
    }


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


def _transfers(runtime: Runtime) -> list[dict[str, Any]]:
    engine = runtime.engine
    found = []
    for transfer in engine.active() if engine is not None else ():
        progress = transfer.progress()
        found.append(
            {
                "id": transfer.id,
                "subject": transfer.obj.subject,
                "size_bytes": progress.size_bytes,
                "done_bytes": progress.landed_bytes,
                "rate_bytes_per_s": progress.rate_bytes_per_s,
                "eta_s": progress.eta_s,
                "connections": progress.connections,
                "state": str(progress.state),
            }
        )
    return found


def _tiers(runtime: Runtime) -> dict[str, Any]:
    cache = runtime.opened
    if cache is None:
        return {}
    snapshot = cache.snapshot()
    ram, ssd = snapshot.ram, snapshot.ssd
    return {
        "ram": {"budget_bytes": ram.budget_bytes, "used_bytes": ram.used_bytes, "entries": len(ram.entries)},
        "ssd": {
            "budget_bytes": ssd.budget_bytes,
            "used_bytes": ssd.used_bytes,
            "reserved_bytes": ssd.reserved_bytes,
            "entries": ssd.entries,
            "writable": ssd.writable,
        },
        "loading": list(snapshot.loading),
    }
