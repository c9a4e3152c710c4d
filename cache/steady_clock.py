"""A clock that never goes back, whatever it is read from: times that were noted on it stay in the past or the future."""

from __future__ import annotations

import threading
from collections.abc import Callable


class SteadyClock:
    """Thread-safe.  A jump back of ``clock`` counts as no time at all, and time goes on from there; a jump ahead is passed on."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._raw_s = self._now_s = clock()

    def __call__(self) -> float:
        with self._lock:
            raw_s = self._clock()
            self._now_s += max(0.0, raw_s - self._raw_s)
            self._raw_s = raw_s
            return self._now_s
