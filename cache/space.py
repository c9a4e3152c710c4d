"""The SSD tier's space: what is there, what is promised, who is leased, and how room is made.

The one authority for bytes on the SSD.  `cache.usage` plans evictions, `Space` carries them out.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, replace

from ..storage.errors import NoRoom
from ..storage.events import EventBus, Evicted, TierDegraded
from ..storage.objects import RemoteObject
from .disk import Disk
from .disk_errors import disk_error, out_of_inodes
from .entries import Entries, Found
from .leases import LeaseFiles
from .partial import PartialFile
from .partials import Leftover, Partials
from .paths import Layout
from .pins import Pins
from .record import Record, RecordFromNewer
from .usage import UsageTable

ENTRIES_A_RETRY = 4
"""evicted together when a disk is full against the figures; they free 12 inodes, a new object takes 6"""
RESCAN_S = 2.0
"""how old the table may be before room is made by it: other processes add and evict too (10,000 entries: 0.2 s)"""


@dataclass(frozen=True, slots=True)
class Limits:
    """budget_bytes:     for entries, partials and quarantine together; None: what the disk leaves
    free_floor_bytes: stay free on the disk whatever the budget says
    """

    budget_bytes: int | None
    free_floor_bytes: int


@dataclass(frozen=True, slots=True)
class SsdSnapshot:
    """reserved_bytes: full size of what is on its way; leftover_bytes: unfinished downloads of others, quarantine"""

    entries: int
    used_bytes: int
    reserved_bytes: int
    leftover_bytes: int
    budget_bytes: int | None
    free_floor_bytes: int
    leases: int
    writable: bool


@dataclass(frozen=True, slots=True)
class Held:
    """An entry as the table knows it.  origin, key: empty until its record was read; last_used_s: since the epoch"""

    digest: str
    size_bytes: int
    last_used_s: float
    leased: bool
    origin: str = ""
    key: str = ""


class Space:
    """Thread-safe.  Lock order: ``room_lock`` (held while room is made, so with disk I/O) → ``_lock`` (fields only)."""

    def __init__(
        self,
        limits: Limits,
        disk: Disk,
        layout: Layout,
        entries: Entries,
        partials: Partials,
        lease_files: LeaseFiles,
        bus: EventBus,
        clock: Callable[[], float],
        pins: Pins | None = None,
    ) -> None:
        self._limits = limits
        self._pins = pins or Pins()
        self._names: dict[str, tuple[str, str]] = {}
        self._disk = disk
        self._layout = layout
        self._entries = entries
        self._partials = partials
        self._lease_files = lease_files
        self._bus = bus
        self._clock = clock
        self.room_lock = threading.RLock()
        self._lock = threading.Lock()
        self._table = UsageTable()
        self._lease_names: dict[str, str] = {}
        self._active: set[PartialFile] = set()
        self._leftovers: tuple[Leftover, ...] = ()
        self._scanned_s: float | None = None

    # -- what is there -------------------------------------------------------------------------------------------------
    def scan(self) -> None:
        """Brings the table up to date with the disk.  Stat only."""
        found = list(self._entries.walk())
        with self._lock:
            self._table.scanned(found, self._clock())
            self._names = {digest: name for digest, name in self._names.items() if digest in self._table}
            self._scanned_s = time.monotonic()
        self.look_for_leftovers()

    def look_for_leftovers(self) -> None:
        """Never raises: it runs after the work was done.  A disk that cannot list them keeps the last figures."""
        try:
            leftovers = tuple(self._partials.leftovers(self._clock()))
        except OSError as error:
            shown = disk_error(error, "unfinished downloads cannot be counted")
            self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
            return
        with self._lock:
            self._leftovers = leftovers

    def snapshot(self, *, writable: bool) -> SsdSnapshot:
        with self._lock:
            return SsdSnapshot(
                len(self._table),
                self._table.used_bytes,
                sum(p.size_bytes for p in self._active),
                self._leftover_bytes(),
                self._limits.budget_bytes,
                self._limits.free_floor_bytes,
                len(self._table.leased),
                writable,
            )

    def held(self) -> tuple[Held, ...]:
        """Memory only; names are there once `name_entries` or a use has seen them."""
        with self._lock:
            return tuple(
                Held(e.digest, e.size_bytes, e.last_used_s, e.digest in self._table.leased, *self._names.get(e.digest, ("", "")))
                for e in self._table.entries()
            )

    def name_entries(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Reads the records of entries whose names are not known yet: a small file each.  Never raises."""
        with self._lock:
            unknown = [entry.digest for entry in self._table.entries() if entry.digest not in self._names]
        for digest in unknown:
            if stopped():
                return
            try:
                record = self._entries.read_record(digest)
            except RecordFromNewer:
                record = None
            with self._lock:
                self._names[digest] = (record.origin, record.key) if record else ("", "")

    def used(self, record: Record) -> float:
        """Notes a use or a new entry; returns the time that counts for it."""
        digest = record.id.digest
        with self._lock:
            self._names[digest] = (record.origin, record.key)
            return self._table.used(digest, record.size_bytes, self._clock())

    def gone(self, digest: str) -> None:
        with self._lock:
            self._table.gone(digest)
            self._names.pop(digest, None)
        self.look_for_leftovers()

    def began(self, partial: PartialFile) -> None:
        with self._lock:
            self._active.add(partial)

    def ended(self, partial: PartialFile) -> None:
        with self._lock:
            self._active.discard(partial)

    def active(self) -> tuple[PartialFile, ...]:
        with self._lock:
            return tuple(self._active)

    # -- leases --------------------------------------------------------------------------------------------------------
    def take_lease(self, digest: str, *, writable: bool) -> None:
        """The first lease of this process also makes the file that other processes see."""
        with self._lock:
            first = digest not in self._table.leased
            self._table.lease(digest)
        if first and writable:
            name = self._lease_files.make(digest)
            with self._lock:
                unused = self._lease_names.get(digest, "")
                self._lease_names[digest] = name
            self._lease_files.drop(unused)

    def give_lease_back(self, digest: str) -> None:
        with self._lock:
            self._table.release(digest)
            name = "" if digest in self._table.leased else self._lease_names.pop(digest, "")
        self._lease_files.drop(name)

    # -- room ----------------------------------------------------------------------------------------------------------
    def make_more_room(self, obj: RemoteObject, size_bytes: int) -> bool:
        """For a disk that is full although the figures say that the object fits: somebody else fills it, a quota, inodes.

        Evicts ``size_bytes``, and a few entries at least.  False when there is not so much to evict.  Takes the room lock.
        """
        with self.room_lock:
            try:
                self.scan()
                pinned = self._pinned_digests()
                with self._lock:
                    idle = self._table.plan(1 << 62, self._lease_files.live() | pinned).victims
                some_bytes = sum(e.size_bytes for e in idle[:ENTRIES_A_RETRY])
                self.make_room(obj, 0, at_least=some_bytes if out_of_inodes(self._layout.root) else max(size_bytes, some_bytes))
            except (NoRoom, OSError):
                return False
        return bool(idle)

    def fits(self, size_bytes: int) -> bool:
        """Whether an object fits without evicting anything.  Raises OSError."""
        return self._shortage(size_bytes, 0) <= 0

    def make_room(self, obj: RemoteObject, size_bytes: int, held_bytes: int = 0, at_least: int = 0) -> None:
        """Evicts until ``size_bytes`` fit, of which an adopted partial holds ``held_bytes``.  With the room lock held.

        ``at_least``: bytes to evict whatever the figures say.

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
                plan = self._table.plan(needed - reclaimable, spared)
            if not plan.enough:
                raise self._no_room(obj, size_bytes, plan.needed_bytes - plan.freed_bytes)
            needed -= self._reclaim_leftovers(needed)
            for victim in plan.victims:
                if needed <= 0:
                    break
                if self._evict(victim):
                    needed -= victim.size_bytes
                else:
                    spared.add(victim.digest)

    def set_budget(self, budget_bytes: int | None) -> None:
        """From now on; evicts what is above it.  What cannot go stays, until the next object needs room."""
        with self.room_lock:
            self._limits = replace(self._limits, budget_bytes=budget_bytes)
            self.scan()
            excess = self._shortage(0, 0)
            if excess <= 0:
                return
            excess -= self._reclaim_leftovers(excess)
            spared = self._lease_files.live() | self._pinned_digests()
            with self._lock:
                idle = self._table.plan(1 << 62, spared).victims
            for victim in idle:
                if excess > 0 and self._evict(victim, "budget"):
                    excess -= victim.size_bytes

    def let_go(self, digest: str) -> tuple[int, str]:
        """For who wants it gone: bytes freed, or why it stays: "leased", "pinned", "newer", "busy"; "" where there is none."""
        with self.room_lock:
            with self._lock:
                found = self._table.get(digest)
            if found is None:
                return 0, ""
            if digest in self._leased_now():
                return 0, "leased"
            if digest in self._pinned_digests():
                return 0, "pinned"
            if self._entries.is_from_newer(digest):
                return 0, "newer"
            return (found.size_bytes, "") if self._evict(found, "asked") else (0, "busy")

    def _pinned_digests(self) -> set[str]:
        if self._pins.none:
            return set()
        self.name_entries()
        with self._lock:
            names = list(self._names.items())
        return {digest for digest, name in names if self._pins.holds_key(*name)}

    def held_by(self, directory: object) -> int:
        """Bytes on the disk of one leftover."""
        with self._lock:
            return next((p.size_bytes for p in self._leftovers if p.path == directory), 0)

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

    def _evict(self, victim: Found, reason: str = "room") -> bool:
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
        if victim.digest in self._leased_now():
            with contextlib.suppress(OSError):  # it is a miss then, the reader fetches it again
                self._entries.put_back(victim.digest, taken)
                return False
        with self._lock:
            self._table.gone(victim.digest)
            self._names.pop(victim.digest, None)
        self._bus.emit(Evicted("ssd", record.subject if record else victim.digest, victim.size_bytes, reason))
        try:
            self._partials.discard(taken)
        except OSError:
            return False  # a leftover now
        return True

    def _leased_now(self) -> Set[str]:
        with self._lock:
            ours = set(self._table.leased)
        return ours | self._lease_files.live()

    def _no_room(self, obj: RemoteObject, size_bytes: int, lacking_bytes: int) -> NoRoom:
        shown = self.snapshot(writable=True)
        budget = "no budget" if shown.budget_bytes is None else f"a budget of {_gb(shown.budget_bytes)}"
        free = _gb(self._disk.free_bytes(self._layout.root))
        return NoRoom(
            "the SSD has no room for the object",
            subject=obj.subject,
            cause=(
                f"it needs {_gb(size_bytes)}, {_gb(lacking_bytes)} are lacking; the tier has {budget}, {_gb(shown.used_bytes)} in "
                f"{shown.entries} entries ({shown.leases} in use), {_gb(shown.reserved_bytes)} on the way; the disk has {free} free, "
                f"of which {_gb(shown.free_floor_bytes)} stay free"
            ),
            next_step="raise ssd.budget_gb, lower ssd.free_floor_gb, or free space on the disk",
        )

    def _leftover_bytes(self) -> int:
        """With the lock held.  Our own partials are counted as reserved, not here."""
        own = {p.directory for p in self._active}
        return sum(p.size_bytes for p in self._leftovers if p.path not in own)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"
