"""The arena: regions never overlap, come back when the last holder is gone, and the figures stay true."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest
import torch

from modelstream.cache import arena as arena_module
from modelstream.cache import pages
from modelstream.cache.arena import Allocation, Arena
from modelstream.storage.errors import NoRoom
from modelstream.storage.events import EventBus

MIB = 1 << 20
linux_only = pytest.mark.skipif(not pages.CAN_DISCARD, reason="needs madvise")


def arena_of(budget_bytes: int) -> Arena:
    return Arena(budget_bytes, EventBus())


def address(allocation: Allocation) -> int:
    return ctypes.addressof(allocation.buffer)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * MIB + 5, 70 * MIB])
def test_a_region_is_page_aligned_contiguous_and_writable(size: int) -> None:
    allocation = arena_of(128 * MIB).allocate(size)
    view = allocation.view
    assert (view.format, view.nbytes, view.readonly, view.contiguous) == ("B", size, False, True)
    assert size == 0 or address(allocation) % mmap.PAGESIZE == 0
    view[:] = b"\xa5" * size
    assert bytes(allocation.buffer) == b"\xa5" * size


def test_a_new_region_is_used_until_its_allocation_is_dropped() -> None:
    arena = arena_of(128 * MIB)
    allocation = arena.allocate(3 * MIB + 1)
    assert arena.used_bytes == 3 * MIB + mmap.PAGESIZE
    del allocation
    assert arena.used_bytes == 0


def hold_view(allocation: Allocation) -> Any:
    return allocation.view[10:20]


def hold_tensor(allocation: Allocation) -> Any:
    return torch.frombuffer(allocation.buffer, dtype=torch.uint8)


def hold_tensor_of_a_tensor(allocation: Allocation) -> Any:
    return torch.frombuffer(allocation.buffer, dtype=torch.float32, offset=64, count=4).view(2, 2).t()[1:]


def hold_numpy(allocation: Allocation) -> Any:
    return torch.frombuffer(allocation.buffer, dtype=torch.uint8).numpy()[5:]


@pytest.mark.parametrize("hold", [hold_view, hold_tensor, hold_tensor_of_a_tensor, hold_numpy, lambda a: a.buffer])
def test_a_region_is_not_reused_while_it_is_held_by(hold: Callable[[Allocation], Any]) -> None:
    arena = arena_of(4 * MIB)
    allocation = arena.allocate(3 * MIB)
    where = address(allocation)
    holder = hold(allocation)
    del allocation
    gc.collect()
    with pytest.raises(NoRoom):
        arena.allocate(2 * MIB)
    assert arena.used_bytes == 3 * MIB
    del holder
    assert address(arena.allocate(3 * MIB)) == where


def test_what_was_written_stays_while_others_come_and_go() -> None:
    arena = arena_of(16 * MIB)
    first = arena.allocate(4 * MIB)
    first.view[:] = b"\x11" * (4 * MIB)
    tensor = torch.frombuffer(first.buffer, dtype=torch.uint8)
    del first
    for _ in range(20):
        other = arena.allocate(9 * MIB)
        other.view[:] = b"\x22" * (9 * MIB)
        del other
    assert bool((tensor == 0x11).all())


def test_no_room_is_said_with_figures_and_a_next_step() -> None:
    arena = arena_of(8 * MIB)
    kept = arena.allocate(6 * MIB)
    with pytest.raises(NoRoom, match=f"asked for {3 * MIB} bytes, {kept.size_bytes} of {8 * MIB} bytes are in use.*budget_gb"):
        arena.allocate(3 * MIB)


def test_a_budget_of_zero_has_room_for_nothing() -> None:
    with pytest.raises(NoRoom):
        arena_of(0).allocate(1)


def test_memory_that_the_system_refuses_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(size_bytes: int) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(pages, "map_anonymous", refuse)
    arena = arena_of(8 * MIB)
    with pytest.raises(NoRoom, match="the system refused the memory: Cannot allocate memory"):
        arena.allocate(MIB)
    assert arena.used_bytes == 0


def test_a_freed_large_region_stays_warm_and_serves_the_next_object_of_about_its_size() -> None:
    arena = arena_of(256 * MIB)
    first = arena.allocate(80 * MIB)
    where = address(first)
    del first
    assert arena.warm_free_bytes == 80 * MIB
    assert address(arena.allocate(70 * MIB)) == where
    assert len(arena._segments) == 1


def test_a_small_object_does_not_cut_up_a_large_warm_region_while_there_is_room() -> None:
    arena = arena_of(512 * MIB)
    large = arena.allocate(200 * MIB)
    where = address(large)
    del large
    small = arena.allocate(8 * MIB)
    assert not where <= address(small) < where + 200 * MIB


def test_a_warm_region_is_cut_up_rather_than_going_over_the_budget() -> None:
    arena = arena_of(200 * MIB)
    large = arena.allocate(200 * MIB)
    where = address(large)
    del large
    small = arena.allocate(8 * MIB)
    assert where <= address(small) < where + 200 * MIB


def test_small_objects_share_a_segment_and_their_gaps_join_again() -> None:
    arena = arena_of(128 * MIB)
    kept = [arena.allocate(MIB) for _ in range(arena_module.SHARED_SEGMENT_BYTES // MIB)]
    assert len(arena._segments) == 1
    where = address(kept[10])
    del kept[10:13]
    assert address(arena.allocate(3 * MIB)) == where


def test_unused_memory_makes_way_for_an_object_of_another_shape() -> None:
    arena = arena_of(200 * MIB)
    del_me = arena.allocate(120 * MIB)
    del del_me
    kept = arena.allocate(180 * MIB)
    figures = arena.figures()
    assert (figures.used_bytes, figures.warm_free_bytes) == (kept.size_bytes, 20 * MIB if pages.CAN_DISCARD else 0)


@linux_only
def test_free_memory_in_a_segment_that_is_partly_used_makes_way_too() -> None:
    arena = arena_of(200 * MIB)
    whole = arena.allocate(200 * MIB)
    del whole
    small = arena.allocate(10 * MIB)
    small.view[:] = b"\x33" * (10 * MIB)
    big = arena.allocate(190 * MIB)
    figures = arena.figures()
    assert figures.used_bytes == 200 * MIB == figures.used_bytes + figures.warm_free_bytes
    big.view[:] = b"\x44" * (190 * MIB)
    assert bytes(small.view) == b"\x33" * (10 * MIB)


@linux_only
def test_trim_gives_memory_back_to_the_system() -> None:
    arena = arena_of(256 * MIB)
    kept, gone = arena.allocate(64 * MIB), arena.allocate(128 * MIB)
    kept.view[:] = bytes(64 * MIB)
    gone.view[:] = bytes(128 * MIB)
    del gone
    process = psutil.Process()
    before = process.memory_info().rss
    assert arena.trim(100 * MIB) == 100 * MIB
    assert before - process.memory_info().rss > 90 * MIB
    assert arena.figures() == arena_module.ArenaFigures(256 * MIB, 64 * MIB, 28 * MIB)
    assert arena.trim(1 << 40) == 28 * MIB
    assert arena.figures().warm_free_bytes == 0
    assert len(arena._segments) == 1


def test_close_keeps_what_is_held_and_refuses_more() -> None:
    arena = arena_of(64 * MIB)
    allocation = arena.allocate(MIB)
    allocation.view[:4] = b"kept"
    tensor = torch.frombuffer(allocation.buffer, dtype=torch.uint8, count=4)
    del allocation
    arena.close()
    with pytest.raises(NoRoom):
        arena.allocate(1)
    assert bytes(tensor.tolist()) == b"kept"


def test_memory_is_private_so_a_fork_or_another_process_cannot_write_it() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc/self/smaps")
    allocation = arena_of(64 * MIB).allocate(40 * MIB)
    start = f"{address(allocation):x}-"
    with open("/proc/self/maps") as maps:
        (line,) = (line for line in maps if line.startswith(start) or _covers(line, address(allocation)))
    assert line.split()[1] == "rw-p"


def _covers(line: str, where: int) -> bool:
    first, last = (int(part, 16) for part in line.split()[0].split("-"))
    return first <= where < last


def test_a_holder_that_dies_inside_the_garbage_collector_while_the_lock_is_held_frees_its_region() -> None:
    arena = arena_of(64 * MIB)
    cycle: list[Any] = [arena.allocate(MIB)]
    cycle.append(cycle)
    del cycle
    with arena._lock:
        gc.collect()
    assert arena.used_bytes == 0


def test_many_threads_allocate_and_drop_without_sharing_a_byte() -> None:
    arena = arena_of(48 * MIB)
    wrong: list[int] = []

    def work(mark: int) -> None:
        for turn in range(60):
            try:
                allocation = arena.allocate((1 + (mark * 7 + turn) % 9) * 300_000)
            except NoRoom:
                continue
            view = allocation.view
            view[:] = bytes([mark]) * len(view)
            if view[0] != mark or view[-1] != mark or bytes(view) != bytes([mark]) * len(view):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert arena.used_bytes == 0


needs_memfd = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="needs memfd")


@needs_memfd
def test_a_memfd_is_one_copy_that_goes_back_to_the_system_when_it_is_shed() -> None:
    arena = Arena(256 * MIB, EventBus(), pages.MEMFD)
    allocation = arena.allocate(100 * MIB)
    allocation.view[:] = b"\x5a" * (100 * MIB)
    (segment,) = arena._segments
    assert segment.backing == pages.MEMFD
    with open(f"/proc/self/fd/{descriptors_of_memfds()[-1]}", "rb") as other:  # as another process would
        assert other.read(4) == b"\x5a" * 4
        assert os.fstat(other.fileno()).st_blocks * 512 >= 100 * MIB
        del allocation
        assert arena.trim(1 << 40) >= 100 * MIB
        assert os.fstat(other.fileno()).st_blocks == 0


@needs_memfd
def test_without_a_memfd_the_memory_is_anonymous(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", refuse)
    arena = Arena(8 * MIB, EventBus(), pages.MEMFD)
    allocation = arena.allocate(MIB)
    allocation.view[:] = b"\x11" * MIB
    assert arena._segments[0].backing == pages.ANONYMOUS


def descriptors_of_memfds() -> list[int]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            if "memfd:modelstream" in os.readlink(f"/proc/self/fd/{number}"):
                found.append(int(number))
        except OSError:
            continue  # the descriptor of this very listing
    return sorted(found)


def test_a_budget_that_is_lowered_gives_free_memory_back_and_a_ceiling_holds_until_it_is_lifted() -> None:
    arena = arena_of(100 * MIB)
    kept = arena.allocate(40 * MIB)
    del kept
    arena.set_ceiling(10 * MIB)
    assert (arena.budget_bytes, arena.asked_bytes) == (10 * MIB, 100 * MIB)
    if pages.CAN_DISCARD:
        assert arena.warm_free_bytes <= 10 * MIB
    with pytest.raises(NoRoom):
        arena.allocate(20 * MIB)
    arena.set_budget(5 * MIB)
    assert arena.budget_bytes == 5 * MIB
    arena.set_budget(50 * MIB)
    arena.set_ceiling(None)
    assert arena.budget_bytes == 50 * MIB
    arena.allocate(20 * MIB)


def test_who_wants_to_know_hears_of_memory_that_was_not_there_before_and_not_of_memory_that_was() -> None:
    arena, heard = arena_of(200 * MIB), list[int]()
    arena.on_fresh = heard.append
    first = arena.allocate(40 * MIB)
    assert heard == [40 * MIB]
    del first
    again = arena.allocate(40 * MIB)
    assert heard == [40 * MIB]
    assert again.size_bytes == 40 * MIB
