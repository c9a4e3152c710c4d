"""How many bytes may be fetched ahead: a rate, kept on average over a minute.  Pure but for the clock it is given."""

from __future__ import annotations

from collections.abc import Callable

SPAN_S = 60.0


class Credit:
    """Used by one thread.  An object that is larger than a minute's worth may go when the credit is full: it is paid back after."""

    def __init__(self, bytes_per_s: float, clock: Callable[[], float]) -> None:
        """bytes_per_s: 0: no limit"""
        self._rate = bytes_per_s
        self._clock = clock
        self._full = bytes_per_s * SPAN_S
        self._left = self._full
        self._at_s = clock()
        self._needed = 0.0
        self.refused = False

    def allows(self, size_bytes: int) -> bool:
        if not self._rate:
            return True
        self._earn()
        self._needed = min(float(size_bytes), self._full)
        self.refused = self._left < self._needed
        return not self.refused

    def spend(self, size_bytes: int) -> None:
        if self._rate:
            self._earn()
            self._left -= size_bytes

    def ready_s(self) -> float:
        """When what was refused last may go, on the clock."""
        return self._at_s + max(0.0, self._needed - self._left) / self._rate if self._rate else self._at_s

    def _earn(self) -> None:
        now_s = self._clock()
        self._left = min(self._full, self._left + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = now_s
