"""Faults of one answer on its way, real SeaweedFS behind the fault proxy.  Numbers are those of the fault matrix.

After every case `transfer_rig` checks the invariants; `load` checks that the bytes are one version of the object.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from awscrt.checksums import crc64nvme

from modelstream.storage.errors import BadAnswer, DeadlineExceeded, OriginUnreachable, Throttled, TransferCancelled
from modelstream.storage.events import ConnectionsChanged, PartRetried, TransferStopped
from modelstream.storage.objects import Extent
from rig import faults
from rig.invariants import eventually
from rig.transfers import MIB, QUICK, BufferZone, TransferRig, made_up, transfer_rig

KEY = "wire/model.safetensors"
SIZE = 6 * MIB
BODY = made_up("wire", SIZE)
SPOT = 2 * MIB + 77
"""a byte in the third part: the rules hit the part that holds it"""


@pytest.fixture
def rig(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed) as rig:
        yield rig


def only_the_part_was_fetched_again(rig: TransferRig, obj) -> None:
    """At most one part more than the object crossed the wire, and every GET was pinned to the one version."""
    assert SIZE <= rig.fetched_bytes(obj) <= SIZE + MIB
    parts = [r for r in rig.proxy.requests("GET", KEY) if r.range]
    assert parts
    assert {r.headers.get("if-match", "").strip('"') for r in parts} == {obj.id.version}


@pytest.mark.parametrize("reset", [True, False], ids=["1 by RST", "2 by FIN"])
def test_a_body_that_is_cut_is_fetched_again_from_its_last_good_byte(rig, reset):
    """Cases 1 and 2."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.CutMid(300_000, reset=reset), covers=SPOT)
    result = rig.load(obj, BODY)
    assert result.retries == 1
    assert [e.reason for e in rig.events_of(PartRetried)] in (["reset"], ["short"])
    only_the_part_was_fetched_again(rig, obj)
    assert rig.fetched_bytes(obj) <= SIZE + 64 * 1024  # the 300,000 good bytes were kept


@pytest.mark.parametrize(
    "action",
    [faults.ShortLength(300_000), faults.NoLength(300_000)],
    ids=["3 consistent length", "4 no length"],
)
def test_a_body_that_is_shorter_than_asked_is_completed(rig, action):
    """Cases 3 and 4."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(action, covers=SPOT)
    result = rig.load(obj, BODY)
    assert result.retries == 1
    only_the_part_was_fetched_again(rig, obj)


@pytest.mark.parametrize("action", [faults.ShortLength(0), faults.NoLength(0)], ids=["3", "4"])
def test_a_body_that_is_always_short_ends_in_an_error_that_says_so(rig, action):
    """Cases 3 and 4, for ever."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(action, covers=SPOT, times=None)
    error = rig.fails(obj, BadAnswer)
    assert "short" in str(error).lower() or "truncated" in str(error).lower()


@pytest.mark.parametrize("after_bytes", [None, 300_000], ids=["5 before the head", "6 in the body"])
def test_a_stalled_answer_is_given_up_and_asked_for_on_a_new_connection(rig, after_bytes):
    """Cases 5 and 6."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Gate(after_bytes), covers=SPOT)
    rig.load(obj, BODY)
    only_the_part_was_fetched_again(rig, obj)
    stalled = next(r for r in rig.proxy.requests("GET", KEY) if r.fault == "Gate")
    later = [r for r in rig.proxy.requests("GET", KEY) if r.index > stalled.index and r.range and r.range[1] >= SPOT >= r.range[0] - MIB]
    assert all(r.connection != stalled.connection for r in later)


def test_a_server_that_always_stalls_ends_in_an_error_within_the_deadline(rig):
    """Case 5, for ever."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Gate(), covers=SPOT, times=None)
    rig.fails(obj, (OriginUnreachable, DeadlineExceeded))


def test_a_part_that_only_drips_is_asked_for_again(rig):
    """Case 7."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Drip(40_000), covers=SPOT)
    rig.load(obj, BODY)
    dripping = next(r for r in rig.proxy.requests("GET", KEY) if r.fault == "Drip")
    assert dripping.sent_bytes < MIB // 2


def test_a_burst_of_slow_down_halves_the_connections_and_succeeds(rig):
    """Case 8."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(503, "SlowDown"), ranged=True, skip=1, times=5)
    result = rig.load(obj, BODY)
    assert result.retries >= 1
    assert "throttled" in {e.reason for e in rig.events_of(PartRetried)}
    lowered = rig.events_of(ConnectionsChanged)
    assert lowered and min(e.connections for e in lowered) < 3
    assert rig.fetched_bytes(obj) < SIZE + MIB


def test_slow_down_for_ever_ends_within_the_deadline_and_says_throttling(rig):
    """Case 9."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(503, "SlowDown"), path=KEY, method=None, times=None)
    error = rig.fails(obj, Throttled)
    assert "throttl" in str(error).lower()
    assert len(rig.proxy.requests(None, KEY)) < 100


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (502, "BadGateway"), (504, "GatewayTimeout"), (429, "TooManyRequests")]
)
def test_one_server_error_is_only_a_retry(rig, status, code):
    """Case 10."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(status, code), covers=SPOT)
    result = rig.load(obj, BODY)
    assert result.retries == 1
    only_the_part_was_fetched_again(rig, obj)


@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_that_ends_before_the_answer_is_only_a_retry(rig, reset):
    """Case 10's neighbour: RST or FIN instead of an answer."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.CutBefore(reset=reset), covers=SPOT)
    rig.load(obj, BODY)
    only_the_part_was_fetched_again(rig, obj)


def test_a_server_error_that_stays_ends_in_an_error(rig):
    """Case 10, for ever."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(500, "InternalError"), covers=SPOT, times=None)
    error = rig.fails(obj, (OriginUnreachable, BadAnswer))
    assert "500" in str(error)


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_a_whole_body_for_a_range_is_never_put_at_the_parts_place(rig, times):
    """Case 17: the server ignores Range.  Either a single stream of the right version or an error, never a mix."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Without(("range",)), path=KEY, ranged=True, times=times)
    if times == 1:
        rig.load(obj, BODY)
    else:
        error = None
        zone, transfer = rig.start(obj)
        assert transfer.wait(20)
        try:
            transfer.result()
        except BadAnswer as caught:
            error = caught
        assert error is not None or zone.buffer == BODY
    assert rig.fetched_bytes(obj) < 12 * SIZE


@pytest.mark.parametrize("wrong", [{"start": 1}, {"end": -1}, {"total": 5}], ids=["start", "end", "total"])
def test_a_wrong_content_range_is_rejected_and_asked_for_again(rig, wrong):
    """Case 19."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.wrong_content_range(**wrong), covers=SPOT)
    result = rig.load(obj, BODY)
    assert result.retries >= 1
    assert SIZE <= rig.fetched_bytes(obj) <= SIZE + 2 * MIB


@pytest.mark.parametrize("wrong", [{"start": 1}, {"end": -1}, {"total": 5}], ids=["start", "end", "total"])
def test_a_content_range_that_is_always_wrong_is_an_error(rig, wrong):
    """Case 19, for ever."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.wrong_content_range(**wrong), covers=SPOT, times=None)
    rig.fails(obj, BadAnswer)


def test_a_416_on_a_part_never_leaves_a_hole(rig):
    """Case 20: looks at the object again; if its size is what it was, the part is asked for again."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(416, "InvalidRange"), covers=SPOT)
    rig.load(obj, BODY)


def test_a_416_that_stays_is_an_error(rig):
    """Case 20, for ever."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(416, "InvalidRange"), covers=SPOT, times=None)
    error = rig.fails(obj, BadAnswer)
    assert "416" in str(error)


@pytest.mark.parametrize("action", [faults.html_page(), faults.xml_error_with_status_200()], ids=["html", "xml"])
def test_a_page_instead_of_the_object_is_rejected(rig, action):
    """Case 21, once."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(action, covers=SPOT)
    rig.load(obj, BODY)


@pytest.mark.parametrize("action", [faults.html_page(), faults.xml_error_with_status_200()], ids=["html", "xml"])
def test_a_page_that_always_comes_is_called_no_s3_answer(rig, action):
    """Case 21, for ever: a captive portal."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(action, path=KEY, times=None)
    error = rig.fails(obj, BadAnswer)
    assert "not an S3 answer" in str(error)


def test_a_keep_alive_connection_that_the_server_closed_costs_no_error(rig):
    """Case 51."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.CloseAfter(), path=KEY, times=4)
    rig.load(obj, BODY)
    assert rig.fetched_bytes(obj) == SIZE


def test_a_connection_left_idle_between_two_transfers_may_have_died(rig):
    """Case 51, later: every connection of the pool is dead when the next transfer starts."""
    first, second = rig.put(KEY, BODY), rig.put(KEY + ".2", BODY[::-1])
    rig.proxy.on(faults.CloseAfter(), path=KEY, times=None)
    rig.load(first, BODY)
    rig.proxy.clear()
    rig.load(second, BODY[::-1])


def test_a_lie_about_gzip_changes_no_byte(rig):
    """Case 52."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.with_header("Content-Encoding", "gzip"), covers=SPOT)
    rig.load(obj, BODY)


@pytest.mark.parametrize("nth", range(8))
def test_whichever_request_is_cut_the_bytes_are_right(rig, nth):
    """The n-th call fails, for each n: once at each request of a transfer, HEAD included."""
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.CutBefore(), path=KEY, method=None, skip=nth)
    rig.load(obj, BODY)


@pytest.mark.parametrize("share", [1, 2])
def test_an_unsteady_line_only_costs_retries(seaweed, share):
    """Every second (or every) part is cut at a different byte: progress resets the count of tries."""
    with transfer_rig(seaweed, transfer=QUICK.replace("retries = 3", "retries = 2")) as rig:
        obj = rig.put(KEY, BODY)
        for number in range(0, 12, share):
            rig.proxy.on(faults.CutMid(60_000 * (1 + number), reset=bool(number % 4)), path=KEY, ranged=True)
        rig.load(obj, BODY)
        assert rig.fetched_bytes(obj) <= SIZE + MIB


MOMENTS = {
    "HEAD": (faults.Gate(), {"method": "HEAD"}),
    "before a part": (faults.Gate(), {"ranged": True}),
    "in a part": (faults.Gate(after_bytes=300_000), {"covers": SPOT}),
    "a slow part": (faults.Drip(300_000), {"covers": SPOT}),
    "backing off": (faults.Status(503, "SlowDown"), {"ranged": True, "skip": 2}),
}


@pytest.mark.parametrize(("action", "match"), MOMENTS.values(), ids=MOMENTS)
def test_a_transfer_can_be_cancelled_in_every_moment_of_its_life(seaweed, action, match):
    """Case 41: its threads leave at once, whatever they wait for, and the zone hears nothing more."""
    with transfer_rig(
        seaweed, transfer=QUICK.replace("stall_s = 0.5", "stall_s = 30").replace("low_speed_s = 0.6", "low_speed_s = 30")
    ) as rig:
        obj = rig.put(KEY, BODY)
        rule = rig.proxy.on(action, path=KEY, times=None, **match)
        zone, transfer = rig.start(obj)
        assert eventually(lambda: rule.hits > 0)
        transfer.cancel()
        assert transfer.wait(2.0), "it does not stop"
        with pytest.raises(TransferCancelled):
            transfer.result()
        landed = list(zone.landed_extents)
        assert eventually(lambda: transfer.progress().connections == 0)
        assert len(rig.events_of(TransferStopped)) == 1
        assert zone.landed_extents == landed
        if isinstance(action, faults.Gate):
            action.release.set()
        rig.proxy.clear()
        rig.load(obj, BODY)


def test_a_transfer_that_is_resumed_asks_only_for_what_is_missing(rig):
    """The zone holds the first two MiB and one in the middle: neither crosses the wire again."""
    obj = rig.put(KEY, BODY)
    held = [Extent(0, 2 * MIB, crc64nvme(BODY[: 2 * MIB])), Extent(4 * MIB, MIB, crc64nvme(BODY[4 * MIB : 5 * MIB]))]
    zone = BufferZone(resumed=held, start=BODY[: 2 * MIB] + bytes(2 * MIB) + BODY[4 * MIB : 5 * MIB])
    result = rig.load(obj, BODY, zone=zone)
    assert result.resumed_bytes == 3 * MIB
    assert rig.fetched_bytes(obj) == SIZE - 3 * MIB
    assert result.verified == "crc64nvme"
