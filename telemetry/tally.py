"""Counters and histograms with label values from bounded sets: what ten thousand objects are called changes no series.

A family is data (``FAMILIES``).  Each label has a vocabulary: a fixed set, or the first so many values of a safe form
that are seen; every other value is "other".  Nothing here knows Prometheus: ``exposition`` reads ``snapshot``.
"""

from __future__ import annotations

import bisect
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OTHER = "other"
_SAFE = re.compile(r"[A-Za-z0-9_{}/.*:+-]{1,100}")


class Vocabulary:
    """The values that one label may take.  Called with the tally's lock held."""

    def __init__(self, known: Iterable[str] = (), *, room: int = 0) -> None:
        """known: always allowed; room: how many others, first come, of a safe form."""
        self._values = {OTHER, *known}
        self._room = room

    def __call__(self, value: object) -> str:
        text = str(value)
        if text in self._values:
            return text
        if self._room and _SAFE.fullmatch(text):
            self._room -= 1
            self._values.add(text)
            return text
        return OTHER


@dataclass(frozen=True, slots=True)
class Family:
    """name: without the suffix _total that exposition adds to counters; buckets: upper bounds, none for a counter."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


QUICK_S = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
LOAD_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
EXECUTION_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0)

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family("comfyui_requests", "Requests that ComfyUI answered.", ("method", "endpoint", "status")),
        Family("comfyui_request_duration_seconds", "How long ComfyUI took to answer.", ("endpoint",), QUICK_S),
        Family("comfyui_executions", "Prompts that were executed.", ("status",)),
        Family("comfyui_execution_duration_seconds", "How long prompts ran.", ("status",), EXECUTION_S),
        Family("comfyui_queue_wait_seconds", "How long prompts waited before they ran.", (), EXECUTION_S),
        Family("comfyui_model_load_seconds", "How long loaders waited for an object.", ("folder", "source"), LOAD_S),
        Family("comfyui_cache_hits", "Answered by this tier.", ("level",)),
        Family("comfyui_cache_misses", "Asked of this tier and not there.", ("level",)),
        Family("comfyui_cache_evictions", "Objects that left a tier.", ("level", "reason")),
        Family("comfyui_cache_evicted_bytes", "Bytes that left a tier.", ("level",)),
        Family("comfyui_cache_stored_bytes", "Bytes that came into a tier.", ("level",)),
        Family("comfyui_converted_bytes", "Bytes of models that were written in fewer bits as they came in, before.", ("form",)),
        Family("comfyui_precision_saved_bytes", "Bytes less that those models take since.", ("form",)),
        Family("comfyui_errors", "What went wrong.", ("error_type", "component")),
        Family("comfyui_transfers", "Transfers from buckets that ended.", ("origin", "result")),
        Family("comfyui_transfer_bytes", "Bytes read from buckets.", ("origin",)),
        Family("comfyui_transfer_requests", "Requests sent to buckets for objects.", ("origin",)),
        Family("comfyui_transfer_retries", "Parts of objects that were asked for again.", ("reason",)),
        Family("comfyui_transfer_duration_seconds", "How long transfers took.", ("origin",), LOAD_S),
        Family("comfyui_publishes", "Objects that nodes and the panel put into buckets.", ("origin", "result")),
        Family("comfyui_published_bytes", "Bytes sent to buckets.", ("origin",)),
        Family("comfyui_corruptions", "Damaged bytes that were found, and kept from every loader.", ("where",)),
        Family("comfyui_catalog_refreshes", "Listings of buckets.", ("origin", "result")),
        Family("comfyui_prefetches", "Objects fetched ahead, by what came of it.", ("result",)),
        Family("comfyui_memory_steps", "What was done because a device had not the memory that was wanted.", ("step",)),
        Family("comfyui_variants_chosen", "Models that a rule chose among their variants.", ("rule",)),
        Family("comfyui_forms", "Objects that came, or should have come, by their compressed form.", ("result",)),
        Family("comfyui_form_saved_bytes", "Bytes that compressed forms kept off the network."),
        Family("comfyui_near_failovers", "Transfers from a near origin that its far one had to finish.", ("origin",)),
        Family("comfyui_near_refusals", "Objects in a near origin that were not used.", ("origin", "refusal")),
        Family("comfyui_near_waits", "Loads that waited for another worker's copy.", ("origin", "wait")),
        Family("comfyui_mirrors", "Copies made in a near origin.", ("origin", "result")),
        Family("comfyui_mirror_bytes", "Bytes written to a near origin.", ("origin",)),
        Family("comfyui_mirror_evicted_bytes", "Bytes that left a near origin.", ("origin",)),
        Family("comfyui_alerts", "Alerts that began.", ("rule", "severity")),
        Family("comfyui_saved_seconds", "Seconds of loading that the caches saved.", ("level",)),
        Family("comfyui_saved_bytes", "Bytes that were not read from buckets because of the caches.", ("level",)),
        Family("comfyui_saved_money", "What the caches saved.", ("currency",)),
        Family("comfyui_cost", "Estimated cost.", ("part", "currency")),
        Family("comfyui_panel_actions", "What was changed over HTTP.", ("action", "outcome")),
    )
}


def declare_all(tally: Tally, origins: Iterable[str]) -> None:
    """The rows that every process may come to need."""
    for level in ("vram", "ram", "ssd"):
        for family in ("hits", "misses", "evicted_bytes", "stored_bytes"):
            tally.declare(f"comfyui_cache_{family}", level)
        tally.declare("comfyui_cache_evictions", level, "room")
        for family in ("seconds", "bytes"):
            tally.declare(f"comfyui_saved_{family}", level)
    for component in ("loading", "transfer", "catalog", "execution"):
        tally.declare("comfyui_errors", OTHER, component)
    for status in ("success", "error", "interrupted"):
        tally.declare("comfyui_executions", status)
    for where in ("wire", "ssd", "ram"):
        tally.declare("comfyui_corruptions", where)
    for step in STEPS:
        tally.declare("comfyui_memory_steps", step)
    for result in ("useful", "late", "wasted"):
        tally.declare("comfyui_prefetches", result)
    for origin in origins:
        tally.declare("comfyui_transfer_bytes", origin)
        for result in ("finished", "failed", "stopped"):
            tally.declare("comfyui_transfers", origin, result)


STEPS = ("leave", "partial", "smaller", "failed")
FORMS = ("fp8", "int8", "mxfp8", "nvfp4")
"""as the configuration's precision rules name them"""
LEVELS = ("vram", "ram", "ssd", "bucket")
REASONS = (
    *("room", "budget", "keep_alive", "free", "pressure", "replaced", "stale", "off", "asked", "no_room", "damaged", "cleared"),
    *("reset", "short", "stall", "slow", "status", "range", "etag", "checksum", "throttled", "timeout", "tls", "connect", "credentials"),
)


def vocabularies(origins: Iterable[str]) -> dict[str, Vocabulary]:
    """origins: those of the configuration."""
    return {
        "method": Vocabulary(("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")),
        "endpoint": Vocabulary(("static", "unmatched"), room=250),
        "status": Vocabulary(("success", "error", "interrupted", *map(str, (200, 206, 304, 400, 403, 404, 500))), room=40),
        "folder": Vocabulary(room=64),
        "source": Vocabulary(LEVELS),
        "level": Vocabulary(LEVELS),
        "reason": Vocabulary(REASONS, room=16),
        "error_type": Vocabulary(room=48),
        "component": Vocabulary(
            (
                *("loading", "transfer", "catalog", "near", "restore", "publish", "storage_class", "execution", "request", "history"),
                *("tier_ram", "tier_ssd", "tier_vram", "cache"),
            ),
            room=8,
        ),
        "origin": Vocabulary(origins),
        "result": Vocabulary(("finished", "failed", "stopped", "skipped", "useful", "late", "wasted")),
        "refusal": Vocabulary(("stale", "own", "damaged")),
        "wait": Vocabulary(("copied", "gone", "slow")),
        "where": Vocabulary(("wire", "ssd", "ram")),
        "form": Vocabulary(FORMS),
        "rule": Vocabulary(room=32),
        "step": Vocabulary(STEPS),
        "severity": Vocabulary(("warning", "critical")),
        "currency": Vocabulary(room=1),
        "part": Vocabulary(("gpu", "storage", "egress", "requests")),
        "action": Vocabulary(room=24),
        "outcome": Vocabulary(("done", "refused"), room=24),
    }


@dataclass(slots=True)
class Histogram:
    """counts: of each bucket alone, the last of everything above."""

    counts: list[int]
    total: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)


Labels = tuple[str, ...]


class Tally:
    """Thread-safe; one lock, held for microseconds."""

    def __init__(self, origins: Iterable[str] = (), families: Mapping[str, Family] = FAMILIES) -> None:
        self._lock = threading.Lock()
        self._families = families
        self._words = vocabularies(origins)
        self._counters: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}

    def count(self, family: str, *labels: object, by: float = 1.0) -> None:
        with self._lock:
            rows = self._counters.setdefault(family, {})
            row = self._bounded(family, labels)
            rows[row] = rows.get(row, 0.0) + by

    def declare(self, family: str, *labels: object) -> None:
        """A row of 0, so that a rate over it has something to begin with."""
        self.count(family, *labels, by=0.0)

    def observe(self, family: str, value: float, *labels: object) -> None:
        bounds = self._families[family].buckets
        with self._lock:
            rows = self._histograms.setdefault(family, {})
            row = self._bounded(family, labels)
            found = rows.get(row)
            if found is None:
                found = rows[row] = Histogram([0] * (len(bounds) + 1))
            found.counts[bisect.bisect_left(bounds, value)] += 1
            found.total += value

    def counter(self, family: str, *labels: str) -> float:
        with self._lock:
            return self._counters.get(family, {}).get(labels, 0.0)

    def counters(self) -> dict[str, dict[Labels, float]]:
        with self._lock:
            return {family: dict(rows) for family, rows in self._counters.items()}

    def histograms(self) -> dict[str, dict[Labels, Histogram]]:
        with self._lock:
            return {
                family: {row: Histogram(list(found.counts), found.total) for row, found in rows.items()}
                for family, rows in self._histograms.items()
            }

    def _bounded(self, family: str, labels: tuple[object, ...]) -> Labels:
        names = self._families[family].labels
        return tuple(self._words[name](value) for name, value in zip(names, labels, strict=True))
