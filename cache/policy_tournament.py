"""The tournament: shadow caches that hold no bytes see every use; the real tier follows whoever lost least lately.

One shadow is plain LRU with thrift, so the real tier is never far behind it; the shadows are also the honest report
of what the policy saved.  A challenger must be ahead by a margin, and old losses fade.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from .policy_history import Row
from .policy_order import Order
from .policy_rank import RANKINGS, Moment, Ranking
from .policy_room import choose, refuses

EXPERTS = ("thrifty_lru", "recent", "steady", "habit")
MEMORY = 0.9997
"""what is left of a loss after one more use: half after 2,300"""
MARGIN = 0.03
_LARGE = 1e12
DAY_S = 86400.0
DAYS = 8


Days = Mapping[int, tuple[float, float]]
"""by day since the epoch: seconds of loading lost by the tier itself, and by the first expert"""


@dataclass(frozen=True, slots=True)
class Accounts:
    """What outlives the process.  recent_s: each expert's fading loss, as in `Standing`; leader: its name, or empty"""

    days: Days
    recent_s: Mapping[str, float]
    leader: str = ""


NO_ACCOUNTS = Accounts({}, {})


@dataclass(frozen=True, slots=True)
class Standing:
    """One ranking's account.  lost_s: seconds of loading so far had it governed alone; recent_s: the same, fading."""

    name: str
    lost_s: float
    recent_s: float


class Shadow:
    """What a tier of this size would hold under one ranking."""

    def __init__(self, ranking: Ranking) -> None:
        self.ranking = ranking
        self.residents: dict[str, Row] = {}
        self.used_bytes = 0
        self.lost_s = 0.0
        self.recent_s = 0.0
        self._sizes: dict[str, int] = {}
        self._order = Order(self.residents)

    def use(self, row: Row, capacity_bytes: int, moment: Moment, in_use: Container[str], weight: float) -> bool:
        """Whether it was a miss.  weight: of this use among the recent ones; it grows instead of all else fading."""
        if self.residents.get(row.digest) is row and self._sizes[row.digest] == row.size_bytes:
            return False
        self._drop(row.digest)
        self.lost_s += row.reload_s
        self.recent_s += row.reload_s * weight
        if row.size_bytes <= capacity_bytes and self._make_room(row, capacity_bytes, moment, in_use):
            self._add(row)
        return True

    def place(self, row: Row, capacity_bytes: int) -> None:
        """Held from the start, where it fits."""
        if row.digest not in self.residents and self.used_bytes + row.size_bytes <= capacity_bytes:
            self._add(row)

    def shrink(self, capacity_bytes: int, moment: Moment) -> None:
        needed_bytes = self.used_bytes - capacity_bytes
        if needed_bytes > 0:
            for _, _, victim in choose(self._order.lowest(needed_bytes, self.ranking, moment, ()), needed_bytes, self.ranking):
                self._drop(victim.digest)

    def _make_room(self, row: Row, capacity_bytes: int, moment: Moment, in_use: Container[str]) -> bool:
        needed_bytes = self.used_bytes + row.size_bytes - capacity_bytes
        if needed_bytes <= 0:
            return True
        candidates = self._order.lowest(needed_bytes, self.ranking, moment, in_use)
        victims = choose(candidates, needed_bytes, self.ranking)
        if not victims or refuses(self.ranking, self.ranking.score(row, moment) * row.size_bytes, victims):
            return False
        for _, _, victim in victims:
            self._drop(victim.digest)
        return True

    def _add(self, row: Row) -> None:
        self.residents[row.digest] = row
        self._sizes[row.digest] = row.size_bytes
        self.used_bytes += row.size_bytes

    def _drop(self, digest: str) -> None:
        if self.residents.pop(digest, None) is not None:
            self.used_bytes -= self._sizes.pop(digest)


class Tournament:
    """Not thread-safe: its owner holds a lock."""

    def __init__(self, capacity_bytes: int, experts: Sequence[str] = EXPERTS) -> None:
        self.capacity_bytes = capacity_bytes
        self._shadows = [Shadow(RANKINGS[name]) for name in experts]
        self._leader = self._shadows[0]
        self._weight = 1.0
        self._days: dict[int, tuple[float, float]] = {}

    @property
    def leader(self) -> Ranking:
        return self._leader.ranking

    def use(self, row: Row, moment: Moment, in_use: Container[str], *, hit: bool) -> None:
        before_s = self._shadows[0].lost_s
        self._weight /= MEMORY
        missed = False
        for shadow in self._shadows:
            missed |= shadow.use(row, self.capacity_bytes, moment, in_use, self._weight)
        if missed:
            best = min(self._shadows, key=_recent)
            if best is not self._leader and best.recent_s < self._leader.recent_s * (1.0 - MARGIN):
                self._leader = best
            if self._weight > _LARGE:
                self._rescale()
        self._account(moment, 0.0 if hit else row.reload_s, self._shadows[0].lost_s - before_s)

    def place(self, row: Row) -> None:
        for shadow in self._shadows:
            shadow.place(row, self.capacity_bytes)

    def resize(self, capacity_bytes: int, moment: Moment) -> None:
        self.capacity_bytes = capacity_bytes
        for shadow in self._shadows:
            shadow.shrink(capacity_bytes, moment)

    def standings(self) -> tuple[Standing, ...]:
        return tuple(Standing(s.ranking.name, s.lost_s, s.recent_s / self._weight) for s in self._shadows)

    def saved_s(self, now_s: float, days: int = 7) -> float:
        """Seconds of loading saved in the last so many days against the first expert, least recently
        used with thrift (which is never worse than plain by much, mostly better); may be negative."""
        first = int(now_s // DAY_S) - days
        return sum(lru_s - own_s for day, (own_s, lru_s) in list(self._days.items()) if day > first)

    def accounts(self) -> Accounts:
        return Accounts(dict(self._days), {s.name: s.recent_s for s in self.standings()}, self.leader.name)

    def restore(self, accounts: Accounts) -> None:
        """What an earlier process accounted for; before the first use.  Without it every start would be least recently
        used again, for as long as it takes the others to prove themselves."""
        self._days = dict(sorted(accounts.days.items())[-DAYS:])
        for shadow in self._shadows:
            shadow.recent_s = accounts.recent_s.get(shadow.ranking.name, 0.0) * self._weight
            if shadow.ranking.name == accounts.leader and len(accounts.recent_s) == len(self._shadows):
                self._leader = shadow

    def _rescale(self) -> None:
        for shadow in self._shadows:
            shadow.recent_s /= self._weight
        self._weight = 1.0

    def _account(self, moment: Moment, own_s: float, lru_s: float) -> None:
        if own_s or lru_s:
            day = int(moment.now_s // DAY_S)
            own, lru = self._days.get(day, (0.0, 0.0))
            self._days[day] = (own + own_s, lru + lru_s)
            if len(self._days) > DAYS:
                del self._days[min(self._days)]


def _recent(shadow: Shadow) -> float:
    return shadow.recent_s
