"""What a month costs: as the objects lie now, and as the plan would have them.  Pure; money in the price list's currency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .tier_plan import TierPlan
from .tier_rules import Planned


@dataclass(frozen=True, slots=True)
class Line:
    """month: now; after: with the plan; both None where no price is known"""

    name: str
    objects: int
    size_bytes: int
    month: float | None
    after: float | None
    reads_per_month: float = 0.0

    @property
    def saves(self) -> float:
        return 0.0 if self.month is None or self.after is None else self.month - self.after


@dataclass(frozen=True, slots=True)
class CostReport:
    """fee: of all the moves, once; unpriced: objects that nobody knows a price for, and that are in no sum"""

    currency: str
    prices_read: str
    total: Line
    fee: float
    unpriced: int
    by_origin: tuple[Line, ...]
    by_class: tuple[Line, ...]
    models: tuple[Line, ...]
    """the most expensive first"""


def report(plan: TierPlan, decided: Iterable[Planned]) -> CostReport:
    decided = list(decided)
    models = sorted((_line(one) for one in decided), key=lambda line: (-(line.month or 0.0), line.name))
    return CostReport(
        plan.currency,
        plan.prices_read,
        _summed("total", decided),
        plan.fee,
        sum(one.month is None for one in decided),
        _grouped(decided, lambda one: one.obj.origin),
        _grouped(decided, lambda one: f"{one.obj.origin} {one.obj.storage_class}"),
        tuple(models),
    )


def _line(one: Planned) -> Line:
    after = one.month if one.move is None else one.move.after
    reads = one.choice.placed.use.reads_per_month if one.choice is not None else 0.0
    return Line(one.obj.subject, 1, one.obj.size_bytes, one.month, after, reads)


def _grouped(decided: list[Planned], name_of: Callable[[Planned], str]) -> tuple[Line, ...]:
    groups: defaultdict[str, list[Planned]] = defaultdict(list)
    for one in decided:
        groups[name_of(one)].append(one)
    return tuple(sorted((_summed(name, members) for name, members in groups.items()), key=lambda line: (-(line.month or 0.0), line.name)))


def _summed(name: str, members: list[Planned]) -> Line:
    lines = [_line(one) for one in members]
    known = [line for line in lines if line.month is not None]
    month = sum(line.month or 0.0 for line in known) if known else None
    after = sum(line.after or 0.0 for line in known) if known else None
    size_bytes = sum(line.size_bytes for line in lines)
    return Line(name, len(lines), size_bytes, month, after, sum(line.reads_per_month for line in lines))
