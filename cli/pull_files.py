"""From object names to files of a folder, and never outside of it; putting finished files in their places."""

from __future__ import annotations

import contextlib
import os
import shutil
import unicodedata
from pathlib import Path

from ..storage.errors import DiskFailed
from ..storage.layout import is_safe_name


def place_of(folder: Path, name: str) -> Path | None:
    """Where an object's file belongs: ``folder``/``name``; None where the name cannot be a file's on every system, or leads out
    of the folder through a link that is there."""
    if not is_safe_name(name):
        return None
    path = folder.joinpath(*name.split("/"))
    root = os.path.realpath(folder)
    parent = os.path.realpath(path.parent)
    return path if os.path.commonpath((root, parent)) == root else None


def folded(name: str) -> str:
    """Equal for two names that are one file on some system: other case, composed or decomposed letters."""
    return unicodedata.normalize("NFC", name).casefold()


def put_in_place(source: Path, target: Path, modified_s: float, *, keep: bool) -> None:
    """Durable and whole under its final name.  keep: ``source`` stays (another name has the same bytes).  Raises DiskFailed."""
    passing = target.with_name(f".{target.name[:200]}.modelstream-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            shutil.copyfile(source, passing)
            _sync(passing)
        else:
            os.replace(source, passing)
        os.chmod(passing, 0o666 & ~_umask())
        with contextlib.suppress(OSError, OverflowError, ValueError):  # a date that the file system cannot have
            os.utime(passing, (modified_s, modified_s))
        os.replace(passing, target)
        _sync(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            if keep:
                passing.unlink()
        step = "look at the folder's disk and rights, and run the command again: what was fetched is kept"
        raise DiskFailed("the file cannot be put into its place", subject=target.name, cause=error.strerror or "", next_step=step) from None


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _umask() -> int:
    """There is no way to ask without setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now
