"""The watch over host memory, wired: the RAM tier and the warm models yield before ComfyUI or the kernel feels it.

It begins when the cache is opened and sleeps until something is held, see cache/pressure_watch.py.  Warm models are dropped only in
the thread that runs prompts: the watch asks for it and wakes that thread when no prompt runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..cache.memory_budget import read_memory_figures
from ..cache.pressure import Levels
from ..cache.pressure_tier import TierUnderPressure
from ..cache.pressure_watch import MemoryWatch
from .runtime import Memory, Runtime

if TYPE_CHECKING:
    from .vram_pressure import VramPressureSeam
    from .warm_models import WarmModelsSeam

GIB = 1 << 30


class WarmHolder:
    """The warm models as the watch sees them.  Any thread."""

    def __init__(self, warm: WarmModelsSeam, pressure: VramPressureSeam) -> None:
        self._warm, self._pressure = warm, pressure

    def held_bytes(self) -> int:
        """Beside the RAM tier's memory, which is counted there."""
        return self._warm.pool.snapshot().host_bytes

    def let_go(self, size_bytes: int) -> int:
        will_go = self._warm.ask_to_yield(size_bytes)
        self._pressure.wake()
        return will_go


def watch_memory(runtime: Runtime, floor_bytes: int, warm: WarmModelsSeam | None = None, pressure: VramPressureSeam | None = None) -> None:
    """From when the cache is open until it is closed.  Nothing when the configuration says so."""
    if not runtime.config.ram.pressure:
        return
    levels = Levels.above(max(floor_bytes, comfyuis_floor_bytes()))
    holder = None if warm is None or pressure is None else WarmHolder(warm, pressure)

    def opened(memory: Memory) -> Callable[[], None]:
        tier = TierUnderPressure(memory.arena, memory.ram)
        watch = MemoryWatch(levels, tier, runtime.bus, _available_bytes, holder=holder)
        memory.arena.on_fresh = watch.expect
        if warm is not None and pressure is not None:
            warm.yielded = pressure.looked = watch.nudge
        runtime.status_blocks["host_memory"] = lambda: _figures(watch, levels, memory)
        return watch.close

    runtime.on_open.append(opened)


def comfyuis_floor_bytes() -> int:
    """Below how much available memory ComfyUI itself begins to let go (``--cache-ram``); 0 where it does not."""
    args = getattr(sys.modules.get("comfy.cli_args"), "args", None)
    asked: Any = getattr(args, "cache_ram", 0) or 0
    amounts = asked if isinstance(asked, list | tuple) else [asked]
    own = max((float(amount) for amount in amounts if isinstance(amount, int | float)), default=0.0)
    headroom = getattr(sys.modules.get("comfy.memory_management"), "RAM_CACHE_HEADROOM", 0)
    return max(int(own * GIB), headroom if isinstance(headroom, int) else 0)


def _available_bytes() -> int:
    return read_memory_figures().least_available_bytes


def _figures(watch: MemoryWatch, levels: Levels, memory: Memory) -> dict[str, Any]:
    """From memory only."""
    return {
        "watch": watch.kind,
        "floor_bytes": levels.floor_bytes,
        "limit_bytes": watch.limit_bytes,
        "budget_bytes": memory.arena.asked_bytes,
        "backing": memory.arena.backing,
    }
