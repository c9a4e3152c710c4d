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
import mmap
import os
import re
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
from .paths import RECORD_NAME, safe_basename
from .record import CHUNK_BYTES, Record, whole_crc64
from .writeback import ChunkFile, WriteBehind

JOURNAL_NAME = "journal"
HEAD_NAME = "head.json"
ENTRY_NAME = "entry"
ABANDON_WAIT_S = 5.0
"""how long `abandon` waits for the one chunk that is being written; a healthy disk takes 20 ms"""

_LINE = re.compile(rb"(\d{1,9}) ([0-9a-f]{16}) (\d{1,9})\n")


class Home(Protocol):
    """What a partial needs of its tier.  Called without the partial's lock."""

    def place(self, entry: Path, record: Record, obj: RemoteObject) -> Record:
        """Renames a finished entry to its final name, or drops it for the one another process put there."""

    def ended(self, partial: PartialFile, record: Record | None, *, kept: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What all partials of one tier share."""

    disk: Disk
    writer: WriteBehind
    bus: EventBus
    clock: Callable[[], float]
    """wall time, for the record"""
    chunk_bytes: int = CHUNK_BYTES


class PartialFile:
    """Methods may be called from any thread; `commit`, `abandon`, `resume_into` and `map` by the one owner.

    A disk error while writing behind marks the partial failed and emits TierDegraded: the transfer goes on in
    memory, `commit` raises.  Lock order: the partial's lock is innermost.
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
        self._lock = threading.Lock()
        self._tally = ChunkTally(head.size_bytes, tools.chunk_bytes)
        self._crc64s: dict[int, int] = {}
        self._written_bytes = 0
        self._failure: OSError | None = None
        self._abandoned = False
        self._ended = False
        self._mapping: mmap.mmap | None = None
        self._mapped_view: memoryview | None = None
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
        return 0 if self._mapping is not None else self.size_bytes - self._written_bytes

    @property
    def failed(self) -> bool:
        return self._failure is not None

    # -- filling -----------------------------------------------------------------------------------------------------
    def resume_into(self, view: memoryview) -> list[Extent]:
        """What an earlier process wrote and is still right, read into ``view``.  Sorted; empty for a new partial.

        Where a chunk was wrong the buffer holds garbage that the transfer overwrites.
        """
        if not self._adopted:
            return []
        chunks = self._journalled()
        in_place = self._mapping is not None and view.obj is self._mapping
        extents = []
        for read in read_chunks(self._tools.disk, self._data.path, chunks, None if in_place else view, direct=True):
            if read is not None and read.error is None:
                extents.append(Extent(read.chunk.offset, read.chunk.length, read.chunk.crc64))
                self._keep(read.chunk.index, read.chunk.crc64)
        return sorted(extents)

    def write_behind(self, view: memoryview, extent: Extent) -> None:
        """Queues the chunks that ``extent`` completes.  ``view``: the whole object's buffer; never blocks."""
        self._queue(extent, lambda index, crc64: self._write(index, crc64, view))

    def map(self) -> memoryview:
        """The file itself as the landing buffer; `landed` takes the place of `write_behind`.

        All blocks are allocated before, so that a full disk is an error here and never a SIGBUS later.
        """
        if self.size_bytes == 0:
            return memoryview(bytearray())
        try:
            self._tools.disk.allocate(self._data.fd, self.size_bytes)
            self._mapping = mmap.mmap(self._data.fd, self.size_bytes)
        except OSError as error:
            raise disk_error(error, "the SSD cannot take the object", self.obj.subject) from error
        self._mapped_view = memoryview(self._mapping)
        return self._mapped_view

    def landed(self, extent: Extent) -> None:
        """Bytes arrived in the mapping.  Never blocks: the writer thread brings whole chunks to the disk."""
        self._queue(extent, self._sync_mapped)

    def replaced(self, extent: Extent, view: memoryview | None = None) -> None:
        """Bytes that had landed were wrong and have been replaced in the buffer: their chunks are written once more.

        ``view`` as for `write_behind`; None for a mapped partial.
        """
        write = self._sync_mapped if view is None else lambda index, crc64: self._write(index, crc64, view)
        for index in self._tally.chunks_of(extent):
            self._tools.writer.submit(self, lambda i=index: self._attempt(i, None, write))  # type: ignore[misc]

    def _queue(self, extent: Extent, write: Callable[[int, int | None], None]) -> None:
        with self._lock:
            if self._abandoned or self._ended or self._failure is not None:
                return
            completed = self._tally.add(extent)
        for index, crc64 in completed:
            self._tools.writer.submit(self, lambda i=index, c=crc64: self._attempt(i, c, write))  # type: ignore[misc]

    # -- the writer thread -------------------------------------------------------------------------------------------
    def _attempt(self, index: int, crc64: int | None, write: Callable[[int, int | None], None]) -> None:
        if self._abandoned or self._ended or self._failure is not None:
            return
        try:
            write(index, crc64)
        except OSError as error:
            self._fail(error)

    def _write(self, index: int, crc64: int | None, view: memoryview) -> None:
        start, end = self._tally.bounds(index)
        chunk = view[start:end]
        self._data.write(chunk, start)
        self._journal(index, crc64nvme(chunk) if crc64 is None else crc64)

    def _sync_mapped(self, index: int, crc64: int | None) -> None:
        assert self._mapping is not None
        start, end = self._tally.bounds(index)
        if crc64 is None:
            crc64 = crc64nvme(memoryview(self._mapping)[start:end])
        self._tools.disk.start_writing(self._data.fd, start, end - start)
        self._journal(index, crc64)

    def _journal(self, index: int, crc64: int) -> None:
        start, end = self._tally.bounds(index)
        self._tools.disk.write(self._journal_fd, b"%d %016x %d\n" % (index, crc64, end - start))
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
        self._tools.writer.forget(self)
        shown = self._shown(error)
        self._tools.bus.emit(TierDegraded("ssd", shown.code, str(shown)))

    def _journalled(self) -> list[Chunk]:
        """The claims of the journal that can be true.  The last one of a chunk counts; a torn line is none."""
        try:
            content = self._tools.disk.read_small(self.directory / JOURNAL_NAME, 64 * (self._tally.count + 1) * 4)
        except OSError:
            return []  # then nothing is resumed
        found = {}
        for line in content.splitlines(keepends=True):
            match = _LINE.fullmatch(line)
            if match and int(match[1]) < self._tally.count:
                start, end = self._tally.bounds(int(match[1]))
                if end - start == int(match[3]):
                    found[int(match[1])] = Chunk(int(match[1]), start, end - start, int(match[2], 16))
        return list(found.values())

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
        if self._mapped_view is not None:
            with contextlib.suppress(BufferError):  # somebody still reads it
                self._mapped_view.release()
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
        if self._mapping is not None:
            with contextlib.suppress(BufferError):  # somebody still reads it; the pages stay until they let go
                self._mapping.close()
        fd, self._journal_fd = self._journal_fd, -1
        with contextlib.suppress(OSError):
            self._data.close()
        if fd >= 0:
            with contextlib.suppress(OSError):
                self._tools.disk.close(fd)

    def _shown(self, error: OSError) -> ModelStreamError:
        return disk_error(error, "the SSD cannot keep a copy", self.obj.subject)
