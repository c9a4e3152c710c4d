"""Who may call our routes: the decision as a table, then every route that exists."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from modelstream.hooks.guard import GUARDED, Facts, Guard, Rules, is_loopback, refusal
from modelstream.hooks.routes import add_routes
from modelstream.hooks.site import Site
from modelstream.storage.config import Config
from modelstream.storage.events import EventBus

TOKEN = "the-token-of-this-process"
ADMIN = "an admin token of at least 32 characters"
RULES = Rules(TOKEN)
PUBLIC = Rules(TOKEN, ADMIN, public=True)
GOOD = Facts(
    host="127.0.0.1:8188",
    origin="http://127.0.0.1:8188",
    fetch_site="same-origin",
    token=TOKEN,
    content_type="application/json",
)

CHANGING = [
    ("a request of our own page", {}, None),
    ("no browser at all", {"origin": None, "fetch_site": None}, None),
    ("typed by the user", {"origin": None, "fetch_site": "none"}, None),
    ("another site", {"fetch_site": "cross-site"}, 403),
    ("another port of this machine", {"fetch_site": "same-site", "origin": "http://127.0.0.1:9000"}, 403),
    ("an old browser on another port", {"fetch_site": None, "origin": "http://127.0.0.1:9000"}, 403),
    ("a sandboxed page", {"fetch_site": None, "origin": "null"}, 403),
    ("a page that lies about its site", {"origin": "https://evil.example"}, 403),
    ("another scheme with its own default port", {"fetch_site": None, "origin": "https://127.0.0.1"}, 403),
    ("an origin with a user name in it", {"fetch_site": None, "origin": "http://x@127.0.0.1:8188"}, 403),
    ("an origin that cannot be read", {"fetch_site": None, "origin": "http://127.0.0.1:port"}, 403),
    ("no token", {"token": None}, 403),
    ("an empty token", {"token": ""}, 403),
    ("another token", {"token": TOKEN + "x"}, 403),
    ("a token that is not ASCII", {"token": "ü"}, 403),
    ("a form", {"content_type": "application/x-www-form-urlencoded"}, 415),
    ("text", {"content_type": "text/plain"}, 415),
    ("no content type", {"content_type": None}, 415),
    ("a rebound name", {"host": "evil.example:8188", "origin": "http://evil.example:8188"}, 421),
    ("a rebound name without origin", {"host": "evil.example", "origin": None, "fetch_site": None}, 421),
    ("no host", {"host": None}, 421),
    ("a host with a path", {"host": "127.0.0.1/x"}, 421),
    ("localhost by name", {"host": "localhost:8188", "origin": "http://localhost:8188"}, None),
    ("loopback of IPv6", {"host": "[::1]:8188", "origin": "http://[::1]:8188"}, None),
    ("a name that starts like loopback", {"host": "127.0.0.1.evil.example", "origin": None}, 421),
    ("the address that was connected to", {"host": "10.0.0.5:8188", "origin": "http://10.0.0.5:8188", "connected_to": "10.0.0.5"}, None),
    ("an address that was not", {"host": "10.0.0.6:8188", "origin": "http://10.0.0.6:8188", "connected_to": "10.0.0.5"}, 421),
]


@pytest.mark.parametrize(("changes", "status"), [row[1:] for row in CHANGING], ids=[row[0] for row in CHANGING])
def test_a_change_is_refused_unless_everything_fits(changes: dict, status: int | None) -> None:
    refused = refusal(dataclasses.replace(GOOD, **changes), RULES, changing=True)
    assert (refused.status if refused else None) == status


@pytest.mark.parametrize("changes", [{"token": None}, {"content_type": None}, {"token": "wrong", "content_type": "text/plain"}])
def test_reading_needs_neither_token_nor_content_type(changes: dict) -> None:
    assert refusal(dataclasses.replace(GOOD, **changes), RULES, changing=False) is None


@pytest.mark.parametrize(("changes", "status"), [({"fetch_site": "cross-site"}, 403), ({"host": "evil.example"}, 421)])
def test_another_site_cannot_even_read(changes: dict, status: int) -> None:
    refused = refusal(dataclasses.replace(GOOD, **changes), RULES, changing=False)
    assert refused is not None
    assert refused.status == status


@pytest.mark.parametrize(
    ("authorization", "status"),
    [(None, 403), ("Bearer ", 403), ("Bearer wrong", 403), (f"Basic {ADMIN}", 403), (f"Bearer {ADMIN}", None), (f"bearer {ADMIN}", None)],
)
def test_on_a_network_a_change_needs_the_admin_token(authorization: str | None, status: int | None) -> None:
    refused = refusal(dataclasses.replace(GOOD, authorization=authorization), PUBLIC, changing=True)
    assert (refused.status if refused else None) == status


def test_on_a_network_nobody_changes_anything_when_there_is_no_admin_token() -> None:
    refused = refusal(dataclasses.replace(GOOD, authorization="Bearer "), Rules(TOKEN, "", public=True), changing=True)
    assert refused is not None
    assert refused.code == "no_admin_token"


@pytest.mark.parametrize(
    ("addresses", "public"), [(["127.0.0.1"], False), (["127.0.0.1", "::1"], False), (["0.0.0.0", "::"], True), (["10.0.0.5"], True)]
)
def test_the_guard_knows_whether_others_can_reach_it(addresses: list[str], public: bool) -> None:
    assert Guard(listening_on=addresses).rules.public is public


def test_a_short_admin_token_is_none() -> None:
    assert Guard(admin_token="short", listening_on=["0.0.0.0"]).rules.admin_token == ""


def test_every_process_has_its_own_token() -> None:
    one, other = Guard().rules.token, Guard().rules.token
    assert one != other
    assert len(one) >= 32


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.8.9.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("localhost.evil", False)],
)
def test_loopback_is_told_from_what_looks_like_it(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_every_route_is_guarded_and_a_get_changes_nothing() -> None:
    routes = web.RouteTableDef()
    add_routes(routes, Guard(), Site(Config(), EventBus(), dict))
    kinds = {(route.method, route.path): getattr(route.handler, GUARDED, None) for route in routes}
    assert len(kinds) >= 15
    assert {kind for (method, _), kind in kinds.items() if method == "GET"} == {"reading"}
    assert {kind for (method, _), kind in kinds.items() if method != "GET"} == {"changing"}
    assert all(path.startswith("/modelstream/") for _, path in kinds)


READING = ("status", "token", "models", "models/x", "series", "events", "executions", "alerts", "cost", "plan")


@pytest.mark.parametrize("open_reading", [False, True])
def test_on_a_network_every_route_asks_for_the_admin_token(open_reading: bool) -> None:
    """All that are registered, over real HTTP; only reading can be opened, and only by the owner."""
    guard = Guard(admin_token=ADMIN, listening_on=["0.0.0.0"], allowed_hosts=["GPU1.lan"], open_reading=open_reading)
    routes = web.RouteTableDef()
    add_routes(routes, guard, Site(Config(), EventBus(), dict))
    admin, token = {"Authorization": f"Bearer {ADMIN}"}, {"X-Model-Stream-Token": guard.rules.token, "Content-Type": "application/json"}

    async def ask() -> None:
        app = web.Application()
        app.add_routes(routes)
        async with TestClient(TestServer(app)) as client:
            for method, path in {(r.method, r.path.replace("{digest}", "x").replace("{name}", "x")) for r in routes}:
                plain = await client.request(method, path, data=b"{}", headers=token)
                known = await client.request(method, path, data=b"{}", headers={**token, **admin})
                named = await client.request(method, path, data=b"{}", headers={**token, **admin, "Host": "gpu1.lan"})
                rebound = await client.request(method, path, data=b"{}", headers={**token, **admin, "Host": "gpu2.lan"})
                assert (plain.status == 403) == (method != "GET" or not open_reading), path
                assert {known.status, named.status}.isdisjoint({403, 415, 421}), path
                assert rebound.status == 421, path
                assert not [h for h in plain.headers if h.lower().startswith("access-control")]

    asyncio.run(ask())
    assert {r.path for r in routes if r.method == "GET"} >= {f"/modelstream/{p.replace('/x', '/{digest}')}" for p in READING}
