"""The local file that is published: read by position, hashed once, and watched for changes.

Never mapped into memory: a mapped file that somebody truncates kills the process.  Each part is read once, into the
memory it is sent from, so that its checksum is of exactly the bytes that go out.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .checksum import crc64
from .errors import PublishRefused, SourceChanged

BLOCK_BYTES = 1 << 20
"""fits the core's cache: checksum and copy find it there"""

Progress = Callable[[int], None]
"""called with the bytes done so far; may raise to stop"""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What tells one state of a file from another."""

    size_bytes: int
    modified_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class Hashes:
    """Of the whole file.  sha256: hex, empty where it was not asked for."""

    crc64: int
    sha256: str = ""


class SourceFile:
    """An open file.  Reading is thread-safe.  Raises PublishRefused for what is no ordinary, readable file.

    name: as messages call it, without directories
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise _refused(self.name, error.strerror or "it cannot be opened", "check the path and the file's rights") from None
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(self._fd)
            raise _refused(self.name, "it is no ordinary file", "name a file; folders are pushed file by file")
        self.identity = _identity(found)

    def __enter__(self) -> SourceFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        return self.identity.size_bytes

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def read(self, offset: int, length: int) -> bytes:
        """For a few bytes: the header."""
        view = memoryview(bytearray(max(0, min(length, self.size_bytes - offset))))
        self.read_into(offset, view)
        return bytes(view)

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fills ``view``; returns its CRC64NVME.  Raises SourceChanged when the file has become shorter or cannot be read."""
        at, crc = 0, 0
        while at < len(view):
            count = self._read(view[at : at + BLOCK_BYTES], offset + at)
            crc = crc64(view[at : at + count], crc)
            at += count
        return crc

    def check_unchanged(self) -> None:
        """Raises SourceChanged when the file was written to, replaced or removed since it was opened."""
        try:
            same = _identity(os.stat(self.path)) == self.identity == _identity(os.fstat(self._fd))
        except OSError:
            same = False
        if not same:
            raise changed(self.name, "its size, time or inode is another one than at the start")

    def hashes(self, *, sha256: bool = True, progress: Progress = lambda done: None) -> Hashes:
        """One pass over the file, in the calling thread.  Python's hashing lets other threads run meanwhile."""
        digest = hashlib.sha256() if sha256 else None
        buffer, crc, at = memoryview(bytearray(BLOCK_BYTES)), 0, 0
        while at < self.size_bytes:
            piece = buffer[: min(BLOCK_BYTES, self.size_bytes - at)]
            crc = crc64(piece[: self._filled(piece, at)], crc)
            if digest is not None:
                digest.update(piece)
            at += len(piece)
            progress(at)
        return Hashes(crc, digest.hexdigest() if digest is not None else "")

    def _filled(self, piece: memoryview, offset: int) -> int:
        at = 0
        while at < len(piece):
            at += self._read(piece[at:], offset + at)
        return at

    def _read(self, view: memoryview, offset: int) -> int:
        try:
            count = _read_at(self._fd, view, offset)
        except OSError as error:
            raise changed(self.name, f"it cannot be read any more: {error.strerror}") from None
        if not count:
            raise changed(self.name, "it has become shorter")
        return count


if hasattr(os, "preadv"):

    def _read_at(fd: int, view: memoryview, offset: int) -> int:
        return os.preadv(fd, [view], offset)
else:  # Windows and old macOS: no reading by position, so one reader at a time
    import threading

    _seek_lock = threading.Lock()

    def _read_at(fd: int, view: memoryview, offset: int) -> int:
        with _seek_lock:
            os.lseek(fd, offset, os.SEEK_SET)
            piece = os.read(fd, len(view))
        view[: len(piece)] = piece
        return len(piece)


def changed(name: str, cause: str) -> SourceChanged:
    step = "wait until whatever writes the file has finished, then push it again"
    return SourceChanged("the file changed while it was pushed", subject=name, cause=cause, next_step=step)


def identity_of(path: Path) -> FileIdentity | None:
    """None where there is no such file."""
    with contextlib.suppress(OSError):
        return _identity(os.stat(path))
    return None


def _identity(found: os.stat_result) -> FileIdentity:
    return FileIdentity(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def _refused(name: str, cause: str, step: str) -> PublishRefused:
    return PublishRefused("the file cannot be pushed", subject=name, cause=cause, next_step=step)
