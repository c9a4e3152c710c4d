"""What is cleaned up behind crashes, at start and in the background.  Counted, never silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .disk import Disk
from .leases import LeaseFiles
from .partials import Partials


@dataclass(frozen=True, slots=True)
class SweepReport:
    partials: int = 0
    trash: int = 0
    freed_bytes: int = 0
    failed: int = 0
    """directories that could not be removed (a file in use on Windows, permissions): the next sweep tries again"""


def sweep(disk: Disk, partials: Partials, leases: LeaseFiles, now_s: float, stopped: Callable[[], bool]) -> SweepReport:
    """Removes stale partials and quarantined entries, trash, and lease files of dead processes.  Raises nothing."""
    removed = trash = freed_bytes = failed = 0
    leases.live()
    for path in partials.trash(now_s):
        if stopped():
            break
        if _tried(lambda path=path: disk.remove_tree(path)):  # type: ignore[misc]
            trash += 1
        else:
            failed += 1
    for leftover in partials.stale(now_s):
        if stopped():
            break
        if _tried(lambda path=leftover.path: partials.remove(path)):  # type: ignore[misc]
            removed += 1
            freed_bytes += leftover.size_bytes
        else:
            failed += 1
    return SweepReport(removed, trash, freed_bytes, failed)


def _tried(remove: Callable[[], None]) -> bool:
    try:
        remove()
    except OSError:
        return False
    return True
