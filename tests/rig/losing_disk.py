"""A disk that forgets what was not fsynced: what is left after a power loss, in the two ways that count.

``names`` "kept": every rename and new name survives, content only as it was fsynced (a journal of metadata only);
"lost": a name survives only when its directory was fsynced after it was given.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from modelstream.cache.disk import Disk

from .ssd_parts import FailingDisk


class LosingDisk(Disk):
    """Counts the calls that change something and loses power before the ``at``-th.  Made for one tree, before it is used."""

    def __init__(self, root: Path) -> None:
        self.calls = 0
        self.at = 1 << 30
        self._files: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._kept_open: list[int] = []
        for directory in (root, *(p for p in root.rglob("*") if p.is_dir())):
            self._remember(directory)

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in FailingDisk.CALLS:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls >= self.at:
                raise OSError(errno.EIO, "no power")  # and so does every call after it: what handles this changes nothing
            return value(*args, **kwargs)

        return call

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self._kept_open.append(os.dup(fd))  # so that no inode number is used twice
        return fd

    def fsync(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        self._files[os.fstat(fd).st_ino] = os.pread(fd, size, 0)

    def fsync_directory(self, path: Path) -> None:
        self._remember(path)

    def after_the_loss(self, root: Path, target: Path, names: str) -> None:
        """Writes what is left of ``root`` to ``target``."""
        target.mkdir(mode=0o700)
        if names == "kept":
            for name in os.listdir(root):
                self._restore_live(root / name, target / name)
        else:
            self._restore(os.stat(root).st_ino, target, {p.stat().st_ino: p.is_dir() for p in root.rglob("*")})

    def close_all(self) -> None:
        for fd in self._kept_open:
            os.close(fd)

    def _remember(self, directory: Path) -> None:
        self._names[os.stat(directory).st_ino] = {e.name: e.stat(follow_symlinks=False).st_ino for e in os.scandir(directory)}

    def _restore_live(self, source: Path, target: Path) -> None:
        if source.is_dir():
            target.mkdir(mode=0o700)
            for name in os.listdir(source):
                self._restore_live(source / name, target / name)
        else:
            self._write(source.stat().st_ino, target)

    def _restore(self, inode: int, target: Path, is_directory: dict[int, bool]) -> None:
        for name, child in self._names.get(inode, {}).items():
            if is_directory.get(child, child in self._names):
                (target / name).mkdir(mode=0o700)
                self._restore(child, target / name, is_directory)
            else:
                self._write(child, target / name)

    def _write(self, inode: int, target: Path) -> None:
        target.write_bytes(self._files.get(inode, b""))
        target.chmod(0o600)
