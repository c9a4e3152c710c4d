"""The partials on the disk: making one, adopting one from a dead process, and what is left over.

Adoption is one rename to a name with the new owner's token, so of several processes one wins.  Removal is a
rename to trash first, for the same reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..storage.objects import ObjectHead, RemoteObject
from .disk import Disk, is_plain
from .disk_read import Chunk
from .owners import Owners
from .partial import ENTRY_NAME, HEAD_NAME, JOURNAL_NAME
from .partial_journal import journal_line
from .paths import Layout, safe_basename
from .record import CHUNK_BYTES

HEAD_MAX_BYTES = 64 << 10
JOURNAL_MAX_BYTES = 64 << 20
STALE_S = 7 * 86400.0
"""a dead partial or a quarantined entry older than this is removed; within it a user comes back to a big download"""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A directory that is no entry: a partial, something in quarantine, or in trash.

    object_tag: equal for all versions of one object; "" where unknown
    touched_s:  when it was last written to, or came to quarantine or trash
    reclaimable: nobody alive uses it
    """

    path: Path
    digest: str
    object_tag: str
    size_bytes: int
    touched_s: float
    reclaimable: bool


class Partials:
    """Any thread.  Methods raise OSError."""

    def __init__(self, disk: Disk, layout: Layout, owners: Owners, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._chunk_bytes = chunk_bytes
        self._disk = disk
        self._layout = layout
        self._owners = owners

    def create(self, obj: RemoteObject, head: ObjectHead) -> Path:
        """An empty partial; `PartialFile` makes its data file."""
        directory = self._layout.partial / f"{obj.id.digest}.{self._owners.mine()}"
        self._disk.mkdir(directory)
        try:
            self._disk.mkdir(directory / ENTRY_NAME)
            self._write(directory / HEAD_NAME, self._head_json(obj, head))
            self._write(directory / JOURNAL_NAME, b"")
        except BaseException:
            with contextlib.suppress(OSError):
                self._disk.remove_tree(directory)  # what cannot be removed now is a leftover of the next start
            raise
        return directory

    def adopt(self, obj: RemoteObject, head: ObjectHead, now_s: float) -> Path | None:
        """The dead partial of this very version that got farthest, now ours; the others of this object are removed."""
        mine = [p for p in self.leftovers(now_s) if p.reclaimable and p.digest == obj.id.digest and p.path.parent == self._layout.partial]
        adopted: Path | None = None
        for leftover in sorted(mine, key=lambda p: -p.size_bytes):
            target = self._layout.partial / f"{obj.id.digest}.{self._owners.mine()}"
            try:
                self._disk.rename(leftover.path, target)
            except FileNotFoundError:
                continue  # somebody else was quicker
            if adopted is None and self._usable(target, obj, head):
                adopted = target
            else:
                self.remove(target)
        return adopted

    def _usable(self, directory: Path, obj: RemoteObject, head: ObjectHead) -> bool:
        """Same version, nothing planted, nothing missing.  Removes the record of a commit that was cut short."""
        name = safe_basename(obj.id.key)
        try:
            if self._disk.read_small(directory / HEAD_NAME, HEAD_MAX_BYTES) != self._head_json(obj, head):
                return False
            if not stat.S_ISDIR(self._disk.lstat(directory / ENTRY_NAME).st_mode):
                return False
            data = self._disk.lstat(directory / ENTRY_NAME / name)
            if not is_plain(data) or data.st_size != head.size_bytes or not is_plain(self._disk.lstat(directory / JOURNAL_NAME)):
                return False
            for entry in self._disk.entries(directory / ENTRY_NAME):
                if entry.name != name:
                    self._disk.unlink(Path(entry.path))
        except OSError:
            return False  # whatever it is, it is not worth more than fetching again
        return True

    def seed(self, obj: RemoteObject, head: ObjectHead, claimed: Sequence[Chunk], source: int) -> None:
        """A partial with all that the damaged file ``source`` (open) has.  Nobody's: the next fetch takes it up, reads
        every chunk, and asks the bucket for the damaged ones only.  A copy, since the old file may be mapped.
        """
        directory = self.create(obj, head)
        try:
            fd = self._disk.create(directory / ENTRY_NAME / safe_basename(obj.id.key))
            try:
                self._disk.truncate(fd, head.size_bytes)
                for chunk in claimed:
                    self._copy(source, fd, chunk)
            finally:
                self._disk.close(fd)
            journal = self._disk.open(directory / JOURNAL_NAME, os.O_WRONLY | os.O_APPEND)
            try:
                self._disk.write(journal, b"".join(journal_line(c.index, c.crc64, c.length) for c in claimed))
            finally:
                self._disk.close(journal)
        except BaseException:
            self.remove(directory)
            raise
        self.release(directory)

    def _copy(self, source: int, target: int, chunk: Chunk) -> None:
        """What there is of the chunk; what is missing fails its checksum later."""
        done = 0
        while done < chunk.length:
            got = self._disk.copy(source, target, chunk.offset + done, chunk.length - done)
            if not got:
                return
            done += got
        self._disk.start_writing(target, chunk.offset, chunk.length)

    def journalled_chunks(self, digest: str) -> int | None:
        """How far a live process is with the object, by the length of its journal; None when none has it on its way."""
        for entry in self._disk.entries(self._layout.partial):
            if entry.name.startswith(digest):
                try:
                    content = self._disk.read_small(Path(entry.path) / JOURNAL_NAME, JOURNAL_MAX_BYTES)
                except OSError:
                    continue
                return content.count(b"\n")
        return None

    def release(self, directory: Path) -> None:
        """Leaves a partial to whoever comes next, this process included."""
        digest = directory.name.partition(".")[0]
        self._disk.rename(directory, self._layout.partial / f"{digest}.{self._owners.nobody()}")

    def remove(self, directory: Path) -> None:
        """Gone at once as far as other processes see, then deleted."""
        target = self._layout.trash / f"{directory.name.partition('.')[0]}.{self._owners.mine()}"
        try:
            self._disk.rename(directory, target)
        except FileNotFoundError:
            return
        self.discard(target)

    def discard(self, trash: Path) -> None:
        """Deletes what is in trash already.  What cannot be deleted now is anybody's to delete later."""
        try:
            self._disk.remove_tree(trash)
        except OSError:
            digest = trash.name.partition(".")[0]
            self._disk.rename(trash, self._layout.trash / f"{digest}.{self._owners.nobody()}")
            raise

    def leftovers(self, now_s: float) -> list[Leftover]:
        """All partials and all trash, those of live processes too, and what is in quarantine."""
        found = []
        for where in (self._layout.partial, self._layout.trash, self._layout.quarantine):
            for entry in self._disk.entries(where):
                path = Path(entry.path)
                digest, _, owner = entry.name.partition(".")
                size_bytes, touched_s, moved_s = self._measure(path)
                quiet_s = max(0.0, now_s - max(touched_s, moved_s))
                reclaimable = where == self._layout.quarantine or self._owners.is_dead(owner, quiet_s)
                tag = self._object_tag(path) if where == self._layout.partial else ""
                since_s = touched_s if where == self._layout.partial else moved_s
                found.append(Leftover(path, digest, tag, size_bytes, since_s, reclaimable))
        return found

    def stale(self, now_s: float) -> list[Leftover]:
        """What a sweep removes: trash, what is too old, and versions of an object that a newer partial has replaced."""
        dead = [p for p in self.leftovers(now_s) if p.reclaimable]
        newest: dict[str, Leftover] = {}
        for leftover in dead:
            if leftover.object_tag and leftover.touched_s >= newest.get(leftover.object_tag, leftover).touched_s:
                newest[leftover.object_tag] = leftover

        def replaced(p: Leftover) -> bool:
            return bool(p.object_tag) and newest[p.object_tag].digest != p.digest

        def useless(p: Leftover) -> bool:
            headless = p.path.parent == self._layout.partial and not p.object_tag
            return headless or p.path.parent == self._layout.trash or now_s - p.touched_s > STALE_S

        return [p for p in dead if useless(p) or replaced(p)]

    def _object_tag(self, directory: Path) -> str:
        try:
            tag = json.loads(self._disk.read_small(directory / HEAD_NAME, HEAD_MAX_BYTES))["object"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""  # torn by a crash while it was made
        return tag if isinstance(tag, str) else ""

    def _measure(self, directory: Path) -> tuple[int, float, float]:
        """Bytes that it takes on the disk (the data file is sparse), when it was last written to, when renamed."""
        size_bytes, touched_s, moved_s = 0, 0.0, 0.0
        for status in self._statuses(directory):
            size_bytes += getattr(status, "st_blocks", -(-status.st_size // 512)) * 512
            touched_s, moved_s = max(touched_s, status.st_mtime), max(moved_s, status.st_ctime)
        return size_bytes, touched_s, moved_s

    def _statuses(self, path: Path) -> Iterator:  # type: ignore[type-arg]
        try:
            status = self._disk.lstat(path)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(status.st_mode):
            yield status
            return
        yield status
        for entry in self._disk.entries(path):
            yield from self._statuses(Path(entry.path))

    def _write(self, path: Path, content: bytes) -> None:
        fd = self._disk.create(path)
        try:
            self._disk.write(fd, content)
        finally:
            self._disk.close(fd)

    def _head_json(self, obj: RemoteObject, head: ObjectHead) -> bytes:
        """Equal bytes mean the same version of the same object."""
        name = "\0".join((obj.id.endpoint, obj.id.bucket, obj.id.key)).encode("utf-8", "surrogatepass")
        fields = {
            "partial": 1,
            "object": hashlib.sha256(name).hexdigest(),
            "version": obj.id.version,
            "etag": head.etag,
            "version_id": head.version_id,
            "size_bytes": head.size_bytes,
            "chunk_bytes": self._chunk_bytes,
        }
        return json.dumps(fields).encode()
