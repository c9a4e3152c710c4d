"""What is cleaned up behind crashes, at start and in the background.  Counted, never silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .leases import LeaseFiles
from .partials import Leftover, Partials


@dataclass(frozen=True, slots=True)
class SweepReport:
    """failed: could not be removed (a file in use on Windows, permissions); the next sweep tries again"""

    removed: int = 0
    freed_bytes: int = 0
    failed: int = 0


def sweep(partials: Partials, leases: LeaseFiles, now_s: float, stopped: Callable[[], bool]) -> SweepReport:
    """Removes stale partials and quarantined entries, trash, and lease files of dead processes.

    Raises OSError only when the directories themselves cannot be listed.
    """
    leases.live()
    removed = freed_bytes = failed = 0
    for leftover in partials.stale(now_s):
        if stopped():
            break
        if _removed(partials, leftover):
            removed += 1
            freed_bytes += leftover.size_bytes
        else:
            failed += 1
    return SweepReport(removed, freed_bytes, failed)


def _removed(partials: Partials, leftover: Leftover) -> bool:
    try:
        partials.remove(leftover.path)
    except OSError:
        return False
    return True
