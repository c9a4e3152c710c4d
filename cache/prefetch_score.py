"""What fetching ahead was good for: every fetch is followed until it was used or turned out to be for nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ..storage.events import Event, EventBus, Evicted, ModelLoaded, PrefetchScored
from ..storage.objects import RemoteObject
from .operations import SSD
from .policy import FROM_BUCKET, FROM_SSD, TierSpeed

FOLLOWED_MAX = 2000
USELESS_AFTER_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class _Followed:
    obj: RemoteObject
    tier: str
    source: str
    started_s: float
    ended_s: float | None = None
    wire_bytes: int = 0


class Scores:
    """A subscriber of the bus.  Thread-safe; events are emitted without the lock."""

    def __init__(self, bus: EventBus, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._clock = clock
        self._lock = threading.Lock()
        self._followed: dict[str, _Followed] = {}
        self._totals: Counter[str] = Counter()
        self.ssd: TierSpeed = FROM_SSD
        self.bucket: TierSpeed = FROM_BUCKET

    def __call__(self, event: Event) -> None:
        if isinstance(event, ModelLoaded):
            self._used(event)
        elif isinstance(event, Evicted):
            self._evicted(event)

    def started(self, obj: RemoteObject, tier: str, source: str) -> None:
        """A second start of the same object (it became more urgent, or goes on to RAM) goes on with the first one's bytes."""
        with self._lock:
            before = self._followed.pop(obj.subject, None)
            wire_bytes = before.wire_bytes if before is not None else 0
            self._followed[obj.subject] = _Followed(obj, tier, source, self._clock(), wire_bytes=wire_bytes)
            oldest = next(iter(self._followed)) if len(self._followed) > FOLLOWED_MAX else None
        if oldest is not None:
            self._end(oldest, "wasted")

    def fetched(self, obj: RemoteObject, wire_bytes: int) -> None:
        now_s = self._clock()
        with self._lock:
            found = self._followed.get(obj.subject)
            if found is None:
                return
            seconds, total = now_s - found.started_s, found.wire_bytes + wire_bytes
            self._followed[obj.subject] = _Followed(obj, found.tier, found.source, found.started_s, now_s, total)
            if wire_bytes == obj.size_bytes:
                self.bucket = self.bucket.observed(obj.size_bytes, seconds)
            elif not wire_bytes and found.tier != SSD:
                self.ssd = self.ssd.observed(obj.size_bytes, seconds)

    def stopped(self, obj: RemoteObject, landed_bytes: int) -> None:
        """Cancelled or failed: what had landed was for nothing, unless it is asked for again (it resumes then)."""
        with self._lock:
            found = self._followed.get(obj.subject)
            if found is not None:
                self._followed[obj.subject] = _Followed(obj, found.tier, found.source, found.started_s, None, landed_bytes)
        if found is not None:
            self._end(obj.subject, "wasted" if landed_bytes else "")

    def expire(self) -> None:
        limit_s = self._clock() - USELESS_AFTER_S
        with self._lock:
            old = [subject for subject, f in self._followed.items() if f.ended_s is not None and f.ended_s < limit_s]
        for subject in old:
            self._end(subject, "wasted")

    def totals(self) -> dict[str, float]:
        with self._lock:
            return {name: round(value, 3) for name, value in sorted(self._totals.items())}

    # -- inside --------------------------------------------------------------------------------------------------------
    def _used(self, event: ModelLoaded) -> None:
        found = self._followed.get(event.subject)
        if found is None:
            return
        would_s = (
            self.bucket.reload_s(event.size_bytes) if found.wire_bytes or found.ended_s is None else self.ssd.reload_s(event.size_bytes)
        )
        saved_s = max(0.0, would_s - event.seconds)
        self._end(event.subject, "useful" if found.ended_s is not None else "late", saved_s)

    def _evicted(self, event: Evicted) -> None:
        """Out of the tier it was fetched into, unused.  From RAM it may still lie on the SSD: then it is not lost."""
        found = self._followed.get(event.subject)
        if found is not None and found.ended_s is not None and event.tier == found.tier and not (event.tier != SSD and found.wire_bytes):
            self._end(event.subject, "wasted")

    def _end(self, subject: str, outcome: str, saved_s: float = 0.0) -> None:
        with self._lock:
            found = self._followed.pop(subject, None)
            if found is None or not outcome:
                return
            seconds = saved_s if outcome != "wasted" else (found.ended_s or self._clock()) - found.started_s
            self._totals[f"{outcome}"] += 1
            self._totals[f"{outcome}_bytes"] += found.obj.size_bytes if outcome != "wasted" else found.wire_bytes
            self._totals[f"{outcome}_seconds"] += seconds  # type: ignore[assignment]
        self._bus.emit(PrefetchScored(subject, found.tier, found.source, outcome, found.obj.size_bytes, found.wire_bytes, seconds))
