"""How often each object was used, when last, and how many seconds of loading having it here saved.  Memory only."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from .speeds import Speeds

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

    def __init__(self, wall_clock: Callable[[], float], speeds: Speeds) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, Account] = OrderedDict()
        self._speeds = speeds

    def used(self, digest: str, size_bytes: int, source: str, seconds: float) -> None:
        """One load: where it came from, how long it took."""
        with self._lock:
            saved_s = 0.0 if source == "bucket" else max(0.0, self._speeds.from_bucket.reload_s(size_bytes) - seconds)
            was = self._rows.pop(digest, NOTHING)
            self._rows[digest] = Account(was.uses + 1, self._wall_clock(), was.saved_s + saved_s)
            if len(self._rows) > MAX_ROWS:
                self._rows.popitem(last=False)

    def of(self, digest: str) -> Account:
        return self._rows.get(digest, NOTHING)
