"""The devices as they are now: what ComfyUI counts as free, keeps for itself, and could send away."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..cache.fit import Held, Room
from ..cache.memory_budget import read_memory_figures

if TYPE_CHECKING:
    from .vram_pressure import VramPressureSeam
    from .warm_models import WarmModelsSeam

MEASURED_BYTES = 64 << 20
"""copied to a device to see how fast that is: a few milliseconds"""


class Rooms:
    """Thread-safe.  warm, pressure: None where loaded models are not kept, and then nobody is known that could leave."""

    def __init__(
        self, warm: WarmModelsSeam | None, pressure: VramPressureSeam | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._warm = warm
        self._pressure = pressure
        self._clock = clock
        self._lock = threading.Lock()
        self._rates: dict[str, float] = {}

    def of(self, names: Iterable[str]) -> dict[str, Room]:
        return {name: self._room(name) for name in sorted(set(names)) if name}

    def _room(self, name: str) -> Room:
        management = sys.modules["comfy.model_management"]
        device = sys.modules["torch"].device(name)
        on_host = device.type == "cpu"
        host_bytes = read_memory_figures().least_available_bytes
        return Room(
            device=name,
            total_bytes=int(management.get_total_memory(device)),
            free_bytes=min(host_bytes, int(management.get_free_memory(device))) if on_host else int(management.get_free_memory(device)),
            inference_bytes=0 if on_host else int(management.minimum_inference_memory()),
            reserved_bytes=0 if on_host else int(management.extra_reserved_memory()),
            held=self._in_host_memory() if on_host else self._on(device),
            offloads=bool(getattr(management, "lowvram_available", False)),
            least_share=float(getattr(management, "MIN_WEIGHT_MEMORY_RATIO", 0.0)),
            host_bytes=host_bytes,
            rate_bytes_per_s=None if on_host else self.rate_to(device),
        )

    def _on(self, device: Any) -> tuple[Held, ...]:
        return () if self._pressure is None else self._pressure.could_leave(device)

    def _in_host_memory(self) -> tuple[Held, ...]:
        if self._warm is None:
            return ()
        plan = self._warm.pool.plan_room(1 << 62)
        labels = {one.key: one.label for one in self._warm.pool.snapshot().entries}
        return tuple(Held(labels.get(one.key, ""), one.size_bytes) for one in plan.going)

    def rate_to(self, device: Any) -> float | None:
        """Bytes a second from host memory to it, measured once; None where that cannot be done."""
        with self._lock:
            if str(device) not in self._rates:
                try:
                    self._rates[str(device)] = _measured_rate(device, self._clock)
                except Exception:  # a device without synchronisation, or full: then nothing is said about seconds
                    return None
            return self._rates[str(device)]


def _measured_rate(device: Any, clock: Callable[[], float]) -> float:
    """The median of three, after one that starts everything up.  From pageable memory, as most weights that stay behind lie."""
    torch = sys.modules["torch"]
    source = torch.zeros(MEASURED_BYTES, dtype=torch.uint8)
    seconds = []
    for _ in range(4):
        torch.cuda.synchronize(device)
        started_s = clock()
        there = source.to(device)
        torch.cuda.synchronize(device)
        seconds.append(clock() - started_s)
        del there
    return MEASURED_BYTES / max(sorted(seconds[1:])[1], 1e-9)
