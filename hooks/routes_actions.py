"""The routes that change something.  All go through ``Guard.changing``; bodies hold digests, numbers and fixed words only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .actions import CACHE_TIERS, Actions
from .bodies import Refused, choice, digest_of, digests_of, flag, in_thread, only, read_object, whole
from .routes_reading import not_configured
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    from .routes import Registrar

BUDGET_MAX = 1 << 50
Body = Mapping[str, Any]


def add(to: Registrar, site: Site) -> None:
    runtime = site.runtime
    actions = Actions(runtime) if runtime is not None else None

    def route(path: str, read: Callable[[Actions, Body], Callable[[], Any]], status: int = 200) -> None:
        async def handle(request: web.Request) -> Any:
            body = await read_object(request)
            if actions is None:
                raise not_configured()
            return status, await in_thread(read(actions, body))

        to.post(path, handle)

    async def refresh(request: web.Request) -> Any:
        """Lists the buckets again, in the background."""
        only(await read_object(request))
        if runtime is None:
            raise not_configured()
        runtime.catalog.refresh()
        return 202, {"asked": True}

    async def prefetching(request: web.Request) -> Any:
        body = await read_object(request)
        only(body, "paused")
        paused = flag(body, "paused")
        pause = runtime.pause_prefetch if runtime is not None else None
        if pause is None:
            raise Refused(409, "not_configured", "prefetch is switched off")
        pause(paused)
        return {"paused": paused}

    async def warming(request: web.Request) -> Any:
        if actions is None:
            raise not_configured()
        return actions.warming(request.match_info["name"])

    to.get("/warming/{name}", warming)
    to.post("/refresh", refresh)
    to.post("/prefetching", prefetching)
    route("/evict", _evict)
    route("/pin", lambda a, body: _pin(a, body, pinned=True))
    route("/unpin", lambda a, body: _pin(a, body, pinned=False))
    route("/prefetch", _prefetch, 202)
    route("/cancel", _cancel)
    route("/verify", _verify, 202)
    route("/clear", _clear)
    route("/budgets", _budget)


def _evict(actions: Actions, body: Body) -> Callable[[], Any]:
    only(body, "digests", "tier")
    digests = digests_of(body)
    tier = choice(body, "tier", ("vram", *CACHE_TIERS)) if body.get("tier") is not None else None
    return lambda: actions.evict(digests, tier)


def _pin(actions: Actions, body: Body, *, pinned: bool) -> Callable[[], Any]:
    only(body, "digests")
    digests = digests_of(body)
    return lambda: actions.pin(digests, pinned=pinned)


def _prefetch(actions: Actions, body: Body) -> Callable[[], Any]:
    only(body, "digests", "tier")
    digests, tier = digests_of(body), choice(body, "tier", CACHE_TIERS, "ssd")
    return lambda: actions.prefetch(digests, tier)


def _cancel(actions: Actions, body: Body) -> Callable[[], Any]:
    only(body, "transfer", "digest", "warming")
    if len(body) != 1:
        raise Refused(400, "body", "one of transfer, digest, warming")
    if "transfer" in body:
        number = whole(body, "transfer", 1 << 53)
        return lambda: actions.cancel(transfer=number)
    if "digest" in body:
        digest = digest_of(body["digest"])
        return lambda: actions.cancel(digest=digest)
    name = body["warming"]
    if not isinstance(name, str) or len(name) > 32:
        raise Refused(400, "body", "warming: what prefetch answered")
    return lambda: actions.cancel(warming=name)


def _verify(actions: Actions, body: Body) -> Callable[[], Any]:
    only(body, "digests")
    digests = digests_of(body)
    return lambda: actions.verify(digests)


def _clear(actions: Actions, body: Body) -> Callable[[], Any]:
    only(body, "tier", "confirm")
    tier, word = choice(body, "tier", ("vram", *CACHE_TIERS)), body.get("confirm")
    if word is not None and (not isinstance(word, str) or len(word) > 64):
        raise Refused(400, "body", "confirm: what the first answer gave")
    return lambda: actions.clear(tier, word)


def _budget(actions: Actions, body: Body) -> Callable[[], Any]:
    only(body, "tier", "size_bytes")
    tier, size_bytes = choice(body, "tier", CACHE_TIERS), whole(body, "size_bytes", BUDGET_MAX)
    return lambda: actions.budget(tier, size_bytes)
