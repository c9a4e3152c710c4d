"""The RAM tier: whole objects in the arena, by digest, least recently used first.

An object that is leased is never evicted.  Evicting drops the tier's record; the memory itself comes back when the
last tensor over it is gone.  So to make room the tier first lets go of entries that nobody's tensors hold: dropping
one that a loaded model still holds would lose a hit and win nothing.

Threads: every method may be called from any thread.  ``RamTier._lock`` is held for moments only; neither the arena's
lock nor any other is taken inside it, and events are emitted with no lock held.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage.errors import NoRoom
from ..storage.events import EventBus, Evicted, Stored, TierHit
from ..storage.objects import RemoteObject
from ..storage.safetensors_header import SafetensorsHeader
from .arena import RAISE_BUDGET, Allocation, Arena
from .lease import Lease
from .pins import Pins

TIER = "ram"


class _Record:
    """What the tier keeps of one object.  ``buffer``, ``leases`` and ``dropped`` change under the tier's lock only.

    ``buffer`` is the tier's one reference to the memory; None once the record is dropped and no longer leased.
    """

    def __init__(self, obj: RemoteObject, buffer: Any, header: SafetensorsHeader, crc64: int | None) -> None:
        self.obj = obj
        self.buffer = buffer
        self.header = header
        self.crc64 = crc64
        self.leases = 0
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True
        self.forget_if_unused()

    def forget_if_unused(self) -> None:
        """So that a handle somebody keeps after its release does not keep the memory."""
        if self.dropped and not self.leases:
            self.buffer = None


class RamEntry(Lease):
    """A leased object.  Its bytes may be read until `release`; tensors made from ``buffer`` stay valid after it."""

    def __init__(self, tier: RamTier, record: _Record) -> None:
        super().__init__(lambda: tier._unlease(record))
        self._tier = tier
        self._record = record

    def lease(self) -> RamEntry:
        """A second lease on the same object.  Only while this one is held."""
        return self._tier._lease(self._record)

    @property
    def obj(self) -> RemoteObject:
        return self._record.obj

    @property
    def header(self) -> SafetensorsHeader:
        return self._record.header

    @property
    def crc64(self) -> int | None:
        return self._record.crc64

    @property
    def buffer(self) -> Any:
        """The ctypes array that owns the bytes."""
        return self._record.buffer

    @property
    def view(self) -> memoryview:
        return memoryview(self._record.buffer).cast("B")

    def __enter__(self) -> RamEntry:
        return self


@dataclass(frozen=True, slots=True)
class RamEntryFigures:
    digest: str
    subject: str
    size_bytes: int
    leases: int


@dataclass(frozen=True, slots=True)
class RamSnapshot:
    """used_bytes: held by entries, running loads and tensors of evicted entries; entries: least recently used first."""

    budget_bytes: int
    used_bytes: int
    warm_free_bytes: int
    entries: tuple[RamEntryFigures, ...]


class RamTier:
    """Objects in RAM.  See the module's text for what evicting means."""

    def __init__(
        self,
        arena: Arena,
        bus: EventBus,
        clock: Callable[[], float] = time.monotonic,
        pins: Pins | None = None,
    ) -> None:
        self._arena = arena
        self._bus = bus
        self._clock = clock
        self._pins = pins or Pins()
        # reentrant: the garbage collector may end a forgotten `with entry:` in the very thread that holds the lock
        self._lock = threading.RLock()
        self._records: OrderedDict[str, _Record] = OrderedDict()  # least recently used first
        self._reserved_s: weakref.WeakKeyDictionary[Allocation, float] = weakref.WeakKeyDictionary()

    def get(self, digest: str) -> RamEntry | None:
        """The object, leased, or None."""
        started_s = self._clock()
        with self._lock:
            record = self._records.get(digest)
            if record is None:
                return None
            self._records.move_to_end(digest)
            record.leases += 1
        self._bus.emit(TierHit(TIER, record.obj.subject, record.obj.size_bytes, self._clock() - started_s))
        return RamEntry(self, record)

    def reserve(self, obj: RemoteObject, size_bytes: int) -> Allocation:
        """Memory for an object that is on its way.  Evicts what it has to; raises NoRoom when that is not enough."""
        evicted: list[_Record] = []
        allocation = None
        try:
            if size_bytes <= self._arena.budget_bytes:
                allocation = self._make_room(size_bytes, evicted)
                if allocation is None:
                    # tensors in reference cycles may be all that holds the memory
                    gc.collect()
                    allocation = self._make_room(size_bytes, evicted)
        finally:
            self._tell_evicted(evicted, "room")
        if allocation is None:
            raise self._no_room(obj, size_bytes)
        with self._lock:
            self._reserved_s[allocation] = self._clock()
        return allocation

    def publish(self, obj: RemoteObject, allocation: Allocation, header: SafetensorsHeader, crc64: int | None) -> RamEntry:
        """Makes a reserved, completely written object available; returns it leased.

        An entry with the same digest is replaced; whoever holds the old one keeps it.
        """
        record = _Record(obj, allocation.buffer, header, crc64)
        record.leases = 1
        with self._lock:
            replaced = self._records.pop(obj.id.digest, None)
            if replaced is not None:
                replaced.drop()
            self._records[obj.id.digest] = record
            now_s = self._clock()
            seconds = now_s - self._reserved_s.pop(allocation, now_s)
        if replaced is not None:
            self._tell_evicted([replaced], "replaced")
        self._bus.emit(Stored(TIER, obj.subject, obj.size_bytes, seconds))
        return RamEntry(self, record)

    def evict(self, digest: str) -> bool:
        """Drops an entry that is not leased.  False when there is none or it is leased."""
        with self._lock:
            record = self._records.get(digest)
            if record is None or record.leases:
                return False
            del self._records[digest]
            record.drop()
        self._tell_evicted([record], "asked")
        return True

    def let_go(self, digest: str) -> tuple[int, str]:
        """For who wants the memory back: bytes that came back, or why none did: "leased", "pinned", "loaded" (tensors of
        a model hold it), "" when there is no such entry."""
        with self._lock:
            record = self._records.get(digest)
            if record is None:
                return 0, ""
            if record.leases:
                return 0, "leased"
            if self._pins.holds(record.obj):
                return 0, "pinned"
            if not self._let_go(record):
                return 0, "loaded"
            del self._records[digest]
        self._tell_evicted([record], "asked")
        return record.obj.size_bytes, ""

    def condemn(self, digest: str) -> None:
        """Its bytes are wrong: nobody gets it any more; who holds it keeps it."""
        with self._lock:
            record = self._records.pop(digest, None)
            if record is not None:
                record.drop()
        if record is not None:
            self._tell_evicted([record], "damaged")

    def peek(self, digest: str) -> RamEntry | None:
        """Like `get`, and no use of it: for who looks after the tier."""
        with self._lock:
            record = self._records.get(digest)
            if record is None:
                return None
            record.leases += 1
        return RamEntry(self, record)

    def holds(self, digest: str) -> bool:
        return digest in self._records

    def held(self) -> tuple[tuple[RemoteObject, bool], ...]:
        """Every entry, and whether it is leased."""
        with self._lock:
            return tuple((record.obj, record.leases > 0) for record in self._records.values())

    def set_budget(self, budget_bytes: int) -> None:
        """From now on.  What is in use stays; idle entries go until the rest fits, as far as that is possible."""
        self._arena.set_budget(budget_bytes)
        self.shrink_to(budget_bytes)

    def shrink_to(self, used_bytes: int, reason: str = "room") -> int:
        """Evicts idle entries until no more than this is held, and gives free memory above it back to the system.

        Returns the bytes that were evicted; the budget stays what it is.
        """
        evicted: list[_Record] = []
        with self._lock:
            candidates = list(self._records)
        while self._arena.used_bytes > used_bytes and self._evict_next(candidates, evicted):
            pass
        self._tell_evicted(evicted, reason)
        figures = self._arena.figures()
        self._arena.trim(max(0, figures.used_bytes + figures.warm_free_bytes - used_bytes))
        return sum(record.obj.size_bytes for record in evicted)

    def snapshot(self) -> RamSnapshot:
        figures = self._arena.figures()
        with self._lock:
            entries = tuple(
                RamEntryFigures(digest, record.obj.subject, record.obj.size_bytes, record.leases)
                for digest, record in self._records.items()
            )
        return RamSnapshot(figures.budget_bytes, figures.used_bytes, figures.warm_free_bytes, entries)

    def close(self) -> None:
        """Drops every entry and closes the arena.  Leases and tensors stay valid."""
        with self._lock:
            for record in self._records.values():
                record.drop()
            self._records.clear()
        self._arena.close()

    # -- leases ------------------------------------------------------------------------------------------------------
    def _lease(self, record: _Record) -> RamEntry:
        with self._lock:
            record.leases += 1
        return RamEntry(self, record)

    def _unlease(self, record: _Record) -> None:
        with self._lock:
            record.leases -= 1
            record.forget_if_unused()

    # -- room --------------------------------------------------------------------------------------------------------
    def _make_room(self, size_bytes: int, evicted: list[_Record]) -> Allocation | None:
        """Evicts idle entries, least recently used first, until the arena has room.  None when it never has.

        The arena is asked without the tier's lock: it may give gigabytes of pages back, and hits should not wait.
        """
        with self._lock:
            if size_bytes > self._arena.budget_bytes - self._kept_bytes():
                return None  # evicting everything would not do
            candidates = list(self._records)
        allocation = self._try_allocate(size_bytes)
        while allocation is None and self._evict_next(candidates, evicted):
            allocation = self._try_allocate(size_bytes)
        return allocation

    def _try_allocate(self, size_bytes: int) -> Allocation | None:
        try:
            return self._arena.allocate(size_bytes)
        except NoRoom:
            return None

    def _evict_next(self, candidates: list[str], evicted: list[_Record]) -> bool:
        """Evicts the first candidate that is idle by now; takes what it looked at from the list."""
        while candidates:
            digest = candidates.pop(0)
            with self._lock:
                record = self._records.get(digest)
                if record is None or record.leases or self._pins.holds(record.obj):
                    continue
                if self._let_go(record):
                    del self._records[digest]
                    evicted.append(record)
                    return True
        return False

    @staticmethod
    def _let_go(record: _Record) -> bool:
        """Drops the tier's reference; takes it back, and says False, when somebody else keeps the memory alive."""
        watched = weakref.ref(record.buffer)
        record.buffer = None
        record.buffer = watched()
        record.dropped = record.buffer is None
        return record.dropped

    def _kept_bytes(self) -> int:
        return sum(record.obj.size_bytes for record in self._records.values() if record.leases or self._pins.holds(record.obj))

    def _tell_evicted(self, records: list[_Record], reason: str) -> None:
        for record in records:
            self._bus.emit(Evicted(TIER, record.obj.subject, record.obj.size_bytes, reason))

    def _no_room(self, obj: RemoteObject, size_bytes: int) -> NoRoom:
        figures = self._arena.figures()
        cause = (
            f"it needs {size_bytes / 1e9:.2f} GB of the RAM tier's {figures.budget_bytes / 1e9:.2f} GB; "
            f"{figures.used_bytes / 1e9:.2f} GB are in use by running loads and by models that are still loaded"
        )
        return NoRoom("the RAM tier has no room for it", subject=obj.subject, cause=cause, next_step=RAISE_BUDGET)
