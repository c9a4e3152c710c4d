"""What each GPU does, asked of the driver only when somebody wants to know, and at most twice a second.

NVIDIA through NVML (nvidia-ml-py, imported at the first look); anything else by what the caller's torch tells
(``others``).  A figure that a device does not give is None, never 0.  A device that is lost (driver reset, bus error,
the library vanishing) is reported as lost with its last name, and NVML is opened anew after ``RETRY_S``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

AT_MOST_EVERY_S = 0.5
RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """state: "ok", "lost" or "unavailable"; processes: how many use it"""

    index: int
    name: str
    vendor: str
    state: str = "ok"
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    utilization_percent: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    processes: int | None = None

    @property
    def memory_share(self) -> float | None:
        if self.memory_used_bytes is None or not self.memory_total_bytes:
            return None
        return self.memory_used_bytes / self.memory_total_bytes


Others = Callable[[], Sequence[GpuFigures]]


def import_nvml() -> Any:
    """Raises ImportError where nvidia-ml-py is not installed."""
    import pynvml

    return pynvml


class GpuProbe:
    """Thread-safe.  ``look`` may take milliseconds: not for the event loop; ``last`` never waits."""

    def __init__(
        self,
        others: Others = tuple,
        *,
        nvml: Callable[[], Any] = import_nvml,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str, str], None] = lambda code, cause: None,
    ) -> None:
        """told: called with a code and a cause when a device is lost."""
        self._others = others
        self._import = nvml
        self._clock = clock
        self._told = told
        self._lock = threading.Lock()
        self._library: Any = None
        self._handles: list[tuple[int, str, Any]] = []
        self._known: tuple[tuple[int, str], ...] = ()
        """(index, name) of the cards that NVML has shown"""
        self._retry_at_s: float | None = None
        self._never = False
        self._looked_s: float | None = None
        self.last: tuple[GpuFigures, ...] | None = None
        """the last look; None before the first"""

    def look(self) -> tuple[GpuFigures, ...]:
        with self._lock:
            now_s = self._clock()
            if self.last is not None and self._looked_s is not None and now_s - self._looked_s < AT_MOST_EVERY_S:
                return self.last
            found = self._nvidia(now_s) or tuple(self._others())
            self._looked_s, self.last = now_s, found
            return found

    def close(self) -> None:
        with self._lock:
            self._shut()

    # -- inside, with the lock held ------------------------------------------------------------------------------------
    def _nvidia(self, now_s: float) -> tuple[GpuFigures, ...]:
        if self._library is None and not self._open(now_s):
            return tuple(GpuFigures(index, name, "nvidia", "lost") for index, name in self._known)
        self._known = tuple((index, name) for index, name, _ in self._handles)
        figures = tuple(self._figures(index, name, handle) for index, name, handle in self._handles)
        if any(one.state == "lost" for one in figures):
            self._shut()  # after a reset the old handles never work again
            self._retry_at_s = now_s + RETRY_S
        return figures

    def _open(self, now_s: float) -> bool:
        if self._never or (self._retry_at_s is not None and now_s < self._retry_at_s):
            return False
        try:
            library = self._import()
        except Exception:  # not installed, or it cannot be imported here: there is no NVML in this process
            self._never = True
            return False
        try:
            library.nvmlInit()
            count = library.nvmlDeviceGetCount()
            handles = [(index, library.nvmlDeviceGetHandleByIndex(index)) for index in range(count)]
            self._handles = [(index, _text(library.nvmlDeviceGetName(handle)), handle) for index, handle in handles]
        except Exception as error:
            # No driver: there never was a device.  One that was there is looked for again.
            self._never = not self._known
            self._retry_at_s = now_s + RETRY_S
            if self._known:
                self._told("nvml", type(error).__name__)
            return False
        self._library, self._retry_at_s = library, None
        return True

    def _shut(self) -> None:
        library, self._library, self._handles = self._library, None, []
        if library is not None:
            try:
                library.nvmlShutdown()
            except Exception as error:
                self._told("nvml_shutdown", type(error).__name__)

    def _figures(self, index: int, name: str, handle: Any) -> GpuFigures:
        n = self._library
        try:
            memory = n.nvmlDeviceGetMemoryInfo(handle)
        except Exception as error:
            if _is_loss(error):
                self._told("gpu_lost", type(error).__name__)
                return GpuFigures(index, name, "nvidia", "lost")
            memory = None
        return GpuFigures(
            index,
            name,
            "nvidia",
            "ok",
            None if memory is None else int(memory.used),
            None if memory is None else int(memory.total),
            _figure(lambda: n.nvmlDeviceGetUtilizationRates(handle).gpu),
            _figure(lambda: n.nvmlDeviceGetTemperature(handle, n.NVML_TEMPERATURE_GPU)),
            _figure(lambda: n.nvmlDeviceGetPowerUsage(handle) / 1000),
            _figure(lambda: n.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000),
            _count(lambda: n.nvmlDeviceGetComputeRunningProcesses(handle)),
        )


def _is_loss(error: Exception) -> bool:
    """Not "this device does not tell": the device, the driver or the library is gone."""
    return not type(error).__name__.endswith(("NotSupported", "NoPermission", "NotFound"))


def _figure(ask: Callable[[], float]) -> float | None:
    try:
        return float(ask())
    except Exception:  # the device does not give this figure
        return None


def _count(ask: Callable[[], Sequence[object]]) -> int | None:
    try:
        return len(ask())
    except Exception:  # the device does not give this figure
        return None


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
