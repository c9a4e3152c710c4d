"""Operating system errors as errors of the family.  Never with a path in them."""

from __future__ import annotations

import errno

from ..storage.errors import DiskFailed, ModelStreamError, NoRoom

_FULL = {
    errno.ENOSPC: ("the disk is full, or it has no free inodes", "free some space on it, or lower ssd.budget_gb"),
    errno.EDQUOT: ("the quota of this user is used up", "raise the quota, or lower ssd.budget_gb"),
    errno.EFBIG: ("the file system or a limit of this process does not allow files as large as this one", "choose another ssd.directory"),
}

_FILES = frozenset({errno.EMFILE, errno.ENFILE})


def disk_error(error: OSError, problem: str, subject: str = "") -> ModelStreamError:
    """``problem``: what could not be done, a clause."""
    if error.errno in _FULL:
        cause, step = _FULL[error.errno]
        return NoRoom(problem, subject=subject, cause=cause, next_step=step)
    if error.errno in _FILES:
        step = "raise the limit of open files of this process (ulimit -n)"
        return DiskFailed(problem, subject=subject, cause="too many files are open", next_step=step)
    cause = f"the disk answered: {error.strerror or type(error).__name__}"
    step = "look at the system's log for errors of this disk, or choose another ssd.directory"
    return DiskFailed(problem, subject=subject, cause=cause, next_step=step)
