"""Rolling series: a point a second for ten minutes, one in 10 s for six hours, one in five minutes for thirty days.

A point exists only where something happened, so an idle process records nothing.  A *sum* adds up in its step (bytes,
loads); a *gauge* keeps the highest value of its step and holds until the next point.  Bounded: names are those of
``NAMES``, each span has so many points at most.  Thread-safe.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    name: str
    step_s: int
    points: int

    @property
    def length_s(self) -> int:
        return self.step_s * self.points


SPANS: Mapping[str, Span] = {s.name: s for s in (Span("10m", 1, 600), Span("6h", 10, 2160), Span("30d", 300, 8640))}

GAUGES: Mapping[str, str] = {
    "ram_used_bytes": "bytes",
    "ssd_used_bytes": "bytes",
    "vram_used_bytes": "bytes",
    "rate_bytes_per_s": "bytes_per_s",
    "queue_depth": "prompts",
    "gpu_utilization_percent": "percent",
    "gpu_memory_bytes": "bytes",
    "gpu_temperature_c": "celsius",
    "gpu_power_w": "watts",
}
SUMS: Mapping[str, str] = {
    "loads": "loads",
    "loads_failed": "loads",
    "bytes_loaded": "bytes",
    "wire_bytes": "bytes",
    "hits_ram": "loads",
    "hits_ssd": "loads",
    "hits_vram": "loads",
    "misses": "loads",
    "evictions_ram": "objects",
    "evictions_ssd": "objects",
    "evictions_vram": "objects",
    "evicted_bytes": "bytes",
    "executions": "prompts",
    "execution_seconds": "seconds",
    "execution_errors": "prompts",
    "saved_seconds": "seconds",
    "saved_bytes": "bytes",
}
NAMES: Mapping[str, str] = {**GAUGES, **SUMS}

Point = tuple[int, float]
"""(start of the step, seconds since 1970; value)"""
Chunk = tuple[str, str, int]
"""(span, name, number): the points of ``CHUNK_POINTS`` steps, the unit in which history is kept"""
CHUNK_POINTS = 288
KEPT_SPANS = ("6h", "30d")
"""ten minutes of seconds are not worth keeping over a restart"""


class Series:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[tuple[str, str], deque[list[float]]] = {}
        self._dirty: set[Chunk] = set()

    def add(self, name: str, amount: float, now_s: float) -> None:
        """To a sum; nothing is recorded for 0."""
        if amount:
            self._record(name, amount, now_s, add=True)

    def hold(self, name: str, value: float, now_s: float) -> None:
        self._record(name, value, now_s, add=False)

    def points(self, name: str, span: str, now_s: float) -> list[Point]:
        """Oldest first; those of the span before ``now_s``."""
        since = now_s - SPANS[span].length_s
        with self._lock:
            return [(int(at), value) for at, value in self._points.get((span, name), ()) if since <= at <= now_s]

    def total(self, name: str, seconds: float, now_s: float) -> float:
        """What a sum came to in the last so many seconds (six hours at most)."""
        span = "10m" if seconds <= SPANS["10m"].length_s else "6h"
        return sum(value for at, value in self.points(name, span, now_s) if at >= now_s - seconds)

    # -- over a restart ------------------------------------------------------------------------------------------------
    def take_dirty(self) -> dict[Chunk, list[Point]]:
        """What has changed since the last call, by chunk."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            return {chunk: self._chunk(chunk) for chunk in dirty}

    def mark_dirty(self, chunks: Iterable[Chunk]) -> None:
        """They could not be kept: another time."""
        with self._lock:
            self._dirty.update(chunks)

    def restore(self, chunk: Chunk, points: Iterable[Point]) -> None:
        """Points of an earlier process; those recorded since stay."""
        span, name, _ = chunk
        if span not in KEPT_SPANS or name not in NAMES:
            return
        with self._lock:
            kept = self._kept(span, name)
            merged = {float(at): float(value) for at, value in points}
            merged.update((at, value) for at, value in kept)
            kept.clear()
            kept.extend([at, value] for at, value in sorted(merged.items()))

    def _chunk(self, chunk: Chunk) -> list[Point]:
        span, name, number = chunk
        return [(int(at), value) for at, value in self._points.get((span, name), ()) if chunk_of(span, at) == number]

    def _record(self, name: str, value: float, now_s: float, *, add: bool) -> None:
        with self._lock:
            for span in SPANS.values():
                at = float(now_s // span.step_s * span.step_s)
                kept = self._kept(span.name, name)
                while kept and kept[-1][0] > at:
                    kept.pop()  # the clock went back: what was recorded in the future never was
                if kept and kept[-1][0] == at:
                    kept[-1][1] = kept[-1][1] + value if add else max(kept[-1][1], value)
                else:
                    kept.append([at, value])
                if span.name in KEPT_SPANS:
                    self._dirty.add((span.name, name, chunk_of(span.name, at)))

    def _kept(self, span: str, name: str) -> deque[list[float]]:
        found = self._points.get((span, name))
        if found is None:
            found = self._points[(span, name)] = deque(maxlen=SPANS[span].points)
        return found


def chunk_of(span: str, at_s: float) -> int:
    return int(at_s // (SPANS[span].step_s * CHUNK_POINTS))
