"""The SSD tier's space: what is there, what is promised, who is leased.

The one authority for bytes on the SSD, together with `cache.room`, which makes room.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from ..storage.events import EventBus, TierDegraded
from ..storage.objects import RemoteObject
from .disk import Disk
from .disk_errors import disk_error
from .entries import Entries, Found
from .entry_names import Brief, EntryNames
from .leases import LeaseFiles
from .partial import PartialFile
from .partials import Leftover, Partials
from .paths import Layout
from .policy import FROM_BUCKET, TierSpeed
from .policy_history import Remembered
from .policy_tournament import Accounts
from .record import Record
from .space_values import Held, Limits, SsdSnapshot
from .tier_choice import TierChoice
from .usage import UsageTable

MOST_WANTED = 1_000


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
        choice: TierChoice | None = None,
        speed: Callable[[], TierSpeed] = lambda: FROM_BUCKET,
    ) -> None:
        """speed: of the bucket, as measured"""
        self._limits = limits
        self._choice = TierChoice() if choice is None else choice
        self._speed = speed
        self._names = EntryNames(entries)
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
        self._wanted: set[str] = set()
        self._lease_names: dict[str, str] = {}
        self._active: set[PartialFile] = set()
        self._leftovers: tuple[Leftover, ...] = ()
        self._scanned_s: float | None = None

    # -- what is there -------------------------------------------------------------------------------------------------
    def scan(self) -> None:
        """Brings the table up to date with the disk.  Stat only."""
        found = list(self._entries.walk())
        with self._lock:
            first = self._scanned_s is None
            for entry, known in self._table.scanned(found, self._clock()):
                if not first:  # another process's use or fetch: this directory's too
                    self._note_use(entry, hit=known)
                    self._choice.admitted(entry.digest)
            if first:
                self._choice.resize(self._capacity_bytes())
            self._names.keep(self._table)
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
                Held(e.digest, e.size_bytes, e.last_used_s, e.digest in self._table.leased, *self._names.of(e.digest))
                for e in self._table.entries()
            )

    def name_entries(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Reads the records of entries whose names are not known yet: a small file each.  Never raises."""
        with self._lock:
            digests = [entry.digest for entry in self._table.entries()]
        self._names.read(digests, stopped)

    def named(self, digest: str) -> RemoteObject | None:
        """Which object an entry is, once its record was read."""
        brief = next(iter(self._names.briefs([digest])), None)
        return None if brief is None else brief.obj

    def of_size(self, size_bytes: int) -> list[Brief]:
        """Entries of exactly this size, by their records."""
        with self._lock:
            digests = [entry.digest for entry in self._table.entries() if entry.size_bytes == size_bytes]
        return self._names.briefs(digests)

    def used(self, record: Record) -> float:
        """Notes a use; returns the time that counts for it."""
        with self._lock:
            used_s = self._seen(record)
            self._note_use(Found(record.id.digest, record.size_bytes, used_s), hit=True)
            return used_s

    def came(self, record: Record) -> float:
        """Notes a new entry; returns the time that counts for it."""
        with self._lock:
            digest, size_bytes = record.id.digest, record.size_bytes
            if digest in self._wanted:
                self._wanted.discard(digest)
                self._choice.admitted(digest)
            else:
                self._choice.came_ahead(digest, size_bytes, self._speed().reload_s(size_bytes))
            return self._seen(record)

    def missed(self, digest: str, size_bytes: int) -> None:
        """A use that the tier could not answer, before room is made for the object."""
        with self._lock:
            if len(self._wanted) >= MOST_WANTED:  # fetches that failed: nobody waits for them any more
                self._wanted.clear()
            self._wanted.add(digest)
            self._note_use(Found(digest, size_bytes, 0.0), hit=False)

    def holds(self, digest: str) -> bool:
        return digest in self._table

    def keep(self, digests: list[str], until_s: float) -> None:
        """See `TierChoice.keep`."""
        with self._lock:
            self._choice.keep(digests, until_s)

    def recall(self, remembered: Iterable[Remembered], accounts: Accounts) -> None:
        """What an earlier process knew of uses; after the first scan."""
        with self._lock:
            held = self._table.entries_for(self._choice, frozenset(), self._speed())
            self._choice.recall(remembered, accounts, held.values())

    def _seen(self, record: Record) -> float:
        self._names.note(record)
        return self._table.used(record.id.digest, record.size_bytes, self._clock())

    def _note_use(self, entry: Found, *, hit: bool) -> None:
        """With the lock held."""
        self._choice.used(entry.digest, entry.size_bytes, self._speed().reload_s(entry.size_bytes), self._table.leased, hit=hit)

    def _capacity_bytes(self) -> int:
        """What the tier may grow to: its budget, or what the disk leaves.  With the lock held."""
        try:
            most = self._table.used_bytes + self._disk.free_bytes(self._layout.root) - self._limits.free_floor_bytes
        except OSError:
            most = self._table.used_bytes
        return max(0, most if self._limits.budget_bytes is None else min(most, self._limits.budget_bytes))

    def gone(self, digest: str) -> None:
        with self._lock:
            self._forget(digest)
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

    def held_by(self, directory: object) -> int:
        """Bytes on the disk of one leftover."""
        with self._lock:
            return next((p.size_bytes for p in self._leftovers if p.path == directory), 0)

    def leased_anywhere(self) -> frozenset[str]:
        """Digests that a live process has a lease on, this one or another.  Reads a directory."""
        with self._lock:
            own = frozenset(e.digest for e in self._table.entries() if e.digest in self._table.leased)
        return own | self._lease_files.live()

    def _forget(self, digest: str) -> None:
        """With the lock held."""
        self._table.gone(digest)
        self._names.forget(digest)
        self._choice.removed(digest)

    def _leftover_bytes(self) -> int:
        """With the lock held.  Our own partials are counted as reserved, not here."""
        own = {p.directory for p in self._active}
        return sum(p.size_bytes for p in self._leftovers if p.path not in own)
