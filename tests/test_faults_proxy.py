"""The fault proxy itself: what it promises the other tests of faults."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from rig import faults
from rig.certificates import make_authority
from rig.faultproxy import FaultProxy

BODY = hashlib.shake_128(b"proxy").digest(1 << 20)
KEY = "proxy/some model.bin"


class Reader:
    """A bare client: one connection, one presigned URL."""

    def __init__(self, s3, bucket: str, proxy: FaultProxy, tls: ssl.SSLContext | None = None) -> None:
        url = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": KEY}))
        self._target = f"{url.path}?{url.query}"
        if tls:
            self.connection = http.client.HTTPSConnection(proxy.host, proxy.port, timeout=5, context=tls)
        else:
            self.connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=5)

    def get(self, first: int, last: int, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request("GET", self._target, headers={"Range": f"bytes={first}-{last}", **sent})
        response = self.connection.getresponse()
        return response, response.read()


@pytest.fixture
def proxy(seaweed) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        yield proxy


@pytest.fixture
def reader(seaweed, proxy) -> Iterator[Reader]:
    s3 = seaweed.client(proxy.url)
    s3.put_object(Bucket=seaweed.bucket, Key=KEY, Body=BODY)
    proxy.clear()
    reader = Reader(s3, seaweed.bucket, proxy)
    yield reader
    reader.connection.close()


def test_without_rules_every_request_passes_unchanged_on_one_connection(reader, proxy):
    bodies = [reader.get(first, first + 999)[1] for first in (0, 5000, 70_000)]
    assert bodies == [BODY[0:1000], BODY[5000:6000], BODY[70_000:71_000]]
    seen = proxy.requests()
    assert [r.range for r in seen] == [(0, 999), (5000, 5999), (70_000, 70_999)]
    assert len({r.connection for r in seen}) == 1
    assert proxy.sent_bytes(KEY) == 3000


def test_a_rule_takes_only_the_request_it_names_and_only_as_often_as_it_says(reader, proxy):
    proxy.on(faults.Status(503, "SlowDown"), covers=5000, skip=1, times=2)
    statuses = [reader.get(first, first + 99)[0].status for first in (5000, 0, 5000, 5000, 5000)]
    assert statuses == [206, 206, 503, 503, 206]


@pytest.mark.parametrize("reset", [True, False])
def test_a_cut_in_the_body_gives_exactly_the_first_bytes(reader, proxy, reset):
    proxy.on(faults.CutMid(700, reset=reset))
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as caught:
        reader.get(0, 999)
    if isinstance(caught.value, http.client.IncompleteRead):
        assert caught.value.partial == BODY[:700]
    assert proxy.sent_bytes() == 700


def test_a_cut_before_the_head_gives_no_answer(reader, proxy):
    proxy.on(faults.CutBefore())
    with pytest.raises(ConnectionError):
        reader.get(0, 999)
    assert proxy.requests()[-1].status == 0


def test_a_short_length_is_consistent_in_itself(reader, proxy):
    proxy.on(faults.ShortLength(300))
    response, body = reader.get(0, 999)
    assert (response.status, body) == (206, BODY[:300])
    assert response.getheader("Content-Range") == f"bytes 0-999/{len(BODY)}"


def test_no_length_ends_with_the_connection(reader, proxy):
    proxy.on(faults.NoLength(300))
    response, body = reader.get(0, 999)
    assert response.getheader("Content-Length") is None
    assert body == BODY[:300]


def test_a_request_can_be_held_until_the_test_lets_it_go(reader, proxy):
    gate = faults.Gate(after_bytes=400)
    proxy.on(gate)
    bodies: list[bytes] = []
    thread = threading.Thread(target=lambda: bodies.append(reader.get(0, 999)[1]))
    thread.start()
    assert gate.reached.wait(5)
    assert not bodies
    gate.release.set()
    thread.join(5)
    assert bodies == [BODY[:1000]]


@pytest.mark.parametrize(
    ("action", "status", "body"),
    [
        (faults.Without(("range",)), 200, BODY),
        (faults.html_page(), 200, faults.html_page().body),
        (faults.Zeros(), 206, bytes(1000)),
        (faults.Corrupt(3, bit=7), 206, BODY[:3] + bytes([BODY[3] ^ 0x80]) + BODY[4:1000]),
        (faults.CloseAfter(), 206, BODY[:1000]),
        (faults.Drip(20_000), 206, BODY[:1000]),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else "",
)
def test_an_answer_is_wrong_in_the_one_way_asked_for(reader, proxy, action, status, body):
    proxy.on(action)
    response, received = reader.get(0, 999)
    assert (response.status, received) == (status, body)


def test_if_match_can_be_kept_from_the_server(reader, proxy):
    assert reader.get(0, 9, If_Match='"other"')[0].status == 412
    proxy.on(faults.Without(("if-match",)))
    assert reader.get(0, 9, If_Match='"other"')[0].status == 206


def test_content_range_can_lie_about_each_of_its_numbers(reader, proxy):
    proxy.on(faults.wrong_content_range(start=1))
    proxy.on(faults.wrong_content_range(end=-1))
    proxy.on(faults.wrong_content_range(total=5))
    told = [reader.get(10, 19)[0].getheader("Content-Range") for _ in range(3)]
    assert told == [f"bytes 11-19/{len(BODY)}", f"bytes 10-18/{len(BODY)}", f"bytes 10-19/{len(BODY) + 5}"]


def test_a_keep_alive_connection_can_be_closed_after_a_perfect_answer(reader, proxy):
    proxy.on(faults.CloseAfter())
    assert reader.get(0, 9)[1] == BODY[:10]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        reader.get(0, 9)


def test_it_speaks_tls_with_a_certificate_of_our_own_authority(seaweed, tmp_path):
    authority = make_authority(tmp_path)
    with FaultProxy(seaweed.host, seaweed.port, tls=authority.server_context()) as proxy:
        s3 = seaweed.client(proxy.url, verify=str(authority.ca_bundle))
        s3.put_object(Bucket=seaweed.bucket, Key=KEY, Body=BODY)
        reader = Reader(s3, seaweed.bucket, proxy, ssl.create_default_context(cafile=authority.ca_bundle))
        assert reader.get(5, 1004)[1] == BODY[5:1005]
        reader.connection.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            Reader(s3, seaweed.bucket, proxy, ssl.create_default_context()).get(0, 9)


def test_closing_it_ends_every_thread_also_one_that_stands_at_a_gate(seaweed, reader, proxy):
    gate = faults.Gate()
    proxy.on(gate)
    failures: list[Exception] = []

    def ask() -> None:
        try:
            reader.get(0, 9)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert gate.reached.wait(5)
    proxy.close()
    thread.join(5)
    assert failures
    assert not [t.name for t in threading.enumerate() if t.name.startswith("faultproxy")]
