"""How often and when each model was used, also those that are in no cache any more.  Bounded; thread-safe."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Use:
    """last_s: wall time"""

    subject: str
    uses: int = 0
    last_s: float = 0.0
    saved_s: float = 0.0
    loaded_bytes: int = 0


class Uses:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: OrderedDict[str, Use] = OrderedDict()
        self._dirty: set[str] = set()

    def used(self, subject: str, at_s: float, *, saved_s: float = 0.0, loaded_bytes: int = 0) -> None:
        with self._lock:
            before = self._rows.pop(subject, None) or Use(subject)
            self._rows[subject] = replace(
                before,
                uses=before.uses + 1,
                last_s=at_s,
                saved_s=before.saved_s + saved_s,
                loaded_bytes=before.loaded_bytes + loaded_bytes,
            )
            self._dirty.add(subject)
            while len(self._rows) > KEPT:
                self._dirty.add(self._rows.popitem(last=False)[0])

    def of(self, subject: str) -> Use | None:
        return self._rows.get(subject)

    def by_subject(self) -> dict[str, Use]:
        with self._lock:
            return dict(self._rows)

    def take_dirty(self) -> dict[str, Use | None]:
        """None: it is forgotten."""
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            return {subject: self._rows.get(subject) for subject in dirty}

    def mark_dirty(self, subjects: Iterable[str]) -> None:
        with self._lock:
            self._dirty.update(subjects)

    def restore(self, rows: Iterable[Use]) -> None:
        with self._lock:
            for row in sorted(rows, key=lambda r: r.last_s)[-KEPT:]:
                self._rows.setdefault(row.subject, row)
