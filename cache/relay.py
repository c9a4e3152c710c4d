"""One landing zone for several transfers, one after another: what the first brought, the next goes on from.

An object may be read from a copy in a near origin, or from its compressed form, and that may fail half way; the origin
itself then sends only what is missing.  The zone behind sees one transfer of one version: ``head_of`` says each
time in the object's own words what the server of the moment says in its.

Threads: as a landing zone, the threads of one transfer at a time; in between the one thread of the fetch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..storage.landing import LandingZone
from ..storage.objects import Extent, ObjectHead


def as_it_is(head: ObjectHead) -> ObjectHead:
    return head


class Relay:
    def __init__(self, zone: LandingZone) -> None:
        self._zone = zone
        self._lock = threading.Lock()
        self._head: ObjectHead | None = None
        self._view: memoryview | None = None
        self._held: Sequence[Extent] = ()
        self._landed: dict[int, Extent] = {}
        self.head_of: Callable[[ObjectHead], ObjectHead] = as_it_is
        """for the transfer that runs; raises ObjectChanged where the head is not of the version that was meant"""

    def prepare(self, head: ObjectHead) -> memoryview:
        head = self.head_of(head)
        known = self._head
        if known is None or self._view is None or (head.etag, head.size_bytes) != (known.etag, known.size_bytes):
            self.void()
            self._view = self._zone.prepare(head)
            self._held = tuple(self._zone.extents())
        self._head = head
        return self._view

    def extents(self) -> Sequence[Extent]:
        with self._lock:
            return sorted([*self._held, *self._landed.values()])

    def landed(self, extent: Extent) -> None:
        self._zone.landed(extent)
        with self._lock:
            self._landed[extent.offset] = extent

    def replaced(self, extent: Extent) -> None:
        with self._lock:
            self._landed[extent.offset] = extent
        replaced = getattr(self._zone, "replaced", None)
        if replaced is not None:
            replaced(extent)

    @property
    def landed_bytes(self) -> int:
        with self._lock:
            return sum(extent.length for extent in self._landed.values())

    @property
    def size_bytes(self) -> int:
        return 0 if self._head is None else self._head.size_bytes

    def void(self) -> None:
        """What has landed is worth nothing: the next transfer begins anew."""
        with self._lock:
            self._landed = {}
        self._head, self._view, self._held = None, None, ()

    let_go = void
    """at the end: the zone's memory must not be kept by this"""
