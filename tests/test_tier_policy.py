"""The policy in the tiers: who goes, who stays, what is told, and what is remembered."""

from __future__ import annotations

import ctypes
import math
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from modelstream.cache.arena import Arena
from modelstream.cache.operations import RAM, SSD
from modelstream.cache.policy import NAMES, Entry, make_policy
from modelstream.cache.policy_bound import least_lost_s, lost_s
from modelstream.cache.policy_memory import PolicyMemory
from modelstream.cache.ram import RamTier
from modelstream.cache.space_values import NotWorthIt
from modelstream.cache.tier_choice import TierChoice
from modelstream.storage.config_cache import POLICIES
from modelstream.storage.events import EventBus, Evicted, PassedBy, TierDegraded
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.safetensors_header import SafetensorsHeader
from rig.cached_loads import Rig, assert_equal, tensors
from rig.invariants import eventually
from rig.ssd_parts import CHUNK, Heard, head_of, remote, store, tier

MIB = 1 << 20
HEADER = SafetensorsHeader({}, None, 10)


def named(key: str, mib: int) -> RemoteObject:
    return RemoteObject("near", ObjectId("http://127.0.0.1", "models", key, "v1"), mib * MIB, 0.0)


class Ram:
    """A RAM tier under a policy, driven as the cache drives it."""

    def __init__(self, budget_mib: int, policy: str = "adaptive") -> None:
        self.events: list[Any] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.now_s = 1e9
        self.tier = RamTier(Arena(budget_mib * MIB, bus), bus, choice=TierChoice(policy=policy, wall_clock=lambda: self.now_s))

    def load(self, obj: RemoteObject, *, ahead: bool = False) -> bool:
        self.now_s += 60
        entry = self.tier.peek(obj.id.digest) if ahead else self.tier.get(obj.id.digest)
        if entry is None:
            if not ahead:
                self.tier.missed(obj)
            allocation = self.tier.reserve(obj, obj.size_bytes)
            self.tier.publish(obj, allocation, HEADER, None, ahead=ahead).release()
            return False
        entry.release()
        return True

    def keys(self) -> set[str]:
        return {obj.id.key for obj, _ in self.tier.held()}


def test_every_named_policy_can_be_configured_and_no_other() -> None:
    assert POLICIES == NAMES


@pytest.mark.parametrize("name", ["adaptive", "lru", "gdsf", "habit"])
def test_the_ram_tier_evicts_what_the_policy_that_is_replayed_would(name: str) -> None:
    ram = Ram(24, name)
    policy, resident, now_s = make_policy(name, 24 * MIB), dict[str, Entry](), 1e9
    random_ = random.Random(7)
    objs = [named(f"{i}", 1 + i % 7) for i in range(12)]
    for _ in range(300):
        obj = objs[min(int(random_.expovariate(0.3)), 11)]
        now_s += 60
        entry = Entry(obj.id.digest, obj.size_bytes, ram.tier.reload_s(obj))
        hit = entry.digest in resident
        policy.used(entry, now_s, hit=hit)
        if not hit:
            needed = sum(e.size_bytes for e in resident.values()) + obj.size_bytes - 24 * MIB
            for victim in policy.plan_room(resident, needed, now_s).victims:
                del resident[victim.digest]
                policy.removed(victim.digest)
            resident[entry.digest] = entry
            policy.admitted(entry.digest)
        assert ram.load(obj) == hit
        assert {obj.id.digest for obj, _ in ram.tier.held()} == resident.keys()


def test_an_eviction_says_why_in_words() -> None:
    ram = Ram(10, "steady")
    for key in "aab":
        ram.load(named(key, 4))
    ram.now_s += 7200
    ram.load(named("c", 6))
    (event,) = [event for event in ram.events if isinstance(event, Evicted)]
    assert (event.subject, event.reason) == ("near:b", "room")
    assert event.why.startswith("unused for 2.0 h, used once, 0.1 s to load again; worth least by the ranking steady (")


def test_what_a_queued_prompt_needs_goes_only_when_the_others_do_not_do() -> None:
    ram = Ram(10, "steady")
    kept, other = named("kept", 4), named("other", 4)
    ram.load(kept, ahead=True)
    for _ in range(5):
        ram.load(other)
    ram.tier.keep([kept.id.digest], math.inf)
    ram.load(named("next", 4))
    assert ram.keys() == {"kept", "next"}
    ram.load(named("large", 10))
    assert ram.keys() == {"large"}
    whys = {event.subject: event.why for event in ram.events if isinstance(event, Evicted)}
    assert "keep-alive time was cut short" in whys["near:kept"] and "cut short" not in whys["near:next"]


def test_a_list_that_is_fetched_ahead_does_not_push_itself_out() -> None:
    ram = Ram(10)
    for key in ("old", "older"):
        ram.load(named(key, 2))
    for index in range(3):
        ram.load(named(f"ahead{index}", 2), ahead=True)
    ram.load(named("ahead3", 2), ahead=True)
    assert {f"ahead{i}" for i in range(4)} <= ram.keys()


def test_memory_pressure_takes_by_the_same_order_and_a_budget_can_change_under_way() -> None:
    ram = Ram(12, "steady")
    for key in ("often", "often", "often", "once", "twice", "twice"):
        ram.load(named(key, 4))
    assert ram.tier.shrink_to(9 * MIB, "pressure") == 4 * MIB
    assert ram.keys() == {"often", "twice"}
    held = ram.tier.get(named("often", 4).id.digest)
    assert ram.tier.shrink_to(0) == 4 * MIB and ram.keys() == {"often"}, "what is leased stays"
    assert held is not None
    held.release()
    ram.tier.set_budget(2 * MIB)
    assert ram.keys() == set() and ram.tier.snapshot().budget_bytes == 2 * MIB
    assert [event.reason for event in ram.events if isinstance(event, Evicted)] == ["pressure", "room", "budget"]


def test_what_was_fetched_ahead_counts_as_the_load_that_it_spared_and_the_bound_is_below_what_was_lost() -> None:
    ram = Ram(8)
    for key in ("a", "b", "c", "a", "b", "c", "a"):
        ram.load(named(key, 4))
    ram.load(named("d", 4), ahead=True)
    ram.load(named("d", 4))
    report = ram.tier.choice.report(7)
    assert [use.hit for use in report.recent][-1] is False
    assert (report.policy, len(report.recent)) == ("adaptive", 8)
    least_s = least_lost_s(report)
    assert least_s is not None and 0 < least_s < lost_s(report.recent)
    assert Ram(8, "lru").tier.choice.report(7).saved_s is None


def test_an_entry_keeps_what_the_policy_knew_of_it_after_a_restart_and_without_a_readable_history(tmp_path: Path) -> None:
    bus, events = EventBus(), list[Any]()
    bus.subscribe(events.append)
    often, once = remote("often", 3 * CHUNK), remote("once", 3 * CHUNK)
    root, folder = tmp_path / "ssd", tmp_path / "usage"
    with tier(root, policy="steady") as ssd:
        memory = PolicyMemory(folder, {"ssd": ssd}, bus)
        memory.recall()
        for obj in (once, often):
            ssd.missed(obj)
            store(ssd, obj)
        for _ in range(20):
            lease = ssd.lease(often)
            assert lease is not None
            lease.release()
        lease = ssd.lease(once)  # the later one: least recently used would take the other
        assert lease is not None
        lease.release()
        memory.store()
    heard = Heard()
    with tier(root, heard, budget_bytes=8 * CHUNK, policy="steady") as ssd:
        PolicyMemory(folder, {"ssd": ssd}, bus).recall()
        assert [v.digest for v in ssd.plan_room(3 * CHUNK).victims] == [once.id.digest]
        with pytest.raises(NotWorthIt):
            ssd.begin(remote("never used", 6 * CHUNK), head_of(remote("never used", 6 * CHUNK)), must=False)
        assert ssd.holds(often.id.digest) and ssd.holds(once.id.digest)
        store(ssd, remote("wanted", 3 * CHUNK))
        assert not ssd.holds(once.id.digest) and "used 2 times" in heard.of(Evicted)[0].why
    (folder / "cache.db").write_bytes(b"no database" * 1000)
    with tier(root, policy="adaptive") as ssd:
        PolicyMemory(folder, {"ssd": ssd}, bus).recall()
        assert [event.code for event in events if isinstance(event, TierDegraded)] == ["history"]
        assert ssd.holds(often.id.digest)


def test_who_led_and_what_was_saved_is_known_after_a_restart(tmp_path: Path) -> None:
    ram, bus = Ram(8), EventBus()
    memory = PolicyMemory(tmp_path, {"ram": ram.tier}, bus)
    memory.recall()
    for round_ in range(120):  # two favourites and an endless row of strangers: least recently used loses
        for key in ("f", "g", "f", "g", f"x{2 * round_}", f"x{2 * round_ + 1}"):
            ram.load(named(key, 3))
    before = ram.tier.choice.report(7)
    assert before.ranking != "thrifty_lru" and before.saved_s is not None and before.saved_s > 0
    memory.store()
    again = Ram(8)
    again.now_s = ram.now_s
    PolicyMemory(tmp_path, {"ram": again.tier}, bus).recall()
    after = again.tier.choice.report(7)
    assert (after.ranking, after.saved_s) == (before.ranking, pytest.approx(before.saved_s))
    (tmp_path / "saved.json").write_text('{"form":1,"content":{"ram":{"days":[["x",1,-1]],"recent_s":3,"leader":[]}}}')
    fresh = Ram(8)
    PolicyMemory(tmp_path, {"ram": fresh.tier}, bus).recall()
    assert fresh.tier.choice.report(7).ranking == "thrifty_lru"


def test_a_use_by_another_process_counts_here(tmp_path: Path) -> None:
    a, b = remote("a", 3 * CHUNK), remote("b", 3 * CHUNK)
    now_s = [1.7e9]

    def clock() -> float:
        now_s[0] += 1
        return now_s[0]

    with tier(tmp_path, budget_bytes=8 * CHUNK, clock=clock) as ours, tier(tmp_path, clock=clock) as theirs:
        for obj in (a, b):
            ours.missed(obj)
            store(ours, obj)
        for _ in range(3):
            theirs.scan()
            lease = theirs.lease(a)
            assert lease is not None
            lease.release()
            ours.scan()
        assert [v.digest for v in ours.plan_room(3 * CHUNK).victims] == [b.id.digest]
        assert [use.hit for use in ours.choice.report(7).recent] == [False, False, True, True, True]
        theirs.missed(remote("c", CHUNK))
        store(theirs, remote("c", CHUNK))
        ours.scan()
        assert ours.choice.report(7).recent[-1].hit is False, "somebody had to load it"


def test_a_load_that_is_not_worth_a_place_on_the_ssd_passes_by(seaweed: Any, bucket: str, tmp_path: Path) -> None:
    rig = Rig(seaweed, bucket, tmp_path)
    rig.restart('[cache]\nssd_policy = "steady"\n' + rig.toml)
    try:
        liked, wanted = rig.put("vae/liked.safetensors", save(tensors(1, 24))), tensors(2, 32)
        passing = rig.put("vae/passing.safetensors", save(wanted))
        cache, ssd = rig.parts.cache, rig.parts.ssd
        cache.open_tensors(liked).close()
        rig.wait_on_disk(liked)
        assert eventually(lambda: not cache.snapshot().loading)
        cache.set_budget(SSD, 44 * MIB)
        for _ in range(30):
            lease = ssd.lease(liked)
            assert lease is not None
            lease.release()
        with cache.open_tensors(passing) as opened:
            assert_equal(opened.state_dict(), wanted)
        assert eventually(lambda: not cache.snapshot().loading)
        assert cache.is_on_disk(liked) and not cache.is_on_disk(passing)
        assert [event.subject for event in rig.parts.events if isinstance(event, PassedBy)] == [passing.subject]
        assert not [event for event in rig.parts.events if isinstance(event, TierDegraded)]
        with cache.open_file(passing):
            assert cache.is_on_disk(passing), "who needs a file gets one"
        saved = cache.saved(7, bound=True)
        assert [one.tier for one in saved.tiers] == [RAM, SSD] and saved.tiers[1].recent_uses == 33
        cache.used(passing)
        assert cache.saved().tiers[0].recent_uses == saved.tiers[0].recent_uses + 1
    finally:
        rig.parts.close()


def test_the_bytes_in_memory_are_never_those_of_another_while_the_policy_evicts() -> None:
    ram = Ram(16)
    random_ = random.Random(3)
    for turn in range(400):
        obj = named(str(random_.randrange(9)), 1 + random_.randrange(9) % 5)
        entry = ram.tier.get(obj.id.digest)
        if entry is None:
            ram.tier.missed(obj)
            allocation = ram.tier.reserve(obj, obj.size_bytes)
            ctypes.memset(allocation.buffer, turn % 250, obj.size_bytes)
            entry = ram.tier.publish(obj, allocation, HEADER, turn % 250)
            del allocation
        with entry:
            assert entry.crc64 is not None and entry.view[0] == entry.view[-1] == entry.crc64
        assert ram.tier.snapshot().used_bytes <= 16 * MIB
