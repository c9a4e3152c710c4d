"""A near origin in front of a far one: what is copied, what is used, and what happens when the near side fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstream.storage.events_near import Mirrored, MirrorEvicted, MirrorSkipped, NearCopyRefused, NearDown, NearFailover, NearWaited
from rig import faults
from rig.near_fleet import MIB, Fleet, near_fleet
from rig.tiny_models import safetensors_bytes

NAME = "model.safetensors"
OLD, NEW = safetensors_bytes("old", 6 * MIB), safetensors_bytes("new", 6 * MIB + 4096)
LARGE = safetensors_bytes("large", 34 * MIB)
"""three parts of an upload"""


@pytest.fixture
def fleet(seaweed: Any, tmp_path: Path) -> Iterator[Fleet]:
    with near_fleet(seaweed, tmp_path) as made:
        yield made


@pytest.mark.parametrize("body", [OLD, LARGE], ids=["one request", "in parts"])
def test_a_far_object_is_copied_after_its_load_and_the_next_worker_reads_the_copy(fleet: Fleet, body: bytes) -> None:
    fleet.put_far(NAME, body)
    first = fleet.worker()
    first.load(NAME, body)
    first.settle()
    assert fleet.near_body(NAME) == body
    assert [(e.origin, e.size_bytes) for e in first.of(Mirrored)] == [("near", len(body))]
    second = fleet.worker()
    before = fleet.far_bytes(NAME)
    assert second.load(NAME, body).obj.origin == "far", "the object keeps the identity of its far origin"
    assert fleet.far_bytes(NAME) == before and fleet.near_bytes(NAME) >= len(body)
    assert fleet.markers() == [] and fleet.uploads_left() == 0


def test_an_object_in_both_origins_is_one_name_and_the_far_object(fleet: Fleet) -> None:
    fleet.put_far(NAME, OLD)
    first = fleet.worker()
    first.load(NAME, OLD)
    first.settle()
    first.refresh()
    from rig.near_fleet import CHECKPOINTS

    assert first.runtime.catalog.names(CHECKPOINTS) == (NAME,)
    assert first.find(NAME).origin == "far"
    assert first.load(NAME, OLD).source == "ram", "what is here is still known by the same identity"


def test_a_copy_of_an_overwritten_object_is_not_used_and_replaced(fleet: Fleet) -> None:
    fleet.put_far(NAME, OLD)
    first = fleet.worker()
    first.load(NAME, OLD)
    first.settle()
    fleet.put_far(NAME, NEW)
    second = fleet.worker()
    second.load(NAME, NEW)
    assert [e.reason for e in second.of(NearCopyRefused)][:1] == ["stale"]
    second.settle()
    assert fleet.near_body(NAME) == NEW
    third, before = fleet.worker(), fleet.far_bytes(NAME)
    third.load(NAME, NEW)
    assert fleet.far_bytes(NAME) == before


def test_the_owners_own_object_under_the_same_key_is_neither_used_nor_touched(fleet: Fleet) -> None:
    fleet.put_far(NAME, OLD)
    fleet.put_near(NAME, NEW)
    worker = fleet.worker()
    worker.load(NAME, OLD)
    worker.settle()
    assert fleet.near_body(NAME) == NEW and worker.of(Mirrored) == []
    assert {e.reason for e in worker.of(NearCopyRefused)} == {"own"}


def test_an_object_that_only_the_near_origin_has_is_read_from_there(fleet: Fleet) -> None:
    fleet.put_near(NAME, OLD)
    worker = fleet.worker()
    assert worker.load(NAME, OLD).obj.origin == "near"


def test_a_near_origin_that_is_down_at_start_costs_no_load(fleet: Fleet) -> None:
    fleet.put_far(NAME, OLD)
    fleet.put_far("other.safetensors", NEW)
    worker = fleet.worker(near_url="http://127.0.0.1:9")
    worker.load(NAME, OLD)
    worker.load("other.safetensors", NEW)
    assert len(worker.of(NearDown)) == 1, "said once; the second load did not ask again"


def test_a_near_origin_that_fails_in_the_middle_is_gone_on_from_by_the_far_one(fleet: Fleet) -> None:
    fleet.put_far(NAME, LARGE)
    first = fleet.worker()
    first.load(NAME, LARGE)
    first.settle()
    before = fleet.far_bytes(NAME)
    fleet.near.on(faults.CutBefore(), path=NAME, skip=9, times=None)
    second = fleet.worker()
    second.load(NAME, LARGE)
    (told,) = second.of(NearFailover)
    assert 0 < told.landed_bytes < len(LARGE)
    assert fleet.far_bytes(NAME) - before <= len(LARGE) - told.landed_bytes, "what had landed was not read again"
    assert second.of(NearDown)


def test_a_damaged_copy_is_found_by_its_checksum_and_replaced(fleet: Fleet) -> None:
    fleet.put_far(NAME, OLD)
    first = fleet.worker()
    first.load(NAME, OLD)
    first.settle()
    head = fleet.direct.head_object(Bucket=fleet.near_bucket, Key=fleet.near_key(NAME))
    wrong = bytearray(OLD)
    wrong[-1] ^= 1
    fleet.put_near(NAME, bytes(wrong), Metadata=head["Metadata"])
    second = fleet.worker()
    second.load(NAME, OLD)
    assert "damaged" in {e.reason for e in second.of(NearCopyRefused)}
    second.settle()
    assert fleet.near_body(NAME) == OLD


def test_three_workers_that_ask_at_once_read_the_far_object_once(fleet: Fleet) -> None:
    fleet.put_far(NAME, LARGE)
    workers = [fleet.worker() for _ in range(3)]
    threads = [threading.Thread(target=worker.load, args=(NAME, LARGE)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.settle()
    assert fleet.far_bytes(NAME) == len(LARGE)
    assert {e.outcome for worker in workers for e in worker.of(NearWaited)} <= {"copied"}
    assert sum(len(worker.of(Mirrored)) for worker in workers) == 1
    assert fleet.markers() == []


def test_a_marker_that_a_dead_worker_left_is_taken_over_when_it_has_expired(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    from modelstream.cache import near
    from modelstream.storage import mirror_claim

    monkeypatch.setattr(mirror_claim, "EXPIRE_S", 0.5)
    monkeypatch.setattr(near, "EXPIRE_S", 0.5)
    fleet.put_far(NAME, OLD)
    dead, worker = fleet.worker(), fleet.worker()
    assert dead.mirror.claims.take(dead.find(NAME).id.digest)
    worker.load(NAME, OLD)
    worker.settle()
    assert fleet.near_body(NAME) == OLD and fleet.markers() == []


def test_a_miss_is_remembered_where_no_copy_can_be_made(fleet: Fleet) -> None:
    fleet.put_far(NAME, OLD)
    worker = fleet.worker(budget_bytes=4 * MIB)
    worker.load(NAME, OLD)
    worker.settle()
    asked = len(fleet.near.requests(None, NAME))
    worker.drop(NAME)
    worker.load(NAME, OLD)
    worker.settle()
    assert len(fleet.near.requests(None, NAME)) == asked
    assert {e.reason for e in worker.of(MirrorSkipped)} == {"too_large"} and fleet.near_body(NAME) is None


def test_the_budget_is_kept_by_sending_away_copies_and_never_the_owners_own(fleet: Fleet) -> None:
    bodies = {f"{n}.safetensors": safetensors_bytes(f"model {n}", 6 * MIB) for n in range(3)}
    for name, body in bodies.items():
        fleet.put_far(name, body)
    fleet.put_near("own.safetensors", NEW)
    worker = fleet.worker(budget_bytes=13 * MIB)
    for name, body in bodies.items():
        worker.load(name, body)
        worker.settle()
    kept = [name for name in bodies if fleet.near_body(name) is not None]
    assert len(kept) == 2 and "2.safetensors" in kept
    assert fleet.near_body("own.safetensors") == NEW
    assert len(worker.of(MirrorEvicted)) == 1


def test_a_copy_whose_far_object_is_gone_leaves_first(fleet: Fleet) -> None:
    for name in ("a.safetensors", "b.safetensors", "c.safetensors"):
        fleet.put_far(name, safetensors_bytes(name, 6 * MIB))
    worker = fleet.worker(budget_bytes=13 * MIB)
    for name in ("a.safetensors", "b.safetensors"):
        worker.load(name, safetensors_bytes(name, 6 * MIB))
        worker.settle()
    fleet.direct.delete_object(Bucket=fleet.far_bucket, Key="models/checkpoints/b.safetensors")
    worker.refresh()
    worker.load("c.safetensors", safetensors_bytes("c.safetensors", 6 * MIB))
    worker.settle()
    assert fleet.near_body("b.safetensors") is None and fleet.near_body("a.safetensors") is not None
