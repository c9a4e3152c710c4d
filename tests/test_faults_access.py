"""Faults of access: credentials, clocks, permissions, names, TLS, redirects.  Numbers are those of the fault matrix."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from modelstream.storage.catalog import Catalog
from modelstream.storage.errors import (
    AccessDenied,
    BadAnswer,
    ClockSkewed,
    CredentialsExpired,
    ModelStreamError,
    OriginUnreachable,
    UntrustedServer,
)
from modelstream.storage.events import CredentialsRefreshed, TlsNotVerified
from rig import faults
from rig.certificates import make_authority
from rig.faultproxy import FaultProxy
from rig.seaweed import Seaweed
from rig.transfers import MIB, BufferZone, TransferRig, made_up, transfer_rig

KEY = "access/model.safetensors"
SIZE = 6 * MIB
BODY = made_up("access", SIZE)
SPOT = 2 * MIB + 77
SECOND = ("AKIASECOND0000000001", "secondsecret00000000000000000000001")
READER = ("AKIAREADER0000000001", "readersecret00000000000000000000001")


@pytest.fixture
def rig(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed) as rig:
        yield rig


@pytest.fixture(scope="module")
def guarded() -> Iterator[Seaweed]:
    """A server that knows two people besides its admin: one may read and list, one may only read."""
    people = [
        {"name": "second", "credentials": [{"accessKey": SECOND[0], "secretKey": SECOND[1]}], "actions": ["Read:models", "List:models"]},
        {"name": "reader", "credentials": [{"accessKey": READER[0], "secretKey": READER[1]}], "actions": ["Read:models"]},
    ]
    with Seaweed(identities=people) as server:
        yield server


@pytest.mark.parametrize("signing", ["presign", "each_request"])
def test_credentials_that_expire_on_the_way_are_renewed_once_and_the_parts_go_on(guarded, signing):
    """Case 11: the first key is refused from the third part on; the configuration holds a new one by then."""
    with transfer_rig(guarded, profile_extra=f'signing = "{signing}"') as rig:
        profile = rig.config.origins[0].profile
        rig.rotated_to = replace(profile, access_key_id=SECOND[0], secret_access_key=SECOND[1])
        rig.secrets.append(SECOND[1])
        obj = rig.put(KEY, BODY)
        rig.proxy.on(faults.Status(403, "ExpiredToken"), signed_by=guarded.access_key, ranged=True, skip=2, times=None)
        zone = BufferZone()
        rig.load(obj, BODY, zone=zone)
        assert len(rig.events_of(CredentialsRefreshed)) == 1
        assert len(zone.heads) == 1
        refused = sum(r.sent_bytes for r in rig.proxy.requests("GET", KEY) if r.status == 403)
        assert rig.fetched_bytes(obj) - refused == SIZE


def test_renewed_credentials_that_are_refused_too_end_in_an_error(guarded):
    """Case 11: one refresh, not one for every part."""
    with transfer_rig(guarded) as rig:
        rig.rotated_to = replace(rig.config.origins[0].profile, access_key_id=SECOND[0], secret_access_key=SECOND[1])
        rig.secrets.append(SECOND[1])
        obj = rig.put(KEY, BODY)
        rig.proxy.on(faults.Status(403, "ExpiredToken"), ranged=True, skip=2, times=None)
        rig.fails(obj, CredentialsExpired)
        assert len(rig.proxy.requests(None, KEY)) <= 20


def test_an_identity_that_may_not_list_can_still_read(guarded):
    """Case 13, with the server's own word for it."""
    with transfer_rig(guarded) as admin:
        admin.put(KEY, BODY)
    profile = (
        f'endpoint = "{guarded.url}"\naccess_key_id = "{READER[0]}"\nsecret_access_key = "{READER[1]}"\n'
        "connect_timeout_s = 1\nread_timeout_s = 1\nmax_attempts = 1\n"
    )
    with transfer_rig(guarded, profile=profile) as rig:
        assert "list" in str(rig.listing_fails(AccessDenied)).lower()
        rig.load(rig.object(KEY), BODY)


def test_parts_that_are_signed_one_by_one_survive_a_cut(seaweed):
    """Where presigning is refused: every part has a signature of its own, the retry too."""
    with transfer_rig(seaweed, profile_extra='signing = "each_request"') as rig:
        obj = rig.put(KEY, BODY)
        rig.proxy.on(faults.CutMid(300_000), covers=SPOT)
        assert rig.load(obj, BODY).retries == 1
        parts = [r for r in rig.proxy.requests("GET", KEY) if r.range]
        assert all("range" in r.headers["authorization"] and not r.query for r in parts)


def test_static_credentials_that_expired_say_so_without_a_storm(rig):
    """Case 11: nothing to refresh."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(403, "ExpiredToken"), path=KEY, method=None, ranged=True, times=None)
    rig.fails(obj, CredentialsExpired)
    assert len(rig.proxy.requests(None, KEY)) <= 10


def test_a_skewed_clock_is_told_with_both_times_and_no_storm(rig):
    """Case 12."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(403, "RequestTimeTooSkewed", date_s=time.time() + 3600), path=KEY, method=None, times=None)
    error = rig.fails(obj, ClockSkewed)
    assert len(rig.proxy.requests(None, KEY)) <= 8
    assert any(word in str(error) for word in ("60 min", "1 h", "3600", "3599", "3601", "1:00"))


def test_a_denied_object_is_an_error_at_once(rig):
    """Case 13, GET."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(403, "AccessDenied"), path=KEY, method=None, times=None)
    rig.fails(obj, AccessDenied)
    assert len(rig.proxy.requests(None, KEY)) <= 8


def test_an_object_can_be_read_without_the_right_to_list(rig):
    """Case 13, LIST."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(403, "AccessDenied"), query="list-type=2", times=None)
    assert "list" in str(rig.listing_fails(AccessDenied)).lower()
    rig.load(obj, BODY)


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_server_that_cannot_be_reached_is_told_within_seconds(seaweed, host):
    """Case 26: refused, or no such name."""
    profile = (
        f'endpoint = "http://{host}:{_closed_port()}"\nallow_http = true\naccess_key_id = "{seaweed.access_key}"\n'
        f'secret_access_key = "{seaweed.secret_key}"\nconnect_timeout_s = 1\nread_timeout_s = 1\nmax_attempts = 1\n'
    )
    with transfer_rig(seaweed, profile=profile) as rig:
        obj = rig.put(KEY, BODY)
        rig.fails(obj, OriginUnreachable)
        rig.listing_fails(OriginUnreachable)


def _tls_profile(seaweed, url: str, more: str = "") -> str:
    return (
        f'endpoint = "{url}"\naccess_key_id = "{seaweed.access_key}"\nsecret_access_key = "{seaweed.secret_key}"\n'
        f"connect_timeout_s = 1\nread_timeout_s = 1\nmax_attempts = 1\n{more}\n"
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("authority"))


def test_an_object_streams_over_tls_with_the_owners_ca_bundle(seaweed, authority):
    """Case 27, the way it should be; several connections, a cut and a retry inside TLS."""
    with FaultProxy(seaweed.host, seaweed.port, tls=authority.server_context()) as tls:
        profile = _tls_profile(seaweed, tls.url, f'ca_bundle = "{authority.ca_bundle}"')
        with transfer_rig(seaweed, profile=profile) as rig:
            obj = rig.put(KEY, BODY)
            tls.on(faults.CutMid(300_000), covers=SPOT)
            result = rig.load(obj, BODY)
            assert result.retries == 1
            assert tls.sent_bytes(KEY) <= SIZE + MIB


@pytest.mark.parametrize("name", ["127.0.0.1", "other.example"], ids=["unknown authority", "wrong host"])
def test_a_server_that_cannot_prove_who_it_is_is_refused(seaweed, authority, name):
    """Case 27: the reason in one line, and the hint at ca_bundle."""
    with FaultProxy(seaweed.host, seaweed.port, tls=authority.server_context(name)) as tls:
        more = "" if name == "127.0.0.1" else f'ca_bundle = "{authority.ca_bundle}"'
        with transfer_rig(seaweed, profile=_tls_profile(seaweed, tls.url, more)) as rig:
            obj = rig.put(KEY, BODY)
            error = rig.fails(obj, UntrustedServer)
            assert "\n" not in str(error)
            assert ("ca_bundle" if name == "127.0.0.1" else "host name") in str(error)
            rig.listing_fails(UntrustedServer)
        assert not tls.requests(None)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_checks_that_the_owner_switched_off_are_said_at_every_start(seaweed, authority):
    """Case 27: only the configuration can do it, and nobody shall forget it."""
    tls = FaultProxy(seaweed.host, seaweed.port, tls=authority.server_context("other.example"))
    with tls, transfer_rig(seaweed, profile=_tls_profile(seaweed, tls.url, "verify_tls = false")) as rig:
        rig.load(rig.put(KEY, BODY), BODY)
        catalog = Catalog([rig.origin], rig.config.catalog, rig.bus)
        catalog.start()
        catalog.refresh(wait=True)
        catalog.close()
        assert rig.events_of(TlsNotVerified) == [TlsNotVerified("rig")]
        del catalog  # it holds the origin, and that one sockets


def test_tls_spoken_to_a_plain_port_is_explained(seaweed):
    """Case 27: https in the configuration, http on the port."""
    with transfer_rig(seaweed, profile=_tls_profile(seaweed, f"https://127.0.0.1:{seaweed.port}")) as rig:
        obj = rig.put(KEY, BODY)
        rig.fails(obj, UntrustedServer)


def test_plain_http_spoken_to_a_tls_port_is_an_error(seaweed, authority):
    """Case 27, the other way round."""
    tls = FaultProxy(seaweed.host, seaweed.port, tls=authority.server_context())
    with tls, transfer_rig(seaweed, profile=_tls_profile(seaweed, f"http://127.0.0.1:{tls.port}")) as rig:
        obj = rig.put(KEY, BODY)
        rig.fails(obj, (OriginUnreachable, UntrustedServer, BadAnswer))


@pytest.mark.parametrize(("status", "code"), [(301, "PermanentRedirect"), (307, "TemporaryRedirect")])
@pytest.mark.parametrize("ranged", [None, True], ids=["every request", "parts"])
def test_a_redirect_to_another_host_is_not_followed(seaweed, rig, status, code, ranged):
    """Case 28."""
    with FaultProxy(seaweed.host, seaweed.port) as elsewhere:
        obj = rig.put(KEY, BODY)
        headers = (("Location", f"{elsewhere.url}/{seaweed.bucket}/{KEY}"), ("x-amz-bucket-region", "eu-central-1"))
        rig.proxy.on(faults.Status(status, code, headers=headers), path=KEY, method=None, ranged=ranged, times=None)
        error = rig.fails(obj, ModelStreamError)
        assert "region" in str(error)
        assert elsewhere.connections == 0
        assert elsewhere.url not in str(error) or "X-Amz" not in str(error)


def test_a_redirected_listing_is_not_followed(seaweed, rig):
    """Case 28, LIST."""
    with FaultProxy(seaweed.host, seaweed.port) as elsewhere:
        headers = (("Location", f"{elsewhere.url}/{seaweed.bucket}/?list-type=2"),)
        rig.proxy.on(faults.Status(307, "TemporaryRedirect", headers=headers), query="list-type=2", times=None)
        rig.listing_fails(ModelStreamError)
        assert elsewhere.connections == 0
