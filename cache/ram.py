"""The RAM tier: whole objects in the arena, by digest.

An object that is leased or pinned is never evicted.  Evicting drops the tier's record; the memory itself comes back when
the last tensor over it is gone.  So to make room the tier only lets go of entries that nobody's tensors hold: dropping
one that a loaded model still holds would lose a hit and win nothing.  Who of the others goes is the policy's choice
(`cache.tier_choice`); the tier acts on its plan and says why in the event.

Threads: every method may be called from any thread.  ``RamTier._lock`` is held for moments only (a plan over a thousand
entries: a millisecond); neither the arena's lock nor any other is taken inside it, and events are emitted with no lock held.
"""

from __future__ import annotations

import gc
import mmap
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from typing import TypeVar

from ..storage.errors import NoRoom
from ..storage.events import EventBus, Evicted, Stored, TierHit
from ..storage.objects import RemoteObject
from ..storage.safetensors_header import SafetensorsHeader
from . import pages
from .arena import RAISE_BUDGET, Allocation, Arena
from .policy import FROM_SSD, EvictionPlan
from .policy_history import Remembered
from .policy_tournament import Accounts
from .ram_entry import RamEntry, RamEntryFigures, RamRecord, RamSnapshot
from .tier_choice import TierChoice

__all__ = ["RamEntry", "RamEntryFigures", "RamSnapshot", "RamTier"]

TIER = "ram"
Taken = TypeVar("Taken")
_OURS = 2
"""references to a buffer that nobody else holds: the record's and the one that counting makes"""


class _Leased:
    """Which digests are leased, looked up, never listed."""

    def __init__(self, records: OrderedDict[str, RamRecord]) -> None:
        self._records = records

    def __contains__(self, digest: object) -> bool:
        record = self._records.get(digest)  # type: ignore[call-overload]
        return record is not None and record.leases > 0


class RamTier:
    """Objects in RAM.  See the module's text for what evicting means."""

    def __init__(
        self,
        arena: Arena,
        bus: EventBus,
        clock: Callable[[], float] = time.monotonic,
        *,
        choice: TierChoice | None = None,
        reload_s: Callable[[RemoteObject], float] | None = None,
    ) -> None:
        """choice:   who goes when room is needed
        reload_s: what it costs to load an object again; quick, asked without the tier's lock
        """
        self._arena = arena
        self._bus = bus
        self._clock = clock
        self._choice = TierChoice(arena.budget_bytes) if choice is None else choice
        self._choice.resize(arena.budget_bytes)
        self.reload_s = reload_s or (lambda obj: FROM_SSD.reload_s(obj.size_bytes))
        # reentrant: the garbage collector may end a forgotten `with entry:` in the very thread that holds the lock
        self._lock = threading.RLock()
        self._records: OrderedDict[str, RamRecord] = OrderedDict()  # least recently used first
        self._leased = _Leased(self._records)
        self._reserved_s: weakref.WeakKeyDictionary[Allocation, float] = weakref.WeakKeyDictionary()

    # -- use -----------------------------------------------------------------------------------------------------------
    def get(self, digest: str) -> RamEntry | None:
        """The object, leased, or None.  A use of it."""
        started_s = self._clock()
        record = self._records.get(digest)
        reload_s = 0.0 if record is None else self.reload_s(record.obj)
        with self._lock:
            record = self._records.get(digest)
            if record is None:
                return None
            self._records.move_to_end(digest)
            record.leases += 1
            self._choice.used(digest, record.obj.size_bytes, reload_s, self._leased, hit=True)
        self._bus.emit(TierHit(TIER, record.obj.subject, record.obj.size_bytes, self._clock() - started_s))
        return RamEntry(self, record)

    def missed(self, obj: RemoteObject, *, first: bool = True) -> None:
        """A use that the tier could not answer; before the object is fetched.  ``first``: not of a load under way."""
        reload_s = self.reload_s(obj)
        with self._lock:
            self._choice.used(obj.id.digest, obj.size_bytes, reload_s, self._leased, hit=not first)

    def used(self, obj: RemoteObject) -> bool:
        """A use of an entry that was not asked for: the model made from it was still there.  False: there is none."""
        reload_s = self.reload_s(obj)
        with self._lock:
            if obj.id.digest not in self._records:
                return False
            self._records.move_to_end(obj.id.digest)
            self._choice.used(obj.id.digest, obj.size_bytes, reload_s, self._leased, hit=True)
            return True

    def keep(self, digests: list[str], until_s: float) -> None:
        """See `TierChoice.keep`."""
        with self._lock:
            self._choice.keep(digests, until_s)

    def reserve(self, obj: RemoteObject, size_bytes: int) -> Allocation:
        """Memory for an object that is on its way.  Evicts what it has to; raises NoRoom when that is not enough, and then
        has evicted nothing unless an entry turned out to be in use on the way."""
        allocation = self._with_room(obj, size_bytes, lambda: self._arena.allocate(size_bytes))
        with self._lock:
            self._reserved_s[allocation] = self._clock()
        return allocation

    def publish(
        self, obj: RemoteObject, allocation: Allocation, header: SafetensorsHeader, crc64: int | None, *, ahead: bool = False
    ) -> RamEntry:
        """Makes a reserved, completely written object available; returns it leased.

        An entry with the same digest is replaced; whoever holds the old one keeps it.
        ahead: nobody has asked for it yet
        """
        with self._lock:
            now_s = self._clock()
            seconds = now_s - self._reserved_s.pop(allocation, now_s)
        return self._publish(RamRecord(obj, allocation.buffer, header, crc64), seconds, ahead=ahead)

    def adopt(
        self, obj: RemoteObject, mapping: mmap.mmap, header: SafetensorsHeader, crc64: int | None, *, ahead: bool = False
    ) -> RamEntry:
        """`publish` for memory that has the object already: a file, mapped privately, of which other processes have the same
        pages.  It counts like any other entry.  Evicts what it has to; raises NoRoom like `reserve`."""
        buffer = self._with_room(obj, len(mapping), lambda: self._arena.borrow(mapping))
        return self._publish(RamRecord(obj, buffer, header, crc64), 0.0, ahead=ahead)

    def _publish(self, record: RamRecord, seconds: float, *, ahead: bool) -> RamEntry:
        obj = record.obj
        record.leases = 1
        reload_s = self.reload_s(obj)
        with self._lock:
            replaced = self._records.pop(obj.id.digest, None)
            if replaced is not None:
                replaced.drop()
                self._choice.removed(obj.id.digest)
            self._records[obj.id.digest] = record
            if ahead:
                self._choice.came_ahead(obj.id.digest, obj.size_bytes, reload_s)
            else:
                self._choice.admitted(obj.id.digest)
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
            self._remove(digest)
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
            if self._choice.pins.holds(record.obj):
                return 0, "pinned"
            if not self._let_go(record):
                return 0, "loaded"
            self._remove(digest)
        self._tell_evicted([record], "asked")
        return record.obj.size_bytes, ""

    def condemn(self, digest: str) -> None:
        """Its bytes are wrong: nobody gets it any more; who holds it keeps it."""
        with self._lock:
            record = self._records.get(digest)
            if record is not None:
                self._remove(digest)
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
        with self._lock:
            self._choice.resize(budget_bytes)
        self.shrink_to(budget_bytes, "budget")

    def shrink_to(self, used_bytes: int, reason: str = "room") -> int:
        """Evicts idle entries until no more than this is held, and gives free memory above it back to the system.

        Returns the bytes that were evicted; the budget stays what it is.
        """
        freed_bytes, busy = 0, set[str]()
        while (excess := self._arena.used_bytes - used_bytes) > 0:
            plan = self._plan(excess, busy, at_most=True)
            if not plan.victims:
                break
            freed_bytes += self._carry_out(plan, busy, reason)
        figures = self._arena.figures()
        self._arena.trim(max(0, figures.used_bytes + figures.warm_free_bytes - used_bytes))
        return freed_bytes

    def plan_room(self, size_bytes: int) -> EvictionPlan:
        """Who would go for an object of this size.  Changes nothing."""
        return self._plan(self._shortage(size_bytes), ())

    @property
    def choice(self) -> TierChoice:
        """For `remembered`, `accounts` and `report`; everything else is the tier's own."""
        return self._choice

    def recall(self, remembered: Iterable[Remembered], accounts: Accounts) -> None:
        """What an earlier process knew of uses."""
        with self._lock:
            self._choice.recall(remembered, accounts, ())

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
    def _lease(self, record: RamRecord) -> RamEntry:
        with self._lock:
            record.leases += 1
        return RamEntry(self, record)

    def _unlease(self, record: RamRecord) -> None:
        with self._lock:
            record.leases -= 1
            record.forget_if_unused()

    # -- room --------------------------------------------------------------------------------------------------------
    def _with_room(self, obj: RemoteObject, size_bytes: int, take: Callable[[], Taken]) -> Taken:
        """``take`` gets it from the arena, raising NoRoom.  Raises NoRoom when evicting is not enough."""
        taken = None
        if size_bytes <= self._arena.budget_bytes:
            taken = self._make_room(size_bytes, take)
            if taken is None:
                # tensors in reference cycles may be all that holds the memory
                gc.collect()
                taken = self._make_room(size_bytes, take)
        if taken is None:
            raise self._no_room(obj, size_bytes)
        return taken

    def _make_room(self, size_bytes: int, take: Callable[[], Taken]) -> Taken | None:
        """Evicts by plan until the arena has room.  None when all that may go would not do.

        The arena is asked without the tier's lock: it may give gigabytes of pages back, and hits should not wait.
        """
        busy: set[str] = set()
        while (taken := self._try(take)) is None:
            # not short, and refused all the same: the system has no memory, so what the object takes has to go
            shortage = self._shortage(size_bytes)
            plan = self._plan(shortage if shortage > 0 else size_bytes, busy)
            if not plan.victims:
                return None
            self._carry_out(plan, busy, "room")
        return taken

    def _shortage(self, size_bytes: int) -> int:
        figures = self._arena.figures()
        return figures.used_bytes + pages.round_up(max(size_bytes, 1), pages.PAGE) - figures.budget_bytes

    def _try(self, take: Callable[[], Taken]) -> Taken | None:
        try:
            return take()
        except NoRoom:
            return None

    def _plan(self, needed_bytes: int, busy: Container[str], *, at_most: bool = False) -> EvictionPlan:
        """at_most: when everything that may go does not do, everything."""
        with self._lock:
            entries = {
                digest: self._choice.entry(
                    digest,
                    record.obj.size_bytes,
                    0.0,
                    leased=record.leases > 0 or digest in busy or sys.getrefcount(record.buffer) > _OURS,
                    pinned=self._choice.pins.holds(record.obj),
                    last_used_s=float(order),  # only compared with each other, where the policy has seen no use
                )
                for order, (digest, record) in enumerate(self._records.items())
            }
            return self._choice.plan_what_goes(entries, needed_bytes) if at_most else self._choice.plan(entries, needed_bytes)

    def _carry_out(self, plan: EvictionPlan, busy: set[str], reason: str) -> int:
        """Bytes that came back.  Whoever is in use by now is noted as busy."""
        freed_bytes = 0
        for victim in plan.victims:
            with self._lock:
                record = self._records.get(victim.digest)
                if record is None:
                    continue
                if record.leases or not self._let_go(record):
                    busy.add(victim.digest)
                    continue
                self._remove(victim.digest)
            freed_bytes += record.obj.size_bytes
            self._bus.emit(Evicted(TIER, record.obj.subject, record.obj.size_bytes, reason, plan.why(victim)))
        return freed_bytes

    def _remove(self, digest: str) -> None:
        """With the lock held."""
        del self._records[digest]
        self._choice.removed(digest)

    @staticmethod
    def _let_go(record: RamRecord) -> bool:
        """Drops the tier's reference; takes it back, and says False, when somebody else keeps the memory alive."""
        watched = weakref.ref(record.buffer)
        record.buffer = None
        record.buffer = watched()
        record.dropped = record.buffer is None
        return record.dropped

    def _tell_evicted(self, records: list[RamRecord], reason: str) -> None:
        for record in records:
            self._bus.emit(Evicted(TIER, record.obj.subject, record.obj.size_bytes, reason))

    def _no_room(self, obj: RemoteObject, size_bytes: int) -> NoRoom:
        figures = self._arena.figures()
        cause = (
            f"it needs {size_bytes / 1e9:.2f} GB of the RAM tier's {figures.budget_bytes / 1e9:.2f} GB; "
            f"{figures.used_bytes / 1e9:.2f} GB are in use by running loads and by models that are still loaded"
        )
        return NoRoom("the RAM tier has no room for it", subject=obj.subject, cause=cause, next_step=RAISE_BUDGET)
