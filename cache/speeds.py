"""What loading again would cost: each tier's speed, as measured by the loads themselves."""

from __future__ import annotations

import threading

from .policy import FROM_BUCKET, FROM_SSD, TierSpeed


class Speeds:
    """Thread-safe; reading takes no lock."""

    def __init__(self, from_ssd: TierSpeed = FROM_SSD, from_bucket: TierSpeed = FROM_BUCKET) -> None:
        self._lock = threading.Lock()
        self.from_ssd = from_ssd
        self.from_bucket = from_bucket

    def read_from_ssd(self, size_bytes: int, seconds: float) -> None:
        with self._lock:
            self.from_ssd = self.from_ssd.observed(size_bytes, seconds)

    def read_from_bucket(self, size_bytes: int, seconds: float) -> None:
        """Only loads that were not held up by more urgent ones say how fast the way is."""
        with self._lock:
            self.from_bucket = self.from_bucket.observed(size_bytes, seconds)
