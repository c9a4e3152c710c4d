"""Operating system errors as errors of the family.  Never with a path in them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..storage.errors import DiskFailed, ModelStreamError, NoRoom

_FULL = {
    errno.ENOSPC: ("the disk is full, or it has no free inodes", "free some space on it, or lower ssd.budget_gb"),
    errno.EDQUOT: ("the quota of this user is used up", "raise the quota, or lower ssd.budget_gb"),
    errno.EFBIG: ("the file system or a limit of this process does not allow files as large as this one", "choose another ssd.directory"),
}

_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def disk_error(error: OSError, problem: str, subject: str = "", where: Path | None = None) -> ModelStreamError:
    """``problem``: what could not be done, a clause.  ``where``: on that disk, to tell a full one from one without inodes."""
    if error.errno == errno.ENOSPC and where is not None and out_of_inodes(where):
        cause = "the disk has no free inodes (it holds too many files)"
        return NoRoom(problem, subject=subject, cause=cause, next_step="delete files on that disk, or choose another ssd.directory")
    if error.errno in _FULL:
        cause, step = _FULL[error.errno]
        return NoRoom(problem, subject=subject, cause=cause, next_step=step)
    if error.errno in _FILES:
        step = "raise the limit of open files of this process (ulimit -n)"
        return DiskFailed(problem, subject=subject, cause="too many files are open", next_step=step)
    cause = f"the disk answered: {error.strerror or type(error).__name__}"
    step = "look at the system's log for errors of this disk, or choose another ssd.directory"
    return DiskFailed(problem, subject=subject, cause=cause, next_step=step)


def out_of_inodes(where: Path) -> bool:
    """False where that cannot be told (no statvfs, or a file system that makes inodes as it needs them)."""
    try:
        figures = os.statvfs(where)
    except (OSError, AttributeError):
        return False
    return figures.f_files > 0 and figures.f_favail == 0
