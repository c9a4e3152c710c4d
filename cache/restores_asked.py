"""Which objects were asked back from an archive, when and how: for the time left that is shown, also after a restart.

S3 says that a restore is under way, not since when.  Losing this costs an estimate, nothing else.
"""

from __future__ import annotations

import contextlib
import math
import threading
from dataclasses import dataclass

from .state_file import StateFile

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """at_s: seconds since the epoch; days: for how long the copy stays"""

    origin: str
    key: str
    at_s: float
    tier: str
    days: int


class AskedBack:
    """Thread-safe.  Of two processes that write at once the last one wins."""

    def __init__(self, file: StateFile | None = None) -> None:
        self._file = file or StateFile(None)
        self._lock = threading.Lock()
        self._rows = {(a.origin, a.key): a for a in _read(self._file.read())}

    def of(self, origin: str, key: str) -> Asked | None:
        return self._rows.get((origin, key))

    def all(self) -> tuple[Asked, ...]:
        """The oldest first."""
        return tuple(sorted(self._rows.values(), key=lambda one: one.at_s))

    def add(self, asked: Asked) -> None:
        """Remembered in this process also where it cannot be saved."""
        with self._lock:
            rows = {(a.origin, a.key): a for a in _read(self._file.read())} | self._rows
            rows[asked.origin, asked.key] = asked
            self._save(rows)

    def forget(self, origin: str, key: str) -> None:
        """Its copy has expired, or it is in no archive any more."""
        with self._lock:
            if (origin, key) in self._rows:
                self._save({name: a for name, a in self._rows.items() if name != (origin, key)})

    def _save(self, rows: dict[tuple[str, str], Asked]) -> None:
        kept = sorted(rows.values(), key=lambda one: one.at_s)[-KEPT:]
        self._rows = {(a.origin, a.key): a for a in kept}
        with contextlib.suppress(OSError):
            self._file.write([[a.origin, a.key, a.at_s, a.tier, a.days] for a in kept])


def _read(content: object) -> list[Asked]:
    """What is not exactly as it was written is forgotten."""
    return [Asked(*row) for row in content if _fits(row)] if isinstance(content, list) else []


def _fits(row: object) -> bool:
    return isinstance(row, list) and list(map(type, row)) == [str, str, float, str, int] and math.isfinite(row[2])
