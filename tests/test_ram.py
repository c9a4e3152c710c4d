"""The RAM tier: hits, leases, evictions, and memory that comes back when tensors die."""

from __future__ import annotations

import ctypes
import gc
import threading
from typing import Any

import pytest
import torch

from modelstream.cache.arena import Allocation, Arena
from modelstream.cache.ram import RamEntry, RamTier
from modelstream.cache.tier_choice import TierChoice
from modelstream.storage.errors import NoRoom
from modelstream.storage.events import Event, EventBus, Evicted, Stored, TierHit
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.safetensors_header import SafetensorsHeader

MIB = 1 << 20
HEADER = SafetensorsHeader({}, None, 10)


class Bench:
    """A tier with its arena, the events it told, and a clock that ticks a second a reading."""

    def __init__(self, budget_bytes: int, policy: str = "lru") -> None:
        self.events: list[Event] = []
        self.now_s = 0.0
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.arena = Arena(budget_bytes, bus)
        self.tier = RamTier(self.arena, bus, self.clock, choice=TierChoice(policy=policy))

    def clock(self) -> float:
        self.now_s += 1.0
        return self.now_s

    def put(self, key: str, size_bytes: int, mark: int = 0) -> RemoteObject:
        """An object in the tier, not leased, every byte ``mark``."""
        obj = named(key, size_bytes)
        self.tier.missed(obj)
        allocation = self.tier.reserve(obj, size_bytes)
        ctypes.memset(allocation.buffer, mark, size_bytes)
        self.tier.publish(obj, allocation, HEADER, mark).release()
        return obj

    def keys(self) -> list[str]:
        return [entry.subject.removeprefix("near:") for entry in self.tier.snapshot().entries]

    def told(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]


def named(key: str, size_bytes: int) -> RemoteObject:
    return RemoteObject("near", ObjectId("http://127.0.0.1", "models", key, "v1"), size_bytes, 0.0)


def tensor_over(entry: RamEntry | Allocation) -> torch.Tensor:
    return torch.frombuffer(entry.buffer, dtype=torch.uint8)


def test_what_is_published_is_hit_with_its_header_checksum_and_bytes() -> None:
    bench = Bench(8 * MIB)
    obj = bench.put("a", 3 * MIB, mark=7)
    entry = bench.tier.get(obj.id.digest)
    assert entry is not None
    with entry:
        assert (entry.obj, entry.header, entry.crc64) == (obj, HEADER, 7)
        assert entry.view == b"\7" * (3 * MIB)
    assert bench.tier.get("0" * 64) is None


def test_a_publish_is_returned_leased() -> None:
    bench = Bench(8 * MIB)
    obj = named("a", 6 * MIB)
    entry = bench.tier.publish(obj, bench.tier.reserve(obj, 6 * MIB), HEADER, None)
    assert bench.tier.snapshot().entries[0].leases == 1
    with pytest.raises(NoRoom):
        bench.tier.reserve(named("b", 6 * MIB), 6 * MIB)
    entry.release()
    assert bench.tier.reserve(named("b", 6 * MIB), 6 * MIB).size_bytes == 6 * MIB


def test_the_least_recently_used_object_goes_first() -> None:
    bench = Bench(10 * MIB)
    a = bench.put("a", 3 * MIB)
    bench.put("b", 3 * MIB)
    bench.put("c", 3 * MIB)
    hit = bench.tier.get(a.id.digest)
    assert hit is not None
    hit.release()
    bench.put("d", 3 * MIB)
    assert bench.keys() == ["c", "a", "d"]


def test_no_more_is_evicted_than_has_to_be() -> None:
    bench = Bench(10 * MIB)
    for key in "abc":
        bench.put(key, 3 * MIB)
    bench.put("d", 4 * MIB)
    assert bench.keys() == ["b", "c", "d"]


def test_a_leased_object_is_never_evicted() -> None:
    bench = Bench(10 * MIB)
    a = bench.put("a", 4 * MIB, mark=1)
    bench.put("b", 4 * MIB)
    lease = bench.tier.get(a.id.digest)
    assert lease is not None
    bench.tier.reserve(named("c", 6 * MIB), 6 * MIB)
    assert bench.keys() == ["a"]
    assert not bench.tier.evict(a.id.digest)
    assert lease.view == b"\1" * (4 * MIB)


def test_every_lease_counts_and_is_given_back_once() -> None:
    bench = Bench(10 * MIB)
    a = bench.put("a", MIB)
    first = bench.tier.get(a.id.digest)
    assert first is not None
    second = first.lease()
    first.release()
    first.release()
    assert bench.tier.snapshot().entries[0].leases == 1
    assert not bench.tier.evict(a.id.digest)
    second.release()
    assert bench.tier.evict(a.id.digest)


def test_an_object_that_can_never_fit_evicts_nothing() -> None:
    bench = Bench(10 * MIB)
    kept = bench.put("kept", 4 * MIB)
    bench.put("idle", 4 * MIB)
    lease = bench.tier.get(kept.id.digest)
    with pytest.raises(NoRoom, match="near:huge: the RAM tier has no room for it"):
        bench.tier.reserve(named("huge", 7 * MIB), 7 * MIB)
    assert sorted(bench.keys()) == ["idle", "kept"]
    assert lease is not None


def test_an_object_whose_tensors_live_is_not_dropped_for_nothing() -> None:
    bench = Bench(10 * MIB)
    a = bench.put("a", 4 * MIB, mark=5)
    bench.put("b", 4 * MIB)
    with bench.tier.get(a.id.digest) as entry:  # type: ignore[union-attr]
        tensor = tensor_over(entry)
    bench.tier.get(named("b", 4 * MIB).id.digest).release()  # type: ignore[union-attr]
    bench.put("c", 4 * MIB)
    assert bench.keys() == ["a", "c"]  # "a" was older, but a loaded model still holds it
    with pytest.raises(NoRoom):
        bench.tier.reserve(named("d", 8 * MIB), 8 * MIB)
    assert bool((tensor == 5).all())
    assert bench.tier.get(a.id.digest) is not None


def test_memory_of_an_evicted_object_counts_until_its_last_tensor_dies() -> None:
    bench = Bench(10 * MIB)
    a = bench.put("a", 6 * MIB, mark=9)
    with bench.tier.get(a.id.digest) as entry:  # type: ignore[union-attr]
        tensor = tensor_over(entry)
    del entry
    assert bench.tier.evict(a.id.digest)
    assert bench.tier.snapshot().used_bytes == 6 * MIB
    with pytest.raises(NoRoom, match=r"0\.01 GB are in use"):
        bench.tier.reserve(named("b", 6 * MIB), 6 * MIB)
    assert bool((tensor == 9).all())
    del tensor
    assert bench.tier.reserve(named("b", 6 * MIB), 6 * MIB).size_bytes == 6 * MIB


def test_tensors_in_a_reference_cycle_are_collected_before_giving_up() -> None:
    bench = Bench(10 * MIB)
    a = bench.put("a", 6 * MIB)
    with bench.tier.get(a.id.digest) as entry:  # type: ignore[union-attr]
        cycle: list[Any] = [tensor_over(entry)]
    del entry
    gc.disable()
    try:
        cycle.append(cycle)
        del cycle
        assert bench.tier.reserve(named("b", 6 * MIB), 6 * MIB).size_bytes == 6 * MIB
    finally:
        gc.enable()
    assert bench.keys() == []


def test_publishing_again_replaces_the_entry_and_leaves_the_old_bytes_to_whoever_holds_them() -> None:
    bench = Bench(10 * MIB)
    obj = bench.put("a", 2 * MIB, mark=1)
    old = bench.tier.get(obj.id.digest)
    assert old is not None
    bench.put("a", 2 * MIB, mark=2)
    new = bench.tier.get(obj.id.digest)
    assert new is not None
    assert (old.view[0], new.view[0]) == (1, 2)
    old.release()
    assert [entry.leases for entry in bench.tier.snapshot().entries] == [1]


def test_a_tier_without_a_budget_says_no_room() -> None:
    with pytest.raises(NoRoom):
        Bench(0).tier.reserve(named("a", 1), 1)


def test_events_tell_what_was_stored_hit_and_evicted() -> None:
    bench = Bench(4 * MIB)
    obj = named("a", 3 * MIB)
    allocation = bench.tier.reserve(obj, 3 * MIB)
    bench.now_s += 10
    bench.tier.publish(obj, allocation, HEADER, None).release()
    del allocation
    bench.tier.get(obj.id.digest).release()  # type: ignore[union-attr]
    b = bench.put("b", 2 * MIB)
    bench.tier.evict(b.id.digest)
    assert bench.told(Stored)[0] == Stored("ram", "near:a", 3 * MIB, 11.0)
    assert bench.told(TierHit) == [TierHit("ram", "near:a", 3 * MIB, 1.0)]
    assert [(e.subject, e.size_bytes, e.reason) for e in bench.told(Evicted)] == [
        ("near:a", 3 * MIB, "room"),
        ("near:b", 2 * MIB, "asked"),
    ]
    assert "used once" in bench.told(Evicted)[0].why and "ranking lru" in bench.told(Evicted)[0].why


def test_a_subscriber_may_ask_the_tier_because_no_lock_is_held() -> None:
    bench = Bench(4 * MIB)
    seen: list[int] = []
    bench.tier._bus.subscribe(lambda event: seen.append(len(bench.tier.snapshot().entries)))
    obj = bench.put("a", 3 * MIB)
    bench.tier.get(obj.id.digest)
    bench.tier.evict(obj.id.digest)
    assert bench.tier._bus.subscriber_errors == 0
    assert seen == [1, 1]


def test_closing_drops_the_entries_and_keeps_the_tensors() -> None:
    bench = Bench(8 * MIB)
    obj = bench.put("a", MIB, mark=3)
    entry = bench.tier.get(obj.id.digest)
    assert entry is not None
    tensor = tensor_over(entry)
    bench.tier.close()
    entry.release()
    del entry
    assert bench.keys() == []
    assert bool((tensor == 3).all())


def test_many_threads_load_and_drop_and_the_accounting_comes_back_to_zero() -> None:
    bench = Bench(12 * MIB)
    wrong: list[str] = []

    def work(seed: int) -> None:
        for turn in range(25):
            mark = (seed * 5 + turn) % 7 + 1
            obj = named(str(mark), mark * 512 * 1024)
            entry = bench.tier.get(obj.id.digest)
            if entry is None:
                try:
                    allocation = bench.tier.reserve(obj, obj.size_bytes)
                except NoRoom:
                    continue
                ctypes.memset(allocation.buffer, mark, obj.size_bytes)
                entry = bench.tier.publish(obj, allocation, HEADER, mark)
                del allocation
            with entry:
                tensor = tensor_over(entry)
            if not bool((tensor == mark).all()):
                wrong.append(f"{seed}/{turn}")
            del tensor, entry

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(entry.leases == 0 for entry in bench.tier.snapshot().entries)
    for entry in bench.tier.snapshot().entries:
        assert bench.tier.evict(entry.digest)
    assert bench.tier.snapshot().used_bytes == 0
