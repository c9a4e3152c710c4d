"""The blocks of docs/routes.md that status and ticks share, made from memory.  No secret, no endpoint, no path."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..storage.people import size_text
from .figures import tier_figures, transfers

if TYPE_CHECKING:
    from ..storage.transfer import Transfer
    from ..telemetry.alerts import Alert
    from ..telemetry.costs import Saved
    from ..telemetry.observatory import Telemetry
    from .runtime import Runtime

Json = dict[str, Any]
RESTORING_SHOWN = 12


def health(*, configured: bool, enabled: bool, problem: str, runtime: Runtime | None, telemetry: Telemetry | None) -> Json:
    """One sentence; the gravest thing wins."""
    if not configured:
        return _health("off", "not_configured", "No bucket is configured yet.")
    if not enabled:
        return _health("off", "disabled", "Model Stream is switched off in its configuration.")
    if runtime is None or problem:
        return _health("critical", "failed" if configured and runtime else "config", f"Model Stream cannot work: {problem}")
    alerts = telemetry.alerts.active() if telemetry is not None else ()
    if alerts:
        worst = alerts[0]
        level = "critical" if worst.severity == "critical" else "warning"
        return _health(level, "alert", _sentence(worst.message), rule=worst.rule, more=len(alerts) - 1)
    states = runtime.catalog.states()
    down = next((s for s in states if s.error is not None), None)
    if down is not None:
        text = f"The bucket {down.name} could not be listed; what is cached still works."
        return _health("warning", "origin_down", text, origin=down.name)
    if runtime.opened is None:
        return _health("ok", "opening", "The cache is being opened.")
    moving = [t.progress() for t in transfers(runtime)]
    if moving:
        rate = sum(p.rate_bytes_per_s for p in moving)
        what = "1 model streams" if len(moving) == 1 else f"{len(moving)} models stream"
        return _health("ok", "streaming", f"{what} at {size_text(rate)}/s.", count=len(moving), rate_bytes_per_s=rate)
    if not any(s.listed_s for s in states):
        return _health("ok", "listing", "The buckets are being listed.")
    counts = {tier.level: tier.entries for tier in tier_figures(runtime)}
    text = f"All well: {counts.get('ram', 0)} models in RAM, {counts.get('ssd', 0)} on the SSD."
    return _health("ok", "ok", text, ram=counts.get("ram", 0), ssd=counts.get("ssd", 0))


def tiers(runtime: Runtime | None) -> Json:
    if runtime is None or runtime.opened is None:
        return {}
    found: Json = {"vram": None}
    for tier in tier_figures(runtime):
        fields = dataclasses.asdict(tier)
        more = dict(fields.pop("more"))
        found[fields.pop("level")] = {**fields, **more}
    states = runtime.catalog.states()
    found["bucket"] = {"entries": sum(s.objects for s in states), "used_bytes": runtime.holdings.listed_bytes}
    snapshot = runtime.opened.snapshot()
    found["loading"] = list(snapshot.loading)
    found["restoring"] = [{"subject": subject, "left_s": left_s} for subject, left_s in snapshot.restoring[:RESTORING_SHOWN]]
    return found


def transfer_rows(runtime: Runtime | None, telemetry: Telemetry | None) -> list[Json]:
    """The most urgent first."""
    if runtime is None:
        return []
    return [_transfer(t, telemetry) for t in sorted(transfers(runtime), key=lambda t: (t.priority, t.id))]


def _transfer(transfer: Transfer, telemetry: Telemetry | None) -> Json:
    progress, obj = transfer.progress(), transfer.obj
    waiters = telemetry.waiting.on(obj.subject) if telemetry is not None else ()
    priority = transfer.priority.name.lower()
    return {
        "id": transfer.id,
        "digest": obj.id.digest,
        "subject": obj.subject,
        "name": obj.basename,
        "folder": waiters[0].folder if waiters else "",
        "origin": obj.origin,
        "size_bytes": progress.size_bytes,
        "done_bytes": progress.landed_bytes,
        "rate_bytes_per_s": progress.rate_bytes_per_s,
        "eta_s": progress.eta_s,
        "connections": progress.connections,
        "state": str(progress.state),
        "source": "bucket",
        "priority": priority,
        "reason": "load" if waiters else "other" if priority == "foreground" else "prefetch",
        "waiting_nodes": [{"prompt": w.prompt, "node": w.node} for w in waiters if w.node],
    }


def on_devices(runtime: Runtime | None) -> list[Json]:
    """Loaded models by device, as last looked at."""
    block = None if runtime is None else runtime.status_blocks.get("memory")
    memory: Any = {} if block is None else block()
    found: list[Json] = memory.get("on_devices", []) if isinstance(memory, dict) else []
    return found


def gpus(telemetry: Telemetry | None) -> list[Json] | None:
    seen = telemetry.gpu.last if telemetry is not None else None
    return None if seen is None else [dataclasses.asdict(gpu) for gpu in seen]


def queue(telemetry: Telemetry | None, node: str) -> Json | None:
    """node: that ComfyUI executes now, where it says so."""
    if telemetry is None or telemetry.executions.pending is None:
        return None
    running = telemetry.executions.running()
    execution = None if running is None else {"prompt": running.prompt, "node": node or None, "since_s": running.since_s}
    return {"pending": telemetry.executions.pending, "running": int(running is not None), "execution": execution}


def alert_rows(alerts: tuple[Alert, ...]) -> list[Json]:
    rows = []
    for alert in alerts:
        row = dataclasses.asdict(alert)
        row["active"] = row["cleared_s"] is None
        rows.append(row)
    return rows


def savings(telemetry: Telemetry | None, currency: str, now_s: float) -> Json | None:
    if telemetry is None:
        return None
    hits = {level: int(telemetry.tally.counter("comfyui_cache_hits", level)) for level in ("vram", "ram", "ssd")}
    misses = int(telemetry.tally.counter("comfyui_cache_misses", "ssd"))
    asked = sum(hits.values()) + misses
    since = telemetry.costs.saved_since
    return {
        "currency": currency,
        "today": saved(since(1, now_s)),
        "week": saved(since(7, now_s)),
        "total": saved(since(400, now_s)),
        "hit_rate": sum(hits.values()) / asked if asked else None,
        "hits": hits,
        "misses": misses,
    }


def saved(amount: Saved) -> Json:
    return dataclasses.asdict(amount)


def _health(level: str, code: str, text: str, **values: object) -> Json:
    return {"level": level, "code": code, "text": text, "values": values}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
