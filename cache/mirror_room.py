"""Who leaves a near origin to make room for a copy: a plan, made by the policies of the tiers from the fleet's books.

The near origin is one more tier, shared by many workers: its uses are what all of them wrote down (`mirror_records`), not what
this process saw.  So each plan starts from the books alone, and two workers that plan at once plan the same.

Pure: no file, no socket, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from ..storage.mirror_records import Books, CopyRecord
from .policy import Entry, EvictionPlan, Victim, make_policy

USES_COUNTED = 30
"""of one copy: replayed one by one"""


def plan_room(
    books: Books,
    key: str,
    size_bytes: int,
    budget_bytes: int | None,
    *,
    policy: str,
    now_s: float,
    reload_s: Callable[[int], float],
    spared: Container[str] = (),
    gone: Container[str] = (),
) -> EvictionPlan:
    """Victims by their key in ``digest``.  Never names what has no record: that is not ours.

    reload_s: what reading so many bytes from the far origin costs; spared: keys that are being written
    gone:     keys whose far object no longer exists: they go first, whatever they were worth
    """
    held = {record.key: record for record in books.records if record.size_bytes is not None and record.key != key}
    used_bytes = sum(record.size_bytes or 0 for record in held.values())
    needed_bytes = 0 if budget_bytes is None else max(0, used_bytes + size_bytes - budget_bytes)
    first: list[Victim] = []
    for record in _by_use(held.values()):
        if record.key in gone and record.key not in spared and sum(v.size_bytes for v in first) < needed_bytes:
            first.append(_gone(held.pop(record.key), now_s))
    freed_bytes = sum(victim.size_bytes for victim in first)
    ranked = make_policy(policy, budget_bytes or 0)
    for record in _uses(held.values()):
        ranked.used(_entry(record, reload_s, spared), record.used_s, hit=True)
    entries = {name: _entry(record, reload_s, spared) for name, record in held.items()}
    newcomer = Entry(key, size_bytes, reload_s(size_bytes))
    plan = ranked.plan_room(entries, needed_bytes - freed_bytes, now_s, newcomer)
    return replace(plan, victims=(*first, *plan.victims), needed_bytes=needed_bytes, freed_bytes=plan.freed_bytes + freed_bytes)


def _entry(record: CopyRecord, reload_s: Callable[[int], float], spared: Container[str]) -> Entry:
    size_bytes = record.size_bytes or 0
    return Entry(record.key, size_bytes, reload_s(size_bytes), leased=record.key in spared, last_used_s=record.used_s)


def _gone(record: CopyRecord, now_s: float) -> Victim:
    """Nobody can ask for it any more, so losing it costs nothing."""
    return Victim(record.key, record.size_bytes or 0, 0.0, max(0.0, now_s - record.used_s), 0.0, record.uses, 0.0)


def _by_use(records: Iterable[CopyRecord]) -> list[CopyRecord]:
    return sorted(records, key=lambda record: (record.used_s, record.key))


def _uses(records: Iterable[CopyRecord]) -> list[CopyRecord]:
    """Every use as one row, the latest use of each last: the books say how many there were, and when the last one was."""
    ordered = _by_use(records)
    earlier = [record for record in ordered for _ in range(min(record.uses, USES_COUNTED) - 1)]
    return [*earlier, *ordered]
