"""How often each object was used, when last, and how many seconds of loading having it here saved.  Memory only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .policy import FROM_BUCKET, TierSpeed

MAX_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Account:
    uses: int = 0
    last_used_s: float | None = None
    """seconds since the epoch"""
    saved_s: float = 0.0


NOTHING = Account()


class Ledger:
    """Thread-safe.  ``wall_clock``: what is shown to people.  What is unused for longest is forgotten first."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, Account] = OrderedDict()
        self.from_bucket: TierSpeed = FROM_BUCKET
        """what a load from a bucket costs, as measured"""

    def used(self, digest: str, size_bytes: int, source: str, seconds: float, wire_bytes: int = 0) -> None:
        """One load: where it came from, how long it took.  ``wire_bytes``: 0 for who joined another's load."""
        with self._lock:
            if source == "bucket" and wire_bytes == size_bytes:
                self.from_bucket = self.from_bucket.observed(size_bytes, seconds)
            saved_s = 0.0 if source == "bucket" else max(0.0, self.from_bucket.reload_s(size_bytes) - seconds)
            was = self._rows.pop(digest, NOTHING)
            self._rows[digest] = Account(was.uses + 1, self._wall_clock(), was.saved_s + saved_s)
            if len(self._rows) > MAX_ROWS:
                self._rows.popitem(last=False)

    def of(self, digest: str) -> Account:
        return self._rows.get(digest, NOTHING)
