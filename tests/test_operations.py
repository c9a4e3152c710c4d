"""Looking after the cache: entries, pins, eviction and checks on request, budgets, fetching ahead; on a real S3 server."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from modelstream.cache.operations import Pin
from modelstream.storage.errors import NoRoom
from modelstream.storage.events import (
    BudgetChanged,
    CorruptionFound,
    Evicted,
    Pinned,
    TierHit,
    Unpinned,
    Verified,
    WarmFinished,
    WarmStarted,
)
from modelstream.storage.landing import Priority
from rig.cached_loads import MIB, Rig, assert_equal, tensors
from rig.invariants import eventually


@pytest.fixture
def rig(seaweed: Any, bucket: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(seaweed, bucket, tmp_path)
    yield made
    made.parts.close()


def told(rig: Rig, kind: type) -> list[Any]:
    return [event for event in rig.parts.events if isinstance(event, kind)]


def load(rig: Rig, obj: Any) -> None:
    rig.parts.cache.open_tensors(obj).close()
    rig.wait_on_disk(obj)
    assert eventually(lambda: not rig.parts.cache.snapshot().loading), "the fetch keeps its own lease until it ends"


def of(rig: Rig, obj: Any) -> Any:
    return next((e for e in rig.parts.cache.entries() if e.digest == obj.id.digest), None)


def test_entries_say_where_an_object_is_how_often_it_was_used_and_what_that_saved_also_after_a_restart(rig: Rig) -> None:
    obj = rig.put("checkpoints/x/a.safetensors", save(tensors(1, 8)))
    assert rig.parts.cache.entries() == ()
    with rig.parts.cache.open_tensors(obj):
        assert eventually(lambda: of(rig, obj) and of(rig, obj).tiers == ("ram", "ssd"))
        entry = of(rig, obj)
        assert (entry.subject, entry.name, entry.size_bytes) == (obj.subject, "a.safetensors", obj.size_bytes)
        assert (entry.uses, entry.saved_s, entry.leased, entry.pinned) == (1, 0.0, True, False)
    assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    load(rig, obj)
    again = of(rig, obj)
    assert (again.uses, again.leased) == (2, False)
    assert again.saved_s > 0 and again.last_used_s >= entry.last_used_s
    hits = len(told(rig, TierHit))
    rig.parts.cache.header(obj)
    rig.parts.cache.verify(obj)
    assert len(told(rig, TierHit)) == hits and of(rig, obj).uses == 2, "looking is no use"
    rig.restart()
    assert eventually(lambda: of(rig, obj) is not None and of(rig, obj).subject == obj.subject)
    assert of(rig, obj).tiers == ("ssd",) and of(rig, obj).last_used_s is not None


def test_what_is_pinned_stays_when_room_is_needed_in_both_tiers_in_every_version_and_after_a_restart(rig: Rig) -> None:
    kept = rig.put("vae/kept.safetensors", save(tensors(1, 24)))
    other = rig.put("vae/other.safetensors", save(tensors(2, 24)))
    cache = rig.parts.cache
    load(rig, kept)
    cache.pin(kept)
    cache.pin(kept)
    load(rig, other)
    assert cache.pins() == (Pin(kept.origin, kept.id.key),) and told(rig, Pinned) == [Pinned(kept.subject)]
    assert of(rig, kept).pinned and not of(rig, other).pinned
    assert dict(cache.evict(kept).refused) == {"ram": "pinned", "ssd": "pinned"}
    cache.set_budget("ram", 40 * MIB)
    cache.set_budget("ssd", 40 * MIB)
    assert of(rig, kept).tiers == ("ram", "ssd") and of(rig, other) is None, "the older one stays, it is pinned"
    with pytest.raises(NoRoom):
        cache._ram.reserve(other, 38 * MIB)
    assert "ram" in of(rig, kept).tiers, "nothing went for room that there cannot be"
    rig.restart()
    cache = rig.parts.cache
    assert cache.snapshot().ram.budget_bytes == 40 * MIB and cache.snapshot().ssd.budget_bytes == 40 * MIB
    newer = rig.put("vae/kept.safetensors", save(tensors(3, 8)))
    load(rig, newer)
    assert of(rig, newer).pinned and of(rig, kept).pinned
    cache.unpin(newer)
    assert told(rig, Unpinned) == [Unpinned(kept.subject)] and cache.pins() == ()
    assert cache.evict(newer).total_bytes == 2 * newer.size_bytes
    rig.restart(rig.toml.replace("[ram]\nbudget_gb = ", "[ram]\nbudget_gb = 0.05 # "))
    assert rig.parts.cache.pins() == ()
    assert rig.parts.cache.snapshot().ram.budget_bytes == int(0.05 * (1 << 30)), "the configuration has changed: it says"


def test_evicting_frees_what_nobody_uses_and_says_why_the_rest_stays(rig: Rig) -> None:
    wanted = tensors(4, 8)
    obj = rig.put("loras/e.safetensors", save(wanted))
    cache = rig.parts.cache
    assert cache.evict(obj).freed_bytes == {} and cache.evict(obj).refused == {}
    with cache.open_tensors(obj) as opened:
        rig.wait_on_disk(obj)
        assert eventually(lambda: not cache.snapshot().loading)
        outcome = cache.evict(obj, "ram")
        assert (dict(outcome.freed_bytes), dict(outcome.refused)) == ({}, {"ram": "leased"})
        state = opened.state_dict()
    assert dict(cache.evict(obj, "ram").refused) == {"ram": "loaded"}
    assert_equal(state, wanted)
    del state, opened
    with cache.open_file(obj):
        assert dict(cache.evict(obj).refused) == {"ssd": "leased"}
    assert of(rig, obj).tiers == ("ssd",)
    assert cache.evict(obj).freed_bytes == {"ssd": obj.size_bytes}
    assert cache.entries() == () and not Path(cache.path_for(obj)).exists()
    assert [event.reason for event in told(rig, Evicted)] == ["asked", "asked"]


def test_a_check_finds_a_flipped_bit_in_memory_and_on_the_disk_and_the_next_load_is_right(rig: Rig) -> None:
    wanted = tensors(5, 8)
    obj = rig.put("loras/v.safetensors", save(wanted))
    cache = rig.parts.cache
    load(rig, obj)
    assert dict(cache.verify(obj).results) == {"ram": "right", "ssd": "right"}
    entry = cache._ram.peek(obj.id.digest)
    ctypes.memset(ctypes.addressof(entry.buffer) + obj.size_bytes // 2, 0x5A, 1)
    entry.release()
    path = Path(cache.path_for(obj))
    with open(path, "r+b") as file:
        file.seek(obj.size_bytes // 3)
        byte = file.read(1)[0]
        file.seek(obj.size_bytes // 3)
        file.write(bytes([byte ^ 1]))
    outcome = cache.verify(obj)
    assert outcome.damaged and dict(outcome.results) == {"ram": "damaged", "ssd": "damaged"}
    assert {event.where for event in told(rig, CorruptionFound)} == {"ram", "ssd"}
    assert [event.result for event in told(rig, Verified)] == ["right", "right", "damaged", "damaged"]
    with cache.open_tensors(obj) as opened:
        assert opened.source == "bucket" and 0 < opened.wire_bytes <= obj.size_bytes
        assert_equal(opened.state_dict(), wanted)


def test_a_plan_for_room_names_who_would_go_and_changes_nothing(rig: Rig) -> None:
    a, b = (rig.put(f"vae/{name}.safetensors", save(tensors(seed, 24))) for seed, name in ((6, "a"), (7, "b")))
    load(rig, a)
    load(rig, b)
    cache = rig.parts.cache
    cache.set_budget("ram", 60 * MIB)
    cache.pin(a)
    before = cache.entries()
    plan = cache.plan_room(20 * MIB, "ram")
    assert [victim.digest for victim in plan.victims] == [b.id.digest] and plan.enough
    assert not cache.plan_room(50 * MIB, "ram").enough, "what is pinned never goes"
    assert cache.plan_room(1, "ssd").victims == ()
    assert cache.entries() == before
    assert told(rig, BudgetChanged) == [BudgetChanged("ram", 60 * MIB)]
    with pytest.raises(ValueError, match="no tier"):
        cache.plan_room(1, "vram")


def test_a_list_is_fetched_ahead_into_each_tier_without_counting_as_use(rig: Rig) -> None:
    objs = [rig.put(f"loras/{i}.safetensors", save(tensors(10 + i, 4))) for i in range(5)]
    file = rig.put("upscale_models/f.gguf", b"x" * MIB)
    cache = rig.parts.cache
    onto_disk = cache.warm(objs[:2], "ssd")
    assert onto_disk.wait(30)
    assert all(of(rig, obj).tiers == ("ssd",) for obj in objs[:2])
    into_ram = cache.warm([*objs, objs[0], file], "ram", Priority.QUEUED)
    assert into_ram.wait(30)
    progress = into_ram.progress()
    assert (progress.objects, progress.done, progress.failures, progress.finished) == (6, 6, (), True)
    assert progress.done_bytes == progress.size_bytes == sum(o.size_bytes for o in (*objs, file))
    assert all("ram" in of(rig, obj).tiers for obj in objs) and cache.is_on_disk(file)
    assert eventually(lambda: not any(entry.leased for entry in cache.entries())), "the copies on the SSD are written by then"
    assert all(entry.uses == 0 for entry in cache.entries())
    with cache.open_tensors(objs[3]) as opened:
        assert (opened.source, opened.wire_bytes) == ("ram", 0)
    assert [event.objects for event in told(rig, WarmStarted)] == [2, 6]
    assert eventually(lambda: len(told(rig, WarmFinished)) == 2)
    assert told(rig, WarmFinished)[1].wire_bytes == sum(o.size_bytes for o in (*objs[2:], file))
    assert rig.transfers() == 6, "each object crossed the network once"
    assert cache.warm([], "ram").wait(1)


def test_a_load_joins_what_is_fetched_ahead_and_makes_it_urgent_and_leaves_it_as_it_was(rig: Rig) -> None:
    wanted = tensors(20, 48)
    slow, other = rig.put("checkpoints/s.safetensors", save(wanted)), rig.put("checkpoints/o.safetensors", save(tensors(21, 48)))
    rig.restart(rig.toml.replace("[transfer]\n", "[transfer]\nrate_limit_mbit = 300\n", 1))
    cache = rig.parts.cache
    warming = cache.warm([slow, other])
    assert eventually(lambda: len(rig.parts.engine.active()) == 2)
    assert {t.priority for t in rig.parts.engine.active()} == {Priority.BACKGROUND}
    seen: list[Priority] = []

    class Looks:
        def progress(self, progress: Any) -> None:
            seen.extend(t.priority for t in rig.parts.engine.active() if t.obj == slow)

        def check(self) -> None:
            if len(seen) > 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.open_tensors(slow, Looks())
    assert set(seen[1:]) == {Priority.FOREGROUND}
    assert eventually(lambda: {t.priority for t in rig.parts.engine.active()} == {Priority.BACKGROUND})
    with cache.open_tensors(slow) as opened:
        assert opened.wire_bytes == 0, "somebody else's transfer"
        assert_equal(opened.state_dict(), wanted)
    warming.cancel()
    assert warming.wait(10) and warming.progress().cancelled
    assert eventually(lambda: not cache.snapshot().loading)
    assert rig.transfers() == 2 and not cache.is_on_disk(other)


def test_closing_while_a_list_is_fetched_ahead_ends_it(rig: Rig) -> None:
    objs = [rig.put(f"checkpoints/{i}.safetensors", save(tensors(30 + i, 24))) for i in range(3)]
    rig.restart(rig.toml.replace("[transfer]\n", "[transfer]\nrate_limit_mbit = 80\n", 1))
    warming = rig.parts.cache.warm(objs)
    assert eventually(lambda: bool(rig.parts.engine.active()))
    rig.parts.cache.close()
    assert warming.wait(10) and warming.progress().done == 0
