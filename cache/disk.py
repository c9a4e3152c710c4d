"""Every call that the SSD tier makes to the operating system, in one place.

Tests wrap `Disk` to let the n-th call fail; Windows differences (no O_DIRECT, pread, fallocate, directory
fsync) end here.  Files are opened without following a symlink in the last segment.  All methods raise OSError.
Thread-safe, as far as one file descriptor is used by one thread where the system has no pread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ALIGN_BYTES = 4096
"""what O_DIRECT wants of offset, address and length; the largest logical block of common disks"""

_EXTRA = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
O_DIRECT = getattr(os, "O_DIRECT", 0)
COPY_BYTES = 1 << 20
SYNC_FILE_RANGE_WRITE = 2
"""linux/fs.h"""


def _find_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    found = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_sync_file_range = _find_sync_file_range()


class Disk:
    def create(self, path: Path) -> int:
        """A new file, 0600, for reading and writing; FileExistsError where anything has that name."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _EXTRA, 0o600)

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | _EXTRA, 0o600)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, content: bytes) -> None:
        """Appends small content."""
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]

    def pwrite(self, fd: int, view: memoryview, offset: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(fd, view, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.write(fd, view)

    def pread(self, fd: int, view: memoryview, offset: int) -> int:
        """Reads into ``view``; 0 at the end of the file."""
        if hasattr(os, "preadv"):
            return os.preadv(fd, [view], offset)
        os.lseek(fd, offset, os.SEEK_SET)
        content = os.read(fd, len(view))
        view[: len(content)] = content
        return len(content)

    def read_small(self, path: Path, limit_bytes: int) -> bytes:
        """A whole small regular file; OSError for anything else."""
        fd = self.open(path, os.O_RDONLY)
        try:
            status = os.fstat(fd)
            if not is_plain(status) or status.st_size > limit_bytes:
                raise OSError(0, "not a plain small file")
            with os.fdopen(os.dup(fd), "rb") as file:
                return file.read(limit_bytes)
        finally:
            self.close(fd)

    def truncate(self, fd: int, size_bytes: int) -> None:
        os.ftruncate(fd, size_bytes)

    def allocate(self, fd: int, size_bytes: int) -> None:
        """Real blocks for the whole file: a mapping of it then cannot hit a full disk (SIGBUS)."""
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, size_bytes)
        else:
            os.ftruncate(fd, size_bytes)

    def copy(self, source: int, target: int, offset: int, length: int) -> int:
        """Up to ``length`` bytes from one file to the same place in another; 0 at the end of ``source``.

        Inside the kernel where it can (some file systems then share the blocks).
        """
        if hasattr(os, "copy_file_range"):
            with contextlib.suppress(OSError):  # other file systems, or one that does not do it: by hand
                return os.copy_file_range(source, target, length, offset, offset)
        piece = bytearray(min(length, COPY_BYTES))
        got = self.pread(source, memoryview(piece), offset)
        return self.pwrite(target, memoryview(piece)[:got], offset) if got > 0 else 0

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def drop_cached(self, fd: int, offset: int, length: int) -> None:
        """After a buffered write: writes the range out and lets the page cache forget it."""
        if hasattr(os, "posix_fadvise"):
            os.fdatasync(fd)
            os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)

    def start_writing(self, fd: int, offset: int, length: int) -> None:
        """Lets the kernel begin to write dirty pages of the range, so that they do not pile up until the fsync.

        A hint: a refusal means nothing.  Not `mmap.flush`, which waits for the disk with the interpreter's lock held.
        """
        if _sync_file_range is not None:
            _sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE)

    def fsync_directory(self, path: Path) -> None:
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def mkdir(self, path: Path) -> None:
        os.mkdir(path, 0o700)

    def rename(self, old: Path, new: Path) -> None:
        """Atomic; fails where ``new`` is a directory with anything in it."""
        os.rename(old, new)

    def touch(self, path: Path, time_s: float) -> None:
        os.utime(path, (time_s, time_s))

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)

    def lstat(self, path: Path) -> os.stat_result:
        return os.lstat(path)

    def free_bytes(self, path: Path) -> int:
        return shutil.disk_usage(path).free

    def remove_tree(self, path: Path) -> None:
        """Unlinks, never follows a link, never truncates.  A file that is open elsewhere stays (Windows): OSError."""
        for entry in self.entries(path):
            child = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                self.remove_tree(child)
            else:
                with contextlib.suppress(FileNotFoundError):
                    self.unlink(child)
        with contextlib.suppress(FileNotFoundError):
            self.rmdir(path)

    def entries(self, path: Path | str) -> Iterator[os.DirEntry[str]]:
        """The content of a directory; nothing where there is none."""
        try:
            with os.scandir(path) as found:
                yield from list(found)
        except (FileNotFoundError, NotADirectoryError):
            return


def is_plain(status: os.stat_result) -> bool:
    """A regular file with one name: no symlink, and nobody keeps a second link to write through."""
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def address_of(view: memoryview) -> int | None:
    """Where a writable buffer lies in memory; None when that cannot be told."""
    if view.readonly or not len(view):
        return None
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
