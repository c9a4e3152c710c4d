"""Where each object should be kept: the cheapest feasible class of its provider, as a plan that is shown before it is executed.

Pure.  Objects are independent of each other here (no provider in the list has a price that depends on what else is
kept in another class), so the best plan is the best choice for each; ``tests/test_cost.py`` compares it with brute force.
Never proposed: a move of what is pinned or newer than the owner's limit, a move that does not pay back within the object's
expected life, a class whose restore nobody may wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .cost import Cost, Use, feasible, keeping, moving
from .prices import PriceClass


@dataclass(frozen=True, slots=True)
class Placed:
    """An object where it is now.  ``age_days``: since it was written or came into this class; ``held``: pinned or in use."""

    subject: str
    use: Use
    now: PriceClass
    age_days: float = 0.0
    held: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with one object.  ``before`` and ``after`` are costs over its life, ``after`` with the move.

    break_even_days: after so many the move has paid for itself; None: nothing moves
    """

    placed: Placed
    to: PriceClass
    before: Cost
    after: Cost
    break_even_days: float | None
    reason: str

    @property
    def moves(self) -> bool:
        return self.to.storage_class != self.placed.now.storage_class

    @property
    def saves(self) -> float:
        return self.before.total - self.after.total


def choose(placed: Placed, classes: Sequence[PriceClass], *, keep_days: float = 0.0) -> Choice:
    """The cheapest feasible of ``classes`` (all of one provider).  keep_days: nothing younger moves."""
    use, now = placed.use, placed.now
    before = keeping(use, now, served_days=placed.age_days)
    stay = Choice(placed, now, before, before, None, "it is where it costs least")
    if placed.held:
        return _because(stay, "it is pinned or in use")
    if placed.age_days < keep_days:
        return _because(stay, f"it is newer than {keep_days:g} days")
    best = stay
    for new in classes:
        if not feasible(use, new):
            continue
        moved = moving(use, now, new, served_days=placed.age_days)
        served_days = placed.age_days if new.storage_class == now.storage_class else 0.0
        kept = keeping(use, new, served_days=served_days)
        after = Cost(kept.storage, kept.retrieval, kept.egress, kept.requests, kept.waiting, moved.moving)
        # where the object is now may have become infeasible (an archive somebody wants to read): then anything is better
        if after.total < best.after.total or (best is stay and not feasible(use, now)):
            best = Choice(placed, new, before, after, _break_even_days(placed, new, moved.total), _why(placed, new, before, after))
    return best


def plan(objects: Iterable[Placed], classes: Sequence[PriceClass], *, keep_days: float = 0.0) -> tuple[Choice, ...]:
    """One choice an object, the greatest saving first."""
    return tuple(sorted((choose(o, classes, keep_days=keep_days) for o in objects), key=lambda c: -c.saves))


def _because(choice: Choice, reason: str) -> Choice:
    return Choice(choice.placed, choice.to, choice.before, choice.after, None, reason)


def _break_even_days(placed: Placed, new: PriceClass, fee: float) -> float | None:
    """Days until the fee is earned back by what a day costs less; None where nothing moves or it never is."""
    if new.storage_class == placed.now.storage_class:
        return None
    use = placed.use
    life_days = max(use.life_days, 1e-9)
    old_day = keeping(use, placed.now, served_days=placed.now.min_days).total / life_days
    new_day = keeping(use, new, served_days=new.min_days).total / life_days
    if old_day <= new_day:
        return None
    return fee / (old_day - new_day)


def _why(placed: Placed, new: PriceClass, before: Cost, after: Cost) -> str:
    if not feasible(placed.use, placed.now):
        return f"{placed.now.storage_class} takes longer to restore than anybody may wait"
    names = ("storage", "retrieval", "egress", "requests", "waiting")
    name = max(names, key=lambda n: getattr(before, n) - getattr(after, n))
    return f"{name} costs {getattr(before, name):.4f} there and {getattr(after, name):.4f} in {new.storage_class}"
