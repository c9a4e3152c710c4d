"""What a request's body may be, and how errors are answered.  Everything here works on plain values."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..storage.errors import ModelStreamError

if TYPE_CHECKING:
    from aiohttp import web

T = TypeVar("T")

BODY_MAX = 64 << 10
DIGESTS_MAX = 100
DIGEST = re.compile(r"[0-9a-f]{64}")

STATUS_OF = {
    "no_room": 409,
    "config": 409,
    "missing": 404,
    "denied": 502,
    "unreachable": 502,
    "disk": 507,
    "publish_refused": 409,
    "name_taken": 409,
}


class Refused(Exception):
    """Answered as ``{"error": code, "message": text, **more}``."""

    def __init__(self, status: int, code: str, message: str, **more: object) -> None:
        self.status = status
        self.body = {"error": code, "message": message, **more}
        super().__init__(message)


async def read_object(request: web.Request, most: int = BODY_MAX) -> Mapping[str, Any]:
    """The JSON object of the body.  Raises Refused."""
    raw = await request.content.read(most + 1)
    while raw and not request.content.at_eof() and len(raw) <= most:
        raw += await request.content.read(most + 1 - len(raw))
    if len(raw) > most:
        raise Refused(413, "body", f"at most {most} bytes")
    try:
        body = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "body", "not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "body", "a JSON object is wanted")
    return body


def only(body: Mapping[str, Any], *names: str) -> None:
    """Refuses what the route does not know: a misspelt key would do something else than was meant."""
    unknown = sorted(set(body) - set(names))
    if unknown:
        raise Refused(400, "body", f"known here: {', '.join(names) or 'nothing'}")


def digests_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    found = body.get("digests")
    if not isinstance(found, list) or not 1 <= len(found) <= DIGESTS_MAX:
        raise Refused(400, "body", f"digests: a list of 1 to {DIGESTS_MAX}")
    return tuple(dict.fromkeys(digest_of(one) for one in found))


def digest_of(value: object) -> str:
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise Refused(400, "body", "a digest is 64 hex digits")
    return value


def choice(body: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str | None = None) -> str:
    value = body.get(name, default)
    if value not in choices:
        raise Refused(400, "body", f"{name}: one of {', '.join(choices)}")
    return str(value)


def whole(body: Mapping[str, Any], name: str, most: int) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise Refused(400, "body", f"{name}: a whole number, at most {most}")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool):
        raise Refused(400, "body", f"{name}: true or false")
    return value


def refused_by(error: ModelStreamError) -> Refused:
    """The messages of the family hold no secret and no path."""
    return Refused(STATUS_OF.get(error.code, 500), error.code, str(error))


async def in_thread(work: Callable[[], T]) -> T:
    """Off the event loop.  Errors of the family become answers."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    except ModelStreamError as error:
        raise refused_by(error) from None
