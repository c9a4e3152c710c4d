"""One version of a far object as the source of an upload, without a tier in between: ranged reads, a connection a thread.

For who copies from bucket to bucket.  Each part is checked like a transfer's (status, range, ETag, length) and read again
when that fails; the checksum of the whole is the upload's to compare.  Raises the errors of storage.errors.
"""

from __future__ import annotations

import threading
import time

from .errors import BadAnswer, ObjectChanged, OriginUnreachable, Throttled
from .front import PinnedReader
from .objects import ObjectHead, RemoteObject, at_head
from .origin import Origin

TRIES = 4
PAUSE_S = 0.5


class FarSource:
    """``read`` may be called by several threads at once.  Close it in the thread that made it, after the others have ended."""

    def __init__(self, origin: Origin, obj: RemoteObject) -> None:
        self._origin = origin
        self._obj = obj
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._readers: list[PinnedReader] = []
        self.head = self._checked(self._reader())
        self.size_bytes = self.head.size_bytes

    def read(self, offset: int, length: int) -> bytes:
        for left in reversed(range(TRIES)):
            reader = self._reader()
            try:
                self._checked(reader)
                return reader.read(offset, length)
            except (OriginUnreachable, BadAnswer, Throttled):
                self._mine.reader = None  # its connection may be out of step
                if not left:
                    raise
                time.sleep(PAUSE_S * (TRIES - left))
        raise AssertionError("unreachable")

    def close(self) -> None:
        for reader in self._readers:
            reader.__exit__(None, None, None)

    def _reader(self) -> PinnedReader:
        reader: PinnedReader | None = getattr(self._mine, "reader", None)
        if reader is None:
            reader = self._mine.reader = PinnedReader(self._origin, self._obj)
            with self._lock:
                self._readers.append(reader)
        return reader

    def _checked(self, reader: PinnedReader) -> ObjectHead:
        """Each connection pins what it finds: it has to be the version that is copied."""
        head = reader.head
        if at_head(self._obj, head) != self._obj:
            step = "list the bucket again, and copy the new version"
            raise ObjectChanged("the object was overwritten", subject=self._obj.subject, next_step=step)
        return head


