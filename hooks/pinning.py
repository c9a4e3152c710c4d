"""Pinning the RAM tier for CUDA, wired: torch's own runtime, ComfyUI's ledger, and the arena that must ask before it reuses.

ComfyUI pins weights itself and counts them: ``TOTAL_PINNED_MEMORY`` up to ``MAX_PINNED_MEMORY``.  What we pin is taken off its
maximum, because the total is its own and set to 0 when its last weight is unpinned.  At least half stays for ComfyUI.  Where
ComfyUI does not pin (another make of card, ``--disable-pinned-memory``, a CPU), neither do we; where it has no ledger (0.3.64),
the configuration's bound is the only one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from ..cache.memory_budget import read_memory_figures
from ..cache.pinning import Pinner
from .runtime import Memory, Runtime

COMFYUIS_SHARE = 0.5
"""of what ComfyUI may pin stays its own"""
DEFAULT_SHARE = 2
"""half of the RAM tier, and with it at most half of the memory, unless the configuration says otherwise"""
PORTABLE = 1
"""cudaHostRegisterPortable: pinned for every device"""


class TorchCuda:
    """``torch.cuda.cudart()``; a device has to be in use already, nothing here starts one."""

    def __init__(self, torch: Any) -> None:
        self._torch, self._cudart = torch, torch.cuda.cudart()

    def register(self, address: int, size_bytes: int) -> int:
        return int(self._cudart.cudaHostRegister(address, size_bytes, PORTABLE))

    def unregister(self, address: int) -> int:
        return int(self._cudart.cudaHostUnregister(address))

    def synchronize(self) -> None:
        for index in range(self._torch.cuda.device_count()):
            self._torch.cuda.synchronize(index)

    def forget_error(self) -> None:
        """As ComfyUI does after its own refusals: some work on the device, whose error is the one that is known already."""
        try:
            one = self._torch.ones(1, dtype=self._torch.uint8, device="cuda")
            _ = one + one
            self._torch.cuda.synchronize()
        except RuntimeError:
            pass


def cuda_in_use() -> TorchCuda | None:
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return TorchCuda(torch)


class ComfyLedger:
    """ComfyUI's books of pinned memory.  Any thread."""

    def __init__(self, management: Any) -> None:
        self._management = management
        self._lock = threading.Lock()
        self._ours = 0

    @property
    def kept(self) -> bool:
        return isinstance(getattr(self._management, "MAX_PINNED_MEMORY", None), int | float)

    def pins(self) -> bool:
        """Whether ComfyUI pins at all here."""
        if getattr(self._management, "DISABLE_PINNED_MEMORY", False):
            return False
        return not self.kept or self._management.MAX_PINNED_MEMORY + self._ours > 0

    def room_bytes(self) -> int:
        if not self.kept:
            return 1 << 62
        with self._lock:
            most = self._management.MAX_PINNED_MEMORY + self._ours
            left = self._management.MAX_PINNED_MEMORY - getattr(self._management, "TOTAL_PINNED_MEMORY", 0)
            return max(0, int(min(most * (1 - COMFYUIS_SHARE) - self._ours, left)))

    def taken(self, size_bytes: int) -> None:
        with self._lock:
            self._ours += size_bytes
            if self.kept:
                self._management.MAX_PINNED_MEMORY -= size_bytes

    def ranges(self) -> Sequence[tuple[int, int]]:
        pinned = getattr(self._management, "PINNED_MEMORY", {})
        return [(address, address + size) for address, size in list(pinned.items())]


def pin_memory(runtime: Runtime, heard: Callable[[Callable[[Any], object]], object]) -> None:
    """``heard(callback)``: has it called with everything that the cache opens.  Nothing where it cannot be of use."""
    asked = runtime.config.ram.pin_bytes
    management = sys.modules.get("comfy.model_management")
    ledger = ComfyLedger(management)
    if asked == 0 or management is None or getattr(management, "cpu_state", None) != _gpu(management) or not ledger.pins():
        return

    def opened(memory: Memory) -> Callable[[], None]:
        pinner = Pinner(lambda: _limit_bytes(asked, memory), ledger, cuda_in_use, runtime.bus, lambda: _loading(runtime))
        memory.arena.before_reuse = pinner.release

        def loaded(found: Any) -> None:
            if not memory.arena.is_borrowed(found.buffer):  # pinning would make a copy of what several processes share
                pinner.later(found.obj.subject, found.header, found.buffer)

        heard(loaded)
        runtime.status_blocks["pinned_memory"] = lambda: {"pinned_bytes": pinner.pinned_bytes, "problem": pinner.problem}
        return pinner.close

    runtime.on_open.append(opened)


def _limit_bytes(asked: int | None, memory: Memory) -> int:
    if asked is None and getattr(sys.modules.get("comfy.memory_management"), "aimdo_enabled", False):
        return 0  # with dynamic VRAM ComfyUI copies weights into pinned buffers of its own
    there = memory.arena.asked_bytes // DEFAULT_SHARE
    return min(there, read_memory_figures().total_bytes // DEFAULT_SHARE) if asked is None else asked


def _loading(runtime: Runtime) -> bool:
    engine, cache = runtime.engine, runtime.opened
    return bool((engine is not None and engine.active()) or (cache is not None and cache.snapshot().loading))


def _gpu(management: Any) -> Any:
    return getattr(getattr(management, "CPUState", None), "GPU", "no such state")
