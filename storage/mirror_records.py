"""The books of a near origin: a record for each copy of ours, so that one listing says what may be evicted and when it was used.

A record is an object under ``.modelstream/copies/`` with the copy's name.  Its last-modified is the copy's last use by anybody
of the fleet, its size the number of uses (a byte each): both come with a listing, no record is ever read.  An object without a
record is its owner's own and is never named here.

Blocks; any thread.  Raises the errors of storage.errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .listing import OURS
from .mirror_bucket import MirrorBucket
from .objects import RemoteObject

USES_MAX = 1000
"""counted: more says nothing new"""


@dataclass(frozen=True, slots=True)
class CopyRecord:
    """One copy as a listing has it.  size_bytes: of the copy; None where only its record is left"""

    key: str
    size_bytes: int | None
    etag: str
    used_s: float
    uses: int


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that is a copy of ours, at one moment."""

    records: tuple[CopyRecord, ...] = ()

    @property
    def used_bytes(self) -> int:
        return sum(record.size_bytes or 0 for record in self.records)

    def of(self, key: str) -> CopyRecord | None:
        return next((record for record in self.records if record.key == key), None)


class Records:
    def __init__(self, bucket: MirrorBucket) -> None:
        self._bucket = bucket

    def list(self, should_stop: Callable[[], bool] = lambda: False) -> Books:
        """Lists the whole near origin.  should_stop: asked before each page; what was read by then is the answer."""
        origin = self._bucket.origin
        written = f"{origin.prefix}{OURS}copies/"
        notes: dict[str, RemoteObject] = {}
        objects: dict[str, RemoteObject] = {}
        for page in origin.list_pages():
            for obj in page:
                if obj.id.key.startswith(written):
                    notes[origin.prefix + obj.id.key[len(written) :]] = obj
                elif not obj.id.key.startswith(origin.prefix + OURS):
                    objects[obj.id.key] = obj
            if should_stop():
                break
        return Books(tuple(self._joined(notes, objects)))

    @staticmethod
    def _joined(notes: dict[str, RemoteObject], objects: dict[str, RemoteObject]) -> Iterable[CopyRecord]:
        for key, note in notes.items():
            copy = objects.get(key)
            size_bytes, etag = (None, "") if copy is None else (copy.size_bytes, copy.id.version)
            yield CopyRecord(key, size_bytes, etag, note.modified_s, max(1, note.size_bytes))

    def used(self, key: str, uses: int) -> None:
        """Writes the record anew: it was used now, for the ``uses``-th time."""
        self._bucket.call("put_object", self._bucket.record_key(key), Body=b"." * max(1, min(uses, USES_MAX)))

    def forget(self, key: str) -> None:
        self._bucket.call("delete_object", self._bucket.record_key(key))
