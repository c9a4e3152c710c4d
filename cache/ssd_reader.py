"""Reading entries of one SSD directory, every chunk checked, and what becomes of a damaged one.

A damaged entry is set aside, never changed: its file may be mapped.  What of it is right becomes an unfinished
download, which the next fetch of the object takes up: so only the damaged chunks come from the bucket, pinned to
the same version, and the mended file gets the entry's name by a rename.  Where the disk itself fails (EIO) nothing
of the file is used again.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from ..storage.errors import CorruptObject, ModelStreamError, NoRoom, TransferCancelled
from ..storage.events import CorruptionFound, EventBus, TierDegraded
from ..storage.objects import ObjectHead, RemoteObject
from .disk import Disk
from .disk_errors import disk_error
from .disk_read import ChecksumError, Chunk, is_hot, read_chunks
from .entries import Entries
from .partials import Partials
from .paths import safe_basename
from .record import Record, chunk_length
from .room import Room
from .ssd_lease import SsdLease

Stamp = tuple[int, int, int, int]
OUR_LACK = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""errors of this process, not of the disk"""


class SsdReader:
    """Thread-safe.  ``shared``: somebody else's directory, in which nothing is touched."""

    def __init__(self, disk: Disk, entries: Entries, partials: Partials, space: Room, bus: EventBus, *, shared: bool) -> None:
        self._disk = disk
        self._entries = entries
        self._partials = partials
        self._space = space
        self._bus = bus
        self._shared = shared
        self._stamps: dict[str, Stamp] = {}
        self._refused: set[str] = set()
        self.heir = self
        """who gets what is left of a damaged entry: another directory's reader where this one is shared"""

    def find(self, obj: RemoteObject) -> Record | None:
        """The record of a complete entry that has not turned out to be damaged.  Never raises."""
        return None if obj.id.digest in self._refused else self._entries.find(obj)

    def read_into(self, lease: SsdLease, view: memoryview, progress: Callable[[int], None], should_stop: Callable[[], bool]) -> None:
        """See `SsdTier.read_into`."""
        stamp = _stamp(lease.path)
        direct = not is_hot(lease.path, lease.record.size_bytes)
        self._read(lease, view, progress, should_stop, direct=direct)
        self._note(lease.obj, stamp)

    def verify(self, lease: SsdLease, progress: Callable[[int], None], should_stop: Callable[[], bool], *, again: bool = False) -> None:
        """See `SsdTier.verify`.  Through the page cache where the file fits: whoever asked reads it next."""
        stamp = _stamp(lease.path)
        if not again and stamp is not None and self._stamps.get(lease.obj.id.digest) == stamp:
            return
        self._read(lease, None, progress, should_stop, direct=again or lease.record.size_bytes > _available_bytes() // 2)
        self._note(lease.obj, stamp)

    def trust(self, obj: RemoteObject) -> None:
        """The file was written and checked a moment ago: `verify` need not read it."""
        self._note(obj, _stamp(self._entries.path_for(obj)))

    def _note(self, obj: RemoteObject, stamp: Stamp | None) -> None:
        if stamp is not None:
            self._stamps[obj.id.digest] = stamp

    def _read(
        self,
        lease: SsdLease,
        view: memoryview | None,
        progress: Callable[[int], None],
        should_stop: Callable[[], bool],
        *,
        direct: bool,
    ) -> None:
        done_bytes = 0
        reads = read_chunks(self._disk, lease.path, _chunks(lease.record), view, direct=direct)
        with contextlib.closing(reads):
            for read in reads:
                if read is not None:
                    if read.error is not None:
                        raise self._failed(lease, read.chunk, read.error) from read.error
                    done_bytes += read.chunk.length
                    progress(done_bytes)
                if should_stop():
                    raise TransferCancelled("reading from the SSD was stopped", subject=lease.obj.subject)

    # -- damage --------------------------------------------------------------------------------------------------------
    def _failed(self, lease: SsdLease, chunk: Chunk, error: Exception) -> ModelStreamError:
        """What this process lacks says nothing about the file: it stays, the load goes on without it."""
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in OUR_LACK):
            why = error if isinstance(error, OSError) else OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            shown = disk_error(why, "a copy on the SSD cannot be read now", lease.obj.subject)
            self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))
            return shown
        return self._damaged(lease, chunk, error)

    def _damaged(self, lease: SsdLease, chunk: Chunk, error: Exception) -> CorruptObject:
        reason = error.strerror or "I/O error" if isinstance(error, OSError) else "wrong checksum"
        reason = "the file is too short" if isinstance(error, EOFError) else reason
        where = f"bytes {chunk.offset} to {chunk.offset + chunk.length} (chunk {chunk.index}): {reason}"
        self._bus.emit(CorruptionFound("ssd", lease.obj.subject, where))
        if isinstance(error, OSError):
            self._degraded(error, "the disk cannot read a copy", lease.obj.subject)
        self._stamps.pop(lease.obj.id.digest, None)
        taken = self._taken_away(lease)
        if taken is not None and isinstance(error, (ChecksumError, EOFError)):
            self.heir.inherit(lease.obj, lease.record, taken)
        return CorruptObject(
            "the copy on the SSD is damaged",
            subject=lease.obj.subject,
            cause=where,
            next_step="load it again, it is fetched from its bucket; if it happens often, check this disk",
        )

    def _taken_away(self, lease: SsdLease) -> Path | None:
        """Where the file of the damaged entry is now; None when somebody else has taken it away, or nobody can."""
        digest = lease.obj.id.digest
        if self._shared:
            self._refused.add(digest)
            return lease.path
        try:
            return self._entries.set_aside(digest) / safe_basename(lease.obj.id.key)
        except OSError as error:
            if error.errno != errno.ENOENT:  # ENOENT: another reader found it too
                self._refused.add(digest)  # read-only by now: not offered again
                self._degraded(error, "a damaged copy cannot be moved away", lease.obj.subject)
            return None
        finally:
            self._space.gone(digest)

    def inherit(self, obj: RemoteObject, record: Record, source: Path) -> None:
        """Best effort: without it the whole object is fetched again."""
        try:
            fd = self._disk.open(source, os.O_RDONLY)  # before room is made: that may take the file away
            try:
                with self._space.room_lock:
                    self._space.make_room(obj, record.size_bytes)
                head = ObjectHead(record.size_bytes, record.etag, record.version_id)
                self._partials.seed(obj, head, _chunks(record), fd)
            finally:
                self._disk.close(fd)
        except NoRoom:
            pass  # said again by the fetch that comes now, if it has none either
        except OSError as error:
            self._degraded(error, "what is right of a damaged copy cannot be kept", obj.subject)
        self._space.look_for_leftovers()

    def _degraded(self, error: OSError, problem: str, subject: str) -> None:
        shown = disk_error(error, problem, subject)
        self._bus.emit(TierDegraded("ssd", shown.code, str(shown)))


def _chunks(record: Record) -> list[Chunk]:
    lengths = (chunk_length(i, record.size_bytes, record.chunk_bytes) for i in range(len(record.chunk_crc64s)))
    return [Chunk(i, i * record.chunk_bytes, n, record.chunk_crc64s[i]) for i, n in enumerate(lengths)]


def _stamp(path: Path) -> Stamp | None:
    """Changes with every write to the file that is not meant to go unseen."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _available_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)
