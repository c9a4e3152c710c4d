"""The last executions of prompts, and how long they take: p50, p95, p99.  Thread-safe."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Execution:
    """load_s, loaded_bytes: what its loaders waited for and got; wait_s None: not known; cost None: no price is known."""

    prompt: str
    at_s: float
    status: str
    seconds: float
    wait_s: float | None
    nodes: int
    load_s: float = 0.0
    loaded_bytes: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Percentiles:
    p50_s: float
    p95_s: float
    p99_s: float


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """Nearest rank; None of nothing."""
    if not values:
        return None
    ranked = sorted(values)
    return Percentiles(*(ranked[max(0, math.ceil(share * len(ranked)) - 1)] for share in (0.5, 0.95, 0.99)))


@dataclass(slots=True)
class Running:
    prompt: str
    since_s: float
    wait_s: float | None
    node: str = ""
    load_s: float = 0.0
    loaded_bytes: int = 0


class Executions:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: deque[Execution] = deque(maxlen=KEPT)
        self._running: dict[str, Running] = {}
        self._fresh: list[Execution] = []
        self.pending: int | None = None
        """prompts that wait; None: nobody has said"""

    def started(self, prompt: str, at_s: float, wait_s: float | None) -> None:
        with self._lock:
            self._running = {prompt: Running(prompt, at_s, wait_s)}  # ComfyUI runs one at a time

    def loaded(self, prompt: str, seconds: float, size_bytes: int) -> None:
        with self._lock:
            running = self._running.get(prompt)
            if running is not None:
                running.load_s += seconds
                running.loaded_bytes += size_bytes

    def ended(self, prompt: str, at_s: float, status: str, seconds: float, nodes: int, cost: float | None) -> Execution:
        with self._lock:
            running = self._running.pop(prompt, None) or Running(prompt, at_s - seconds, None)
            row = Execution(prompt, running.since_s, status, seconds, running.wait_s, nodes, running.load_s, running.loaded_bytes, cost)
            self._rows.append(row)
            self._fresh.append(row)
            del self._fresh[:-KEPT]
            return row

    def running(self) -> Running | None:
        with self._lock:
            return next((replace(one) for one in self._running.values()), None)

    def rows(self) -> tuple[Execution, ...]:
        """Newest first."""
        with self._lock:
            return tuple(reversed(self._rows))

    def statuses(self) -> Counter[str]:
        with self._lock:
            return Counter(row.status for row in self._rows)

    def durations(self) -> Percentiles | None:
        """Of those that succeeded: one that was interrupted says nothing about how long they take."""
        return percentiles([row.seconds for row in self.rows() if row.status == "success"])

    def waits(self) -> Percentiles | None:
        return percentiles([row.wait_s for row in self.rows() if row.wait_s is not None])

    # -- over a restart ------------------------------------------------------------------------------------------------
    def take_fresh(self) -> list[Execution]:
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return fresh

    def restore(self, rows: Iterable[Execution]) -> None:
        with self._lock:
            kept = list(self._rows)
            self._rows.clear()
            self._rows.extend([*rows, *kept])
