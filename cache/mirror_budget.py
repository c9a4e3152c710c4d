"""A near origin's budget: what is in its books, who leaves for a newcomer, and the leaving itself.

The books are the fleet's (`mirror_records`): listed when they are needed, believed for some minutes, and corrected by what this
process does itself.  Two workers that write at once may go over the budget by what they wrote; the next one takes it back.
Used by the mirroring thread and by the command line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from ..storage.catalog import Catalog
from ..storage.errors import ObjectChanged, ObjectMissing
from ..storage.events import EventBus
from ..storage.events_near import MirrorEvicted
from ..storage.mirror_bucket import MirrorBucket
from ..storage.mirror_records import Books, CopyRecord, Records
from ..storage.objects import RemoteObject
from .mirror_room import plan_room
from .policy import EvictionPlan

BELIEVED_S = 300.0


class Tenant(Protocol):
    """What a near origin is to its budget.  far_prefixes: of the origins that it stands in front of, by their names"""

    bucket: MirrorBucket
    budget_bytes: int | None
    far_prefixes: dict[str, str]


class MirrorBudget:
    """Thread-safe, as far as the books go; one thread makes room at a time."""

    def __init__(
        self,
        catalog: Catalog,
        bus: EventBus,
        *,
        policy: str,
        reload_s: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._bus = bus
        self._policy = policy
        self._reload_s = reload_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._books: dict[str, tuple[float, Books]] = {}

    def records(self, mirror: Tenant) -> Records:
        return Records(mirror.bucket)

    def books(self, mirror: Tenant, *, fresh: bool = False) -> Books:
        """May list the near origin.  Raises ModelStreamError."""
        name, now_s = mirror.bucket.name, self._clock()
        with self._lock:
            listed_s, books = self._books.get(name, (-BELIEVED_S, Books()))
        if not fresh and now_s - listed_s < BELIEVED_S:
            return books
        books = self.records(mirror).list()
        with self._lock:
            self._books[name] = (now_s, books)
        return books

    def plan(self, mirror: Tenant, key: str, size_bytes: int, *, fresh: bool = False) -> EvictionPlan:
        """Who would leave for an object of this size under this key.  Changes nothing."""
        books = self.books(mirror, fresh=fresh)
        return plan_room(
            books,
            key,
            size_bytes,
            mirror.budget_bytes,
            policy=self._policy,
            now_s=self._wall_clock(),
            reload_s=self._reload_s,
            gone=self._gone(mirror, books),
        )

    def make_room(self, mirror: Tenant, key: str, obj: RemoteObject) -> bool:
        """False: what would have to leave is worth more, or is not ours to delete."""
        if mirror.budget_bytes is None:
            return True
        plan = self.plan(mirror, key, obj.size_bytes)
        if plan.victims:  # before anybody is sent away, the latest word
            plan = self.plan(mirror, key, obj.size_bytes, fresh=True)
        if not plan.enough or not plan.admit:
            return False
        for victim in plan.victims:
            self.evict(mirror, victim.digest, plan.why(victim))
        return True

    def evict(self, mirror: Tenant, key: str, why: str) -> int:
        """Deletes a copy of ours; bytes that came free.  What has no mark, or is another by now, stays."""
        copy = mirror.bucket.look(key)
        freed_bytes = 0
        if copy is not None and copy.mark is not None:
            try:
                mirror.bucket.delete(key, copy.head.etag)
            except (ObjectChanged, ObjectMissing):
                return 0
            freed_bytes = copy.head.size_bytes
        self.records(mirror).forget(key)
        self._change(mirror, key, None)
        if freed_bytes:
            self._bus.emit(MirrorEvicted(mirror.bucket.name, key, freed_bytes, why))
        return freed_bytes

    def came(self, mirror: Tenant, key: str, obj: RemoteObject) -> None:
        self._change(mirror, key, CopyRecord(key, obj.size_bytes, "", self._wall_clock(), 1))

    # -- inside --------------------------------------------------------------------------------------------------------
    def _change(self, mirror: Tenant, key: str, record: CopyRecord | None) -> None:
        name = mirror.bucket.name
        with self._lock:
            if name in self._books:
                listed_s, books = self._books[name]
                others = tuple(one for one in books.records if one.key != key)
                self._books[name] = (listed_s, replace(books, records=others if record is None else (*others, record)))

    def _gone(self, mirror: Tenant, books: Books) -> frozenset[str]:
        """Keys that no far origin has any more; only complete listings say so."""
        listings = [one for one in self._catalog.listings() if one.origin in mirror.far_prefixes]
        if len(listings) < len(mirror.far_prefixes) or any(one.cut or not one.listed_s for one in listings):
            return frozenset()
        start = len(mirror.bucket.origin.prefix)
        relatives = {record.key: record.key[start:] for record in books.records}
        return frozenset(
            key for key, rest in relatives.items() if all(one.row(mirror.far_prefixes[one.origin] + rest) is None for one in listings)
        )
