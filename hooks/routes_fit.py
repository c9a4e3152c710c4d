"""The route that says how much memory a model will take, and whether that is there.  It changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..storage.errors import ModelStreamError
from .bodies import DIGEST, Refused, in_thread
from .routes_reading import not_configured
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    from .routes import Registrar

PIXELS_MOST, FRAMES_MOST, BATCH_MOST = 16_384, 4096, 64


def add(to: Registrar, site: Site) -> None:
    async def estimate(request: web.Request) -> Any:
        query = request.query
        return await in_thread(lambda: _estimate(site, query))

    to.get("/estimate", estimate)


def _estimate(site: Site, query: Any) -> Any:
    from .fit_json import fit_json
    from .fit_shapes import Size

    runtime = site.runtime
    if runtime is None or runtime.estimator is None:
        raise not_configured()
    if runtime.opened is None:
        raise Refused(503, "not_ready", "the cache is being opened")
    size = Size(
        _number(query, "width", 1024, PIXELS_MOST),
        _number(query, "height", 1024, PIXELS_MOST),
        _number(query, "frames", 1, FRAMES_MOST),
        _number(query, "batch", 1, BATCH_MOST),
    )
    try:
        fit = _asked(site, query, size)
    except ModelStreamError as error:
        raise Refused(502, error.code, str(error)) from None
    return fit_json(fit.estimate, fit.verdict, fit.rooms)


def _asked(site: Site, query: Any, size: Any) -> Any:
    """By digest, or by folder and name as a loader has them."""
    from .folders import view_of

    runtime, digest = site.runtime, query.get("digest", "")
    assert runtime is not None and runtime.estimator is not None
    if digest:
        row = site.models.one(digest) if site.models is not None and DIGEST.fullmatch(digest) else None
        obj = runtime.catalog.by_digest(digest) if row is not None else None
        if row is None or obj is None:
            raise Refused(404, "unknown_digest", "no such model")
        return runtime.estimator.of_object(obj, row["folder"], size, row["name"])
    folder, name = query.get("folder", ""), query.get("name", "")
    view = view_of(folder) if folder and name else None
    found = None if view is None else runtime.estimator.by_name(folder, name, size)
    if found is None:
        raise Refused(404, "unknown_model", "no folder and no bucket has a safetensors file of that name")
    return found


def _number(query: Any, name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise Refused(400, "query", f"{name}: a whole number from 1 to {most}")
    return int(text)
