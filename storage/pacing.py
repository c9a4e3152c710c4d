"""How fast, how many, how long to wait: pure policies over a clock that is passed in.

Thread-safe where several connections share one (each says so); none of them sleeps or knows a socket.
"""

from __future__ import annotations

import random
import statistics
import threading
from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]

MIB = 1 << 20


class TokenBucket:
    """A rate limit that all transfers share.  ``take`` may run into debt: the taker then waits it off, which is fair
    (first come first served) and exact over time.  Thread-safe.

    rate_bytes_per_s: 0 means no limit.  burst_s: how much of an idle time may be made up for.
    """

    def __init__(self, rate_bytes_per_s: float, clock: Clock, *, burst_s: float = 0.1) -> None:
        self.rate_bytes_per_s = rate_bytes_per_s
        self._clock = clock
        self._most = rate_bytes_per_s * burst_s
        self._tokens = self._most
        self._at_s = clock()
        self._lock = threading.Lock()

    def take(self, count: int) -> float:
        """Books ``count`` bytes; returns the seconds to wait before they are read."""
        if not self.rate_bytes_per_s:
            return 0.0
        with self._lock:
            now = self._clock()
            self._tokens = min(self._most, self._tokens + (now - self._at_s) * self.rate_bytes_per_s)
            self._at_s = now
            self._tokens -= count
            return max(0.0, -self._tokens / self.rate_bytes_per_s)

    def give_back(self, count: int) -> None:
        """Bytes that were booked and did not come."""
        if self.rate_bytes_per_s and count > 0:
            with self._lock:
                self._tokens += count

    def slice_bytes(self, most: int) -> int:
        """How much to book at once: about a tenth of a second, so that a slow limit stays smooth."""
        if not self.rate_bytes_per_s:
            return most
        return max(4096, min(most, int(self.rate_bytes_per_s / 10)))


class Backoff:
    """Exponential with full jitter (AWS architecture blog, "Exponential Backoff And Jitter"): uniform in
    [0, min(cap, base x 2^n)].  ``floor`` keeps a run of small draws from becoming a storm.
    """

    def __init__(self, base_s: float = 0.2, cap_s: float = 8.0, *, floor: float = 0.1, draw: Callable[[], float] = random.random) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._floor = floor
        self._draw = draw

    def wait_s(self, attempt: int) -> float:
        """attempt: 1 for the first repetition."""
        most = min(self._cap_s, self._base_s * 2 ** min(30, max(0, attempt - 1)))
        return most * (self._floor + (1 - self._floor) * self._draw())


class RateMeter:
    """Bytes per second over a sliding window of about two seconds.  Thread-safe, constant memory."""

    def __init__(self, clock: Clock, *, window_s: float = 2.0, steps: int = 10) -> None:
        self._clock = clock
        self._step_s = window_s / steps
        self._steps = steps
        self._buckets: deque[tuple[int, int]] = deque()
        """(number of the step, bytes)"""
        self._begun_s = clock()
        self._lock = threading.Lock()
        self.total_bytes = 0

    def add(self, count: int) -> None:
        number = int(self._clock() / self._step_s)
        with self._lock:
            if not self.total_bytes:
                self._begun_s = self._clock()
            self.total_bytes += count
            if self._buckets and self._buckets[-1][0] == number:
                self._buckets[-1] = (number, self._buckets[-1][1] + count)
            else:
                self._buckets.append((number, count))
                while self._buckets[0][0] <= number - self._steps:
                    self._buckets.popleft()

    def rate_bytes_per_s(self) -> float:
        now = self._clock()
        oldest = int(now / self._step_s) - self._steps
        with self._lock:
            count = sum(n for number, n in self._buckets if number > oldest)
            begun_s = self._begun_s
        seconds = min(now - begun_s, self._step_s * self._steps)
        return count / max(seconds, self._step_s)


class ConnectionCount:
    """How many connections one origin gets: grows while that pays, halves when the server asks for fewer.

    Starts with 4.  After every measuring window the goodput is compared with what it was before the last step
    up: 10 % more, and it takes another step; otherwise it goes back and stays there for a while.  A 503 or 429
    halves it (once a window: the answers to requests that were already under way count as one) and it climbs
    back by one a few seconds at a time.  Not thread-safe: the engine's lock guards it.
    """

    START = 4
    GAIN = 1.10
    WINDOW_S = 0.5
    HOLD_S = 10.0
    HALVE_AGAIN_S = 1.0
    RECOVER_S = 3.0

    def __init__(self, most: int, clock: Clock) -> None:
        self.most = max(1, most)
        self.target = min(self.START, self.most)
        self.rate_bytes_per_s = 0.0
        """of the last measuring window; 0 while nothing was measured"""
        self._clock = clock
        self._window_at_s: float | None = None
        self._window_bytes = 0
        self._before: tuple[int, float] | None = None
        """the count and the goodput before the last step up"""
        self._hold_until_s = 0.0
        self._halved_at_s = float("-inf")
        self._ceiling = self.most
        """while the server throttles: how far it may climb at present"""

    def observe(self, total_bytes: int, busy: int) -> str | None:
        """total_bytes: received from the origin so far; busy: connections at work now.  Returns why the target changed, or None."""
        now = self._clock()
        if busy < self.target or self._window_at_s is None:  # not limited by the count: nothing can be learnt
            self._window_at_s, self._window_bytes = now, total_bytes
            return None
        if now - self._window_at_s < self.WINDOW_S:
            return None
        rate = self.rate_bytes_per_s = (total_bytes - self._window_bytes) / (now - self._window_at_s)
        self._window_at_s, self._window_bytes = now, total_bytes
        return self._decide(rate, now)

    def throttled(self) -> bool:
        """The server asked for fewer requests.  True when the target went down."""
        now = self._clock()
        if now - self._halved_at_s < self.HALVE_AGAIN_S:
            return False
        self._halved_at_s = now
        self._before = None
        self._hold_until_s = now + self.RECOVER_S
        halved = max(1, self.target // 2)
        changed = halved < self.target
        self.target = self._ceiling = halved
        return changed

    def allow(self, most: int) -> None:
        """There may be more of them from now on; a server that asked for fewer still gets fewer."""
        if self._ceiling >= self.most:
            self._ceiling = most
            self.target = max(self.target, min(self.START, most))
        self.most = most
        self._before = self._window_at_s = None
        self._hold_until_s = min(self._hold_until_s, self._clock() + self.RECOVER_S)

    def recover(self) -> bool:
        """Some seconds without throttling: one connection more.  True when the target went up."""
        now = self._clock()
        if self._ceiling >= self.most or now - self._halved_at_s < self.RECOVER_S or now < self._hold_until_s:
            return False
        self._hold_until_s = now + self.RECOVER_S
        self._ceiling += 1
        if self.target >= min(self.START, self.most):
            return False  # from here on it has to pay
        self.target += 1
        return True

    def _decide(self, rate: float, now: float) -> str | None:
        if self._before is not None:
            fewer, old_rate = self._before
            self._before = None
            if rate < old_rate * self.GAIN:
                self.target = fewer
                self._hold_until_s = now + self.HOLD_S
                return "no gain"
        most = min(self.most, self._ceiling)
        if now < self._hold_until_s or self.target >= most:
            return None
        self._before = (self.target, rate)
        self.target = min(most, self.target + max(1, self.target // 2))
        return "growing"


class PartTimes:
    """How long parts take, to know a slow one.  Not thread-safe: the engine's lock guards it."""

    FACTOR = 4.0
    LEAST_S = 2.0

    def __init__(self) -> None:
        self._s_per_byte: deque[float] = deque(maxlen=64)

    def add(self, length: int, seconds: float) -> None:
        if length > 0:
            self._s_per_byte.append(seconds / length)

    def slow_after_s(self, length: int) -> float:
        """A part is worth a second request when it takes longer: 4 times the median part, at least 2 s."""
        if not self._s_per_byte:
            return float("inf")
        return max(self.LEAST_S, self.FACTOR * statistics.median(self._s_per_byte) * length)


class SpeedFloor:
    """The low-speed rule for one request: slower than the floor over the whole window.  Used by one thread.

    Time spent waiting for the rate limit does not count.
    """

    def __init__(self, floor_bytes_per_s: float, window_s: float, now_s: float) -> None:
        self._floor = floor_bytes_per_s
        self._window_s = window_s
        self._from_s = now_s
        self._received = 0

    def waited(self, seconds: float) -> None:
        self._from_s += seconds

    def too_slow(self, count: int, now_s: float) -> bool:
        """``count`` bytes have come just now."""
        self._received += count
        elapsed = now_s - self._from_s
        if elapsed < self._window_s:
            return False
        slow = self._received < self._floor * elapsed
        self._from_s, self._received = now_s, 0
        return slow
