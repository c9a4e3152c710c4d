"""The SSD tier: one folder per object version, shared by processes, correct after a crash at any point.

Layout and names: `cache.paths`.  On the way in: `cache.partial`.  On the disk: `cache.entries`.  This module
joins them under one byte budget and one free-space floor and hands out leases.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..storage.errors import DiskFailed
from ..storage.events import EventBus, Evicted, TierDegraded
from ..storage.objects import ObjectHead, RemoteObject
from .disk import Disk
from .disk_errors import disk_error
from .entries import Entries
from .leases import LeaseFiles
from .owners import Owners
from .partial import FULL, PartialFile, Tools
from .partials import Partials
from .paths import Layout, make_private, refuse_unsafe
from .policy import FROM_BUCKET, TierSpeed
from .record import CHUNK_BYTES, Record
from .room import Room
from .space_values import Limits, SsdSnapshot
from .ssd_flight import Flight, FlightLocks
from .ssd_keeping import SsdKeeping
from .ssd_lease import SsdLease
from .ssd_reader import SsdReader
from .sweep import SweepReport, sweep
from .tier_choice import TierChoice
from .writeback import WriteBehind

__all__ = ["SsdLease", "SsdSnapshot", "SsdTier"]

CLOSE_S = 5.0
HOLD_S = 2.0
"""how long a chunk that has landed in RAM waits for the disk: what a kill may cost at most, and a load that is over by
then does not share the machine with its own copy (2 GB on two cores: 2.0 s instead of 2.5 s)"""


class SsdTier(SsdKeeping):
    """Thread-safe; locks are `Space`'s.  ``clock`` is wall time: uses are remembered across processes.

    budget_bytes:     for entries, partials and quarantine together; None: what the disk leaves
    free_floor_bytes: stay free on the disk whatever the budget says
    shared:           a directory that somebody else fills: it is read, never written to
    hold_s:           how long a landed chunk waits for the disk while its object is on its way into RAM
    choice:           who goes when room is needed; its own for each directory
    speed:            of the bucket, as measured
    """

    def __init__(
        self,
        root: Path,
        budget_bytes: int | None,
        free_floor_bytes: int,
        bus: EventBus,
        *,
        clock: Callable[[], float] = time.time,
        disk: Disk | None = None,
        owners: Owners | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        shared: bool = False,
        hold_s: float = HOLD_S,
        choice: TierChoice | None = None,
        speed: Callable[[], TierSpeed] = lambda: FROM_BUCKET,
    ) -> None:
        self._layout = Layout(root)
        self._bus = bus
        self._clock = clock
        self._disk = disk or Disk()
        owners = owners or Owners()
        self._entries = Entries(self._disk, self._layout, owners)
        self._lease_files = LeaseFiles(self._disk, self._layout, owners, clock)
        self._partials = Partials(self._disk, self._layout, owners, chunk_bytes)
        self._tools = Tools(self._disk, WriteBehind(), bus, clock, chunk_bytes, hold_s)
        limits = Limits(budget_bytes, free_floor_bytes)
        self.choice = TierChoice() if choice is None else choice
        self._space = Room(
            limits, self._disk, self._layout, self._entries, self._partials, self._lease_files, bus, clock, self.choice, speed
        )
        self._reader = SsdReader(self._disk, self._entries, self._partials, self._space, bus, shared=shared)
        self._flights = FlightLocks(self._disk, self._layout)
        self._shared = shared
        self._device: int | None = None
        self._sweeping = threading.Lock()
        self._sweeper: threading.Thread | None = None
        self._closed = threading.Event()
        self._started = False
        self.writable = True
        self.last_sweep: SweepReport | None = None

    # -- life ----------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Makes the directories, scans (stat only), and cleans up behind crashes in the background.  Once.

        Raises ConfigError when the directory is not safe to use.  Without permission to write the tier serves
        what it has and an event says so.
        """
        with self._space.room_lock:
            if self._started:
                return
            if self._shared:
                self._start_shared()
            else:
                try:
                    self._make_directories()
                except OSError as error:
                    self.writable = False
                    shown = disk_error(error, "the SSD tier cannot be written to")
                    self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
                self.scan()
            self._started = True
        if self.writable:
            self._sweeper = threading.Thread(target=self._sweep_and_name, name="modelstream-ssd-sweep", daemon=True)
            self._sweeper.start()

    def _make_directories(self) -> None:
        layout = self._layout
        make_private(layout.root)
        refuse_unsafe(layout.root)
        for directory in (layout.objects, layout.partial, layout.leases, layout.locks, layout.trash):
            make_private(directory)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        self._disk.fsync_directory(layout.root)
        self._device = os.stat(layout.root).st_dev

    def _start_shared(self) -> None:
        """Not scanned: it may be large and far away, and its bytes are nobody's budget here."""
        self.writable = False
        try:
            refuse_unsafe(self._layout.root, shared=True)
        except OSError as error:
            shown = disk_error(error, "a shared directory of the SSD tier cannot be read")
            self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))

    def close(self) -> None:
        """What is on its way stays resumable.  Joins the threads."""
        self._closed.set()
        for partial in self._space.active():
            partial.abandon(keep=True)
        if self._sweeper is not None:
            self._sweeper.join(CLOSE_S)

    def scan(self) -> None:
        """Brings the table up to date with the disk.  10,000 entries take a fraction of a second."""
        self._space.scan()

    def sweep(self) -> SweepReport:
        """One round of cleaning; the sweep thread's body.  Rounds of one process follow each other."""
        try:
            with self._sweeping:
                self._flights.sweep()
                report = sweep(self._partials, self._lease_files, self._clock(), self._closed.is_set)
        except OSError as error:
            shown = disk_error(error, "what crashes left cannot be cleaned up")
            self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
            return SweepReport()
        self.last_sweep = report
        self._space.look_for_leftovers()
        if report.removed:
            self._bus.emit(Evicted("ssd", f"{report.removed} leftovers", report.freed_bytes, "stale"))
        return report

    def _sweep_and_name(self) -> None:
        self.sweep()
        self._space.name_entries(self._closed.is_set)

    def directories(self) -> tuple[SsdTier, ...]:
        return (self,)

    # -- names ---------------------------------------------------------------------------------------------------------
    def path_for(self, obj: RemoteObject) -> Path:
        """Where the object's file is or will be.  Lexical."""
        return self._entries.path_for(obj)

    def file_of(self, obj: RemoteObject) -> Path | None:
        """Where it is, if it is complete."""
        return self._entries.path_for(obj) if self._reader.find(obj) is not None else None

    def digest_of(self, path: str) -> str | None:
        """The reverse; None for a path that is not below the root.  Lexical."""
        return self._layout.digest_of(path)

    # -- reading -------------------------------------------------------------------------------------------------------
    def lookup(self, obj: RemoteObject) -> Record | None:
        """Complete entries only.  Reads the record; never raises."""
        return self._reader.find(obj)

    def lease(self, obj: RemoteObject, *, use: bool = True) -> SsdLease | None:
        """The complete entry, protected from eviction by this and (best effort) other processes; counts as a use unless
        ``use`` is False."""
        digest = obj.id.digest
        self._space.take_lease(digest, writable=self.writable)
        record = self._reader.find(obj)  # after the lease: an evictor that did not see it has renamed the entry by now
        if record is None:
            self._space.give_lease_back(digest)
            return None
        if use:
            self._used(record)
        return SsdLease(self, obj, self._entries.path_for(obj), record, lambda: self._space.give_lease_back(digest))

    def read_into(
        self,
        lease: SsdLease,
        view: memoryview,
        progress: Callable[[int], None] = lambda done_bytes: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """The whole entry into ``view``, every chunk checked.  ``progress(done_bytes)`` and ``should_stop()`` are
        called in this thread, at least every 50 ms; what they raise is raised here once the reading threads ended.

        Raises CorruptObject when the disk has not what was written (the caller fetches the object again; that takes
        from the bucket only what is damaged, see `cache.ssd_reader`), TransferCancelled when ``should_stop`` said so.
        """
        self._reader.read_into(lease, view, progress, should_stop)

    def verify(
        self,
        lease: SsdLease,
        progress: Callable[[int], None] = lambda done_bytes: None,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        again: bool = False,
    ) -> None:
        """Every chunk checked, for those who read the file themselves.  Raises like `read_into`.

        A file is read once for this: this process remembers which ones were right, or were written by itself.
        again: read it in any case, from the disk itself where that is possible
        """
        self._reader.verify(lease, progress, should_stop, again=again)

    # -- writing -------------------------------------------------------------------------------------------------------
    def leave_rests_to(self, heir: SsdTier) -> None:
        """What is right of a damaged entry here goes to a directory that can be written to."""
        self._reader.heir = heir._reader

    def fits(self, obj: RemoteObject, size_bytes: int) -> bool:
        """Whether the object can be taken without evicting anything, or is on its way here already.  Never raises."""
        try:
            self.start()
            return self.writable and (self._partials.journalled_chunks(obj.id.digest) is not None or self._space.fits(size_bytes))
        except OSError:
            return False

    @contextlib.contextmanager
    def flight(self, obj: RemoteObject, progress: Callable[[int], None], should_stop: Callable[[], bool]) -> Iterator[Flight]:
        """The right to fetch the object, best effort: waits while another process fetches it (``flight.waited``, then it
        may be here).  ``progress(done_bytes)`` and ``should_stop()`` are called while it waits; raises TransferCancelled.
        """
        if not self.writable or not self._started:
            yield Flight(lambda: None)
            return
        digest = obj.id.digest

        def far() -> int | None:
            chunks = self._partials.journalled_chunks(digest)
            return None if chunks is None else min(obj.size_bytes, chunks * self._tools.chunk_bytes)

        flight = self._flights.join(digest, far, progress, should_stop, lambda: self._reader.find(obj) is not None)
        if flight.waited and self.lookup(obj) is not None:
            self._reader.trust(obj)
        try:
            yield flight
        finally:
            flight.release()

    def begin(self, obj: RemoteObject, head: ObjectHead, *, must: bool = True) -> PartialFile:
        """Room for the object and a partial of it: that of a dead process where there is one, else a new one.

        Raises NoRoom with the figures, or DiskFailed; with ``must`` False also NotWorthIt, a NoRoom, when those who would
        have to go are worth more.  May delete entries.
        """
        try:
            self.start()
            self._refuse_unwritable(obj)
            try:
                return self._begin(obj, head, must=must)
            except FileNotFoundError:
                self._make_directories()  # somebody has deleted them under us
            except OSError as error:
                if error.errno not in FULL or not self._space.make_more_room(obj, head.size_bytes):
                    raise
            return self._begin(obj, head, must=must)
        except OSError as error:
            raise disk_error(error, "the SSD cannot take the object", obj.subject, self._layout.root) from error

    def _begin(self, obj: RemoteObject, head: ObjectHead, *, must: bool) -> PartialFile:
        with self._space.room_lock:
            adopted = self._partials.adopt(obj, head, self._clock())
            self._space.look_for_leftovers()
            return self._open_partial(obj, head, adopted, must=must)

    def _refuse_unwritable(self, obj: RemoteObject) -> None:
        """Raises DiskFailed, also when the disk was taken away: what lies below its name now is another disk."""
        cause, step = "", "give the user that runs ComfyUI write access, or set ssd.directory to another one"
        if not self.writable:
            cause = "the directory of the SSD tier cannot be written to"
        elif _device(self._layout.root) not in (None, self._device):
            cause, step = "its disk is not there any more, another one is in its place", "mount it again"
        if cause:
            raise DiskFailed("the SSD cannot take the object", subject=obj.subject, cause=cause, next_step=step)

    def _open_partial(self, obj: RemoteObject, head: ObjectHead, adopted: Path | None, *, must: bool) -> PartialFile:
        """Called with the room lock.  An adopted partial that cannot be used now stays for later."""
        directory = adopted
        try:
            self._space.make_room(obj, head.size_bytes, self._space.held_by(adopted), must=must)
            if directory is None:
                directory = self._partials.create(obj, head)
            partial = PartialFile(obj, head, directory, self._tools, self, adopted=adopted is not None)
        except BaseException:
            with contextlib.suppress(OSError):  # then it is reclaimed when this process is gone
                if adopted is not None:
                    self._partials.release(adopted)
                elif directory is not None:
                    self._partials.remove(directory)
            raise
        self._space.began(partial)
        self._space.look_for_leftovers()
        return partial

    # PartialFile's side of the contract (`cache.partial.Home`) ---------------------------------------------------------
    def place(self, entry: Path, record: Record, obj: RemoteObject) -> Record:
        return self._entries.place(entry, record, obj)

    def more_room(self, partial: PartialFile) -> bool:
        return self._space.make_more_room(partial.obj, partial.unwritten_bytes)

    def ended(self, partial: PartialFile, record: Record | None, *, kept: bool) -> None:
        self._space.ended(partial)
        if record is not None:
            self._touch(record, self._space.came(record))
            self._reader.trust(partial.obj)
        try:
            if kept:
                self._partials.release(partial.directory)
            else:
                self._partials.remove(partial.directory)
        except OSError as error:
            shown = disk_error(error, "an unfinished copy cannot be removed", partial.obj.subject)
            self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
        self._space.look_for_leftovers()


def _device(path: Path) -> int | None:
    """None where there is nothing any more: then it can be made again."""
    try:
        return os.stat(path).st_dev
    except FileNotFoundError:
        return None
