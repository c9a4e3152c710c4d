"""An object on its way to the SSD: `PartialFile`.

    <root>/partial/<digest>.<owner>/head.json        which version of which object this is
                                    /journal          one line a chunk that was written: "index crc64 length"
                                    /entry/<basename> the bytes; commit adds record.json and renames `entry`

No fsync is needed while it grows: the journal is only a claim.  Whoever resumes reads each chunk that it names
and keeps it if it has the checksum.  A partial never has a final name, and `entry` gets its final name in one
rename when everything in it is on the disk; so a crash at any point leaves an entry whole or absent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from awscrt.checksums import crc64nvme

from ..storage.errors import CorruptObject, DiskFailed, ModelStreamError
from ..storage.events import CorruptionFound, EventBus, Stored, TierDegraded
from ..storage.objects import Extent, ObjectHead, RemoteObject
from .chunks import ChunkTally
from .disk import Disk
from .disk_errors import disk_error
from .disk_read import Chunk, read_chunks
from .partial_buffer import UNWRITTEN_MAX_BYTES, LandingBuffer, landing_buffer
from .partial_journal import claims, journal_bytes_max, journal_line
from .paths import RECORD_NAME, safe_basename
from .record import CHUNK_BYTES, Record, whole_crc64
from .writeback import ChunkFile, WriteBehind

JOURNAL_NAME = "journal"
HEAD_NAME = "head.json"
ENTRY_NAME = "entry"
ABANDON_WAIT_S = 5.0
"""how long `abandon` waits for the one chunk that is being written; a healthy disk takes 20 ms"""
POLL_S = 0.05
"""how soon a receiver that waits for the disk sees that its transfer was stopped"""
FULL = (errno.ENOSPC, errno.EDQUOT)


class Home(Protocol):
    """What a partial needs of its tier.  Called without the partial's lock."""

    def place(self, entry: Path, record: Record, obj: RemoteObject) -> Record:
        """Renames a finished entry to its final name, or drops it for the one another process put there."""

    def ended(self, partial: PartialFile, record: Record | None, *, kept: bool) -> None: ...

    def more_room(self, partial: PartialFile) -> bool:
        """The disk is full although there should be room: evicts what the rest of the partial takes.  In the writer's thread."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What all partials of one tier share."""

    disk: Disk
    writer: WriteBehind
    bus: EventBus
    clock: Callable[[], float]
    """wall time, for the record"""
    chunk_bytes: int = CHUNK_BYTES
    hold_s: float = 0.0
    """how long a chunk that is safe in RAM waits for the disk"""


class PartialFile:
    """Methods may be called from any thread; `commit`, `abandon`, `resume_into` and `landing` by the one owner.

    A disk error while writing behind marks the partial failed and emits TierDegraded: the transfer goes on in
    memory, `commit` raises.  Lock order: ``_mending`` → the partial's lock, which is innermost.
    """

    def __init__(self, obj: RemoteObject, head: ObjectHead, directory: Path, tools: Tools, home: Home, *, adopted: bool) -> None:
        """Raises OSError; then nothing is left open."""
        self.obj = obj
        self.head = head
        self.size_bytes = head.size_bytes
        self.directory = directory
        self._tools = tools
        self._home = home
        self._adopted = adopted
        self._lock = threading.Condition(threading.Lock())
        self._mending = threading.Lock()
        self._tally = ChunkTally(head.size_bytes, tools.chunk_bytes)
        self._crc64s: dict[int, int] = {}
        self._written_bytes = 0
        self._queued_bytes = 0
        self._failure: OSError | None = None
        self._abandoned = False
        self._ended = False
        self._asked_for_room = False
        self._buffer: LandingBuffer | None = None
        self._hold_s = tools.hold_s
        self._started_s = time.monotonic()
        self._entry = directory / ENTRY_NAME
        self._data = ChunkFile(tools.disk, self._entry / safe_basename(obj.id.key), create=not adopted, size_bytes=head.size_bytes)
        try:
            self._journal_fd = tools.disk.open(directory / JOURNAL_NAME, os.O_WRONLY | os.O_APPEND)
        except BaseException:
            self._data.close()
            raise

    @property
    def unwritten_bytes(self) -> int:
        """Bytes that will still take free space from the disk."""
        return 0 if self._buffer is not None and self._buffer.in_file else self.size_bytes - self._written_bytes

    @property
    def failed(self) -> bool:
        return self._failure is not None

    def hurry(self) -> None:
        """Somebody waits for the file: from the next chunk on nothing is held back.  Any number of times."""
        self._hold_s = 0.0

    # -- filling -----------------------------------------------------------------------------------------------------
    def resume_into(self, view: memoryview) -> list[Extent]:
        """What an earlier process wrote and is still right, read into ``view``.  Sorted; empty for a new partial.

        Where a chunk was wrong the buffer holds garbage that the transfer overwrites.  The view of `landing` gets
        nothing: what is in the file is not read there.
        """
        if not self._adopted:
            return []
        target = None if self._buffer is not None else view
        extents = []
        for read in read_chunks(self._tools.disk, self._data.path, self._journalled(), target, direct=True):
            if read is not None and read.error is None:
                extents.append(Extent(read.chunk.offset, read.chunk.length, read.chunk.crc64))
                self._keep(read.chunk.index, read.chunk.crc64)
        return sorted(extents)

    def write_behind(self, view: memoryview, extent: Extent) -> None:
        """Queues the chunks that ``extent`` completes.  ``view``: the whole object's buffer; never blocks."""
        self._queue(extent, lambda index, crc64: self._write(index, crc64, view), self._hold_s)

    def landing(self) -> memoryview:
        """A buffer for an object that does not pass through RAM; `landed` takes the place of `write_behind`.

        Write-only: what landed in it may be gone from it as soon as it is in the file.
        """
        if self.size_bytes == 0:
            return memoryview(bytearray())
        try:
            self._buffer = landing_buffer(self._tools.disk, self._data.fd, self.size_bytes)
        except OSError as error:
            raise disk_error(error, "the SSD cannot take the object", self.obj.subject) from error
        return self._buffer.view

    def landed(self, extent: Extent, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bytes arrived in the buffer of `landing`.  Waits while the disk is too far behind, until ``stopped()``.

        Raises NoRoom or DiskFailed when the disk has failed: there is nowhere for the rest to go.
        """
        self._queue(extent, self._write_landed)
        self._wait_until(lambda: self._queued_bytes <= UNWRITTEN_MAX_BYTES, stopped)
        if self._failure is not None:
            raise self._shown(self._failure)

    def replaced(self, extent: Extent, view: memoryview | None = None, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bytes that had landed were wrong and have been replaced in the buffer: they are written once more.

        ``view`` as for `write_behind`.  None: the buffer of `landing`, where the rest of the chunk may be gone; by
        then everything has landed.  Blocks on the disk then.
        """
        if view is None:
            return self._mend(extent, stopped)
        for index in self._tally.chunks_of(extent):
            self._submit(index, None, lambda i, crc64: self._write(i, crc64, view))

    def _queue(self, extent: Extent, write: Callable[[int, int | None], None], hold_s: float = 0.0) -> None:
        with self._lock:
            if self._abandoned or self._ended or self._failure is not None:
                return
            completed = self._tally.add(extent)
        for index, crc64 in completed:
            self._submit(index, crc64, write, hold_s)

    def _submit(self, index: int, crc64: int | None, write: Callable[[int, int | None], None], hold_s: float = 0.0) -> None:
        start, end = self._tally.bounds(index)
        with self._lock:
            self._queued_bytes += end - start
        self._tools.writer.submit(self, lambda: self._attempt(index, crc64, write), hold_s)

    def _wait_until(self, ready: Callable[[], bool], stopped: Callable[[], bool]) -> bool:
        """False when there is nothing to wait for any more."""
        with self._lock:
            while not ready():
                if self._abandoned or self._ended or self._failure is not None or stopped():
                    return False
                self._lock.wait(POLL_S)
        return True

    # -- the writer thread -------------------------------------------------------------------------------------------
    def _attempt(self, index: int, crc64: int | None, write: Callable[[int, int | None], None]) -> None:
        try:
            if not (self._abandoned or self._ended or self._failure is not None):
                self._write_once_more_if_full(index, crc64, write)
        except OSError as error:
            self._fail(error)
        except Exception as error:  # a mistake or no memory: whoever waits for this chunk must hear of it
            self._fail(OSError(0, f"{type(error).__name__} while writing"))
        finally:
            start, end = self._tally.bounds(index)
            with self._lock:
                self._queued_bytes -= end - start
                self._lock.notify_all()

    def _write_once_more_if_full(self, index: int, crc64: int | None, write: Callable[[int, int | None], None]) -> None:
        try:
            write(index, crc64)
        except OSError as error:
            if error.errno not in FULL or self._asked_for_room:
                raise
            self._asked_for_room = True  # somebody else fills the disk: evicting against them has no end
            if not self._home.more_room(self):
                raise
            write(index, crc64)

    def _write(self, index: int, crc64: int | None, view: memoryview) -> None:
        start, end = self._tally.bounds(index)
        chunk = view[start:end]
        self._data.write(chunk, start)
        self._journal(index, crc64nvme(chunk) if crc64 is None else crc64)

    def _write_landed(self, index: int, crc64: int | None) -> None:
        """From the buffer of `landing`, of which nothing is forgotten once everything has landed: `_mend` relies on it."""
        buffer = self._buffer
        assert buffer is not None
        start, end = self._tally.bounds(index)
        if buffer.in_file:
            self._tools.disk.start_writing(self._data.fd, start, end - start)
            return self._journal(index, crc64nvme(buffer.view[start:end]) if crc64 is None else crc64)
        self._write(index, crc64, buffer.view)
        with self._lock:
            if not self._tally.complete:
                buffer.forget(start, end)

    def _mend(self, extent: Extent, stopped: Callable[[], bool]) -> None:
        """Replaces bytes in the file, in the caller's thread, behind the last of the writer's jobs for this partial."""
        if not self._wait_until(lambda: not self._queued_bytes, stopped):
            return
        with self._mending:
            buffer = self._buffer
            assert buffer is not None
            try:
                if not buffer.in_file:
                    self._data.write(buffer.view[extent.offset : extent.end], extent.offset)
                    buffer.forget(extent.offset, extent.end)
                for index in self._tally.chunks_of(extent):
                    start, end = self._tally.bounds(index)
                    self._journal(index, crc64nvme(self._data.read(start, end - start)))
            except OSError as error:
                self._fail(error)

    def _journal(self, index: int, crc64: int) -> None:
        start, end = self._tally.bounds(index)
        self._tools.disk.write(self._journal_fd, journal_line(index, crc64, end - start))
        self._keep(index, crc64)

    def _keep(self, index: int, crc64: int) -> None:
        start, end = self._tally.bounds(index)
        with self._lock:
            self._tally.mark(index)
            self._written_bytes += end - start if index not in self._crc64s else 0
            self._crc64s[index] = crc64

    def _fail(self, error: OSError) -> None:
        with self._lock:
            if self._failure is not None:
                return
            self._failure = error.with_traceback(None)  # its frames hold the arena's memory
            self._lock.notify_all()
        self._tools.writer.forget(self)
        shown = self._shown(error)
        self._tools.bus.emit(TierDegraded("ssd", shown.code, str(shown)))

    def _journalled(self) -> list[Chunk]:
        try:
            content = self._tools.disk.read_small(self.directory / JOURNAL_NAME, journal_bytes_max(self._tally.count))
        except OSError:
            return []  # then nothing is resumed
        return claims(content, self._tally)

    # -- the end -----------------------------------------------------------------------------------------------------
    def commit(self, crc64: int | None, verified: str = "") -> Record:
        """Waits for the writes and makes the entry final.

        ``crc64`` is the object's CRC64NVME as the transfer has it.  Blocks.  Raises NoRoom, DiskFailed or
        CorruptObject; the partial is gone then, and `abandon` afterwards does nothing.  The entry is absent then,
        or (when only the last fsync failed) whole, but might not outlive a power loss.
        """
        self._tools.writer.wait(self)
        try:
            record = self._place(self._record(crc64, verified))
        except OSError as error:
            self._end(None, kept=False)
            raise self._shown(error) from error
        except BaseException:
            self._end(None, kept=False)
            raise
        self._end(record, kept=False)
        self._tools.bus.emit(Stored("ssd", self.obj.subject, self.size_bytes, time.monotonic() - self._started_s))
        return record

    def abandon(self, keep: bool) -> None:
        """Lets go.  ``keep`` leaves what was written for the next `begin`.  Any number of times, also after `commit`."""
        with self._lock:
            if self._abandoned or self._ended:
                return
            self._abandoned = True
            self._lock.notify_all()
        self._tools.writer.forget(self)

        def end() -> None:
            self._end(None, kept=keep and bool(self._crc64s) and self._failure is None)

        if self._tools.writer.wait(self, ABANDON_WAIT_S):
            end()
        else:
            self._tools.writer.submit(self, end)  # the disk hangs: only the writer knows when its descriptor is free

    def _record(self, crc64: int | None, verified: str) -> Record:
        if self._failure is not None:
            raise self._failure
        if self._ended or len(self._crc64s) != self._tally.count:
            raise DiskFailed(
                "the copy on the SSD is not complete",
                subject=self.obj.subject,
                cause=f"{len(self._crc64s)} of {self._tally.count} pieces were written",
                next_step="load the model again; it is fetched from its bucket meanwhile",
            )
        crc64s = tuple(self._crc64s[i] for i in range(self._tally.count))
        whole = whole_crc64(crc64s, self.size_bytes, self._tally.chunk_bytes)
        if crc64 is not None and whole != crc64:
            self._tools.bus.emit(CorruptionFound("ssd", self.obj.subject, "the copy does not have the checksum of the object"))
            raise CorruptObject(
                "the copy on its way to the SSD is damaged",
                subject=self.obj.subject,
                cause=f"CRC64NVME {whole:016x} instead of {crc64:016x}",
                next_step="load the model again; if it happens again, test this machine's memory and disk",
            )
        if not verified:
            verified = "crc64nvme" if self.head.crc64nvme is not None and self.head.crc64nvme == whole else "size_only"
        return self._as_record(whole, crc64s, verified)

    def _as_record(self, whole: int, crc64s: tuple[int, ...], verified: str) -> Record:
        id = self.obj.id
        return Record(
            origin=self.obj.origin,
            endpoint=id.endpoint,
            bucket=id.bucket,
            key=id.key,
            version=id.version,
            etag=self.head.etag,
            version_id=self.head.version_id,
            size_bytes=self.size_bytes,
            crc64=whole,
            verified=verified,
            chunk_bytes=self._tally.chunk_bytes,
            chunk_crc64s=crc64s,
            created_s=self._tools.clock(),
        )

    def _place(self, record: Record) -> Record:
        """Everything inside `entry` is on the disk before it gets its name."""
        disk = self._tools.disk
        if os.fstat(self._data.fd).st_size != self.size_bytes:
            raise DiskFailed("the copy on the SSD has another size than the object", subject=self.obj.subject)
        disk.fsync(self._data.fd)
        fd = disk.create(self._entry / RECORD_NAME)
        try:
            disk.write(fd, record.to_json())
            disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.fsync_directory(self._entry)
        self._close()  # Windows renames nothing that is open
        return self._home.place(self._entry, record, self.obj)

    def _end(self, record: Record | None, *, kept: bool) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._close()
        self._home.ended(self, record, kept=kept)

    def _close(self) -> None:
        """Errors of closing mean nothing here: what counts was fsynced before, the rest is checked on resume."""
        if self._buffer is not None:
            self._buffer.close()
        fd, self._journal_fd = self._journal_fd, -1
        with contextlib.suppress(OSError):
            self._data.close()
        if fd >= 0:
            with contextlib.suppress(OSError):
                self._tools.disk.close(fd)

    def _shown(self, error: OSError) -> ModelStreamError:
        return disk_error(error, "the SSD cannot keep a copy", self.obj.subject, self.directory)
