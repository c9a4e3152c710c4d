"""The routes by which the panel puts local models into the bucket, where the owner allows it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .bodies import Refused, in_thread, only, read_object, whole
from .publish_allowed import refused_because
from .routes_reading import not_configured
from .site import Site

if TYPE_CHECKING:
    from aiohttp import web

    from .publish_jobs import PublishJobs
    from .routes import Registrar

NAME_MAX = 1024


def add(to: Registrar, site: Site) -> None:
    runtime, config = site.runtime, site.config
    made: list[PublishJobs] = []

    def jobs() -> PublishJobs:
        """Made when somebody asks: it imports what publishing needs."""
        if runtime is None:
            raise not_configured()
        if not made:
            from .publish_jobs import PublishJobs

            made.append(PublishJobs(runtime))
        return made[0]

    async def read(_: web.Request) -> Any:
        allowed = [folder for folder in config.publish.folders if not refused_because(config, folder)]
        shown = [asdict(job) for job in made[0].jobs()] if made else []
        return {"folders": allowed, "max_bytes": config.publish.max_bytes, "jobs": shown}

    async def start(request: web.Request) -> Any:
        body = await read_object(request)
        only(body, "folder", "name")
        folder, name = _text(body, "folder"), _text(body, "name")
        ours = jobs()
        job = await in_thread(lambda: ours.start(folder, name))
        return 202, {"number": job.number}

    async def cancel(request: web.Request) -> Any:
        body = await read_object(request)
        only(body, "number")
        number = whole(body, "number", 1 << 53)
        if not jobs().cancel(number):
            raise Refused(404, "unknown_job", "there is no such job, or it is over")
        return {"cancelled": True}

    to.get("/publish", read)
    to.post("/publish", start)
    to.post("/publish/cancel", cancel)


def _text(body: Any, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= NAME_MAX:
        raise Refused(400, "body", f"{name}: a text")
    return value
