"""Host memory under pressure: what goes when, what comes back, and that it does not swing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from modelstream.cache.arena import Arena
from modelstream.cache.pressure import Governor, Levels, Look, Regain, Stall, Yield
from modelstream.cache.pressure_sources import Clock, PsiTriggers, _triggers, open_source
from modelstream.cache.pressure_watch import MemoryWatch
from modelstream.cache.ram import RamTier
from modelstream.hooks.memory_pressure import comfyuis_floor_bytes, watch_memory
from modelstream.storage.config_memory import RamConfig
from modelstream.storage.events import Event, EventBus, MemoryRegained, MemoryYielded, TierDegraded
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.safetensors_header import SafetensorsHeader
from rig.invariants import eventually
from rig.memory_cgroup import MemoryCgroup
from rig.pressed_process import LIMIT_BYTES, OBJECT_BYTES, OBJECTS

GB = 1 << 30
LEVELS = Levels(4 * GB, 5 * GB, 6 * GB, calm_s=20)


def governor(budget: int = 16 * GB) -> Governor:
    return Governor(LEVELS, budget)


def look(available: float, held: float = 8, now_s: float = 0, stall: Stall = Stall.NONE) -> Look:
    return Look(now_s, int(available * GB), int(held * GB), stall)


# -- decisions ---------------------------------------------------------------------------------------------------------
def test_below_the_floor_so_much_goes_that_the_target_is_available() -> None:
    assert governor().decide(look(3)) == Yield(2 * GB, "low")


def test_between_the_levels_nothing_happens() -> None:
    assert governor().decide(look(4.5)) is None


@pytest.mark.parametrize(
    ("stall", "available", "expected"),
    [
        (Stall.OWN, 50, Yield(GB, "stalls")),  # our cgroup stalls, whatever the figures say
        (Stall.OWN, 2, Yield(3 * GB, "stalls")),
        (Stall.MACHINE, 5.5, Yield(GB, "stalls")),
        (Stall.MACHINE, 50, None),  # somebody else's limit
    ],
)
def test_stalls_cost_a_share_of_what_is_held(stall: Stall, available: float, expected: Yield | None) -> None:
    assert governor().decide(look(available, stall=stall)) == expected


def test_the_tier_stays_limited_until_memory_has_been_plenty_for_a_while() -> None:
    made = governor()
    made.decide(look(3))
    made.yielded(6 * GB)
    assert made.decide(look(7, held=6, now_s=100)) is None
    assert made.decide(look(5.9, held=6, now_s=115)) is None  # not calm: from the beginning
    assert made.decide(look(7, held=6, now_s=120)) is None
    assert made.decide(look(7, held=6, now_s=139)) is None
    assert made.decide(look(7, held=6, now_s=140)) == Regain(8 * GB)
    assert made.decide(look(20, held=6, now_s=159)) is None
    assert made.decide(look(20, held=6, now_s=160)) == Regain(None)


class Machine(RuleBasedStateMachine):
    """A machine of 64 GB, others who take and give, a tier that fills whenever it may."""

    @initialize(budget=st.integers(1, 48))
    def start(self, budget: int) -> None:
        self.governor, self.budget = governor(budget * GB), budget * GB
        self.now_s, self.others, self.held, self.loaded = 0.0, 0, 0, 0
        self.yielded_s: float | None = None
        self.not_calm_s = 0.0

    @property
    def available(self) -> int:
        return max(0, 64 * GB - self.others - self.held)

    @rule(gb=st.integers(0, 70))
    def others_use(self, gb: int) -> None:
        self.others = gb * GB

    @rule(share=st.floats(0, 1))
    def the_tier_fills(self, share: float) -> None:
        """As far as it may.  What it loads it also uses."""
        room = min(self.budget, self.governor.limit_bytes if self.governor.limit_bytes is not None else self.budget) - self.held
        self.held += int(max(0, room) * share)

    @rule(share=st.floats(0, 1))
    def models_take_hold_of_memory(self, share: float) -> None:
        self.loaded = int(self.held * share)

    @rule(seconds=st.integers(1, 30), stall=st.sampled_from([Stall.NONE] * 3 + [Stall.OWN, Stall.MACHINE]))
    def it_looks(self, seconds: int, stall: Stall) -> None:
        self.now_s += seconds
        available, limit = self.available, self.governor.limit_bytes
        decision = self.governor.decide(Look(self.now_s, available, self.held, stall))
        if available < LEVELS.calm_bytes or stall is Stall.OWN:
            self.not_calm_s = self.now_s
        if isinstance(decision, Yield):
            assert available < LEVELS.calm_bytes or stall is Stall.OWN
            self.held -= min(decision.size_bytes, self.held - self.loaded)
            self.governor.yielded(self.held)
            self.yielded_s = self.now_s
        else:
            assert available >= LEVELS.floor_bytes
        if isinstance(decision, Regain):
            assert limit is not None
            assert self.yielded_s is not None
            # never while memory is scarce or was a moment ago
            assert self.now_s - max(self.yielded_s, self.not_calm_s) >= 0
            assert available >= LEVELS.calm_bytes
            assert decision.limit_bytes is None or decision.limit_bytes > limit
            # and never so much that using it would bring it back below the floor by itself
            most = min(self.budget, self.budget if decision.limit_bytes is None else decision.limit_bytes)
            assert available - max(0, most - self.held) >= LEVELS.target_bytes or most <= max(limit, self.held)

    @precondition(lambda self: self.governor.limit_bytes is not None)
    @rule()
    def after_a_long_calm_the_budget_is_whole_again(self) -> None:
        self.others = 0
        self.held = self.loaded = min(self.held, 8 * GB)
        for _ in range(200):
            self.now_s += 10
            self.governor.decide(Look(self.now_s, self.available, self.held))
        assert self.governor.limit_bytes is None

    @invariant()
    def the_limit_is_never_above_the_budget(self) -> None:
        limit = self.governor.limit_bytes
        assert limit is None or 0 <= limit <= self.budget


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_the_governor_against_a_machine = Machine.TestCase


# -- the watch ---------------------------------------------------------------------------------------------------------
class Script:
    """A source that wakes when the test says so."""

    kind = "psi"

    def __init__(self) -> None:
        self.waits: deque[float | None] = deque()
        self.stalls: deque[Stall] = deque()
        self._wake = threading.Semaphore(0)
        self.closed = False

    def wait(self, timeout_s: float | None) -> Stall:
        self.waits.append(timeout_s)
        if timeout_s != 0:
            self._wake.acquire()
        return self.stalls.popleft() if self.stalls else Stall.NONE

    def tell(self, stall: Stall = Stall.NONE) -> None:
        self.stalls.append(stall)
        self._wake.release()

    def nudge(self) -> None:
        self._wake.release()

    def close(self) -> None:
        self.closed = True


class Tier:
    asked_bytes = 16 * GB

    def __init__(self) -> None:
        self.held, self.loaded = 8 * GB, 0
        self.ceilings: list[int | None] = []
        self.error: Exception | None = None

    def held_bytes(self) -> int:
        return self.held

    def give_back(self, size_bytes: int, reason: str) -> int:
        if self.error:
            raise self.error
        went = min(size_bytes, self.held - self.loaded)
        self.held -= went
        return went

    def set_ceiling(self, ceiling_bytes: int | None) -> None:
        self.ceilings.append(ceiling_bytes)


class Holder:
    def __init__(self) -> None:
        self.asked: list[int] = []

    def held_bytes(self) -> int:
        return 3 * GB

    def let_go(self, size_bytes: int) -> int:
        self.asked.append(size_bytes)
        return min(size_bytes, 3 * GB)


class Watched:
    def __init__(self) -> None:
        self.bus, self.events = EventBus(), list[Event]()
        self.bus.subscribe(self.events.append)
        self.available, self.now_s = 20 * GB, 0.0
        self.source, self.tier, self.holder = Script(), Tier(), Holder()
        self.watch = MemoryWatch(
            LEVELS,
            self.tier,
            self.bus,
            lambda: self.available,
            holder=self.holder,
            open_source=lambda: self.source,
            clock=lambda: self.now_s,
        )

    def sleeping(self, waits: int) -> None:
        assert eventually(lambda: len(self.source.waits) >= waits)


@pytest.fixture
def watched():
    made = Watched()
    yield made
    made.watch.close()


def test_there_is_no_thread_before_something_is_held(watched: Watched) -> None:
    assert watched.watch.kind == "idle"
    assert "modelstream-memory" not in {thread.name for thread in threading.enumerate()}


def test_it_sleeps_without_a_tick_while_the_kernel_can_tell(watched: Watched) -> None:
    watched.watch.nudge()
    watched.sleeping(2)
    watched.source.tell()
    watched.sleeping(3)
    assert set(watched.source.waits) == {0.0, None}
    assert watched.events == []


def test_stalls_shrink_the_tier_and_an_event_says_what_and_why(watched: Watched) -> None:
    watched.watch.nudge()
    watched.sleeping(2)
    watched.available = 3 * GB
    watched.source.tell(Stall.MACHINE)
    watched.sleeping(3)
    assert watched.events == [MemoryYielded("low", 3 * GB, 2 * GB, 2 * GB, 0, 6 * GB)]
    assert watched.tier.ceilings == [6 * GB]
    assert watched.holder.asked == []


def test_what_the_tier_cannot_give_is_asked_of_the_warm_models(watched: Watched) -> None:
    watched.tier.loaded = 7 * GB
    watched.available = 3 * GB
    watched.watch.nudge()
    watched.sleeping(2)
    assert watched.events == [MemoryYielded("low", 3 * GB, 2 * GB, GB, GB, 7 * GB)]
    assert watched.holder.asked == [GB]


def test_memory_that_is_about_to_be_used_counts_as_used(watched: Watched) -> None:
    watched.available = 10 * GB
    watched.watch.expect(7 * GB)
    watched.sleeping(2)
    assert watched.events == [MemoryYielded("low", 3 * GB, 2 * GB, 2 * GB, 0, 6 * GB)]
    watched.source.tell()
    watched.sleeping(3)
    assert len(watched.events) == 1  # it was expected once


def test_the_whole_budget_comes_back_and_the_ticking_ends(watched: Watched) -> None:
    watched.available = 3 * GB
    watched.watch.nudge()
    watched.sleeping(2)
    assert watched.source.waits[-1] is not None
    watched.available = 30 * GB
    for step in (1, 25):
        watched.now_s += step
        watched.source.tell()
        watched.sleeping(2 + (1 if step == 1 else 2))
    assert watched.events[1:] == [MemoryRegained(30 * GB, 16 * GB, True)]
    assert watched.tier.ceilings == [6 * GB, None]
    assert watched.source.waits[-1] is None


def test_a_failure_is_told_and_does_not_end_the_watch(watched: Watched) -> None:
    watched.tier.error = ValueError("x")
    watched.available = 3 * GB
    watched.watch.nudge()
    watched.sleeping(2)
    watched.tier.error = None
    watched.source.tell()
    watched.sleeping(3)
    assert [type(event) for event in watched.events] == [TierDegraded, MemoryYielded]


def test_closing_ends_the_thread_and_closes_the_source(watched: Watched) -> None:
    watched.watch.nudge()
    watched.sleeping(2)
    watched.watch.close()
    assert watched.source.closed
    assert "modelstream-memory" not in {thread.name for thread in threading.enumerate()}
    watched.watch.nudge()
    assert "modelstream-memory" not in {thread.name for thread in threading.enumerate()}


# -- sources -----------------------------------------------------------------------------------------------------------
def test_without_stall_figures_a_clock_looks(tmp_path: Path) -> None:
    source = open_source(tmp_path)
    assert isinstance(source, Clock)
    source.nudge()
    assert source.wait(None) is Stall.NONE
    assert source.wait(0) is Stall.NONE


def test_files_that_take_no_trigger_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "proc/pressure").mkdir(parents=True)
    (tmp_path / "proc/pressure/memory").mkdir()  # cannot be opened for writing
    assert isinstance(open_source(tmp_path), Clock)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_a_container_asks_its_own_cgroup_and_the_machine(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("proc/pressure/memory", "sys/fs/cgroup/memory.pressure", "sys/fs/cgroup/cgroup.events")}
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    found = _triggers(tmp_path)
    assert [stall for _, stall in found] == [Stall.MACHINE, Stall.OWN]
    for descriptor, _ in found:
        os.close(descriptor)
    asked = [files[name].read_bytes() for name in ("proc/pressure/memory", "sys/fs/cgroup/memory.pressure")]
    assert asked == [b"some 150000 2000000\0"] * 2
    files["sys/fs/cgroup/cgroup.events"].unlink()  # the root of all cgroups is the machine, which is asked already
    alone = _triggers(tmp_path)
    assert [stall for _, stall in alone] == [Stall.MACHINE]
    os.close(alone[0][0])


def test_the_kernels_own_triggers_wake_when_nudged() -> None:
    source = open_source()
    if not isinstance(source, PsiTriggers):
        pytest.skip("this kernel gives no triggers")
    source.nudge()
    assert source.wait(None) in (Stall.NONE, Stall.MACHINE, Stall.OWN)
    source.close()
    source.nudge()


# -- wiring ------------------------------------------------------------------------------------------------------------
def test_switched_off_nobody_watches() -> None:
    runtime: Any = SimpleNamespace(config=SimpleNamespace(ram=RamConfig(pressure=False)), on_open=[])
    watch_memory(runtime, GB)
    assert runtime.on_open == []


@pytest.mark.parametrize(("asked", "headroom", "floor"), [(0, 0, 0), (4.0, 0, 4 * GB), ([2.0, 6.0], GB, 6 * GB), (None, 3 * GB, 3 * GB)])
def test_the_floor_is_not_below_comfyuis_own(monkeypatch: pytest.MonkeyPatch, asked: Any, headroom: int, floor: int) -> None:
    monkeypatch.setitem(sys.modules, "comfy.cli_args", SimpleNamespace(args=SimpleNamespace(cache_ram=asked)))
    monkeypatch.setitem(sys.modules, "comfy.memory_management", SimpleNamespace(RAM_CACHE_HEADROOM=headroom))
    assert comfyuis_floor_bytes() == floor


def test_wired_the_real_tier_yields_and_the_warm_models_are_asked_and_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    available = [1 << 40]
    monkeypatch.setattr("modelstream.hooks.memory_pressure._available_bytes", lambda: available[0])
    monkeypatch.setattr("modelstream.hooks.memory_pressure.comfyuis_floor_bytes", lambda: 0)
    bus, asked, woken = EventBus(), list[int](), threading.Event()
    arena = Arena(256 << 20, bus)
    ram = RamTier(arena, bus)
    warm: Any = SimpleNamespace(
        pool=SimpleNamespace(snapshot=lambda: SimpleNamespace(host_bytes=5)), ask_to_yield=lambda size: asked.append(size) or 7
    )
    seam: Any = SimpleNamespace(wake=woken.set)
    runtime: Any = SimpleNamespace(config=SimpleNamespace(ram=RamConfig()), on_open=[], bus=bus, status_blocks={})
    watch_memory(runtime, 64 << 20, warm, seam)
    close = runtime.on_open[0](SimpleNamespace(arena=arena, ram=ram))
    assert arena.on_fresh is not Arena(0, bus).on_fresh
    arena.on_fresh = lambda size_bytes: None  # one look, and what it sees, is the test's own
    obj = RemoteObject("near", ObjectId("http://127.0.0.1", "models", "a", "1"), 40 << 20, 0.0)
    ram.publish(obj, ram.reserve(obj, 40 << 20), SafetensorsHeader({}, None, 10), None).release()
    available[0] = 1 << 20
    seam.looked()
    assert woken.wait(10)
    assert eventually(lambda: runtime.status_blocks["host_memory"]()["limit_bytes"] == 0)
    assert ram.snapshot().entries == ()
    assert asked == [(96 << 20) - (1 << 20) - (40 << 20)]
    close()


# -- the real thing ----------------------------------------------------------------------------------------------------
THRASHING = """
import mmap, os, sys
open(sys.argv[2], "w").write(str(os.getpid()))
file = open(sys.argv[1], "rb")
os.fsync(file.fileno())
os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # or its pages count for who wrote them
read = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
while True:
    for at in range(0, len(read), 4096):
        read[at]
"""


def pressed(how: str) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parent / "rig" / "pressed_process.py"
    try:
        with MemoryCgroup(LIMIT_BYTES) as group:
            command = [sys.executable, str(script), str(group.directory), how]
            return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")


@pytest.mark.root
def test_in_a_container_the_tier_yields_before_the_kernel_kills_and_comes_back() -> None:
    unwatched = pressed("unwatched")
    assert unwatched.returncode == -signal.SIGKILL, unwatched  # so that the rest proves something
    watched = pressed("watched")
    assert watched.returncode == 0, watched.stderr[-3000:]
    found = json.loads(watched.stdout)
    assert found["limit"] == LIMIT_BYTES
    assert found["after"] < found["before"] == OBJECTS
    assert found["limited"] < found["budget"] == OBJECTS * OBJECT_BYTES
    assert found["regained"]
    assert found["events"] == ["MemoryRegained", "MemoryYielded"]


@pytest.mark.root
def test_the_kernel_wakes_who_waits_for_stalls(tmp_path: Path) -> None:
    """A process reads a file again and again that its cgroup cannot keep in memory: it stalls for want of memory."""
    source = open_source()
    if not isinstance(source, PsiTriggers):
        pytest.skip("this kernel gives no triggers")
    big = tmp_path / "big"
    big.write_bytes(bytes(48 << 20))
    try:
        with MemoryCgroup(24 << 20) as group:
            child = subprocess.Popen([sys.executable, "-c", THRASHING, str(big), str(group.directory / "cgroup.procs")])
            try:
                assert source.wait(60) is not Stall.NONE
            finally:
                child.kill()
                child.wait()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    finally:
        source.close()
