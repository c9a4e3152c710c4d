"""Making room on one SSD directory: who goes by whose plan, and how a full disk is believed.

Room is made under ``room_lock``, with disk I/O; the fields' lock is `Space`'s.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Set
from dataclasses import replace

from ..storage.errors import NoRoom
from ..storage.events import Evicted
from ..storage.objects import RemoteObject
from .disk_errors import out_of_inodes
from .entries import Found
from .partials import Leftover
from .policy import Entry, EvictionPlan
from .space import Space
from .space_values import no_room, not_worth_it

ENTRIES_A_RETRY = 4
"""evicted together when a disk is full against the figures; they free 12 inodes, a new object takes 6"""
RESCAN_S = 2.0
"""how old the table may be before room is made by it: other processes add and evict too (10,000 entries: 0.2 s)"""


class Room(Space):
    """Thread-safe, like `Space`."""

    # -- room ----------------------------------------------------------------------------------------------------------
    def make_more_room(self, obj: RemoteObject, size_bytes: int) -> bool:
        """For a disk that is full although the figures say that the object fits: somebody else fills it, a quota, inodes.

        Evicts ``size_bytes``, and a few entries at least.  False when there is not so much to evict.  Takes the room lock.
        """
        with self.room_lock:
            try:
                self.scan()
                spared = self._lease_files.live() | self._pinned_digests()
                with self._lock:
                    idle = self._table.idle(spared)
                some_bytes = sum(e.size_bytes for e in idle[:ENTRIES_A_RETRY])
                self.make_room(obj, 0, at_least=some_bytes if out_of_inodes(self._layout.root) else max(size_bytes, some_bytes))
            except (NoRoom, OSError):
                return False
        return bool(idle)

    def fits(self, size_bytes: int) -> bool:
        """Whether an object fits without evicting anything.  Raises OSError."""
        return self._shortage(size_bytes, 0) <= 0

    def make_room(self, obj: RemoteObject, size_bytes: int, held_bytes: int = 0, at_least: int = 0, *, must: bool = True) -> None:
        """Evicts until ``size_bytes`` fit, of which an adopted partial holds ``held_bytes``.  With the room lock held.

        at_least: bytes to evict whatever the figures say
        must:     False: raises NotWorthIt when those who would have to go are worth more than the object

        Raises NoRoom, and then has deleted nothing unless an entry turned out to be in use on the way.  What is
        freed is counted, not measured: some file systems return the blocks later, and measuring would evict on.
        """
        needed = max(at_least, self._shortage(size_bytes, held_bytes))
        if needed > 0 or self._scanned_s is None or time.monotonic() - self._scanned_s > RESCAN_S:
            self.scan()
            needed = max(at_least, self._shortage(size_bytes, held_bytes))
        spared = self._lease_files.live() | self._pinned_digests() if needed > 0 else set()
        while needed > 0:
            with self._lock:
                reclaimable = sum(p.size_bytes for p in self._reclaimable())
                newcomer = Entry(obj.id.digest, size_bytes, self._speed().reload_s(size_bytes))
                plan = self._plan(needed - reclaimable, spared, newcomer)
                idle_bytes = sum(e.size_bytes for e in self._table.idle(spared))
            if not plan.enough:
                raise self._no_room(obj, size_bytes, needed - reclaimable - idle_bytes)
            if not must and not plan.admit:
                raise not_worth_it(obj.subject, plan)
            needed -= self._reclaim_leftovers(needed)
            needed -= self._carry_out(plan, needed, spared, "room")

    def assume_budget(self, budget_bytes: int) -> None:
        """Nothing goes."""
        self._limits = replace(self._limits, budget_bytes=budget_bytes)
        with self._lock:
            self._choice.resize(self._capacity_bytes())

    def set_budget(self, budget_bytes: int | None) -> None:
        """From now on; evicts what is above it.  What cannot go stays, until the next object needs room."""
        with self.room_lock:
            self._limits = replace(self._limits, budget_bytes=budget_bytes)
            self.scan()
            with self._lock:
                self._choice.resize(self._capacity_bytes())
            excess = self._shortage(0, 0)
            if excess <= 0:
                return
            excess -= self._reclaim_leftovers(excess)
            spared = self._lease_files.live() | self._pinned_digests()
            while excess > 0:
                with self._lock:
                    entries = self._table.entries_for(self._choice, spared, self._speed())
                    plan = self._choice.plan_what_goes(entries, excess)
                if not plan.victims:
                    break
                excess -= self._carry_out(plan, excess, spared, "budget")

    def plan_room(self, size_bytes: int) -> EvictionPlan:
        """Who would go for an object of this size.  Changes nothing; asks the disk for its free space only."""
        shortage = self._shortage(size_bytes, 0)
        with self._lock:
            return self._plan(shortage - sum(p.size_bytes for p in self._reclaimable()), self._names.pinned(self._choice.pins))

    def _plan(self, needed_bytes: int, spared: Set[str], newcomer: Entry | None = None) -> EvictionPlan:
        """With the lock held."""
        return self._choice.plan(self._table.entries_for(self._choice, spared, self._speed()), needed_bytes, newcomer)

    def _carry_out(self, plan: EvictionPlan, needed_bytes: int, spared: set[str], reason: str) -> int:
        """Bytes that went, at least ``needed_bytes`` where nobody turned out to be in use; those are spared from now on."""
        freed_bytes = 0
        for victim in plan.victims:
            if freed_bytes >= needed_bytes:
                break
            with self._lock:
                found = self._table.get(victim.digest)
            if found is not None and self._evict(found, reason, plan.why(victim)):
                freed_bytes += found.size_bytes
            else:
                spared.add(victim.digest)
        return freed_bytes

    def free_bytes(self) -> int:
        """What fits without evicting anything.  Asks the disk."""
        return max(0, -self._shortage(0, 0))

    def let_go(self, digest: str, reason: str = "asked") -> tuple[int, str]:
        """For who wants it gone: bytes freed, or why it stays: "leased", "pinned", "newer", "busy"; "" where there is none."""
        with self.room_lock:
            with self._lock:
                found = self._table.get(digest)
            if found is None:
                return 0, ""
            if self._is_leased(digest):
                return 0, "leased"
            if digest in self._pinned_digests():
                return 0, "pinned"
            if self._entries.is_from_newer(digest):
                return 0, "newer"
            return (found.size_bytes, "") if self._evict(found, reason) else (0, "busy")

    def _pinned_digests(self) -> set[str]:
        if self._choice.pins.none:
            return set()
        self.name_entries()
        return self._names.pinned(self._choice.pins)

    def _shortage(self, size_bytes: int, held_bytes: int) -> int:
        """Bytes that have to go before ``size_bytes`` more fit budget and floor; not positive when they fit."""
        free_bytes = self._disk.free_bytes(self._layout.root)
        with self._lock:
            promised = sum(p.unwritten_bytes for p in self._active)
            over_floor = self._limits.free_floor_bytes + promised + size_bytes - held_bytes - free_bytes
            if self._limits.budget_bytes is None:
                return over_floor
            reserved = sum(p.size_bytes for p in self._active)
            used = self._table.used_bytes + reserved + self._leftover_bytes() - held_bytes
            return max(over_floor, used + size_bytes - self._limits.budget_bytes)

    def _reclaimable(self) -> list[Leftover]:
        """Oldest first.  With the lock held."""
        return sorted((p for p in self._leftovers if p.reclaimable), key=lambda p: p.touched_s)

    def _reclaim_leftovers(self, needed_bytes: int) -> int:
        """Unfinished downloads of dead processes and quarantine go before anything that can be used."""
        freed_bytes = 0
        with self._lock:
            reclaimable = self._reclaimable()
        for leftover in reclaimable:
            if freed_bytes < needed_bytes:
                freed_bytes += leftover.size_bytes if self._removed(leftover) else 0
        self.look_for_leftovers()
        return freed_bytes

    def _removed(self, leftover: Leftover) -> bool:
        try:
            self._partials.remove(leftover.path)
        except OSError:
            return False  # a file in use on Windows: `make_room` looks further
        return True

    def _evict(self, victim: Found, reason: str, why: str = "") -> bool:
        """False when its bytes stay: leased meanwhile, of a newer Model Stream, or open on Windows."""
        if self._entries.is_from_newer(victim.digest):
            return False
        record = self._entries.read_record(victim.digest)
        try:
            taken = self._entries.take_out(victim.digest)
        except FileNotFoundError:
            return True  # another process was quicker
        except OSError:
            return False
        if self._is_leased(victim.digest):
            with contextlib.suppress(OSError):  # it is a miss then, the reader fetches it again
                self._entries.put_back(victim.digest, taken)
                return False
        with self._lock:
            self._forget(victim.digest)
        self._bus.emit(Evicted("ssd", record.subject if record else victim.digest, victim.size_bytes, reason, why))
        try:
            self._partials.discard(taken)
        except OSError:
            return False  # a leftover now
        return True

    def _is_leased(self, digest: str) -> bool:
        """By this process or another.  Where the others cannot be asked it counts as leased."""
        with self._lock:
            if digest in self._table.leased:
                return True
        try:
            return digest in self._lease_files.live()
        except OSError:
            return True

    def _no_room(self, obj: RemoteObject, size_bytes: int, lacking_bytes: int) -> NoRoom:
        shown, free_bytes = self.snapshot(writable=True), self._disk.free_bytes(self._layout.root)
        return no_room(obj.subject, size_bytes, lacking_bytes, shown, free_bytes)
