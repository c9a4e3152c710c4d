"""The whole cache against a model of what it promises, in any order of everything that can be done to it.

Asked after every step: the bytes are those of one version; what is in use or pinned is still there; budgets hold; what is
here is not fetched; nothing goes without a word.  Which idle entry goes is the policies' business, and theirs is tested.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelstream.cache.arena import Arena
from modelstream.cache.fetcher import Fetcher
from modelstream.cache.headers import HeaderReader
from modelstream.cache.pins import Pins
from modelstream.cache.ram import RamTier
from modelstream.cache.ssd import SsdTier
from modelstream.cache.state_file import StateFile
from modelstream.cache.store import Cache
from modelstream.cache.tier_choice import TierChoice
from modelstream.storage.catalog import Catalog
from modelstream.storage.config import CacheConfig, CatalogConfig
from modelstream.storage.errors import NoRoom, OriginUnreachable
from modelstream.storage.events import CorruptionFound, Event, EventBus, Evicted
from rig.invariants import eventually, nothing_partial_is_shown
from rig.scripted_engine import Bucket, ScriptedEngine

PAGE = 4096
SIZES = {"vae/a.safetensors": 3 * PAGE, "loras/b.safetensors": 7 * PAGE, "unet/c.safetensors": 12 * PAGE, "unet/d.safetensors": 16 * PAGE}
KEYS = st.sampled_from(sorted(SIZES))
RAM_BYTES, SSD_BYTES = 40 * PAGE, 48 * PAGE


class Held:
    """Something a program has open: the bytes that it has to see, and where they are kept for it."""

    def __init__(self, opened: Any, digest: str, body: bytes, tier: str) -> None:
        self.opened, self.digest, self.body, self.tier = opened, digest, body, tier

    def bytes(self) -> bytes:
        if hasattr(self.opened, "path"):
            return Path(self.opened.path).read_bytes()
        return memoryview(self.opened.buffer).cast("B")[: len(self.body)].tobytes()


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bucket = Bucket(SIZES)
        self.budgets = {"ram": RAM_BYTES, "ssd": SSD_BYTES}
        self.seen = {"ram": 0, "ssd": 0}
        self.held: list[Held] = []
        self.foreign: list[Any] = []
        self.pinned: set[str] = set()
        self.flipped: list[bytes] = []
        """what damaged files hold"""
        self.boot()

    def boot(self) -> None:
        self.bus = EventBus()
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        self.engine = ScriptedEngine(self.bucket)
        pins = Pins(StateFile(self.folder / "pins.json"))
        config = CacheConfig()
        self.ram = RamTier(Arena(self.budgets["ram"], self.bus), self.bus, choice=TierChoice(policy=config.for_ram, pins=pins))
        self.ssd = self.tier(TierChoice(policy=config.for_ssd, pins=pins))
        self.other = self.tier(TierChoice(policy=config.for_ssd, pins=pins))
        catalog = Catalog((), CatalogConfig(), self.bus, snapshot=self.folder / "catalog", fingerprint="")
        origins: Any = {"here": None}
        fetcher = Fetcher(origins, catalog, self.engine, self.ram, self.ssd, self.bus)  # type: ignore[arg-type]
        headers = HeaderReader(origins, self.ram, self.ssd)
        self.cache = Cache(fetcher, headers, catalog, self.engine, self.ram, self.ssd, self.bus, pins=pins)  # type: ignore[arg-type]
        assert {pin.key for pin in self.cache.pins()} == self.pinned

    def tier(self, choice: TierChoice) -> SsdTier:
        made = SsdTier(self.folder / "ssd", self.budgets["ssd"], 0, self.bus, chunk_bytes=PAGE, hold_s=0.0, choice=choice)
        made.start()
        made._sweeper.join()  # type: ignore[union-attr]
        return made

    # -- helpers -------------------------------------------------------------------------------------------------------
    def there(self) -> dict[str, set[str]]:
        """digest → tiers"""
        return {entry.digest: set(entry.tiers) for entry in self.cache.entries()}

    def is_broken(self, obj: Any) -> bool:
        path = self.ssd.path_for(obj)
        return path.exists() and path.read_bytes() in self.flipped

    def settle(self) -> None:
        assert eventually(lambda: not self.cache.snapshot().loading, 10), "a load does not end"

    def in_use_bytes(self, tier: str) -> int:
        held = [h for h in self.held if h.tier == tier]
        foreign = [(lease.obj.id.digest, lease.obj.size_bytes) for lease in self.foreign] if tier == "ssd" else []
        sizes = dict([(h.digest, len(h.body)) for h in held] + foreign)
        pinned = {e.digest: e.size_bytes for e in self.cache.entries() if e.pinned and tier in e.tiers}
        return sum({**sizes, **pinned}.values()) + PAGE * len({**sizes, **pinned})

    def cannot_be_kept(self, obj: Any) -> bool:
        """Neither tier can make room: NoRoom is right."""
        return all(self.in_use_bytes(t) + obj.size_bytes + PAGE > self.budgets[t] for t in ("ram", "ssd"))

    def opens(self, obj: Any, way: str) -> None:
        before, started = self.there(), len(self.engine.started)
        here = before.get(obj.id.digest, set())
        usable = bool(here)
        broken = self.is_broken(obj)
        needed = way == "file" and not (here & {"ssd"}) and not self.room_on_ssd(obj)
        try:
            opened = self.cache.open_tensors(obj) if way == "tensors" else self.cache.open_file(obj)
        except NoRoom:
            newest = self.bucket.object(obj.id.key)
            assert needed or self.cannot_be_kept(obj) or self.cannot_be_kept(newest) or not self.room_on_ssd(newest), "there was room"
            self.settle()
            return
        except OriginUnreachable:
            assert not usable or broken, "it was here"
            self.settle()
            return
        held = Held(opened, "", b"", "ram")
        newest = self.bucket.object(obj.id.key)
        for version in (obj, newest):
            held.digest, held.body = version.id.digest, self.bucket.body(version)
            if held.bytes() == held.body:
                break
        else:
            raise AssertionError("the bytes are those of no version that there is")
        held.tier = "ram" if way == "tensors" and self.ram.holds(held.digest) else "ssd"
        if usable and not broken:
            assert len(self.engine.started) == started and opened.wire_bytes == 0, "what was here was fetched"
        if not usable:
            assert held.body == self.bucket.body(newest), "an old version was fetched"
        self.held.append(held)
        self.settle()

    def room_on_ssd(self, obj: Any) -> bool:
        return self.in_use_bytes("ssd") + obj.size_bytes + PAGE <= self.budgets["ssd"]

    def step(self) -> Any:
        return _Step(self)

    # -- loads ---------------------------------------------------------------------------------------------------------
    @rule(key=KEYS, way=st.sampled_from(["tensors", "tensors", "file"]), older=st.sampled_from([0, 0, 0, 1]))
    def open(self, key: str, way: str, older: int) -> None:
        with self.step():
            self.opens(self.bucket.version(key, max(1, self.bucket.versions[key] - older)), way)

    @rule(key=KEYS, way=st.sampled_from(["tensors", "file"]), after=st.integers(0, 6))
    def open_and_lose_the_origin(self, key: str, way: str, after: int) -> None:
        self.engine.fails_after = after * PAGE
        with self.step():
            self.opens(self.bucket.object(key), way)
        self.engine.fails_after = None

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def close(self, data: Any) -> None:
        self.held.pop(data.draw(st.integers(0, len(self.held) - 1))).opened.close()

    @rule(key=KEYS)
    def overwrite(self, key: str) -> None:
        self.bucket.overwrite(key)

    # -- looking after it ----------------------------------------------------------------------------------------------
    @rule(key=KEYS)
    def pin(self, key: str) -> None:
        self.cache.pin(self.bucket.object(key))
        self.pinned.add(key)

    @rule(key=KEYS)
    def unpin(self, key: str) -> None:
        self.cache.unpin(self.bucket.object(key))
        self.pinned.discard(key)

    @rule(key=KEYS, tier=st.sampled_from(["ram", "ssd", None]))
    def evict(self, key: str, tier: str | None) -> None:
        obj = self.bucket.object(key)
        with self.step():
            here = self.there().get(obj.id.digest, set())
            outcome = self.cache.evict(obj, tier)
            asked = here & ({tier} if tier else {"ram", "ssd"})
            assert set(outcome.freed_bytes) | set(outcome.refused) == asked
            if key in self.pinned:
                assert not outcome.freed_bytes
            left = self.there().get(obj.id.digest, set())
            assert left == here - set(outcome.freed_bytes)

    @rule(key=KEYS)
    def verify(self, key: str) -> None:
        obj = self.bucket.object(key)
        with self.step():
            here, broken = self.there().get(obj.id.digest, set()), self.is_broken(obj)
            outcome = self.cache.verify(obj)
            assert set(outcome.results) == here
            assert outcome.results.get("ssd", "right") == ("damaged" if broken and "ssd" in here else "right")
            assert outcome.results.get("ram", "right") == "right"

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True), tier=st.sampled_from(["ram", "ssd"]))
    def warm(self, keys: list[str], tier: str) -> None:
        with self.step():
            objs = [self.bucket.object(key) for key in keys]
            warming = self.cache.warm(objs, tier)
            assert warming.wait(20)
            progress = warming.progress()
            assert progress.done + len(progress.failures) == len(keys)
            assert {failure.code for failure in progress.failures} <= {"no_room"}
            self.settle()

    @rule(tier=st.sampled_from(["ram", "ssd"]), pages=st.integers(20, 60))
    def set_budget(self, tier: str, pages: int) -> None:
        with self.step():
            self.budgets[tier] = pages * PAGE
            self.cache.set_budget(tier, pages * PAGE)
            assert self.used()[tier] <= max(pages * PAGE, self.in_use_bytes(tier)), "more stayed than is in use or pinned"

    @rule(tier=st.sampled_from(["ram", "ssd"]), pages=st.integers(0, 60))
    def ask_for_a_plan(self, tier: str, pages: int) -> None:
        before = self.there()
        self.cache.plan_room(pages * PAGE, tier)
        assert self.there() == before

    # -- what others do ------------------------------------------------------------------------------------------------
    @rule(key=KEYS)
    def another_process_reads(self, key: str) -> None:
        lease = self.other.lease(self.bucket.object(key))
        if lease is not None:
            self.foreign.append(lease)

    @precondition(lambda self: self.foreign)
    @rule()
    def another_process_is_done(self) -> None:
        self.foreign.pop().release()

    @rule(key=KEYS, at=st.integers(0, 3 * PAGE - 1))
    def the_disk_damages(self, key: str, at: int) -> None:
        obj = self.bucket.object(key)
        busy = {h.digest for h in self.held} | {lease.obj.id.digest for lease in self.foreign}
        if "ssd" not in self.there().get(obj.id.digest, set()) or obj.id.digest in busy or self.is_broken(obj):
            return
        body = bytearray(self.bucket.body(obj))
        body[at] ^= 64
        self.flipped.append(bytes(body))
        with open(self.ssd.path_for(obj), "r+b") as file:
            file.seek(at)
            file.write(body[at : at + 1])

    @rule()
    def restart(self) -> None:
        before = {digest for digest, tiers in self.there().items() if "ssd" in tiers}
        self.end()
        self.boot()
        assert {digest for digest, tiers in self.there().items() if "ssd" in tiers} == before, "the SSD kept something else"

    def end(self) -> None:
        while self.held:
            self.held.pop().opened.close()
        while self.foreign:
            self.foreign.pop().release()
        self.cache.close()
        self.other.close()

    # -- always --------------------------------------------------------------------------------------------------------
    @invariant()
    def whoever_has_it_open_sees_the_same_bytes(self) -> None:
        assert all(h.bytes() == h.body for h in self.held)

    @invariant()
    def what_is_in_use_is_there(self) -> None:
        there = self.there()
        for held in self.held:
            assert held.tier in there.get(held.digest, set()), f"taken away from {held.tier} while it was open"
        for lease in self.foreign:
            assert self.ssd.lookup(lease.obj) is not None, "taken away from another process"

    @invariant()
    def budgets_hold(self) -> None:
        """What was above a budget when it was lowered, in use or pinned, may stay until room is made; it never grows."""
        for tier, used in self.used().items():
            assert used <= max(self.budgets[tier], self.seen[tier]), f"{tier}: {used}"
            self.seen[tier] = used
        assert self.cache.snapshot().ssd.reserved_bytes == 0

    @invariant()
    def what_is_leased_or_pinned_is_the_sum_of_the_entries(self) -> None:
        entries, held = self.cache.entries(), self.cache.held_back()
        for tier in ("ram", "ssd"):
            there = [e for e in entries if tier in e.tiers]
            assert held[tier][1] == sum(e.size_bytes for e in there if e.pinned), tier
            if not self.cache.snapshot().loading:  # a fetch takes and gives back leases between two looks
                assert held[tier][0] == sum(e.size_bytes for e in there if e.leased), tier

    def used(self) -> dict[str, int]:
        """Leftovers are counted in blocks, with the journal and the like, which no budget promises: three blocks of each are not."""
        found = self.cache.snapshot()
        leftovers = sum(len(list(where.iterdir())) for n in ("partial", "quarantine") if (where := self.folder / "ssd" / n).exists())
        return {"ram": found.ram.used_bytes, "ssd": found.ssd.used_bytes + max(0, found.ssd.leftover_bytes - 3 * PAGE * leftovers)}

    @invariant()
    def only_whole_files_are_shown(self) -> None:
        bodies = [self.bucket.body(self.bucket.version(k, n)) for k, top in self.bucket.versions.items() for n in range(1, top + 1)]
        nothing_partial_is_shown(self.folder / "ssd", *bodies, *self.flipped)

    def teardown(self) -> None:
        self.end()
        assert self.bus.subscriber_errors == 0
        shutil.rmtree(self.folder)


class _Step:
    """Around everything that may make room: what is gone after it was said to go, with a reason, and was nobody's."""

    def __init__(self, machine: CacheMachine) -> None:
        self.machine = machine

    def __enter__(self) -> None:
        self.before = {(e.digest, tier): e for e in self.machine.cache.entries() for tier in e.tiers}
        self.heard = len(self.machine.events)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        now = {(e.digest, tier) for e in self.machine.cache.entries() for tier in e.tiers}
        events = self.machine.events[self.heard :]
        told = Counter((e.tier, e.subject) for e in events if isinstance(e, Evicted) and e.reason)
        told += Counter((e.where, e.subject) for e in events if isinstance(e, CorruptionFound))
        for (digest, tier), entry in self.before.items():
            if (digest, tier) in now:
                continue
            assert told[(tier, entry.subject)], f"{entry.name} left {tier} without a word"
            reasons = {e.reason for e in events if isinstance(e, Evicted) and (e.tier, e.subject) == (tier, entry.subject)}
            if entry.pinned:
                assert reasons <= {"damaged"}, f"pinned, and gone from {tier}: {reasons}"


CacheMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
TestTheCacheKeepsItsPromises = CacheMachine.TestCase
