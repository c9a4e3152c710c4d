"""The RAM tier and its arena against a reference model: no overlap of live regions, intact bytes, true accounting."""

from __future__ import annotations

import ctypes
import gc
from collections import OrderedDict
from typing import Any

import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from modelstream.cache.arena import Arena
from modelstream.cache.ram import RamTier
from modelstream.cache.tier_choice import TierChoice
from modelstream.storage.errors import NoRoom
from modelstream.storage.events import EventBus
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.safetensors_header import SafetensorsHeader

HEADER = SafetensorsHeader({}, None, 10)
PAGE = 4096
BUDGET_PAGES = 48


def named(key: str, size_bytes: int) -> RemoteObject:
    return RemoteObject("near", ObjectId("http://127.0.0.1", "models", key, "v1"), size_bytes, 0.0)


class Holder:
    """Something a program keeps: an allocation, a lease or a tensor, and the object whose bytes it should see.

    Hypothesis keeps consumed values, so a holder gives its thing away.
    """

    def __init__(self, thing: Any, memory: Memory) -> None:
        self.thing = thing
        self.memory = memory

    def give(self) -> Any:
        thing, self.thing = self.thing, None
        return thing


class Memory:
    """One region as the model sees it: its size, its mark, where it lies and how many keep it."""

    def __init__(self, key: str, pages: int, mark: int, address: int) -> None:
        self.key, self.pages, self.mark, self.address = key, pages, mark, address
        self.holders = 0
        self.leases = 0
        self.in_tier = False

    @property
    def alive(self) -> bool:
        return self.holders > 0 or self.leases > 0 or self.in_tier


class RamMachine(RuleBasedStateMachine):
    """The tier and its arena beside a model that knows only counts.  Sizes are whole pages, so figures are exact."""

    reserved: Bundle[Holder] = Bundle("reserved")
    leased: Bundle[Holder] = Bundle("leased")
    tensors: Bundle[Holder] = Bundle("tensors")

    def __init__(self) -> None:
        super().__init__()
        gc.freeze()  # the tier collects before it gives up; torch's million objects would make that slow
        bus = EventBus()
        self.arena = Arena(BUDGET_PAGES * PAGE, bus)
        self.ram = RamTier(self.arena, bus, choice=TierChoice(policy="lru"))
        self.memories: list[Memory] = []
        self.tier: OrderedDict[str, Memory] = OrderedDict()
        self.sizes: dict[str, int] = {}
        self.mark = 0

    def teardown(self) -> None:
        gc.unfreeze()

    def used(self) -> int:
        return sum(memory.pages for memory in self.memories if memory.alive)

    def model_makes_room(self, pages: int) -> tuple[list[str], bool]:
        """What has to be evicted, and whether it is enough: nobody goes for room that there cannot be."""
        leased = sum(memory.pages for memory in self.tier.values() if memory.leases)
        gone: list[str] = []
        if pages > BUDGET_PAGES - leased:
            return gone, False
        used = self.used()
        for key, memory in self.tier.items():
            if used + pages <= BUDGET_PAGES:
                break
            if memory.holders == 0 and memory.leases == 0:
                gone.append(key)
                used -= memory.pages
        enough = used + pages <= BUDGET_PAGES
        return (gone if enough else []), enough

    @rule(target=reserved, key=st.sampled_from("abcdef"), pages=st.integers(1, 20))
    def reserve(self, key: str, pages: int) -> Any:
        pages = self.sizes.setdefault(key, pages)  # one version of an object has one size, and that is what the policy goes by
        if key not in self.tier:  # what the tier has is never missed; it may still be read anew
            self.ram.missed(named(key, pages * PAGE))
        gone, enough = self.model_makes_room(pages)
        for name in gone:
            self.tier.pop(name).in_tier = False
        try:
            allocation = self.ram.reserve(named(key, pages * PAGE), pages * PAGE)
        except NoRoom:
            assert not enough
            return Holder(None, Memory(key, 0, 0, 0))
        assert enough
        self.mark = self.mark % 250 + 1
        memory = Memory(key, pages, self.mark, ctypes.addressof(allocation.buffer))
        for other in self.memories:
            if other.alive:
                assert memory.address + pages * PAGE <= other.address or other.address + other.pages * PAGE <= memory.address
        ctypes.memset(allocation.buffer, self.mark, pages * PAGE)
        memory.holders = 1
        self.memories.append(memory)
        return Holder(allocation, memory)

    @rule(target=leased, held=consumes(reserved))
    def publish(self, held: Holder) -> Holder:
        memory = held.memory
        if held.thing is None:
            return held
        entry = self.ram.publish(named(memory.key, memory.pages * PAGE), held.give(), HEADER, memory.mark)
        memory.holders = 0
        if memory.key in self.tier:
            self.tier.pop(memory.key).in_tier = False
        self.tier[memory.key] = memory
        memory.in_tier = True
        memory.leases = 1
        return Holder(entry, memory)

    @rule(held=consumes(reserved))
    def abandon(self, held: Holder) -> None:
        if held.give() is not None:
            held.memory.holders = 0

    @rule(target=leased, key=st.sampled_from("abcdef"))
    def get(self, key: str) -> Holder:
        entry = next((self.ram.get(e.digest) for e in self.ram.snapshot().entries if e.subject == f"near:{key}"), None)
        assert (entry is not None) == (key in self.tier)
        if entry is None:
            return Holder(None, Memory(key, 0, 0, 0))
        memory = self.tier[key]
        self.tier.move_to_end(key)
        memory.leases += 1
        assert entry.crc64 == memory.mark
        return Holder(entry, memory)

    @rule(target=tensors, held=leased)
    def make_tensor(self, held: Holder) -> Holder:
        if held.thing is None:
            return held
        held.memory.holders += 1
        return Holder(torch.frombuffer(held.thing.buffer, dtype=torch.uint8), held.memory)

    @rule(held=consumes(tensors))
    def drop_tensor(self, held: Holder) -> None:
        if held.give() is not None:
            held.memory.holders -= 1

    @rule(held=consumes(leased))
    def release(self, held: Holder) -> None:
        if held.thing is not None:
            held.thing.release()  # the handle stays: it must not keep the memory
            held.memory.leases -= 1

    @rule(key=st.sampled_from("abcdef"))
    def evict(self, key: str) -> None:
        memory = self.tier.get(key)
        allowed = memory is not None and memory.leases == 0
        assert self.ram.evict(named(key, memory.pages * PAGE if memory else 1).id.digest) == allowed
        if allowed and memory is not None:
            memory.in_tier = False
            del self.tier[key]

    @precondition(lambda self: self.tier)
    @rule(pages=st.integers(0, BUDGET_PAGES))
    def trim(self, pages: int) -> None:
        self.arena.trim(pages * PAGE)

    @invariant()
    def the_tier_holds_what_the_model_holds(self) -> None:
        assert [entry.subject for entry in self.ram.snapshot().entries] == [f"near:{key}" for key in self.tier]

    @invariant()
    def live_bytes_are_intact(self) -> None:
        for memory in self.memories:
            if memory.alive:
                size = memory.pages * PAGE
                assert ctypes.string_at(memory.address, size) == bytes([memory.mark]) * size

    @invariant()
    def the_accounting_is_the_truth(self) -> None:
        assert self.arena.used_bytes == self.used() * PAGE
        assert self.arena.used_bytes <= BUDGET_PAGES * PAGE


RamMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTheTierBehavesLikeItsModel = RamMachine.TestCase
