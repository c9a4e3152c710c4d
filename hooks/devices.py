"""What the accelerators hold, from the allocator's own statistics, and giving fragmented memory back.

Nothing here starts CUDA: before ComfyUI has used a device there are no figures.  Read from any thread; ``compact`` only
between prompts, when nothing executes.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict, dataclass
from typing import Any

from ..cache.vram import WarmPool

LOG = logging.getLogger("modelstream")

NOT_AVAILABLE = "not available"
WORTH_COMPACTING_SHARE = 0.25
"""free bytes that the allocator cannot give to others, as a share of what it has reserved: ComfyUI's own threshold
for emptying the cache (model_management.free_memory)"""
WORTH_COMPACTING_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """free_bytes: as the driver says, for all processes.

    reserved_bytes:       what this process's allocator has taken from the driver
    allocated_bytes:      of these, what tensors hold
    active_bytes:         of these too, with what freed tensors still hold until the device is done with them
    inactive_split_bytes: of the rest, what lies between tensors in blocks that are in use: fragmentation
    """

    name: str
    total_bytes: int
    free_bytes: int
    reserved_bytes: int
    allocated_bytes: int
    inactive_split_bytes: int
    active_bytes: int = 0
    alloc_retries: int = 0
    out_of_memory: int = 0

    @property
    def idle_share(self) -> float:
        return (self.reserved_bytes - self.allocated_bytes) / self.reserved_bytes if self.reserved_bytes else 0.0

    def worth_compacting(self) -> bool:
        idle_bytes = self.reserved_bytes - self.allocated_bytes
        return idle_bytes >= WORTH_COMPACTING_BYTES and self.idle_share >= WORTH_COMPACTING_SHARE


def device_figures() -> tuple[DeviceFigures, ...]:
    """One for each CUDA (or ROCm) device that this process uses; none elsewhere.  Microseconds."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return ()
    return tuple(_figures(torch, index) for index in range(torch.cuda.device_count()))


def devices_json(pool: WarmPool[Any] | None = None) -> list[dict[str, Any]] | str:
    """models_bytes: of warm models; budget_bytes: the owner's, None without one."""
    found = device_figures()
    if not found:
        return NOT_AVAILABLE
    models = None if pool is None else pool.snapshot()
    return [
        {
            **asdict(one),
            "models_bytes": 0 if models is None else models.device_bytes(one.name),
            "budget_bytes": None if pool is None else pool.limits.of_device(one.name),
        }
        for one in found
    ]


def compact() -> bool:
    """Empties the allocator's cache where much of it lies idle; True when it did.  Only when nothing executes."""
    if not any(one.worth_compacting() for one in device_figures()):
        return False
    sys.modules["comfy.model_management"].soft_empty_cache()
    return True


def _figures(torch: Any, index: int) -> DeviceFigures:
    stats = torch.cuda.memory_stats(index)
    free_bytes, total_bytes = torch.cuda.mem_get_info(index)
    return DeviceFigures(
        f"cuda:{index}",
        total_bytes,
        free_bytes,
        stats.get("reserved_bytes.all.current", 0),
        stats.get("allocated_bytes.all.current", 0),
        stats.get("inactive_split_bytes.all.current", 0),
        stats.get("active_bytes.all.current", 0),
        stats.get("num_alloc_retries", 0),
        stats.get("num_ooms", 0),
    )
