"""Whether a near origin is worth asking: a circuit breaker and what is known not to be there.  Pure state with a clock.

A near origin is there to save time.  One that fails is left alone for a while, longer each time it fails again, so that
its loss costs one load some seconds and the others nothing; a miss is remembered, so that it costs no further round trip.
Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

FIRST_PAUSE_S = 10.0
PAUSE_MAX_S = 300.0
MISS_S = 60.0
MISSES_MAX = 10_000
READ_ONLY_S = 600.0


class Health:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._open_until_s = 0.0
        self._probing_until_s = 0.0
        self._read_only_until_s = 0.0
        self._misses: OrderedDict[str, float] = OrderedDict()

    # -- the circuit breaker -------------------------------------------------------------------------------------------
    def may_ask(self) -> bool:
        """False while it is left alone.  After the pause one caller tries it; the others wait for what that one finds."""
        with self._lock:
            if not self._failures:
                return True
            now_s = self._clock()
            if now_s < max(self._open_until_s, self._probing_until_s):
                return False
            self._probing_until_s = now_s + FIRST_PAUSE_S
            return True

    @property
    def is_down(self) -> bool:
        with self._lock:
            return self._failures > 0

    def failed(self) -> float:
        """For how many seconds it is left alone from now on.  Failures of one outage that come at once count once."""
        with self._lock:
            now_s = self._clock()
            if now_s >= self._open_until_s:
                pause_s = min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 10), PAUSE_MAX_S)
                self._failures += 1
                self._open_until_s = now_s + pause_s
            self._probing_until_s = 0.0
            return self._open_until_s - now_s

    def answered(self) -> bool:
        """True when it had failed before: it is back."""
        with self._lock:
            was_down, self._failures = self._failures > 0, 0
            self._open_until_s = self._probing_until_s = 0.0
            return was_down

    # -- writing -------------------------------------------------------------------------------------------------------
    def may_write(self) -> bool:
        with self._lock:
            return self._clock() >= self._read_only_until_s

    def refused_write(self) -> bool:
        """Our credentials may not write there.  True for the first time in a while."""
        with self._lock:
            now_s = self._clock()
            first = now_s >= self._read_only_until_s
            self._read_only_until_s = now_s + READ_ONLY_S
            return first

    # -- what is not there ---------------------------------------------------------------------------------------------
    def missed(self, digest: str) -> None:
        with self._lock:
            self._misses.pop(digest, None)
            self._misses[digest] = self._clock() + MISS_S
            while len(self._misses) > MISSES_MAX:
                self._misses.popitem(last=False)

    def is_known_miss(self, digest: str) -> bool:
        with self._lock:
            until_s = self._misses.get(digest)
            if until_s is None:
                return False
            if self._clock() < until_s:
                return True
            del self._misses[digest]
            return False

    def is_there(self, digest: str) -> None:
        with self._lock:
            self._misses.pop(digest, None)
