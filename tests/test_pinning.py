"""Pinned memory: in slices, bounded, in ComfyUI's books, after loads only, and never given away as it is."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from modelstream.cache import pages, pinning
from modelstream.cache.arena import Arena
from modelstream.cache.mapped_file import map_private
from modelstream.cache.pinning import Pinner, slices_of
from modelstream.hooks.pinning import ComfyLedger, _limit_bytes, cuda_in_use, pin_memory
from modelstream.storage.config_memory import RamConfig
from modelstream.storage.events import Event, EventBus, HostMemoryPinned, TierDegraded
from modelstream.storage.safetensors_header import SafetensorsHeader, TensorInfo
from rig.fake_cuda import ALREADY_REGISTERED, NO_MEMORY, FakeCuda, comfyui
from rig.invariants import eventually

MIB = 1 << 20


def header_of(*sizes: int, start: int = 1000) -> SafetensorsHeader:
    tensors, at = {}, start
    for number, size in enumerate(sizes):
        tensors[f"t{number}"] = TensorInfo("U8", (size,), at, at + size)
        at += size
    return SafetensorsHeader(tensors, None, start)


class Rig:
    """An arena, a pinner, a device and ComfyUI's books; nothing is quiet until the test says so."""

    def __init__(self, limit: int = 1 << 40, most: float = 1 << 40) -> None:
        self.bus, self.events = EventBus(), list[Event]()
        self.bus.subscribe(self.events.append)
        self.cuda, self.management, self.loading = FakeCuda(), comfyui(most), False
        self.limit, self.now_s = limit, 0.0
        self.device: FakeCuda | None = self.cuda
        self.ledger = ComfyLedger(self.management)
        self.pinner = Pinner(
            lambda: self.limit,
            self.ledger,
            lambda: self.device,
            self.bus,
            lambda: self.loading,
            lambda: self.now_s,
            quiet_s=0.01,
        )
        self.arena = Arena(256 * MIB, self.bus)
        self.arena.before_reuse = self.pinner.release

    def load(self, name: str = "a", *sizes: int) -> Any:
        header = header_of(*(sizes or (MIB, MIB)))
        buffer = self.arena.allocate(max(t.end for t in header.tensors.values())).buffer
        self.pinner.later(name, header, buffer)
        return buffer

    def quiet(self) -> None:
        """Time passes, and the thread has nothing more to do."""
        self.now_s += 1
        assert eventually(lambda: "modelstream-pin" not in {t.name for t in threading.enumerate()})

    def told(self) -> list[tuple[str, int]]:
        return [(e.subject, e.size_bytes) for e in self.events if isinstance(e, HostMemoryPinned)]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.pinner.close()


def test_slices_are_whole_tensors_and_no_larger_than_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "SLICE_BYTES", 100)
    assert slices_of(header_of(60, 30, 20, 0, 500, 10), 5000) == [(6000, 90), (6090, 20), (6110, 500), (6610, 10)]


def test_tensors_that_comfyui_has_pinned_are_left_out() -> None:
    found = slices_of(header_of(60, 30, 20), 5000, taken=[(6065, 6070)])
    assert found == [(6000, 60), (6090, 20)]


def test_an_object_is_pinned_after_its_load_by_a_thread_of_its_own(rig: Rig) -> None:
    buffer = rig.load()
    assert rig.cuda.calls == []
    rig.quiet()
    assert rig.cuda.ranges == {ctypes.addressof(buffer) + 1000: 2 * MIB}
    assert rig.cuda.threads == {"modelstream-pin"}
    assert rig.told() == [("a", 2 * MIB)]
    assert rig.management.MAX_PINNED_MEMORY == (1 << 40) - 2 * MIB


def test_nothing_is_pinned_while_something_is_loaded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "SLICE_BYTES", MIB)
    asked = threading.Event()
    rig.loading = True
    rig.pinner._busy = lambda: bool(asked.set() or rig.loading)
    kept = rig.load()
    rig.now_s += 1
    assert asked.wait(10)
    assert rig.cuda.calls == []
    rig.loading = False
    rig.quiet()
    assert len(rig.cuda.ranges) == 2
    assert kept is not None


def test_memory_is_unregistered_before_it_is_used_again(rig: Rig) -> None:
    buffer = rig.load()
    where = ctypes.addressof(buffer)
    rig.quiet()
    del buffer
    gc.collect()
    rig.cuda.calls.clear()
    again = rig.arena.allocate(2 * MIB)
    assert ctypes.addressof(again.buffer) == where
    assert rig.cuda.calls == ["synchronize", "unregister"]  # the device may still be copying
    assert rig.told()[-1] == ("a", -2 * MIB)
    assert rig.management.MAX_PINNED_MEMORY == 1 << 40


@pytest.mark.skipif(not pages.CAN_DISCARD, reason="needs madvise")
def test_memory_is_unregistered_before_the_system_gets_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    discard, seen = pages.discard, []

    def watched(address: int, size_bytes: int, *more: Any) -> None:
        seen.append(rig.cuda.touches(address, size_bytes))
        discard(address, size_bytes, *more)

    monkeypatch.setattr(pages, "discard", watched)
    buffer = rig.load("a", 40 * MIB)
    rig.quiet()
    assert rig.cuda.bytes == 40 * MIB
    del buffer
    assert rig.arena.figures().used_bytes == 0  # before anybody was asked, and without asking
    assert rig.cuda.bytes == 40 * MIB
    assert rig.arena.trim(1 << 40) >= 40 * MIB
    assert seen == [False]
    assert rig.cuda.bytes == 0


def test_the_bound_holds_and_the_longest_unused_gives_way(rig: Rig) -> None:
    rig.limit = 5 * MIB
    first, second = rig.load("first"), rig.load("second")
    rig.quiet()
    assert rig.cuda.bytes == 4 * MIB
    rig.pinner.later("first", header_of(MIB, MIB), first)
    third = rig.load("third")
    rig.quiet()
    assert rig.cuda.bytes == 4 * MIB
    assert [name for name, size in rig.told() if size < 0] == ["second"]
    assert {a - 1000 for a in rig.cuda.ranges} == {ctypes.addressof(first), ctypes.addressof(third)}
    assert second is not None


def test_comfyui_keeps_half_of_what_it_may_pin_and_what_it_has_pinned() -> None:
    management = comfyui(100, total_bytes=30)
    ledger = ComfyLedger(management)
    assert ledger.room_bytes() == 50
    ledger.taken(40)
    assert (ledger.room_bytes(), management.MAX_PINNED_MEMORY) == (10, 60)
    management.TOTAL_PINNED_MEMORY = 55
    assert ledger.room_bytes() == 5
    ledger.taken(-40)
    assert management.MAX_PINNED_MEMORY == 100


def test_a_comfyui_without_a_ledger_leaves_the_bound_to_the_configuration() -> None:
    ledger = ComfyLedger(SimpleNamespace())
    ledger.taken(10)
    assert ledger.room_bytes() > 1 << 50
    assert ledger.pins()


def test_nothing_is_pinned_over_what_comfyui_leaves() -> None:
    rig = Rig(most=6 * MIB)
    kept = [rig.load("a"), rig.load("b")]
    rig.quiet()
    assert rig.cuda.bytes == 2 * MIB
    assert len(kept) == 2
    rig.pinner.close()


def test_the_first_refusal_of_the_system_ends_it_with_an_event(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinning, "SLICE_BYTES", MIB)
    rig.cuda.refuse = {1: NO_MEMORY}
    kept = rig.load()
    rig.quiet()
    assert rig.cuda.calls == ["register", "register", "forget_error"]
    (event,) = [e for e in rig.events if isinstance(e, TierDegraded)]
    assert (event.tier, event.code) == ("ram", "pinning")
    assert "cudaHostRegister answered 2" in event.cause
    assert rig.pinner.problem
    more = rig.load("b")
    rig.now_s += 1
    assert rig.cuda.calls == ["register", "register", "forget_error"]
    assert rig.cuda.bytes == rig.pinner.pinned_bytes == MIB  # what is pinned stays pinned, and is still taken off in time
    del kept, more
    rig.arena.trim(1 << 40)
    assert rig.cuda.bytes == 0


def test_a_tensor_that_comfyui_was_faster_with_ends_only_that_object(rig: Rig) -> None:
    rig.cuda.refuse = {0: ALREADY_REGISTERED}
    first = rig.load("a")
    rig.quiet()
    second = rig.load("b")
    rig.quiet()
    assert rig.told() == [("b", 2 * MIB)]
    assert first is not second


def test_before_a_device_is_in_use_nothing_is_pinned_and_the_next_use_of_the_object_tries_again(rig: Rig) -> None:
    rig.device = None
    buffer = rig.load()
    rig.quiet()
    assert rig.cuda.calls == []
    rig.device = rig.cuda
    rig.pinner.later("a", header_of(MIB, MIB), buffer)
    rig.quiet()
    assert rig.cuda.bytes == 2 * MIB


def test_memory_that_is_not_the_arenas_is_left_alone(rig: Rig) -> None:
    rig.pinner.later("mapped", header_of(10), memoryview(bytearray(2000)))
    rig.quiet()
    assert rig.cuda.calls == []


def test_closing_unregisters_everything_and_nothing_is_pinned_afterwards(rig: Rig) -> None:
    kept = [rig.load("a"), rig.load("b")]
    rig.quiet()
    rig.pinner.close()
    assert rig.cuda.ranges == {}
    kept.append(rig.load("c"))
    rig.quiet()
    assert rig.cuda.ranges == {}
    assert rig.management.MAX_PINNED_MEMORY == 1 << 40


class Machine(RuleBasedStateMachine):
    """Objects come, are used, go and are written over; what is registered is always what lies still."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(limit=12 * MIB)
        self.kept: list[tuple[Any, SafetensorsHeader]] = []

    def teardown(self) -> None:
        self.rig.pinner.close()
        assert self.rig.cuda.ranges == {}
        assert self.rig.management.MAX_PINNED_MEMORY == 1 << 40

    @rule(sizes=st.lists(st.sampled_from([1000, MIB, MIB + 7]), min_size=1, max_size=3))
    def load(self, sizes: list[int]) -> None:
        header = header_of(*sizes)
        buffer = self.rig.arena.allocate(max(t.end for t in header.tensors.values())).buffer
        assert not self.rig.cuda.touches(ctypes.addressof(buffer), ctypes.sizeof(buffer)), "pinned memory was given out again"
        self.rig.pinner.later("it", header, buffer)
        self.kept.append((buffer, header))

    @precondition(lambda self: self.kept)
    @rule(choice=st.integers(0, 1000))
    def use_again(self, choice: int) -> None:
        buffer, header = self.kept[choice % len(self.kept)]
        self.rig.pinner.later("it", header, buffer)

    @precondition(lambda self: self.kept)
    @rule(choice=st.integers(0, 1000))
    def drop(self, choice: int) -> None:
        del self.kept[choice % len(self.kept)]

    @precondition(lambda self: self.kept)
    @rule()
    def all_are_dropped(self) -> None:
        self.kept.clear()

    @rule(size=st.integers(0, 64 * MIB))
    def the_system_gets_memory(self, size: int) -> None:
        self.rig.arena.trim(size)

    @rule(code=st.sampled_from([ALREADY_REGISTERED]))
    def comfyui_is_faster(self, code: int) -> None:
        self.rig.cuda.refuse = {0: code}

    @invariant()
    def books_agree_and_the_bound_holds(self) -> None:
        if any(t.name == "modelstream-pin" for t in threading.enumerate()):
            self.rig.quiet()
        assert self.rig.pinner.pinned_bytes == self.rig.cuda.bytes <= self.rig.limit
        assert self.rig.management.MAX_PINNED_MEMORY == (1 << 40) - self.rig.cuda.bytes


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
test_pinning_against_its_books = Machine.TestCase


# -- wiring ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("management", "ram"),
    [
        (comfyui(), RamConfig(pin_gb=0)),
        (comfyui(-1), RamConfig()),
        (SimpleNamespace(**{**vars(comfyui()), "cpu_state": "cpu"}), RamConfig()),
        (SimpleNamespace(**vars(comfyui()), DISABLE_PINNED_MEMORY=True), RamConfig()),
        (None, RamConfig()),
    ],
    ids=["switched off", "ComfyUI pins nothing", "a CPU", "switched off in ComfyUI", "no ComfyUI"],
)
def test_off_means_that_nobody_is_there_to_pin(monkeypatch: pytest.MonkeyPatch, management: Any, ram: RamConfig) -> None:
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    runtime: Any = SimpleNamespace(config=SimpleNamespace(ram=ram), on_open=[])
    pin_memory(runtime, lambda hearer: None)
    assert runtime.on_open == []


def test_where_comfyui_pins_by_itself_with_dynamic_vram_nothing_is_pinned_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: Any = SimpleNamespace(arena=SimpleNamespace(asked_bytes=100))
    assert _limit_bytes(None, memory) == 50
    monkeypatch.setitem(sys.modules, "comfy.memory_management", SimpleNamespace(aimdo_enabled=True))
    assert (_limit_bytes(None, memory), _limit_bytes(70, memory)) == (0, 70)


def test_pinning_starts_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_available=lambda: True, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert cuda_in_use() is None


def test_wired_an_opened_object_is_pinned_and_what_several_processes_share_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "comfy.model_management", comfyui())
    monkeypatch.setattr("modelstream.hooks.pinning.cuda_in_use", lambda: cuda)
    monkeypatch.setattr(pinning, "QUIET_S", 0.01)
    cuda, hearers, arena = FakeCuda(), list[Any](), Arena(64 * MIB, EventBus())
    runtime: Any = SimpleNamespace(
        config=SimpleNamespace(ram=RamConfig()), on_open=[], bus=EventBus(), engine=None, opened=None, status_blocks={}
    )
    pin_memory(runtime, hearers.append)
    close = runtime.on_open[0](SimpleNamespace(arena=arena, ram=None))
    (tmp_path / "b").write_bytes(bytes(2 * MIB))
    buffer, shared = arena.allocate(2 * MIB).buffer, arena.borrow(map_private(tmp_path / "b", "near:b"))
    for name, one in (("near:b", shared), ("near:a", buffer)):
        hearers[0](SimpleNamespace(obj=SimpleNamespace(subject=name), header=header_of(MIB), buffer=one))
    assert eventually(lambda: runtime.status_blocks["pinned_memory"]()["pinned_bytes"] == MIB)
    assert not any(ctypes.addressof(shared) <= address < ctypes.addressof(shared) + 2 * MIB for address in cuda.ranges)
    close()
    assert cuda.ranges == {}


@pytest.mark.gpu
def test_on_a_card_the_arena_is_pinned_copies_are_right_and_the_end_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.zeros(1, device="cuda")
    monkeypatch.setattr(pinning, "SLICE_BYTES", 3 * MIB)
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    arena = Arena(128 * MIB, bus)
    pinner = Pinner(lambda: 1 << 40, ComfyLedger(comfyui()), cuda_in_use, bus, quiet_s=0.01)
    arena.before_reuse = pinner.release
    header = header_of(*(5 * MIB // 3,) * 12, start=1004)  # slices that end in the middle of pages
    buffer = arena.allocate(max(t.end for t in header.tensors.values())).buffer
    ours = [torch.frombuffer(buffer, dtype=torch.uint8, offset=t.start, count=t.end - t.start) for t in header.tensors.values()]
    for tensor in ours:
        tensor.random_(0, 255)
    pinner.later("a", header, buffer)
    assert eventually(lambda: any(isinstance(e, HostMemoryPinned) for e in events))
    assert not [e for e in events if isinstance(e, TierDegraded)]
    assert all(tensor.is_pinned() for tensor in ours)
    assert all(torch.equal(tensor.to("cuda", non_blocking=True).cpu(), tensor) for tensor in ours)
    pinner.close()
    assert not any(tensor.is_pinned() for tensor in ours)
    assert all(torch.equal(tensor.to("cuda").cpu(), tensor) for tensor in ours)
