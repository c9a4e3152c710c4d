"""Populating memory ahead of a transfer: in its own thread, only while it is wanted, with the kind of page that is cheap."""

from __future__ import annotations

import ctypes
import threading

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache import pages
from modelstream.cache.arena import Allocation, Arena
from modelstream.storage.events import Event, EventBus, TierDegraded

MIB = 1 << 20
linux_only = pytest.mark.skipif(not pages.CAN_DISCARD, reason="needs madvise")


def arena_of(budget_bytes: int) -> Arena:
    return Arena(budget_bytes, EventBus())


def populated(arena: Arena, allocation: Allocation) -> int:
    """Granules of the allocation's segment that are known to be faulted in."""
    (segment,) = (s for s in arena._segments if s.address <= ctypes.addressof(allocation.buffer) < s.address + s.size_bytes)
    return sum(segment.populated)


def finish_populating(arena: Arena) -> None:
    thread = arena._populator._thread
    if thread is not None:
        thread.join()


@linux_only
def test_populating_faults_pages_in_and_changes_no_byte() -> None:
    arena = arena_of(128 * MIB)
    allocation = arena.allocate(48 * MIB)
    allocation.view[40 * MIB : 40 * MIB + 5] = b"bytes"
    before = psutil.Process().memory_info().rss
    allocation.populate_ahead()
    finish_populating(arena)
    assert psutil.Process().memory_info().rss - before > 30 * MIB
    assert bytes(allocation.view[40 * MIB - 1 : 40 * MIB + 6]) == b"\0bytes\0"


@linux_only
def test_a_populated_region_is_not_populated_again_while_it_stays_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    slices: list[int] = []
    real = pages.populate
    monkeypatch.setattr(pages, "populate", lambda where, size, kind: slices.append(size) or real(where, size, kind))
    arena = arena_of(64 * MIB)
    first = arena.allocate(40 * MIB)
    first.populate_ahead()
    first.populate_ahead()
    finish_populating(arena)
    assert sum(slices) > 30 * MIB
    slices.clear()
    del first
    again = arena.allocate(40 * MIB)
    again.populate_ahead()
    finish_populating(arena)
    assert slices == []
    del again
    arena.trim(64 * MIB)
    cold = arena.allocate(40 * MIB)
    cold.populate_ahead()
    finish_populating(arena)
    assert sum(slices) > 30 * MIB


class Gate:
    """Stands in for `pages.populate`: holds the thread inside its first slice until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.go = threading.Event(), threading.Event()
        self.calls = 0
        monkeypatch.setattr(pages, "populate", self._populate)

    def _populate(self, where: int, size_bytes: int, kind: str) -> bool:
        self.calls += 1
        self.entered.set()
        return self.go.wait(30)


def test_populating_stops_when_the_transfer_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    arena = arena_of(512 * MIB)
    allocation = arena.allocate(400 * MIB)
    allocation.populate_ahead()
    assert gate.entered.wait(30)
    allocation.stop_populating()
    gate.go.set()
    finish_populating(arena)
    assert gate.calls == 1


def test_populating_stops_when_nobody_holds_the_region(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    arena = arena_of(512 * MIB)
    allocation = arena.allocate(400 * MIB)
    allocation.populate_ahead()
    assert gate.entered.wait(30)
    del allocation
    assert arena.used_bytes == 400 * MIB  # the slice under way still holds it
    gate.go.set()
    finish_populating(arena)
    assert gate.calls == 1
    assert arena.used_bytes == 0


def test_closing_the_arena_ends_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    arena = arena_of(512 * MIB)
    allocation = arena.allocate(400 * MIB)
    allocation.populate_ahead()
    assert gate.entered.wait(30)
    thread = arena._populator._thread
    gate.go.set()
    arena.close()
    assert thread is not None and not thread.is_alive()
    assert allocation.size_bytes == 400 * MIB


def test_a_system_that_cannot_populate_is_left_to_fault_its_own_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "populate", lambda *_: False)
    arena = arena_of(64 * MIB)
    allocation = arena.allocate(40 * MIB)
    allocation.populate_ahead()
    finish_populating(arena)
    assert populated(arena, allocation) == 0


def test_a_failure_while_populating_becomes_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(pages, "populate", fail)
    events: list[Event] = []
    bus = EventBus()
    bus.subscribe(events.append)
    arena = Arena(64 * MIB, bus)
    allocation = arena.allocate(40 * MIB)
    allocation.populate_ahead()
    finish_populating(arena)
    assert [type(event) for event in events] == [TierDegraded]
    assert allocation.size_bytes == 40 * MIB


# -- which pages -----------------------------------------------------------------------------------------------------
@given(st.floats(1e-10, 1e-8), st.floats(1e-10, 1e-8))
def test_the_cheaper_kind_of_page_is_found_and_the_other_still_tried(small: float, huge: float) -> None:
    choice = pages.PageChoice()
    cost = {pages.SMALL_PAGES: small, pages.HUGE_PAGES: huge}
    taken = {pages.SMALL_PAGES: 0, pages.HUGE_PAGES: 0}
    for _ in range(10 * pages.PROBE_EVERY):
        kind, size = choice.next()
        taken[kind] += size
        choice.took(kind, size, size * cost[kind])
    best = pages.HUGE_PAGES if huge < pages.HUGE_HAS_TO_COST * small else pages.SMALL_PAGES
    assert taken[best] > 0.95 * sum(taken.values())
    assert min(taken.values()) >= 5 * pages.PROBE_BYTES


def test_the_choice_follows_a_system_that_changes() -> None:
    choice = pages.PageChoice()
    for cheap, dear in ((pages.HUGE_PAGES, pages.SMALL_PAGES), (pages.SMALL_PAGES, pages.HUGE_PAGES)):
        for _ in range(2 * pages.PROBE_EVERY + 4):
            kind, size = choice.next()
            choice.took(kind, size, size * (1e-9 if kind == cheap else 2e-8))
        assert choice.next()[0] in (cheap, dear)
        assert choice._best() == cheap
