"""Which object each entry of an SSD directory is: from its record, read once, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

from .entries import Entries
from .pins import Pins
from .record import Record, RecordFromNewer

UNKNOWN = ("", "")


class EntryNames:
    """Thread-safe: each change is one operation on a dict, and a name of a digest never changes."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._names: dict[str, tuple[str, str]] = {}

    def of(self, digest: str) -> tuple[str, str]:
        """Origin and key; empty until the record was read, and for what has none."""
        return self._names.get(digest, UNKNOWN)

    def note(self, record: Record) -> None:
        self._names[record.id.digest] = (record.origin, record.key)

    def forget(self, digest: str) -> None:
        self._names.pop(digest, None)

    def keep(self, digests: Container[str]) -> None:
        """Forgets all others."""
        for digest in [digest for digest in self._names if digest not in digests]:
            self.forget(digest)

    def read(self, digests: Iterable[str], stopped: Callable[[], bool]) -> None:
        """Those that are not known yet: a small file each.  Never raises."""
        for digest in digests:
            if digest in self._names:
                continue
            if stopped():
                return
            try:
                record = self._entries.read_record(digest)
            except RecordFromNewer:
                record = None
            self._names.setdefault(digest, (record.origin, record.key) if record else UNKNOWN)

    def pinned(self, pins: Pins) -> set[str]:
        return {digest for digest, name in list(self._names.items()) if pins.holds_key(*name)}
