"""The routes that only show: status, models, series, events, executions, alerts, plan, cost, metrics."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from .bodies import DIGEST, Refused, in_thread
from .models_table import BadQuery, Query
from .panel_json import alert_rows, saved, savings
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    from ..telemetry.observatory import Telemetry
    from .routes import Handler, Registrar

DAYS_SHOWN = 30


def add(to: Registrar, site: Site) -> None:
    async def status(_: web.Request) -> Any:
        return await in_thread(site.status)

    async def models(request: web.Request) -> Any:
        if site.models is None:
            raise not_configured()
        try:
            query = Query.of(request.query)
        except BadQuery as error:
            raise Refused(400, "query", str(error)) from None
        table = site.models
        return await in_thread(lambda: table.page(query))

    async def model(request: web.Request) -> Any:
        digest, table = request.match_info["digest"], site.models
        if table is None:
            raise not_configured()
        row = await in_thread(lambda: table.one(digest)) if DIGEST.fullmatch(digest) else None
        if row is None:
            raise Refused(404, "unknown_digest", "no such model")
        return {"row": row}

    async def plan(request: web.Request) -> Any:
        return await in_thread(lambda: _plan(site, request.query))

    to.get("/status", status)
    to.get("/models", models)
    to.get("/models/{digest}", model)

    async def policy(request: web.Request) -> Any:
        return await in_thread(lambda: _policy(site, request.query))

    to.get("/plan", plan)
    to.get("/policy", policy)
    for path, show in (("/series", _series), ("/events", _events), ("/executions", _executions), ("/alerts", _alerts), ("/cost", _cost)):
        to.get(path, _shown(site, show))


def metrics(site: Site) -> Handler:
    async def show(_: web.Request) -> Any:
        from aiohttp import web

        from ..telemetry.exposition import CONTENT_TYPE

        assert site.exposition is not None
        return web.Response(body=await in_thread(site.exposition.text), headers={"Content-Type": CONTENT_TYPE})

    return show


def not_configured() -> Refused:
    return Refused(409, "not_configured", "no bucket is configured, or the configuration has a mistake: see the status")


def _shown(site: Site, show: Any) -> Handler:
    """Of what telemetry has; its history may have to be read first."""

    async def shown(request: web.Request) -> Any:
        telemetry = site.telemetry
        if telemetry is None:
            raise Refused(409, "not_configured", "nothing is measured: no bucket is configured, or metrics.enabled is false")
        query = dict(request.query)

        def work() -> Any:
            telemetry.ready()
            return show(site, telemetry, query)

        return await in_thread(work)

    return shown


def _series(site: Site, telemetry: Telemetry, query: dict[str, str]) -> Any:
    from ..telemetry.series import GAUGES, NAMES, SPANS

    span = SPANS.get(query.get("span", "10m"))
    if span is None:
        raise Refused(400, "query", f"span: one of {', '.join(SPANS)}")
    names = query["names"].split(",") if query.get("names") else list(NAMES)
    if not set(names) <= NAMES.keys():
        raise Refused(400, "query", f"names: of {', '.join(NAMES)}")
    now_s = site.wall_clock()
    found = {}
    for name in names:
        kind = "gauge" if name in GAUGES else "sum"
        found[name] = {"kind": kind, "unit": NAMES[name], "points": telemetry.series.points(name, span.name, now_s)}
    return {"span": span.name, "step_s": span.step_s, "from_s": now_s - span.length_s, "to_s": now_s, "series": found}


def _events(_: Site, telemetry: Telemetry, query: dict[str, str]) -> Any:
    lines = telemetry.feed.since(_number(query, "since", 0, 1 << 53), _number(query, "limit", 100, 500))
    return {"last": telemetry.feed.last, "events": [dataclasses.asdict(line) for line in lines]}


def _executions(_: Site, telemetry: Telemetry, query: dict[str, str]) -> Any:
    rows = telemetry.executions.rows()
    durations, waits = telemetry.executions.durations(), telemetry.executions.waits()
    return {
        "count": len(rows),
        "percentiles": None if durations is None else dataclasses.asdict(durations),
        "wait_percentiles": None if waits is None else dataclasses.asdict(waits),
        "statuses": dict(telemetry.executions.statuses()),
        "rows": [dataclasses.asdict(row) for row in rows[: _number(query, "limit", 50, 1000)]],
    }


def _alerts(site: Site, telemetry: Telemetry, _: dict[str, str]) -> Any:
    settings = site.config.alerts
    rules = [
        {
            "rule": rule.name,
            "severity": rule.severity,
            "component": rule.component,
            "threshold": rule.threshold(settings),
            "clear_at": rule.threshold(settings) * rule.clear,
            "unit": rule.unit,
            "enabled": settings.enabled and rule.threshold(settings) > 0,
        }
        for rule in telemetry.alerts.all_rules
    ]
    return {"active": alert_rows(telemetry.alerts.active()), "history": alert_rows(telemetry.alerts.history()), "rules": rules}


def _cost(site: Site, telemetry: Telemetry, _: dict[str, str]) -> Any:
    now_s = site.wall_clock()
    costs, currency = telemetry.costs, site.config.cost.currency
    today, prices = costs.today(now_s), telemetry.gpu_prices()
    gpu_today = today.parts.get("gpu")
    return {
        "currency": currency,
        "gpu_price_per_hour": sum(price for price, _ in prices) if prices else None,
        "gpu_price_source": prices[0][1] if prices else None,
        "today": today.total,
        "projected_month": costs.projected_month(now_s),
        "parts": {part: today.parts.get(part) for part in ("gpu", "storage", "egress", "requests")},
        "per_execution": gpu_today / today.executions if gpu_today is not None and today.executions else None,
        "saved": savings(telemetry, currency, now_s),
        "days": [{"day": d.name, **d.parts, "executions": d.executions, "saved": saved(d.saved)} for d in costs.days()[:DAYS_SHOWN]],
    }


def _plan(site: Site, query: Any) -> Any:
    runtime = site.runtime
    if runtime is None:
        raise not_configured()
    tier = query.get("tier", "ssd")
    if tier not in ("ram", "ssd"):
        raise Refused(400, "query", "tier: one of ram, ssd")
    size_bytes = _number(query, "size_bytes", 0, 1 << 50)
    digest = query.get("digest", "")
    if digest:
        obj = runtime.catalog.by_digest(digest) if DIGEST.fullmatch(digest) else None
        if obj is None:
            raise Refused(404, "unknown_digest", "no such model")
        size_bytes = obj.size_bytes
    cache = runtime.opened
    if cache is None:
        raise Refused(503, "not_ready", "the cache is being opened")
    plan = cache.plan_room(size_bytes, tier)
    entries = {entry.digest: entry for entry in cache.entries()}
    going = []
    for victim in plan.victims:
        entry = entries.get(victim.digest)
        row = {"digest": victim.digest, "size_bytes": victim.size_bytes, "reason": plan.why(victim)}
        row["expected_loss_s"] = victim.expected_loss_s
        going.append({**row, "name": entry.name if entry else "", "last_used_s": entry.last_used_s if entry else None})
    return {
        "tier": tier,
        "size_bytes": size_bytes,
        "needed_bytes": max(0, plan.needed_bytes),
        "free_bytes": max(0, size_bytes - plan.needed_bytes),
        "freed_bytes": plan.freed_bytes,
        "enough": plan.needed_bytes <= 0 or plan.enough,
        "going": going,
    }


def _policy(site: Site, query: Any) -> Any:
    """With ``bound=1`` seconds of CPU, in a thread."""
    if site.runtime is None:
        raise not_configured()
    cache = site.runtime.opened
    if cache is None:
        raise Refused(503, "not_ready", "the cache is being opened")
    found = cache.saved(_number(query, "days", 7, 8), bound=_number(query, "bound", 0, 1) == 1)
    return {"days": found.days, "seconds": found.seconds, "tiers": [dataclasses.asdict(tier) for tier in found.tiers]}


def _number(query: Any, name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,16}", text) or int(text) > most:
        raise Refused(400, "query", f"{name}: a whole number, at most {most}")
    return int(text)
