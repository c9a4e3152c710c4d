"""A transfer beside ComfyUI's imports: few connections, until nothing has to be spared any more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from safetensors.torch import save

from modelstream.cache.arena import Allocation
from modelstream.cache.operations import RAM
from modelstream.storage import gentle
from modelstream.storage.engine import TransferEngine
from modelstream.storage.landing import Priority
from modelstream.storage.pacing import ConnectionCount
from rig import faults
from rig.cached_loads import Rig, tensors
from rig.invariants import eventually
from rig.transfers import MIB, BufferZone, TransferRig, finished, made_up, transfer_rig

KEY = "gentle/model.safetensors"
BODY = made_up("gentle", 12 * MIB)
PATIENT = "[transfer]\nconnections_max = 4\npart_size_mb = 1\nno_progress_s = 15\nlow_speed_kib_s = 0\nstall_s = 10\n"


@pytest.fixture
def rig(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed, transfer=PATIENT) as rig:
        rig.engine.close()
        rig.engine = TransferEngine(rig.config.transfer, rig.bus, gentle=True)
        yield rig


def held(rig: TransferRig) -> tuple[faults.Gate, BufferZone, object, object]:
    """A queued transfer all of whose connections stand at a gate in the middle of a part."""
    gate = faults.Gate(300_000, limit_s=30)
    rule = rig.proxy.on(gate, path=KEY, times=4)
    zone = BufferZone()
    transfer = rig.engine.start(rig.origin, rig.put(KEY, BODY), zone, priority=Priority.QUEUED)
    return gate, zone, transfer, rule


def test_a_gentle_engine_uses_few_connections_and_all_of_them_when_it_may_hurry(rig):
    gate, zone, transfer, rule = held(rig)
    assert eventually(lambda: rule.hits == gentle.CONNECTIONS, 10)
    assert transfer.progress().connections == gentle.CONNECTIONS
    rig.engine.hurry()
    assert eventually(lambda: rule.hits == 4, 10)
    gate.release.set()
    assert finished(transfer).verified == "crc64nvme"
    assert zone.buffer == BODY and zone.is_covered_once()


def test_whoever_waits_for_a_transfer_ends_the_gentleness(rig):
    gate, zone, transfer, rule = held(rig)
    assert eventually(lambda: rule.hits == gentle.CONNECTIONS, 10)
    transfer.set_priority(Priority.FOREGROUND)
    assert eventually(lambda: rule.hits == 4, 10)
    assert not rig.engine.gentle
    gate.release.set()
    finished(transfer)
    assert zone.buffer == BODY


def test_a_server_that_asked_for_fewer_connections_still_gets_fewer_when_more_are_allowed():
    now = [0.0]
    count = ConnectionCount(2, lambda: now[0])
    count.throttled()
    count.allow(8)
    assert (count.target, count.most) == (1, 8)
    plain = ConnectionCount(2, lambda: now[0])
    plain.allow(8)
    assert (plain.target, plain.most) == (ConnectionCount.START, 8)


def test_memory_is_populated_ahead_only_of_a_load_that_waits(seaweed, bucket, tmp_path, monkeypatch):
    populated: list[int] = []
    monkeypatch.setattr(Allocation, "populate_ahead", lambda self: populated.append(self.size_bytes))
    rig = Rig(seaweed, bucket, tmp_path)
    try:
        ahead = rig.put("checkpoints/ahead.safetensors", save(tensors(1, 4)))
        awaited = rig.put("checkpoints/awaited.safetensors", save(tensors(2, 5)))
        warming = rig.parts.cache.warm([ahead], tier=RAM, priority=Priority.QUEUED)
        assert warming.wait(20) and not warming.progress().failures
        assert populated == []
        rig.parts.cache.open_tensors(awaited).close()
        assert populated == [awaited.size_bytes]
    finally:
        rig.parts.close()
