"""Who may call our routes.  ComfyUI has no authentication, and any web page can send requests to 127.0.0.1.

Every route of ours goes through ``Guard.reading`` or ``Guard.changing``:

* the Host must be loopback or the address that was connected to (a name that a stranger points at us is refused);
* ``Sec-Fetch-Site``, where the browser sends it, must say same-origin or none; an ``Origin`` must be this very server;
* when ComfyUI listens on more than loopback: the owner's admin token, to read too unless the owner opens reading;
* to change something: the token of this process in a header and a JSON body.

``refusal`` is the whole decision, over plain values.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from aiohttp import web

    Handler = Callable[[web.Request], Awaitable[web.Response]]

TOKEN_HEADER = "X-Model-Stream-Token"
GUARDED = "__modelstream_guarded__"
"""attribute of every guarded handler: "reading" or "changing" """
ADMIN_TOKEN_CHARACTERS_MIN = 32

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request says of itself; None where it says nothing.

    connected_to: the local address of the connection
    """

    host: str | None = None
    origin: str | None = None
    fetch_site: str | None = None
    token: str | None = None
    authorization: str | None = None
    content_type: str | None = None
    connected_to: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Rules:
    """token: of this process; admin_token: the owner's, empty for none; public: ComfyUI listens on more than loopback.

    allowed_hosts: names of this server beside those, lower case, without port; open_reading: everybody may read
    """

    token: str
    admin_token: str = ""
    public: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    open_reading: bool = False


def refusal(facts: Facts, rules: Rules, *, changing: bool) -> Refusal | None:
    """Why the request is refused; None: it may pass."""
    if not _host_is_ours(facts, rules):
        return Refusal(421, "host", "this server is not known under that name")
    if facts.fetch_site is not None and facts.fetch_site not in ("same-origin", "none"):
        return Refusal(403, "cross_site", "the request comes from another site")
    if facts.origin is not None and not _same_authority(facts.origin, facts.host or ""):
        return Refusal(403, "cross_origin", "the request comes from another origin")
    if rules.public and (changing or not rules.open_reading) and not _is_admin(facts, rules):
        if not rules.admin_token:
            return Refusal(403, "no_admin_token", "ComfyUI listens on the network and its owner has set no MODELSTREAM_ADMIN_TOKEN")
        return Refusal(403, "admin_token", "ComfyUI listens on the network: send the admin token as Authorization: Bearer")
    if not changing:
        return None
    if facts.token is None or not _equal(facts.token, rules.token):
        return Refusal(403, "token", "send the token of /modelstream/token")
    if facts.content_type != "application/json":
        return Refusal(415, "content_type", "send application/json")
    return None


class Guard:
    """One a process: makes its token and wraps handlers."""

    def __init__(
        self,
        *,
        admin_token: str = "",
        listening_on: Collection[str] = ("127.0.0.1",),
        allowed_hosts: Collection[str] = (),
        open_reading: bool = False,
    ) -> None:
        public = not all(is_loopback(address) for address in listening_on)
        usable = admin_token if len(admin_token) >= ADMIN_TOKEN_CHARACTERS_MIN else ""
        self.rules = Rules(secrets.token_urlsafe(32), usable, public, frozenset(h.lower() for h in allowed_hosts), open_reading)

    def reading(self, handler: Handler) -> Handler:
        """For a GET that changes nothing."""
        return self._guarded(handler, changing=False)

    def changing(self, handler: Handler) -> Handler:
        """For everything that changes something; register it as POST, PUT or DELETE."""
        return self._guarded(handler, changing=True)

    def _guarded(self, handler: Handler, *, changing: bool) -> Handler:
        @functools.wraps(handler)
        async def guarded(request: web.Request) -> web.Response:
            refused = refusal(facts_of(request), self.rules, changing=changing)
            if refused is not None:
                from aiohttp import web

                return private(web.json_response({"error": refused.code, "message": refused.message}, status=refused.status))
            return private(await handler(request))

        setattr(guarded, GUARDED, "changing" if changing else "reading")
        return guarded


def private(response: web.Response) -> web.Response:
    """Neither kept by anybody on the way nor taken for another type."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def facts_of(request: web.Request) -> Facts:
    headers, transport = request.headers, request.transport
    address = transport.get_extra_info("sockname") if transport is not None else None
    return Facts(
        host=headers.get("Host"),
        origin=headers.get("Origin"),
        fetch_site=headers.get("Sec-Fetch-Site"),
        token=headers.get(TOKEN_HEADER),
        authorization=headers.get("Authorization"),
        content_type=request.content_type if "Content-Type" in headers else None,
        connected_to=address[0] if isinstance(address, tuple) else "",
    )


def is_loopback(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _host_is_ours(facts: Facts, rules: Rules) -> bool:
    hostname, _ = _split(facts.host or "")
    if not hostname:
        return False
    return is_loopback(hostname) or hostname in rules.allowed_hosts or _same_address(hostname, facts.connected_to)


def _same_address(one: str, other: str) -> bool:
    try:
        first, second = (ipaddress.ip_address(a.partition("%")[0]) for a in (one, other))
    except ValueError:
        return False
    return (getattr(first, "ipv4_mapped", None) or first) == (getattr(second, "ipv4_mapped", None) or second)


def _same_authority(origin: str, host: str) -> bool:
    """Whether an Origin header names this very Host.  "null" and everything unreadable does not."""
    try:
        parts = urlsplit(origin)
        origin_port = parts.port
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.hostname or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return False
    hostname, port = _split(host)
    return hostname == parts.hostname and (port or default) == (origin_port or default)


def _split(host: str) -> tuple[str, int | None]:
    """(lower-case hostname, port) of a Host header; ("", None) when it is none."""
    try:
        parts = urlsplit("//" + host)
        port = parts.port
    except ValueError:
        return "", None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return "", None
    return parts.hostname or "", port


def _is_admin(facts: Facts, rules: Rules) -> bool:
    scheme, _, given = (facts.authorization or "").partition(" ")
    return bool(rules.admin_token) and scheme.lower() == "bearer" and _equal(given.strip(), rules.admin_token)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))
