"""The SSD tier's space as values."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.errors import NoRoom
from .policy import EvictionPlan


class NotWorthIt(NoRoom):
    """The tier could make room, and what would have to go is worth more than the newcomer."""

    code = "not_worth_it"


@dataclass(frozen=True, slots=True)
class Limits:
    """budget_bytes:     for entries, partials and quarantine together; None: what the disk leaves
    free_floor_bytes: stay free on the disk whatever the budget says
    """

    budget_bytes: int | None
    free_floor_bytes: int


@dataclass(frozen=True, slots=True)
class SsdSnapshot:
    """reserved_bytes: full size of what is on its way; leftover_bytes: unfinished downloads of others, quarantine"""

    entries: int
    used_bytes: int
    reserved_bytes: int
    leftover_bytes: int
    budget_bytes: int | None
    free_floor_bytes: int
    leases: int
    writable: bool


@dataclass(frozen=True, slots=True)
class Held:
    """An entry as the table knows it.  origin, key: empty until its record was read; last_used_s: since the epoch"""

    digest: str
    size_bytes: int
    last_used_s: float
    leased: bool
    origin: str = ""
    key: str = ""


def no_room(subject: str, size_bytes: int, lacking_bytes: int, shown: SsdSnapshot, free_bytes: int) -> NoRoom:
    budget = "no budget" if shown.budget_bytes is None else f"a budget of {_gb(shown.budget_bytes)}"
    return NoRoom(
        "the SSD has no room for the object",
        subject=subject,
        cause=(
            f"it needs {_gb(size_bytes)}, {_gb(lacking_bytes)} are lacking; the tier has {budget}, {_gb(shown.used_bytes)} in "
            f"{shown.entries} entries ({shown.leases} in use), {_gb(shown.reserved_bytes)} on the way; the disk has {_gb(free_bytes)} "
            f"free, of which {_gb(shown.free_floor_bytes)} stay free"
        ),
        next_step="raise ssd.budget_gb, lower ssd.free_floor_gb, or free space on the disk",
    )


def not_worth_it(subject: str, plan: EvictionPlan) -> NotWorthIt:
    count = len(plan.victims)
    cause = f"{count} {'entry' if count == 1 else 'entries'} would have to go, worth more by the ranking {plan.ranking}"
    return NotWorthIt("the SSD does not keep the object", subject=subject, cause=cause)


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"
