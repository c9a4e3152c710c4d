"""A process that fills its RAM tier and then needs the memory itself.  Run as a child, in a cgroup whose limit does for one of the two.

    python pressed_process.py CGROUP_DIRECTORY watched|unwatched

Prints what happened as JSON.  Unwatched it is killed by the kernel.
"""

from __future__ import annotations

import json
import mmap
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modelstream.cache import pressure_watch
from modelstream.cache.arena import Arena
from modelstream.cache.memory_budget import read_memory_figures
from modelstream.cache.pressure import Levels
from modelstream.cache.pressure_sources import Clock
from modelstream.cache.pressure_tier import TierUnderPressure
from modelstream.cache.ram import RamTier
from modelstream.storage.events import EventBus, MemoryRegained, MemoryYielded
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.safetensors_header import SafetensorsHeader
from rig.invariants import eventually
from rig.memory_cgroup import join

MIB = 1 << 20
LIMIT_BYTES = 320 * MIB
OBJECTS, OBJECT_BYTES = 8, 25 * MIB
BALLAST_BYTES, STEP_BYTES = 200 * MIB, 10 * MIB
LEVELS = Levels(40 * MIB, 60 * MIB, 80 * MIB, calm_s=0.2)


def main(directory: str, watched: bool) -> None:
    pressure_watch.LOOK_S = 0.02
    join(directory)
    bus, events = EventBus(), list[Any]()
    bus.subscribe(events.append)
    arena = Arena(OBJECTS * OBJECT_BYTES, bus)
    ram = RamTier(arena, bus)
    tier = TierUnderPressure(arena, ram)
    watch = pressure_watch.MemoryWatch(LEVELS, tier, bus, available_bytes, open_source=Clock)
    if watched:
        arena.on_fresh = watch.expect
    for number in range(OBJECTS):
        obj = RemoteObject("near", ObjectId("http://127.0.0.1", "models", f"{number}", "1"), OBJECT_BYTES, 0.0)
        allocation = ram.reserve(obj, OBJECT_BYTES)
        touch(allocation.view)
        ram.publish(obj, allocation, SafetensorsHeader({}, None, 10), None).release()
        del allocation
    if watched:
        watch.nudge()
    before = len(ram.snapshot().entries)
    ballast = []
    for _ in range(BALLAST_BYTES // STEP_BYTES):
        step = mmap.mmap(-1, STEP_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        touch(memoryview(step))
        ballast.append(step)
        if watched:
            assert eventually(lambda: available_bytes() >= LEVELS.floor_bytes), "the tier did not yield"
    after, limited = len(ram.snapshot().entries), arena.budget_bytes
    for step in ballast:
        step.close()
    regained = eventually(lambda: watch.limit_bytes is None, within_s=10) if watched else False
    watch.close()
    kinds = [type(e).__name__ for e in events if isinstance(e, MemoryYielded | MemoryRegained)]
    answer = {"before": before, "after": after, "limited": limited, "regained": regained, "budget": arena.budget_bytes}
    print(json.dumps({**answer, "events": sorted(set(kinds)), "limit": read_memory_figures().cgroup_limit_bytes}), flush=True)


def available_bytes() -> int:
    return read_memory_figures().least_available_bytes


def touch(view: memoryview) -> None:
    for at in range(0, view.nbytes, 4096):
        view[at] = 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "watched")
