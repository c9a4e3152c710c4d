"""The SSD tier: one folder per object version, shared by processes, correct after a crash at any point.

Layout and names: `cache.paths`.  On the way in: `cache.partial`.  On the disk: `cache.entries`.  This module
joins them under one byte budget and one free-space floor and hands out leases.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..storage.errors import CorruptObject, DiskFailed, TransferCancelled
from ..storage.events import CorruptionFound, EventBus, Evicted, TierDegraded
from ..storage.objects import ObjectHead, RemoteObject
from .disk import Disk
from .disk_errors import disk_error
from .disk_read import Chunk, is_hot, read_chunks
from .entries import Entries
from .leases import LeaseFiles
from .owners import Owners
from .partial import PartialFile, Tools
from .partials import Partials
from .paths import RECORD_NAME, Layout, make_private, refuse_unsafe
from .record import CHUNK_BYTES, Record, chunk_length
from .space import Limits, Space, SsdSnapshot
from .sweep import SweepReport, sweep
from .writeback import WriteBehind

CLOSE_S = 5.0


class SsdLease:
    """A complete entry that is not evicted while the lease is held.  `release` any number of times, any thread."""

    def __init__(self, obj: RemoteObject, path: Path, record: Record, release: Callable[[], None]) -> None:
        self.obj = obj
        self.path = path
        self.record = record
        self._release: Callable[[], None] | None = release
        self._lock = threading.Lock()

    def release(self) -> None:
        with self._lock:
            release, self._release = self._release, None
        if release is not None:
            release()

    def __enter__(self) -> SsdLease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class SsdTier:
    """Thread-safe; locks are `Space`'s.  ``clock`` is wall time: uses are remembered across processes.

    budget_bytes:     for entries, partials and quarantine together; None: what the disk leaves
    free_floor_bytes: stay free on the disk whatever the budget says
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
    ) -> None:
        self._layout = Layout(root)
        self._bus = bus
        self._clock = clock
        self._disk = disk or Disk()
        owners = owners or Owners()
        self._entries = Entries(self._disk, self._layout, owners)
        self._lease_files = LeaseFiles(self._disk, self._layout, owners, clock)
        self._partials = Partials(self._disk, self._layout, owners, chunk_bytes)
        self._tools = Tools(self._disk, WriteBehind(), bus, clock, chunk_bytes)
        limits = Limits(budget_bytes, free_floor_bytes)
        self._space = Space(limits, self._disk, self._layout, self._entries, self._partials, self._lease_files, bus, clock)
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
            try:
                make_private(self._layout.root)
                refuse_unsafe(self._layout.root)
                for directory in (self._layout.objects, self._layout.partial, self._layout.leases, self._layout.trash):
                    make_private(directory)
            except OSError as error:
                self.writable = False
                shown = disk_error(error, "the SSD tier cannot be written to")
                self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
            self.scan()
            self._started = True
        if self.writable:
            self._sweeper = threading.Thread(target=self.sweep, name="modelstream-ssd-sweep", daemon=True)
            self._sweeper.start()

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
        """One round of cleaning; the sweep thread's body."""
        try:
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

    def snapshot(self) -> SsdSnapshot:
        return self._space.snapshot(writable=self.writable)

    # -- names ---------------------------------------------------------------------------------------------------------
    def path_for(self, obj: RemoteObject) -> Path:
        """Where the object's file is or will be.  Lexical."""
        return self._entries.path_for(obj)

    def digest_of(self, path: str) -> str | None:
        """The reverse; None for a path that is not below the root.  Lexical."""
        return self._layout.digest_of(path)

    # -- reading -------------------------------------------------------------------------------------------------------
    def lookup(self, obj: RemoteObject) -> Record | None:
        """Complete entries only.  Reads the record; never raises."""
        return self._entries.find(obj)

    def lease(self, obj: RemoteObject) -> SsdLease | None:
        """The complete entry, protected from eviction by this and (best effort) other processes; counts as a use."""
        digest = obj.id.digest
        self._space.take_lease(digest, writable=self.writable)
        record = self._entries.find(obj)  # after the lease: an evictor that did not see it has renamed the entry by now
        if record is None:
            self._space.give_lease_back(digest)
            return None
        self._used(record)
        return SsdLease(obj, self._entries.path_for(obj), record, lambda: self._space.give_lease_back(digest))

    def _used(self, record: Record) -> None:
        digest = record.id.digest
        used_s = self._space.used(digest, record.size_bytes)
        with contextlib.suppress(OSError):  # a read-only directory: the use counts in this process only
            self._disk.touch(self._layout.entry(digest) / RECORD_NAME, used_s)

    def read_into(
        self,
        lease: SsdLease,
        view: memoryview,
        progress: Callable[[int], None] = lambda done_bytes: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """The whole entry into ``view``, every chunk checked.  ``progress(done_bytes)`` and ``should_stop()`` are
        called in this thread, at least every 50 ms; what they raise is raised here once the reading threads ended.

        Raises CorruptObject when the disk has not what was written (the entry is in quarantine then, the caller
        fetches it again), TransferCancelled when ``should_stop`` said so.
        """
        record = lease.record
        lengths = (chunk_length(i, record.size_bytes, record.chunk_bytes) for i in range(len(record.chunk_crc64s)))
        chunks = [Chunk(i, i * record.chunk_bytes, n, record.chunk_crc64s[i]) for i, n in enumerate(lengths)]
        done_bytes = 0
        reads = read_chunks(self._disk, lease.path, chunks, view, direct=not is_hot(lease.path, record.size_bytes))
        with contextlib.closing(reads):
            for read in reads:
                if read is not None:
                    if read.error is not None:
                        raise self._quarantined(lease, read.chunk, read.error) from read.error
                    done_bytes += read.chunk.length
                    progress(done_bytes)
                if should_stop():
                    raise TransferCancelled("reading from the SSD was stopped", subject=lease.obj.subject)

    def _quarantined(self, lease: SsdLease, chunk: Chunk, error: Exception) -> CorruptObject:
        reason = error.strerror or "I/O error" if isinstance(error, OSError) else "wrong checksum"
        reason = "the file is too short" if isinstance(error, EOFError) else reason
        where = f"bytes {chunk.offset} to {chunk.offset + chunk.length} (chunk {chunk.index}): {reason}"
        self._bus.emit(CorruptionFound("ssd", lease.obj.subject, where))
        digest = lease.obj.id.digest
        try:
            self._entries.set_aside(digest)
        except OSError as moving:
            if moving.errno != errno.ENOENT:  # ENOENT: another reader found it too
                shown = disk_error(moving, "a damaged copy cannot be moved away", lease.obj.subject)
                self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
        self._space.gone(digest)
        return CorruptObject(
            "the copy on the SSD is damaged",
            subject=lease.obj.subject,
            cause=where,
            next_step="load it again, it is fetched from its bucket; if it happens often, check this disk",
        )

    # -- writing -------------------------------------------------------------------------------------------------------
    def begin(self, obj: RemoteObject, head: ObjectHead) -> PartialFile:
        """Room for the object and a partial of it: that of a dead process where there is one, else a new one.

        Raises NoRoom with the figures, or DiskFailed.  May delete entries.
        """
        try:
            self.start()
            if not self.writable:
                raise DiskFailed(
                    "the SSD cannot take the object",
                    subject=obj.subject,
                    cause="the directory of the SSD tier cannot be written to",
                    next_step="give the user that runs ComfyUI write access, or set ssd.directory to another one",
                )
            with self._space.room_lock:
                adopted = self._partials.adopt(obj, head, self._clock())
                self._space.look_for_leftovers()
                return self._open_partial(obj, head, adopted)
        except OSError as error:
            raise disk_error(error, "the SSD cannot take the object", obj.subject) from error

    def _open_partial(self, obj: RemoteObject, head: ObjectHead, adopted: Path | None) -> PartialFile:
        """Called with the room lock.  An adopted partial that cannot be used now stays for later."""
        directory = adopted
        try:
            self._space.make_room(obj, head.size_bytes, self._space.held_by(adopted))
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
        return self._space.make_more_room(partial)

    def ended(self, partial: PartialFile, record: Record | None, *, kept: bool) -> None:
        self._space.ended(partial)
        if record is not None:
            self._used(record)
        try:
            if kept:
                self._partials.release(partial.directory)
            else:
                self._partials.remove(partial.directory)
        except OSError as error:
            shown = disk_error(error, "an unfinished copy cannot be removed", partial.obj.subject)
            self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
        self._space.look_for_leftovers()
