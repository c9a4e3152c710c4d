"""What a cache's answer saved: the seconds that the bucket would have taken, and the bytes that it did not send.

The bucket's time is size ÷ the rate that loads from that origin really had (an exponential mean); before the first
load from it nothing is claimed.  A model that was still loaded saves what loading it took.  Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

WEIGHT = 0.3
"""of the newest load in the mean rate"""
RATE_OF_BYTES_MIN = 1 << 20
"""smaller objects say nothing about a rate"""
LABELS_KEPT = 2000


@dataclass(frozen=True, slots=True)
class Saving:
    """origin: empty where no bucket is behind it"""

    level: str
    origin: str
    seconds: float
    size_bytes: int


class Savings:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rates: dict[str, float] = {}
        self._took_s: OrderedDict[str, float] = OrderedDict()

    def loaded(self, origin: str, source: str, size_bytes: int, seconds: float) -> Saving | None:
        """A load that was answered from ``source``; None when that was the bucket itself."""
        with self._lock:
            rate = self._rates.get(origin)
            if source == "bucket":
                if size_bytes >= RATE_OF_BYTES_MIN and seconds > 0:
                    now = size_bytes / seconds
                    self._rates[origin] = now if rate is None else rate + WEIGHT * (now - rate)
                return None
        saved_s = max(0.0, size_bytes / rate - seconds) if rate else 0.0
        return Saving(source, origin, saved_s, size_bytes)

    def model_kept(self, label: str, seconds: float) -> None:
        """A loaded model went into the pool; loading it took so long."""
        with self._lock:
            self._took_s[label] = seconds
            self._took_s.move_to_end(label)
            while len(self._took_s) > LABELS_KEPT:
                self._took_s.popitem(last=False)

    def model_handed_out(self, label: str, size_bytes: int, origin: str) -> Saving:
        with self._lock:
            return Saving("vram", origin, self._took_s.get(label, 0.0), size_bytes if origin else 0)
