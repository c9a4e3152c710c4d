"""The rankings: named ways to say which file a tier misses least, as data.

A score is what a resident byte is worth; the lowest goes first.  All of them see the past only.

    lru                   last use
    fifo                  order of entry
    lfu                   uses since entry
    gdsf                  GreedyDual-Size-Frequency: floor + uses since entry × seconds to reload ÷ bytes; the floor is
                          the score of the last victim
    size_aware            uses × 1/(hours idle + 1) × 1/(MB + 1), uses since entry
    size_aware_persistent the same with uses that survive eviction
    recent, steady, habit expected seconds lost: rate of use × seconds to reload ÷ bytes, with more
                          or less weight on long memory
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .policy_history import DECAYS, Row, decay, weights


@dataclass(frozen=True, slots=True)
class Moment:
    """When a ranking is asked: number of the tier's use, seconds on the caller's clock, GreedyDual's floor."""

    at: int
    now_s: float
    floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """score:    the lowest goes first; what a resident byte is worth
    thrifty:  victims that turn out not to be needed are kept
    swap:     below 1: one larger victim is taken instead of several when it is worth less than this share of theirs
    reluctance: a newcomer worth less than 1/reluctance of those who would have to go is not admitted; inf: always admitted
    inflates: GreedyDual: the floor follows the victims
    queued:   a score only rises by a use of that file, so `cache.policy_order` may queue the lowest
    """

    name: str
    score: Callable[[Row, Moment], float]
    thrifty: bool = False
    swap: float = 0.0
    reluctance: float = math.inf
    inflates: bool = False
    queued: bool = False


def expected_seconds(exponent: float) -> Callable[[Row, Moment], float]:
    """Seconds of loading lost per byte and use of the tier, were the file not there: rate of use × seconds ÷ bytes.

    The rate, in uses of the file per use of the tier, is the weighted sum of the decayed counts (`weights`).
    """
    u, v, w, x, y, z = weights(exponent)

    def score(row: Row, moment: Moment) -> float:
        # written out: it is called for every candidate of every shadow
        since = moment.at - row.used_at
        a, b, c, d, e, f = DECAYS[since] if 0 <= since < len(DECAYS) else decay(since)
        n = row.counts
        rate = n[0] * a * u + n[1] * b * v + n[2] * c * w + n[3] * d * x + n[4] * e * y + n[5] * f * z
        return rate * row.reload_s / (row.size_bytes or 1)

    return score


def greedy_dual(row: Row, floor: float) -> float:
    return floor + row.stay_uses * row.reload_s / (row.size_bytes or 1)


def _size_aware(uses: int, row: Row, moment: Moment) -> float:
    hours = max(moment.now_s - row.used_s, 0.0) / 3600.0
    return uses / (hours + 1.0) / (row.size_bytes / 1e6 + 1.0)


SWAP = 0.7
RELUCTANCE = 5.0


def _seconds(name: str, exponent: float) -> Ranking:
    return Ranking(name, expected_seconds(exponent), thrifty=True, swap=SWAP, reluctance=RELUCTANCE, queued=True)


RANKINGS: Mapping[str, Ranking] = {
    ranking.name: ranking
    for ranking in (
        Ranking("lru", lambda row, _: row.used_at, queued=True),
        Ranking("fifo", lambda row, _: row.entered_at),
        Ranking("lfu", lambda row, _: row.stay_uses),
        Ranking("gdsf", lambda row, _: row.priority, inflates=True),
        Ranking("size_aware", lambda row, moment: _size_aware(row.stay_uses, row, moment)),
        Ranking("size_aware_persistent", lambda row, moment: _size_aware(row.uses, row, moment)),
        Ranking("thrifty_lru", lambda row, _: row.used_at, thrifty=True, queued=True),
        _seconds("recent", -0.3),
        _seconds("steady", 0.3),
        _seconds("habit", 0.6),
    )
}
