"""One look at the near origin on behalf of one load: is a copy there, is somebody fetching it, or is it ours to fetch?

Made and used by the one thread of a fetch, ended by it; see `near.Mirror` for what happens to the answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..storage.errors import CorruptObject, ObjectChanged
from ..storage.landing import TransferResult
from ..storage.mirror_bucket import Copy
from ..storage.objects import ObjectHead, RemoteObject
from ..storage.origin import Origin

if TYPE_CHECKING:
    from .near import Mirror


@dataclass
class Visit:
    """copy:     what is there of this very version; None: the far origin has to be read
    replaces: ETag of an outdated or damaged copy of ours that a new one may take the place of
    own:      something lies under the key that is no copy of this object: nothing is written there
    wanted:   a copy of it may be made
    claimed:  the fleet knows that we fetch it
    """

    mirror: Mirror
    far: Origin
    obj: RemoteObject
    key: str
    copy: Copy | None = None
    replaces: str = ""
    own: bool = False
    wanted: bool = False
    claimed: bool = False
    landed_bytes: Callable[[], int] = lambda: 0
    """how far the fetch has got, for those who wait for it"""
    fetched: tuple[RemoteObject, int] | None = None
    """what came from the far origin in the end, and its CRC64NVME"""

    @property
    def digest(self) -> str:
        return self.obj.id.digest

    @property
    def near_object(self) -> RemoteObject:
        assert self.copy is not None
        return self.copy.as_object(self.mirror.bucket.origin)

    def head_of(self, head: ObjectHead) -> ObjectHead:
        """A HEAD answer of the copy in the far object's words.  Raises ObjectChanged when the copy is another one by now."""
        copy = self.copy
        if copy is None or copy.mark is None or (head.etag, head.size_bytes) != (copy.head.etag, copy.head.size_bytes):
            step = "nothing: it is read from the far origin"
            raise ObjectChanged("the copy in the near origin was replaced", subject=self.obj.subject, next_step=step)
        crc64 = head.crc64nvme if copy.mark.crc64 is None else copy.mark.crc64
        return replace(head, etag=self.obj.id.version, version_id=None, modified_s=self.obj.modified_s, crc64nvme=crc64)

    def checked(self, result: TransferResult) -> TransferResult:
        """The copy's bytes against the mark, which has the checksum of what the far origin sent.  Raises CorruptObject."""
        expected = self.copy.mark.crc64 if self.copy is not None and self.copy.mark is not None else None
        if expected is None:
            return result
        if result.crc64 != expected:
            cause = "their CRC64NVME is not the one that the far object's bytes had"
            step = "nothing: the copy is replaced"
            raise CorruptObject("the copy in the near origin is damaged", subject=self.obj.subject, cause=cause, next_step=step)
        return replace(result, verified="crc64nvme")

    def failed(self, error: Exception, landed_bytes: int) -> None:
        """The copy could not be read to its end."""
        self.mirror.copy_failed(self, error, landed_bytes)

    def ended(self) -> None:
        """The fetch is over.  Where the far origin was read, the copy is made now, in the background."""
        self.mirror.visit_ended(self)


class Pause:
    """Sleeps in short steps, for who must notice at once that nobody waits any more."""

    STEP_S = 0.05

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._never = threading.Event()

    def wait(self, seconds: float) -> bool:
        """False when it should stop."""
        for _ in range(max(1, round(seconds / self.STEP_S))):
            if self._should_stop():
                return False
            self._never.wait(self.STEP_S)
        return not self._should_stop()
