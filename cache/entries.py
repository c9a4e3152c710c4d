"""Complete entries on the disk: finding, placing, setting aside, deleting.  No budget and no table here.

An entry is believed only if everything fits: no symlink on the way, a plain file with one link, a record that
parses and names this very object, the right size.  Whether the bytes are right is checked when they are read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..storage.errors import DiskFailed
from ..storage.objects import RemoteObject
from .disk import Disk, is_plain
from .owners import Owners
from .paths import RECORD_NAME, Layout, is_digest, safe_basename
from .record import RECORD_MAX_BYTES, Record, RecordFromNewer, RecordUnreadable, parse_record


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as a scan sees it: sizes and times only, the record unread.

    size_bytes:  of all files in it but the record
    last_used_s: mtime of the record, seconds since the epoch; 0 where there is none, so that it is evicted first
    """

    digest: str
    size_bytes: int
    last_used_s: float


class Entries:
    """Any thread, any number of processes: every change is one rename.  Methods raise OSError unless they say other."""

    def __init__(self, disk: Disk, layout: Layout, owners: Owners) -> None:
        self._disk = disk
        self._layout = layout
        self._owners = owners

    def path_for(self, obj: RemoteObject) -> Path:
        return self._layout.entry(obj.id.digest) / safe_basename(obj.id.key)

    def find(self, obj: RemoteObject) -> Record | None:
        """The record of a complete entry; None for everything else.  Never raises."""
        digest = obj.id.digest
        try:
            record = self.read_record(digest)
            if record is None or record.id != obj.id:
                return None
            status = self._disk.lstat(self.path_for(obj))
        except (OSError, RecordFromNewer):
            return None
        return record if is_plain(status) and status.st_size == record.size_bytes else None

    def read_record(self, digest: str) -> Record | None:
        """None where there is no readable one.  Raises RecordFromNewer: such an entry is not ours to touch."""
        directory = self._layout.entry(digest)
        try:
            for parent in (directory.parent.parent, directory.parent, directory):
                if not stat.S_ISDIR(self._disk.lstat(parent).st_mode):
                    return None
            return parse_record(self._disk.read_small(directory / RECORD_NAME, RECORD_MAX_BYTES))
        except (OSError, RecordUnreadable):
            return None

    def is_from_newer(self, digest: str) -> bool:
        try:
            self.read_record(digest)
        except RecordFromNewer:
            return True
        return False

    def place(self, entry: Path, record: Record, obj: RemoteObject) -> Record:
        """Gives a finished directory its final name, durably.  Where a complete entry is there already, that one
        stays and its record is returned; what is damaged there goes to quarantine."""
        final = self._layout.entry(obj.id.digest)
        self._make_parents(final.parent)
        for attempt in range(3):
            try:
                self._disk.rename(entry, final)
                break
            except OSError as error:
                if not os.path.lexists(final) and attempt < 2:
                    continue  # another process took it away between our two looks
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EACCES, errno.EPERM) or attempt == 2:
                    raise
            existing = self.find(obj)
            if existing is not None:
                return existing
            if self.is_from_newer(obj.id.digest):
                raise DiskFailed(
                    "the SSD cannot keep a copy",
                    subject=obj.subject,
                    cause="a newer version of Model Stream keeps this object in the same directory",
                    next_step="update Model Stream, or choose another ssd.directory",
                )
            self.set_aside(obj.id.digest)
        self._disk.fsync_directory(final.parent)
        return record

    def _make_parents(self, directory: Path) -> None:
        """Each new level is made durable in the one above it."""
        if directory == self._layout.root or directory.is_dir():
            return
        self._make_parents(directory.parent)
        try:
            self._disk.mkdir(directory)
        except FileExistsError:
            return
        self._disk.fsync_directory(directory.parent)

    def set_aside(self, digest: str) -> Path:
        """To quarantine: not deleted, for whoever wants to know what the disk did; reclaimed when room is needed.

        Returns where it is.
        """
        return self._move_away(digest, self._layout.quarantine)

    def take_out(self, digest: str) -> Path:
        """First half of deleting: from now on the entry is absent.  Returns where it is."""
        return self._move_away(digest, self._layout.trash)

    def put_back(self, digest: str, taken: Path) -> None:
        self._disk.rename(taken, self._layout.entry(digest))

    def _move_away(self, digest: str, where: Path) -> Path:
        if not where.is_dir():
            try:
                self._disk.mkdir(where)
            except FileExistsError:
                pass
        target = where / f"{digest}.{self._owners.mine()}"
        self._disk.rename(self._layout.entry(digest), target)
        return target

    def walk(self) -> Iterator[Found]:
        """Every entry.  Stat only: 10,000 entries are a fraction of a second.  Damaged ones count too."""
        for first in self._directories(self._layout.objects, 2):
            for second in self._directories(first, 2):
                for path in self._directories(second, 64):
                    if is_digest(os.path.basename(path)):
                        yield self._measured(path)

    def _directories(self, parent: Path | str, name_length: int) -> Iterator[str]:
        for entry in self._disk.entries(parent):
            if len(entry.name) == name_length and entry.is_dir(follow_symlinks=False):
                yield entry.path

    def _measured(self, path: str) -> Found:
        size_bytes, last_used_s = 0, 0.0
        for entry in self._disk.entries(path):
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # evicted at this moment
            if entry.name == RECORD_NAME:
                last_used_s = status.st_mtime
            else:
                size_bytes += status.st_size
        return Found(os.path.basename(path), size_bytes, last_used_s)
