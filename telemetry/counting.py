"""What each event counts for: the one table from events to metrics, series and records.

``Counting`` is a subscriber of the bus: quick, never calls back into the tiers, any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage import events as ev
from ..storage import events_comfy as cf
from ..storage import events_fit as ef
from ..storage import events_forms as forms
from ..storage import events_near as near
from ..storage import events_publish as ep
from ..storage import events_restore as er
from ..storage.events import Event
from .costs import Costs
from .executions import Executions
from .savings import Saving, Savings
from .series import Series
from .tally import LEVELS, Tally
from .uses import Uses

SERIES_LEVELS = ("ram", "ssd", "vram")
REFUSED = frozenset({"denied", "credentials", "clock"})
"""codes of a failed listing that speak of credentials"""


@dataclass(frozen=True, slots=True)
class Records:
    """Where events are counted."""

    tally: Tally
    series: Series
    executions: Executions
    uses: Uses
    savings: Savings
    costs: Costs
    currency: str


class Counting:
    def __init__(self, records: Records, wall_clock: Callable[[], float]) -> None:
        self._r = records
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._down_since: dict[str, float] = {}
        self._refused: set[str] = set()
        self._corruptions: list[float] = []
        self._handlers: dict[type[Event], Callable[[Any, float], None]] = {
            ev.ModelLoaded: self._loaded,
            ev.LoadFailed: self._load_failed,
            ev.TierHit: self._hit,
            ev.Stored: self._stored,
            ev.Converted: self._converted,
            ev.Evicted: self._evicted,
            ev.TransferFinished: self._transferred,
            ev.TransferFailed: self._transfer_failed,
            ev.TransferStopped: self._transfer_stopped,
            ev.PartRetried: self._retried,
            ev.CorruptionFound: self._corrupt,
            ev.CatalogRefreshed: self._listed,
            ev.CatalogRefreshFailed: self._not_listed,
            ev.TierDegraded: self._degraded,
            ev.PrefetchScored: self._scored,
            ep.ObjectPublished: self._published,
            ep.PublishFailed: self._publish_failed,
            er.RestoreFailed: self._restore_failed,
            er.ClassChangeFailed: self._class_failed,
            ef.MemoryStep: self._memory_step,
            ef.VariantChosen: self._variant,
            forms.FormRead: self._form_read,
            forms.FormRefused: lambda e, _: self._r.tally.count("comfyui_forms", "failed"),
            near.NearDown: self._near_down,
            near.NearFailover: self._near_failover,
            near.NearCopyRefused: lambda e, _: self._r.tally.count("comfyui_near_refusals", e.origin, e.reason),
            near.NearWaited: lambda e, _: self._r.tally.count("comfyui_near_waits", e.origin, e.outcome),
            near.Mirrored: self._mirrored,
            near.MirrorSkipped: lambda e, _: self._r.tally.count("comfyui_mirrors", e.origin, "skipped"),
            near.MirrorFailed: self._mirror_failed,
            near.MirrorEvicted: self._mirror_evicted,
            cf.HttpRequest: self._request,
            cf.QueueOperation: self._queued,
            cf.ExecutionStart: self._started,
            cf.ExecutionComplete: self._executed,
            cf.AlertRaised: self._alert,
            cf.PanelAction: self._action,
            cf.TelemetryDegraded: self._telemetry_degraded,
        }

    def __call__(self, event: Event) -> None:
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, self._wall_clock())

    def down_s(self, now_s: float) -> dict[str, float]:
        """For how long each origin that does not answer has not; others are not in it."""
        with self._lock:
            return {origin: now_s - since for origin, since in self._down_since.items()}

    def refused(self) -> frozenset[str]:
        with self._lock:
            return frozenset(self._refused)

    def corruptions(self, seconds: float, now_s: float) -> int:
        with self._lock:
            self._corruptions = [at for at in self._corruptions if at > now_s - seconds][-1000:]
            return len(self._corruptions)

    # -- loads -----------------------------------------------------------------------------------------------------------
    def _loaded(self, e: ev.ModelLoaded, now_s: float) -> None:
        r, origin = self._r, e.subject.partition(":")[0]
        r.tally.observe("comfyui_model_load_seconds", e.seconds, e.folder or "none", e.source)
        r.series.add("loads", 1, now_s)
        r.series.add("bytes_loaded", e.size_bytes, now_s)
        nearer = LEVELS[: LEVELS.index(e.source)] if e.source in LEVELS else ()
        for level in nearer:
            r.tally.count("comfyui_cache_misses", level)
        if e.source == "bucket":
            r.series.add("misses", 1, now_s)
        else:
            self._answered(e.source, now_s)
        r.executions.loaded(e.prompt, e.seconds, e.size_bytes)
        saving = r.savings.loaded(origin, e.source, e.size_bytes, e.seconds)
        r.uses.used(e.subject, now_s, saved_s=saving.seconds if saving else 0.0, loaded_bytes=e.size_bytes)
        if saving is not None:
            self._saved(saving, now_s)

    def _hit(self, e: ev.TierHit, now_s: float) -> None:
        """Of loaded models only: hits of the other tiers are told by ``ModelLoaded``, once a load."""
        if e.tier != "vram":
            return
        self._answered("vram", now_s)
        remote = self._r.uses.of(e.subject) is not None
        origin = e.subject.partition(":")[0] if remote else ""
        saving = self._r.savings.model_handed_out(e.subject, e.size_bytes, origin)
        if remote:
            self._r.uses.used(e.subject, now_s, saved_s=saving.seconds)
        self._saved(saving, now_s)

    def _answered(self, level: str, now_s: float) -> None:
        self._r.tally.count("comfyui_cache_hits", level)
        if level in SERIES_LEVELS:
            self._r.series.add(f"hits_{level}", 1, now_s)

    def _saved(self, saving: Saving, now_s: float) -> None:
        r = self._r
        money = r.costs.saved(saving.origin, saving.seconds, saving.size_bytes, now_s).money
        r.tally.count("comfyui_saved_seconds", saving.level, by=saving.seconds)
        r.tally.count("comfyui_saved_bytes", saving.level, by=saving.size_bytes)
        if money is not None:
            r.tally.count("comfyui_saved_money", r.currency, by=money)
        r.series.add("saved_seconds", saving.seconds, now_s)
        r.series.add("saved_bytes", saving.size_bytes, now_s)

    def _load_failed(self, e: ev.LoadFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_errors", e.code, "loading")
        self._r.series.add("loads_failed", 1, now_s)

    # -- tiers and transfers -----------------------------------------------------------------------------------------------
    def _stored(self, e: ev.Stored, now_s: float) -> None:
        self._r.tally.count("comfyui_cache_stored_bytes", e.tier, by=e.size_bytes)
        if e.tier == "vram":
            self._r.savings.model_kept(e.subject, e.seconds)

    def _converted(self, e: ev.Converted, now_s: float) -> None:
        self._r.tally.count("comfyui_converted_bytes", e.form, by=e.source_bytes)
        self._r.tally.count("comfyui_precision_saved_bytes", e.form, by=max(0, e.source_bytes - e.size_bytes))

    def _evicted(self, e: ev.Evicted, now_s: float) -> None:
        self._r.tally.count("comfyui_cache_evictions", e.tier, e.reason)
        self._r.tally.count("comfyui_cache_evicted_bytes", e.tier, by=e.size_bytes)
        if e.tier in SERIES_LEVELS:
            self._r.series.add(f"evictions_{e.tier}", 1, now_s)
        self._r.series.add("evicted_bytes", e.size_bytes, now_s)

    def _transferred(self, e: ev.TransferFinished, now_s: float) -> None:
        r, origin = self._r, e.subject.partition(":")[0]
        r.tally.count("comfyui_transfers", origin, "finished")
        r.tally.count("comfyui_transfer_bytes", origin, by=e.wire_bytes)
        r.tally.count("comfyui_transfer_requests", origin, by=e.requests)
        r.tally.observe("comfyui_transfer_duration_seconds", e.seconds, origin)
        r.series.add("wire_bytes", e.wire_bytes, now_s)
        for part, amount in r.costs.transferred(origin, e.wire_bytes, e.requests, now_s).items():
            self._cost(part, amount)

    def _transfer_failed(self, e: ev.TransferFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_transfers", e.subject.partition(":")[0], "failed")
        self._r.tally.count("comfyui_errors", e.code, "transfer")

    def _transfer_stopped(self, e: ev.TransferStopped, now_s: float) -> None:
        self._r.tally.count("comfyui_transfers", e.subject.partition(":")[0], "stopped")

    def _retried(self, e: ev.PartRetried, now_s: float) -> None:
        self._r.tally.count("comfyui_transfer_retries", e.reason)

    def _corrupt(self, e: ev.CorruptionFound, now_s: float) -> None:
        self._r.tally.count("comfyui_corruptions", e.where)
        with self._lock:
            self._corruptions.append(now_s)

    def _degraded(self, e: ev.TierDegraded, now_s: float) -> None:
        component = f"tier_{e.tier}" if e.tier in SERIES_LEVELS else e.tier
        self._r.tally.count("comfyui_errors", e.code, component)

    def _scored(self, e: ev.PrefetchScored, now_s: float) -> None:
        self._r.tally.count("comfyui_prefetches", e.outcome)

    def _published(self, e: ep.ObjectPublished, now_s: float) -> None:
        origin = e.subject.partition(":")[0]
        self._r.tally.count("comfyui_publishes", origin, "finished")
        self._r.tally.count("comfyui_published_bytes", origin, by=e.wire_bytes)

    def _publish_failed(self, e: ep.PublishFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_publishes", e.subject.partition(":")[0], "failed")
        self._r.tally.count("comfyui_errors", e.code, "publish")

    def _restore_failed(self, e: er.RestoreFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_errors", e.code, "restore")

    def _class_failed(self, e: er.ClassChangeFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_errors", e.code, "storage_class")

    def _memory_step(self, e: ef.MemoryStep, now_s: float) -> None:
        self._r.tally.count("comfyui_memory_steps", e.step)

    def _variant(self, e: ef.VariantChosen, now_s: float) -> None:
        self._r.tally.count("comfyui_variants_chosen", e.rule.replace(" ", "_"))

    def _telemetry_degraded(self, e: cf.TelemetryDegraded, now_s: float) -> None:
        self._r.tally.count("comfyui_errors", e.code, e.part)

    # -- origins -----------------------------------------------------------------------------------------------------------
    def _listed(self, e: ev.CatalogRefreshed, now_s: float) -> None:
        self._r.tally.count("comfyui_catalog_refreshes", e.origin, "finished")
        with self._lock:
            self._down_since.pop(e.origin, None)
            self._refused.discard(e.origin)

    def _not_listed(self, e: ev.CatalogRefreshFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_catalog_refreshes", e.origin, "failed")
        self._r.tally.count("comfyui_errors", e.code, "catalog")
        with self._lock:
            self._down_since.setdefault(e.origin, now_s)
            (self._refused.add if e.code in REFUSED else self._refused.discard)(e.origin)

    def _form_read(self, e: forms.FormRead, now_s: float) -> None:
        self._r.tally.count("comfyui_forms", "finished")
        self._r.tally.count("comfyui_form_saved_bytes", by=max(0, e.size_bytes - e.stored_bytes))

    # -- near origins ------------------------------------------------------------------------------------------------------
    def _near_down(self, e: near.NearDown, now_s: float) -> None:
        self._r.tally.count("comfyui_errors", e.code, "near")

    def _near_failover(self, e: near.NearFailover, now_s: float) -> None:
        self._r.tally.count("comfyui_near_failovers", e.origin)

    def _mirrored(self, e: near.Mirrored, now_s: float) -> None:
        self._r.tally.count("comfyui_mirrors", e.origin, "finished")
        self._r.tally.count("comfyui_mirror_bytes", e.origin, by=e.size_bytes)

    def _mirror_failed(self, e: near.MirrorFailed, now_s: float) -> None:
        self._r.tally.count("comfyui_mirrors", e.origin, "failed")
        self._r.tally.count("comfyui_errors", e.code, "near")

    def _mirror_evicted(self, e: near.MirrorEvicted, now_s: float) -> None:
        self._r.tally.count("comfyui_mirror_evicted_bytes", e.origin, by=e.size_bytes)

    # -- ComfyUI -----------------------------------------------------------------------------------------------------------
    def _request(self, e: cf.HttpRequest, now_s: float) -> None:
        self._r.tally.count("comfyui_requests", e.method, e.endpoint, e.status)
        if e.seconds >= 0:
            self._r.tally.observe("comfyui_request_duration_seconds", e.seconds, e.endpoint)
        if e.status >= 500:
            self._r.tally.count("comfyui_errors", f"http_{e.status}", "request")

    def _queued(self, e: cf.QueueOperation, now_s: float) -> None:
        self._r.executions.pending = e.pending
        self._r.series.hold("queue_depth", e.pending, now_s)

    def _started(self, e: cf.ExecutionStart, now_s: float) -> None:
        wait_s = None if e.wait_s < 0 else e.wait_s
        self._r.executions.started(e.prompt, now_s, wait_s)
        if wait_s is not None:
            self._r.tally.observe("comfyui_queue_wait_seconds", wait_s)

    def _executed(self, e: cf.ExecutionComplete, now_s: float) -> None:
        r = self._r
        cost = r.costs.executed(e.seconds, now_s)
        r.executions.ended(e.prompt, now_s, e.status, e.seconds, e.nodes, cost)
        r.tally.count("comfyui_executions", e.status)
        r.tally.observe("comfyui_execution_duration_seconds", e.seconds, e.status)
        r.series.add("executions", 1, now_s)
        r.series.add("execution_seconds", e.seconds, now_s)
        if e.status == "error":
            r.series.add("execution_errors", 1, now_s)
            r.tally.count("comfyui_errors", "execution", "execution")
        self._cost("gpu", cost or 0.0)

    def _alert(self, e: cf.AlertRaised, now_s: float) -> None:
        self._r.tally.count("comfyui_alerts", e.rule, e.severity)

    def _action(self, e: cf.PanelAction, now_s: float) -> None:
        self._r.tally.count("comfyui_panel_actions", e.action, e.outcome)

    def _cost(self, part: str, amount: float) -> None:
        if amount > 0:
            self._r.tally.count("comfyui_cost", part, self._r.currency, by=amount)
