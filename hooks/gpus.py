"""GPUs that NVML does not know: AMD and Apple, by what torch tells.  Never starts a device by itself."""

from __future__ import annotations

import sys
from typing import Any

from ..telemetry.gpu import GpuFigures


def other_gpus() -> tuple[GpuFigures, ...]:
    """Those of this process's torch that are no NVIDIA cards; () before ComfyUI has used one."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return ()
    if getattr(torch.version, "hip", None):
        return _of_amd(torch)
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        return (_of_apple(torch),)
    return ()


def _of_amd(torch: Any) -> tuple[GpuFigures, ...]:
    cuda = torch.cuda
    if not cuda.is_available() or not cuda.is_initialized():
        return ()
    return tuple(_one_of_amd(cuda, index) for index in range(cuda.device_count()))


def _one_of_amd(cuda: Any, index: int) -> GpuFigures:
    memory, power_mw = _asked(cuda, "mem_get_info", index), _asked(cuda, "power_draw", index)
    return GpuFigures(
        index,
        cuda.get_device_name(index),
        "amd",
        memory_used_bytes=None if memory is None else memory[1] - memory[0],
        memory_total_bytes=None if memory is None else memory[1],
        utilization_percent=_asked(cuda, "utilization", index),
        temperature_c=_asked(cuda, "temperature", index),
        power_w=None if power_mw is None else power_mw / 1000,
    )


def _of_apple(torch: Any) -> GpuFigures:
    used = _asked(torch.mps, "driver_allocated_memory")
    total = _asked(torch.mps, "recommended_max_memory")
    return GpuFigures(0, "Apple GPU", "apple", memory_used_bytes=used, memory_total_bytes=total)


def _asked(module: Any, call: str, *args: Any) -> Any:
    """None where this torch has no such call, or its driver or device does not tell (amdsmi is often missing)."""
    try:
        return getattr(module, call)(*args)
    except Exception:  # any of many libraries may refuse in its own way
        return None
