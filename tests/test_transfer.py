"""The transfer engine on a real server: placement, resume, cancel, priorities, budgets, hedging and what it leaves behind."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections.abc import Iterator

import pytest

from modelstream.storage import engine as engine_module
from modelstream.storage.checksum import crc64, crc64_of
from modelstream.storage.errors import AccessDenied, ModelStreamError, NoRoom, TransferCancelled
from modelstream.storage.events import PartHedged, PartRetried, TransferFailed, TransferFinished, TransferStarted, TransferStopped
from modelstream.storage.landing import Priority
from modelstream.storage.objects import Extent, ObjectHead
from modelstream.storage.pacing import TokenBucket
from rig import faults
from rig.invariants import eventually, own_threads
from rig.transfers import MIB, BufferZone, TransferRig, finished, made_up, transfer_rig

KEY = "transfer/model.safetensors"
SIZE = 6 * MIB + 5
BODY = made_up("transfer", SIZE)
PATIENT = """
[transfer]
connections_max = 3
part_size_mb = 1
no_progress_s = 15
low_speed_kib_s = 0
stall_s = 10
"""
"""nothing is given up while a test holds a request at a gate"""


@pytest.fixture
def rig(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed) as rig:
        yield rig


@pytest.fixture
def patient(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed, transfer=PATIENT) as rig:
        yield rig


# -- one object ------------------------------------------------------------------------------------------------------------


def test_an_object_arrives_in_parts_with_the_servers_own_checksum(rig):
    zone = BufferZone()
    result = rig.load(rig.put(KEY, BODY), BODY, zone=zone)
    assert result.verified == "crc64nvme"
    assert result.crc64 == result.head.crc64nvme == crc64(BODY) == crc64_of(zone.landed_extents, SIZE)
    assert not result.changed
    assert result.wire_bytes == SIZE
    assert result.retries == 0
    for extent in zone.landed_extents:
        assert extent.crc64 == crc64(BODY[extent.offset : extent.end])
        assert extent.offset % MIB == 0


def test_one_signature_serves_every_part_and_head_warms_the_first_connection(rig):
    rig.load(rig.put(KEY, BODY), BODY)
    parts = rig.proxy.requests("GET", KEY)
    assert len({r.target for r in parts}) == 1
    assert all(r.headers.get("if-match") and r.range for r in parts)
    (head,) = rig.proxy.requests("HEAD", KEY)
    assert head.connection in {r.connection for r in parts}


def test_the_front_of_the_object_is_asked_for_first(rig):
    rig.load(rig.put(KEY, BODY), BODY)
    starts = [r.range[0] // MIB for r in rig.proxy.requests("GET", KEY) if r.range]
    assert sorted(starts) == list(range(7))
    # One of the three connections may be slow to begin; nobody runs further ahead than there are connections.
    assert all(abs(place - number) < 3 for place, number in enumerate(starts))


def test_only_what_is_missing_is_fetched(rig):
    obj = rig.put(KEY, BODY)
    resumed = [Extent(0, MIB, crc64(BODY[:MIB])), Extent(2 * MIB + 100, MIB, crc64(BODY[2 * MIB + 100 : 3 * MIB + 100]))]
    start = BODY[:MIB] + bytes(MIB + 100) + BODY[2 * MIB + 100 : 3 * MIB + 100]
    result = rig.load(obj, BODY, zone=BufferZone(resumed=resumed, start=start))
    assert result.verified == "crc64nvme"
    assert result.resumed_bytes == 2 * MIB
    assert rig.fetched_bytes(obj) == result.wire_bytes == SIZE - 2 * MIB
    (started,) = rig.events_of(TransferStarted)
    assert started.resumed_bytes == 2 * MIB


def test_an_object_that_is_all_there_is_only_looked_at(rig):
    obj = rig.put(KEY, BODY)
    rig.load(obj, BODY, zone=BufferZone(resumed=[Extent(0, SIZE, crc64(BODY))], start=BODY))
    assert not rig.proxy.requests("GET", KEY)


def test_resumed_bytes_that_were_wrong_are_found_and_mended(rig):
    obj = rig.put(KEY, BODY)
    wrong = b"X" * MIB
    zone = MendingZone(resumed=[Extent(0, MIB, crc64(wrong))], start=wrong)
    _, transfer = rig.start(obj, zone)
    assert finished(transfer).verified == "crc64nvme"
    assert zone.buffer == BODY
    assert [(e.offset, e.crc64) for e in zone.replaced_extents] == [(0, crc64(BODY[:MIB]))]


@dataclasses.dataclass
class MendingZone(BufferZone):
    """Keeps note of what was mended."""

    replaced_extents: list[Extent] = dataclasses.field(default_factory=list)

    def replaced(self, extent: Extent) -> None:
        self.replaced_extents.append(extent)


def test_a_newer_version_than_the_one_asked_for_is_said_so(rig):
    old = rig.put(KEY, BODY)
    new = rig.put(KEY, BODY[:-1])
    result = rig.load(old, BODY[:-1])
    assert result.changed
    assert result.obj.id == new.id and result.obj.size_bytes == SIZE - 1


def test_the_version_id_pins_the_bytes_though_the_object_is_overwritten(seaweed, bucket):
    server = copy.copy(seaweed)
    server.bucket = bucket
    with transfer_rig(server) as rig:
        rig.direct.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        obj = rig.put(KEY, BODY)
        result = rig.load(obj, BODY)
        assert result.head.version_id
        assert all(r.query.get("versionId") == result.head.version_id for r in rig.proxy.requests("GET", KEY))
        for version in rig.direct.list_object_versions(Bucket=bucket)["Versions"]:
            rig.direct.delete_object(Bucket=bucket, Key=KEY, VersionId=version["VersionId"])


def test_where_presigned_requests_are_denied_each_part_is_signed_by_itself(rig):
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(403, "AccessDenied"), query="X-Amz-Signature", times=None)
    rig.load(obj, BODY)
    assert rig.origin.signs_each_request
    assert all("authorization" in r.headers for r in rig.proxy.requests("GET", KEY) if r.status == 206)


def test_parts_that_are_denied_either_way_are_an_error_and_presigning_stays(rig):
    obj = rig.put(KEY, BODY)
    rig.proxy.on(faults.Status(403, "AccessDenied"), path=KEY, times=None)
    rig.fails(obj, AccessDenied)
    assert not rig.origin.signs_each_request


def test_a_signature_near_its_end_is_renewed_without_a_refusal(rig):
    obj = rig.put(KEY, BODY)
    real = rig.origin.sign
    rig.origin.sign = lambda *a, **k: dataclasses.replace(real(*a, **k), expires_s=0.0)  # always about to expire
    assert rig.load(obj, BODY).retries == 0


# -- zones that refuse -------------------------------------------------------------------------------------------------------


def test_a_zone_without_room_ends_the_transfer_with_its_own_error(rig):
    class Full(BufferZone):
        def prepare(self, head: ObjectHead) -> memoryview:
            raise NoRoom("the RAM tier is full", subject=f"rig:{KEY}", cause="no budget left", next_step="raise the budget")

    error = rig.fails(rig.put(KEY, BODY), NoRoom, Full())
    assert "RAM tier is full" in str(error)
    assert not rig.proxy.requests("GET", KEY)


@pytest.mark.parametrize("broken", ["short", "landed"])
def test_a_mistake_of_the_zone_ends_the_transfer_and_not_the_engine(rig, broken):
    class Broken(BufferZone):
        def prepare(self, head: ObjectHead) -> memoryview:
            view = super().prepare(head)
            return view[:-1] if broken == "short" else view

        def landed(self, extent: Extent) -> None:
            raise RuntimeError("a mistake")

    obj = rig.put(KEY, BODY)
    _, transfer = rig.start(obj, Broken())
    with pytest.raises(ModelStreamError):
        finished(transfer)
    assert len(rig.events_of(TransferFailed)) == 1
    rig.load(obj, BODY)


# -- cancel and the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covers", [3 * MIB, None], ids=["one part", "every part"])
@pytest.mark.parametrize("after_bytes", [None, 300_000], ids=["waiting for an answer", "in a body"])
def test_a_cancelled_transfer_ends_within_a_second_and_lets_go_of_the_buffer(patient, after_bytes, covers):
    """Case 41.  Threads and descriptors are counted by the rig."""
    obj = patient.put(KEY, BODY)
    gate = faults.Gate(after_bytes)
    patient.proxy.on(gate, covers=covers, times=None)
    zone, transfer = patient.start(obj)
    assert gate.reached.wait(10)
    reading = transfer.reading  # as a thread's frame may still have it
    transfer.cancel()
    assert transfer.wait(1.0)
    with pytest.raises(TransferCancelled):
        transfer.result()
    assert reading is not None
    zone.buffer.extend(b"x")  # raises BufferError while anybody holds a view of it
    assert transfer.progress().state == "cancelled"
    assert len(patient.events_of(TransferStopped)) == 1
    assert eventually(lambda: not patient.engine.active())


def test_a_transfer_can_be_cancelled_while_the_server_keeps_head_waiting(patient):
    obj = patient.put(KEY, BODY)
    gate = faults.Gate()
    patient.proxy.on(gate, method="HEAD", times=None)
    _, transfer = patient.start(obj)
    assert gate.reached.wait(10)
    transfer.cancel()
    assert transfer.wait(1.0)


def test_closing_the_engine_cancels_what_runs_and_joins_the_threads(patient):
    obj = patient.put(KEY, BODY)
    gate = faults.Gate(1000)
    patient.proxy.on(gate, covers=0, times=None)
    before = own_threads()
    _, transfer = patient.start(obj)
    assert gate.reached.wait(10)
    patient.engine.close()
    assert transfer.wait(0)
    assert not [t for t in own_threads() if t.startswith("modelstream-lane") and t not in before]
    with pytest.raises(RuntimeError):
        patient.engine.start(patient.origin, obj, BufferZone())


def test_cancelling_what_has_ended_changes_nothing(rig):
    _, transfer = rig.start(rig.put(KEY, BODY))
    result = finished(transfer)
    transfer.cancel()
    assert transfer.result() == result
    assert not rig.events_of(TransferStopped)


def test_everybody_who_wants_to_know_is_told_once(rig):
    told: list[str] = []
    obj = rig.put(KEY, BODY)
    gate = faults.Gate()
    rig.proxy.on(gate, method="HEAD")
    _, transfer = rig.start(obj)
    assert gate.reached.wait(10)
    transfer.on_done(lambda t: told.append(threading.current_thread().name))
    gate.release.set()
    finished(transfer)
    assert eventually(lambda: len(told) == 1)
    transfer.on_done(lambda t: told.append("late"))
    assert told[0].startswith("modelstream-lane") and told[1:] == ["late"]
    assert len(rig.events_of(TransferFinished)) == 1


def test_an_idle_engine_has_no_thread_and_no_connection(rig, monkeypatch):
    monkeypatch.setattr(engine_module, "LINGER_S", 0.05)
    rig.load(rig.put(KEY, BODY), BODY)
    assert eventually(lambda: not [t for t in own_threads() if t.startswith("modelstream-lane")])


def test_transfers_that_follow_each_other_share_their_connections(rig):
    first, second = rig.put(KEY, BODY), rig.put(KEY + ".2", BODY)
    rig.load(first, BODY)
    rig.load(second, BODY)
    connections = [{r.connection for r in rig.proxy.requests(None, f"{KEY}{end}")} for end in ("", ".2")]
    assert connections[1] <= connections[0]


# -- several at once -----------------------------------------------------------------------------------------------------------


def test_several_objects_at_once_share_the_connections(rig):
    bodies = [made_up(f"several {n}", SIZE + n) for n in range(5)]
    objects = [rig.put(f"{KEY}.{n}", body) for n, body in enumerate(bodies)]
    started = [rig.start(obj) for obj in objects]
    for (zone, transfer), body in zip(started, bodies, strict=True):
        assert finished(transfer).verified == "crc64nvme"
        assert zone.buffer == body
    assert len({r.connection for r in rig.proxy.requests(None, KEY)}) <= 3


def hold_in_background(rig: TransferRig, key: str, count: int) -> tuple[faults.Gate, BufferZone, object]:
    """A background transfer of which ``count`` parts stand at a gate in the middle of their body."""
    obj = rig.put(key, BODY)
    gate = faults.Gate(300_000, limit_s=30)
    rule = rig.proxy.on(gate, path=key, times=count)
    zone = BufferZone()
    transfer = rig.engine.start(rig.origin, obj, zone, priority=Priority.BACKGROUND)
    assert eventually(lambda: rule.hits == count, 10)
    return gate, zone, transfer


def test_an_urgent_transfer_takes_the_connections_from_one_in_the_background_at_once(patient):
    gate, zone, background = hold_in_background(patient, "background.bin", 3)  # every connection there is
    urgent = patient.put(KEY, BODY)
    patient.load(urgent, BODY)
    assert patient.engine.active() == (background,)
    gate.release.set()
    assert finished(background).verified == "crc64nvme"
    assert zone.buffer == BODY
    assert not patient.events_of(PartRetried)  # giving way is no failure


def test_less_urgent_transfers_keep_one_connection_together(patient):
    gate, _, first = hold_in_background(patient, "background.1", 3)
    zone, second = BufferZone(), patient.put("background.2", BODY)
    queued = patient.engine.start(patient.origin, second, zone, priority=Priority.BACKGROUND)
    urgent_gate = faults.Gate()
    patient.proxy.on(urgent_gate, path=KEY, covers=0)
    _, urgent = patient.start(patient.put(KEY, BODY))
    assert urgent_gate.reached.wait(10)
    assert eventually(lambda: first.progress().connections + queued.progress().connections <= 1)
    urgent_gate.release.set()
    gate.release.set()
    for transfer in (urgent, first, queued):
        finished(transfer)
    assert zone.buffer == BODY


def test_raising_a_priority_takes_connections_too(patient):
    gate, _, holder = hold_in_background(patient, "background.bin", 3)
    waiting_zone = BufferZone()
    waiting = patient.engine.start(patient.origin, patient.put(KEY, BODY), waiting_zone, priority=Priority.BACKGROUND)
    waiting.set_priority(Priority.FOREGROUND)
    finished(waiting)
    assert waiting_zone.buffer == BODY
    gate.release.set()
    finished(holder)


def test_every_byte_from_the_wire_is_booked_with_the_rate_limit(rig):
    booked: list[int] = []

    class Counting(TokenBucket):
        def take(self, count: int) -> float:
            booked.append(count)
            return super().take(count)

        def give_back(self, count: int) -> None:
            booked.append(-count)
            super().give_back(count)

    rig.engine.bucket = Counting(1e15, rig.engine.clock)
    result = rig.load(rig.put(KEY, BODY), BODY)
    assert sum(booked) == result.wire_bytes == SIZE


# -- a slow part ---------------------------------------------------------------------------------------------------------------


def test_the_last_slow_part_is_asked_for_twice_and_the_first_answer_wins(patient):
    obj = patient.put(KEY, BODY)
    gate = faults.Gate(300_000, limit_s=30)
    patient.proxy.on(gate, covers=3 * MIB + 10)  # once: the second request for it is served
    result = patient.load(obj, BODY)
    assert result.verified == "crc64nvme"
    (hedged,) = patient.events_of(PartHedged)
    assert 3 * MIB < hedged.offset < 4 * MIB  # only the missing suffix
    assert not patient.events_of(PartRetried)
    assert result.wire_bytes == SIZE


def test_a_second_request_that_loses_changes_nothing(patient):
    obj = patient.put(KEY, BODY)
    first, second = faults.Gate(300_000, limit_s=30), faults.Gate(1000, limit_s=30)
    patient.proxy.on(first, covers=3 * MIB + 10)
    patient.proxy.on(second, covers=4 * MIB - 1)
    zone, transfer = patient.start(obj)
    assert second.reached.wait(15)
    first.release.set()
    assert finished(transfer).verified == "crc64nvme"
    assert zone.buffer == BODY
    assert zone.is_covered_once()


# -- progress --------------------------------------------------------------------------------------------------------------------


def test_progress_counts_what_is_in_place_and_ends_at_the_size(patient):
    obj = patient.put(KEY, BODY)
    gate = faults.Gate(300_000, limit_s=30)
    patient.proxy.on(gate, covers=0)
    _, transfer = patient.start(obj)
    assert gate.reached.wait(10)
    assert eventually(lambda: transfer.progress().landed_bytes >= SIZE - MIB, 10)
    during = transfer.progress()
    assert during.state == "reading" and during.size_bytes == SIZE and during.landed_bytes < SIZE
    assert during.connections >= 1 and during.wire_bytes == during.landed_bytes
    gate.release.set()
    finished(transfer)
    after = transfer.progress()
    assert (after.state, after.landed_bytes, after.eta_s, after.connections) == ("done", SIZE, 0.0, 0)


def test_asking_for_the_result_too_early_is_a_mistake(patient):
    gate = faults.Gate(limit_s=30)
    patient.proxy.on(gate, method="HEAD")
    _, transfer = patient.start(patient.put(KEY, BODY))
    assert not transfer.wait(0)
    with pytest.raises(RuntimeError):
        transfer.result()
    gate.release.set()
    finished(transfer)
