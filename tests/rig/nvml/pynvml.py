"""A stand-in for nvidia-ml-py: its calls, and a driver that can go away.  The real one is read by the checks on a GPU machine.

In a test's own process: ``Library()``.  In a ComfyUI of its own: put this folder on PYTHONPATH, so that ``import pynvml`` finds
this file, and name a file in STAND_IN_NVML that holds one word: what the card does at this moment (see ``STATES``).
"""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_TEMPERATURE_GPU = 0
FOLDER = Path(__file__).parent
STATES = ("idle", "full", "lost", "gone")
"""full: 97 % of the memory is used; lost: the card does not answer; gone: neither does the driver"""


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_GpuIsLost(NVMLError):
    pass


class NVMLError_DriverNotLoaded(NVMLError):
    pass


class Library:
    NVML_TEMPERATURE_GPU = NVML_TEMPERATURE_GPU

    def __init__(self, power_mw: int | None = None) -> None:
        self.power_mw = power_mw
        self.state = "idle"
        self.inits = self.asked = 0

    def now(self) -> str:
        return self.state

    def nvmlInit(self) -> None:
        if self.now() == "gone":
            raise NVMLError_DriverNotLoaded
        self.inits += 1

    def nvmlShutdown(self) -> None:
        if self.now() == "gone":
            raise NVMLError_DriverNotLoaded

    def nvmlDeviceGetCount(self) -> int:
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:
        return b"NVIDIA L4"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        self.asked += 1
        if self.now() in ("lost", "gone"):
            raise NVMLError_GpuIsLost
        total = 24 << 30
        return SimpleNamespace(total=total, used=int(total * (0.97 if self.now() == "full" else 0.25)))

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=40)

    def nvmlDeviceGetTemperature(self, handle: int, kind: int) -> int:
        return 61

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if self.power_mw is None:
            raise NVMLError_NotSupported
        return self.power_mw

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        return 72_000

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[int]:
        return [1, 2]


class _Told(Library):
    def now(self) -> str:
        try:
            return Path(os.environ["STAND_IN_NVML"]).read_text("utf-8").strip() or "idle"
        except (KeyError, OSError):
            return "idle"


globals().update({name: getattr(_Told(power_mw=31_000), name) for name in dir(Library) if name.startswith("nvml")})


class Card:
    """The card of a ComfyUI in another process: ``ComfyServer(environment=card.environment)``."""

    def __init__(self, folder: Path, state: str = "idle") -> None:
        self._file = folder / "stand-in-nvml"
        self.environment = {"PYTHONPATH": str(FOLDER), "STAND_IN_NVML": str(self._file)}
        self.does(state)

    def does(self, state: str) -> None:
        assert state in STATES
        scratch = self._file.with_suffix(".new")
        scratch.write_text(state)
        scratch.replace(self._file)
