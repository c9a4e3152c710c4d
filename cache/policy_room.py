"""Who goes: from ranked candidates to the set of victims.  Pure.

A model is a large share of a tier, so *which set* frees the bytes matters as much as the order: taking the lowest
scores until enough is free often evicts one more than needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from .policy_history import Row
from .policy_rank import Ranking

Scored = tuple[float, int, Row]
"""score per byte, number of its last use (decides ties: the older goes first; digests are never compared), row"""


def choose(candidates: Sequence[Scored], needed_bytes: int, ranking: Ranking) -> list[Scored]:
    """Victims in order of eviction; empty when even all candidates would not do (or nothing is needed).

    candidates: lowest score first.
    """
    victims: list[Scored] = []
    freed_bytes = 0
    for one in candidates:
        if freed_bytes >= needed_bytes:
            break
        victims.append(one)
        freed_bytes += one[2].size_bytes
    if freed_bytes < needed_bytes:
        return []
    if ranking.thrifty and len(victims) > 1:
        victims = _without_unneeded(victims, freed_bytes - needed_bytes, by_worth=ranking.swap > 0)
    if ranking.swap and victims:
        single = _single(candidates, needed_bytes)
        if single is not None and worth(single) < ranking.swap * sum(worth(one) for one in victims):
            return [single]
    return victims


def worth(one: Scored) -> float:
    """Expected seconds lost by evicting it, in the ranking's own unit."""
    return one[0] * one[2].size_bytes


def refuses(ranking: Ranking, newcomer: float, victims: Sequence[Scored]) -> bool:
    """Whether the newcomer (its worth) is not worth the victims."""
    return bool(victims) and sum(worth(one) for one in victims) > ranking.reluctance * newcomer


def _without_unneeded(victims: list[Scored], spare_bytes: int, *, by_worth: bool) -> list[Scored]:
    """Keeps the most valuable of those that were not needed after all."""
    kept = set()
    order = sorted(range(len(victims)), key=lambda i: worth(victims[i]) if by_worth else victims[i][0], reverse=True)
    for index in order:
        size_bytes = victims[index][2].size_bytes
        if size_bytes <= spare_bytes:
            kept.add(index)
            spare_bytes -= size_bytes
    return [one for index, one in enumerate(victims) if index not in kept]


def _single(candidates: Sequence[Scored], needed_bytes: int) -> Scored | None:
    """The least valuable that frees enough alone."""
    large = [one for one in candidates if one[2].size_bytes >= needed_bytes]
    return min(large, key=worth) if large else None
