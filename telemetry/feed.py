"""What happened, for people: the last 500 events worth a line in the panel.  Thread-safe.

``text`` is English; the other fields are there for whoever writes it in another language.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage import events, events_comfy, events_fit, events_forms, events_near, events_publish, events_restore
from ..storage.events import Event
from ..storage.people import seconds_text, size_text

KEPT = 500


@dataclass(frozen=True, slots=True)
class Line:
    seq: int
    at_s: float
    kind: str
    name: str = ""
    subject: str = ""
    tier: str = ""
    size_bytes: int = 0
    seconds: float = 0.0
    reason: str = ""
    text: str = ""


class Feed:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=KEPT)
        self._last = 0

    @property
    def last(self) -> int:
        return self._last

    def __call__(self, event: Event, at_s: float) -> None:
        written = WRITERS.get(type(event))
        if written is None:
            return
        fields = written(event)
        with self._lock:
            self._last += 1
            self._lines.append(Line(self._last, at_s, **fields))

    def since(self, seq: int, limit: int) -> list[Line]:
        """After ``seq``, oldest first; the newest ``limit`` of them."""
        with self._lock:
            found = [line for line in self._lines if line.seq > seq]
        return found[-limit:] if limit > 0 else []


def basename(subject: str) -> str:
    return subject.rpartition(":")[2].rpartition("/")[2] or subject


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _about(event: Any, kind: str, text: str, **more: Any) -> dict[str, Any]:
    subject = event.subject
    return {"kind": kind, "subject": subject, "name": basename(subject), "text": text, **more}


def _loaded(e: events.ModelLoaded) -> dict[str, Any]:
    text = f"loaded {e.name} from {e.source}: {size_text(e.size_bytes)} in {seconds_text(e.seconds)}"
    return {**_about(e, "load", text), "name": e.name, "tier": e.source, "size_bytes": e.size_bytes, "seconds": e.seconds}


def _transfer(e: events.TransferFinished) -> dict[str, Any]:
    text = f"{basename(e.subject)} came from its bucket: {size_text(e.wire_bytes)} in {seconds_text(e.seconds)}"
    return _about(e, "transfer", text, size_bytes=e.size_bytes, seconds=e.seconds, reason="finished")


def _evicted(e: events.Evicted) -> dict[str, Any]:
    text = f"{basename(e.subject)} left {e.tier}: {size_text(e.size_bytes)}, {e.reason}"
    return _about(e, "evict", text, tier=e.tier, size_bytes=e.size_bytes, reason=e.reason)


def _stored(e: events.Stored) -> dict[str, Any]:
    text = f"{basename(e.subject)} is in {e.tier}: {size_text(e.size_bytes)}"
    return _about(e, "store", text, tier=e.tier, size_bytes=e.size_bytes, seconds=e.seconds)


def _converted(e: events.Converted) -> dict[str, Any]:
    stays = f", {e.stays} stay as they are" if e.stays else ""
    text = f"{basename(e.subject)}: {size_text(e.source_bytes)} became {size_text(e.size_bytes)}, {e.layers} layers in {e.form}{stays}"
    return _about(e, "convert", text, size_bytes=e.size_bytes, seconds=e.seconds)


def _verified(e: events.Verified) -> dict[str, Any]:
    text = f"{basename(e.subject)} in {e.tier} was read again: {e.result}"
    return _about(e, "verify", text, tier=e.tier, size_bytes=e.size_bytes, seconds=e.seconds, reason=e.result)


def _warmed(e: events.WarmStarted) -> dict[str, Any]:
    text = f"{_models(e.objects)} to be fetched ahead into {e.tier}: {size_text(e.size_bytes)}"
    return {"kind": "prefetch", "tier": e.tier, "size_bytes": e.size_bytes, "reason": "started", "text": text}


def _warm_ended(e: events.WarmFinished) -> dict[str, Any]:
    outcome = "cancelled" if e.cancelled else "failed" if e.failed else "finished"
    text = f"fetching {_models(e.objects)} ahead into {e.tier}: {outcome}"
    return {"kind": "prefetch", "tier": e.tier, "size_bytes": e.wire_bytes, "seconds": e.seconds, "reason": outcome, "text": text}


def _decided(e: events.PrefetchDecided) -> dict[str, Any]:
    text = f"{basename(e.subject)}: {e.action} ahead, {e.source}: {e.reason}"
    return _about(e, "prefetch", text, tier=e.tier, size_bytes=e.size_bytes, reason=e.action)


def _scored(e: events.PrefetchScored) -> dict[str, Any]:
    text = f"{basename(e.subject)} was fetched ahead into {e.tier}: {e.outcome}"
    return _about(e, "prefetch", text, tier=e.tier, size_bytes=e.size_bytes, seconds=e.seconds, reason=e.outcome)


def _published(e: events_publish.ObjectPublished) -> dict[str, Any]:
    text = f"{basename(e.subject)} is in its bucket: {size_text(e.size_bytes)}, {e.how}"
    return _about(e, "publish", text, size_bytes=e.size_bytes, seconds=e.seconds, reason=e.how)


def _form_read(e: events_forms.FormRead) -> dict[str, Any]:
    text = f"{basename(e.subject)} came compressed: {size_text(e.stored_bytes)} for {size_text(e.size_bytes)} in {e.seconds:.1f} s"
    return _about(e, "transfer", text, size_bytes=e.size_bytes, seconds=e.seconds, reason="compressed")


def _mirrored(e: events_near.Mirrored) -> dict[str, Any]:
    text = f"{basename(e.subject)} was copied to {e.origin}: {size_text(e.size_bytes)} in {e.seconds:.1f} s"
    return _about(e, "near", text, size_bytes=e.size_bytes, seconds=e.seconds, reason="copied")


def _mirror_evicted(e: events_near.MirrorEvicted) -> dict[str, Any]:
    text = f"{basename(e.key)} left {e.origin}: {size_text(e.size_bytes)}, {e.why}"
    return {"kind": "near", "name": basename(e.key), "size_bytes": e.size_bytes, "reason": "evicted", "text": text}


def _near_down(e: events_near.NearDown) -> dict[str, Any]:
    text = f"{e.origin} fails, loads go past it for {e.retry_s:.0f} s: {e.cause}"
    return {"kind": "near", "name": e.origin, "seconds": e.retry_s, "reason": e.code, "text": text}


def _failover(e: events_near.NearFailover) -> dict[str, Any]:
    text = f"{basename(e.subject)}: {e.origin} failed ({e.code}), the far origin goes on after {size_text(e.landed_bytes)}"
    return _about(e, "near", text, size_bytes=e.landed_bytes, reason="failover")


def _waited(e: events_near.NearWaited) -> dict[str, Any]:
    text = f"{basename(e.subject)}: waited {e.seconds:.1f} s for another worker's copy in {e.origin}: {e.outcome}"
    return _about(e, "near", text, seconds=e.seconds, reason=e.outcome)


def _missing(e: events.ModelsMissing) -> dict[str, Any]:
    return {"kind": "load_failed", "name": e.names[0] if e.names else "", "reason": "missing", "text": f"not found: {', '.join(e.names)}"}


def _variant(e: events_fit.VariantChosen) -> dict[str, Any]:
    text = f"{basename(e.chosen)} ({e.form}) was taken for {basename(e.asked)}: {e.why}"
    return {"kind": "fit", "name": e.chosen, "reason": e.rule, "text": text}


def _memory_step(e: events_fit.MemoryStep) -> dict[str, Any]:
    text = f"{basename(e.subject)} wanted {size_text(e.needed_bytes)} of {e.device}, {size_text(e.free_bytes)} were free: {e.why}"
    return _about(e, "fit", text, tier="vram", size_bytes=e.won_bytes, reason=e.step)


def _executed(e: events_comfy.ExecutionComplete) -> dict[str, Any]:
    return {
        "kind": "execution",
        "seconds": e.seconds,
        "reason": e.status,
        "text": f"a prompt ended after {seconds_text(e.seconds)}: {e.status}",
    }


def _alert(e: events_comfy.AlertRaised) -> dict[str, Any]:
    return {"kind": "alert", "subject": e.subject, "name": e.rule, "reason": e.severity, "text": e.message}


def _restoring(e: events_restore.RestoreStarted) -> dict[str, Any]:
    most = f", {e.expected_s / 3600:.1f} h at most" if e.expected_s else ""
    text = f"{basename(e.subject)} is being restored from {e.storage_class} ({e.tier}{most})"
    return _about(e, "restore", text, size_bytes=e.size_bytes, reason="started" if e.ours else "under way")


def _moved_class(e: events_restore.ClassChanged) -> dict[str, Any]:
    text = f"{basename(e.subject)} was moved from {e.from_class} to {e.to_class}"
    return _about(e, "class", text, size_bytes=e.size_bytes, reason=e.to_class)


def _restored(e: events_restore.RestoreFinished) -> dict[str, Any]:
    text = f"{basename(e.subject)} is back from the archive and can be read"
    return _about(e, "restored", text, size_bytes=e.size_bytes, seconds=e.seconds, reason="finished")


def _plain(kind: str, *fields: str) -> Callable[[Any], dict[str, Any]]:
    """A line of events whose text is made of their own fields."""

    def write(event: Any) -> dict[str, Any]:
        values = [str(getattr(event, field)) for field in fields]
        subject = getattr(event, "subject", "")
        return {
            "kind": kind,
            "subject": subject,
            "name": basename(subject) if subject else values[0],
            "tier": getattr(event, "tier", ""),
            "size_bytes": getattr(event, "size_bytes", 0),
            "seconds": getattr(event, "seconds", 0.0),
            "reason": values[-1],
            "text": ": ".join(value for value in values if value),
        }

    return write


WRITERS: dict[type[Event], Callable[[Any], dict[str, Any]]] = {
    events.ModelLoaded: _loaded,
    events.LoadFailed: _plain("load_failed", "name", "message", "code"),
    events.TransferFinished: _transfer,
    events.TransferFailed: _plain("transfer", "subject", "message", "code"),
    events.TransferStopped: _plain("transfer", "subject"),
    events.Evicted: _evicted,
    events.Stored: _stored,
    events.Converted: _converted,
    events.Pinned: _plain("pin", "subject"),
    events.Unpinned: _plain("unpin", "subject"),
    events.Verified: _verified,
    events.WarmStarted: _warmed,
    events.WarmFinished: _warm_ended,
    events.PrefetchDecided: _decided,
    events.PrefetchScored: _scored,
    events.ModelsMissing: _missing,
    events_publish.ObjectPublished: _published,
    events_publish.PublishFailed: _plain("publish", "subject", "message", "code"),
    events_fit.VariantChosen: _variant,
    events_fit.MemoryStep: _memory_step,
    events.CorruptionFound: _plain("corruption", "subject", "detail", "where"),
    events.TierDegraded: _plain("degraded", "tier", "cause", "code"),
    events.SeamChanged: _plain("seam", "seam", "reason", "state"),
    events_forms.FormRead: _form_read,
    events_forms.FormRefused: _plain("degraded", "subject", "cause", "reason"),
    events_near.NearDown: _near_down,
    events_near.NearUp: _plain("near", "origin"),
    events_near.NearFailover: _failover,
    events_near.NearCopyRefused: _plain("near", "subject", "origin", "reason"),
    events_near.NearWaited: _waited,
    events_near.Mirrored: _mirrored,
    events_near.MirrorSkipped: _plain("near", "subject", "origin", "reason"),
    events_near.MirrorFailed: _plain("near", "subject", "message", "code"),
    events_near.MirrorEvicted: _mirror_evicted,
    events.CatalogRefreshFailed: _plain("catalog", "origin", "cause", "code"),
    events_restore.RestoreStarted: _restoring,
    events_restore.RestoreFinished: _restored,
    events_restore.ClassChanged: _moved_class,
    events_restore.ClassChangeFailed: _plain("class_failed", "subject", "message", "code"),
    events_restore.RestoreFailed: _plain("restore_failed", "subject", "message", "code"),
    events_comfy.ExecutionComplete: _executed,
    events_comfy.AlertRaised: _alert,
    events_comfy.TelemetryDegraded: _plain("degraded", "part", "cause", "code"),
}
