"""Which object each entry of an SSD directory is: from its record, read once, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from ..storage.objects import ObjectId, RemoteObject
from .entries import Entries
from .pins import Pins
from .record import Record, RecordFromNewer

UNKNOWN = ("", "")


@dataclass(frozen=True, slots=True)
class Brief:
    """What is kept of a record, without the checksums of its chunks."""

    origin: str
    id: ObjectId
    size_bytes: int
    crc64: int

    @classmethod
    def of(cls, record: Record) -> Brief:
        return cls(record.origin, record.id, record.size_bytes, record.crc64)

    @property
    def obj(self) -> RemoteObject:
        return RemoteObject(self.origin, self.id, self.size_bytes, 0.0)


class EntryNames:
    """Thread-safe: each change is one operation on a dict, and a name of a digest never changes."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._briefs: dict[str, Brief | None] = {}

    def of(self, digest: str) -> tuple[str, str]:
        """Origin and key; empty until the record was read, and for what has none."""
        brief = self._briefs.get(digest)
        return UNKNOWN if brief is None else (brief.origin, brief.id.key)

    def briefs(self, digests: Iterable[str]) -> list[Brief]:
        """Of those that have a readable record; reads what was not read yet."""
        named = list(digests)
        self.read(named, lambda: False)
        return [brief for digest in named if (brief := self._briefs.get(digest)) is not None]

    def note(self, record: Record) -> None:
        self._briefs[record.id.digest] = Brief.of(record)

    def forget(self, digest: str) -> None:
        self._briefs.pop(digest, None)

    def keep(self, digests: Container[str]) -> None:
        """Forgets all others."""
        for digest in [digest for digest in self._briefs if digest not in digests]:
            self.forget(digest)

    def read(self, digests: Iterable[str], stopped: Callable[[], bool]) -> None:
        """Those that are not known yet: a small file each.  Never raises."""
        for digest in digests:
            if digest in self._briefs:
                continue
            if stopped():
                return
            try:
                record = self._entries.read_record(digest)
            except RecordFromNewer:
                record = None
            self._briefs.setdefault(digest, Brief.of(record) if record else None)

    def pinned(self, pins: Pins) -> set[str]:
        briefs = list(self._briefs.items())
        return {digest for digest, brief in briefs if brief is not None and pins.holds_key(brief.origin, brief.id.key)}
