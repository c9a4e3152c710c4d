"""What is said of an object that cannot be read yet because it is in an archive."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.errors import ObjectArchived
from ..storage.objects import RemoteObject
from ..storage.restore import ArchiveState

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """waited_s: since it was asked back, as far as anybody here knows; left_s: at most, None: nobody can say"""

    storage_class: str
    waited_s: float
    left_s: float | None


def duration(seconds: float) -> str:
    """For people, who wait: "12 h", "50 min", "20 s"."""
    if seconds >= 1.5 * HOUR_S:
        return f"{seconds / HOUR_S:.0f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def refused(obj: RemoteObject, state: ArchiveState, expected_s: float, cause: str) -> ObjectArchived:
    """Nobody has asked it back.  cause: why we do not; empty: the owner did not allow it."""
    takes = f"; it takes up to {duration(expected_s)}" if expected_s else ""
    step = f'ask it back with "modelstream restore {obj.id.key}"{takes}; or let loads do so: on_load = "wait" under [restore]'
    if cause:
        step = f'ask it back with "modelstream restore {obj.id.key}"{takes}; or raise max_cost under [restore]'
    problem = f"the object is in {state.storage_class} and cannot be read before it is restored"
    return ObjectArchived(problem, subject=obj.subject, cause=cause or "nobody has asked it back yet", next_step=step)


def under_way(obj: RemoteObject, state: ArchiveState, left_s: float | None, *, started: bool, waited_s: float) -> ObjectArchived:
    time_left = f"it will be there in {duration(left_s)} at most" if left_s else "it should be there soon"
    cause = f"this load asked for it; {time_left}" if started else f"it was asked back; {time_left}"
    if waited_s:
        cause = f"{cause}. This load has waited for {duration(waited_s)}, no longer is allowed (max_wait_hours)"
    problem = f"the object is being restored from {state.storage_class}"
    step = 'load it again then; "modelstream restore --status" shows how far it is'
    return ObjectArchived(problem, subject=obj.subject, cause=cause, next_step=step)


def in_words(progress: RestoreProgress) -> str:
    since = f" for {duration(progress.waited_s)}" if progress.waited_s >= 1 else ""
    return f"being restored from {progress.storage_class}{since}"
