"""Which entries of a tier stay and which go: over plain values, so that a year of use replays in a test.

No file, no socket, no clock, no lock.  A tier tells the policy of every use and asks it for a plan; the tier acts.
The objective is expected seconds of loading lost, not misses: a miss costs bytes ÷ bandwidth of the tier below plus a
fixed latency (`TierSpeed`).  Policies are named (`NAMES`); ``adaptive`` is the default, see docs/cache-policy.md.

Not thread-safe: the tier calls it under its own lock.  A use costs some microseconds, a plan some tens.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from .policy_history import HALF_LIVES, MAX_ROWS, History, Remembered, Row
from .policy_order import Order
from .policy_rank import RANKINGS, Moment, Ranking, greedy_dual
from .policy_room import Scored, choose, refuses, worth
from .policy_tournament import NO_ACCOUNTS, Accounts, Standing, Tournament

ADAPTIVE = "adaptive"
DEFAULT = ADAPTIVE
NAMES = (ADAPTIVE, *RANKINGS)


@dataclass(frozen=True, slots=True)
class TierSpeed:
    """What a miss costs: the tier below, as measured.  Start values are the reference machine's; `observed` corrects them."""

    latency_s: float
    bytes_per_s: float

    def reload_s(self, size_bytes: int) -> float:
        return self.latency_s + size_bytes / self.bytes_per_s

    def observed(self, size_bytes: int, seconds: float) -> TierSpeed:
        """After one more load: the rate moves towards the measured one by up to an eighth, less for small objects."""
        moving_s = seconds - self.latency_s
        if size_bytes <= 0 or moving_s <= 0:
            return self
        weight = 0.125 * min(1.0, size_bytes / 1e9)
        # of seconds per byte, since those are what adds up
        per_byte_s = (1.0 - weight) / self.bytes_per_s + weight * moving_s / size_bytes
        return replace(self, bytes_per_s=1.0 / per_byte_s)


FROM_SSD = TierSpeed(latency_s=0.05, bytes_per_s=2e9)
FROM_BUCKET = TierSpeed(latency_s=0.3, bytes_per_s=250e6)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tier holds, or is about to: one object.

    leased:       somebody reads it now; never a victim
    pinned:       the user wants it kept; never a victim
    keep_until_s: kept alive until then (inf: a queued prompt needs it): a victim only when the others do not do
    """

    digest: str
    size_bytes: int
    reload_s: float
    leased: bool = False
    pinned: bool = False
    keep_until_s: float = 0.0
    last_used_s: float = 0.0
    """for one the policy has not seen used: found on the disk at start"""


@dataclass(frozen=True, slots=True)
class Victim:
    """score: what keeping it is worth under the ranking that decided, for order; expected_loss_s: for people, the
    seconds of loading that evicting it costs per further use of the tier"""

    digest: str
    size_bytes: int
    score: float
    idle_s: float
    reload_s: float
    uses: int
    expected_loss_s: float
    kept_alive: bool = False
    subject: str = ""
    """for people; filled in by whoever knows it"""

    @property
    def why(self) -> str:
        early = "; its keep-alive time was cut short" if self.kept_alive else ""
        times = "once" if self.uses == 1 else f"{self.uses} times" if self.uses else "never"
        return f"unused for {_span(self.idle_s)}, used {times}, {self.reload_s:.1f} s to load again{early}"


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """What would go to free ``needed_bytes``.  A value: making it changes nothing.

    admit:  False: the newcomer is worth less than those who would have to go; it should pass by without being kept
    ranking: which ranking decided
    """

    victims: tuple[Victim, ...]
    needed_bytes: int
    freed_bytes: int
    admit: bool
    ranking: str

    def why(self, victim: Victim) -> str:
        """The eviction in words."""
        return f"{victim.why}; worth least by the ranking {self.ranking} ({victim.score:.2g})"

    @property
    def enough(self) -> bool:
        """False: even everything that may go does not do, and then nobody is named."""
        return self.freed_bytes >= self.needed_bytes

    @property
    def expected_loss_s(self) -> float:
        return sum(victim.expected_loss_s for victim in self.victims)


class Policy(Protocol):
    name: str

    def used(self, entry: Entry, now_s: float, *, hit: bool, in_use: Container[str] = ()) -> None:
        """Every use, once, before the plan that a miss asks for.  in_use: digests that cannot go now (leases)."""

    def admitted(self, digest: str) -> None: ...

    def removed(self, digest: str) -> None:
        """It left the tier, for whatever reason."""

    def plan_room(self, entries: Mapping[str, Entry], needed_bytes: int, now_s: float, newcomer: Entry | None = None) -> EvictionPlan:
        """Who would go.  entries: all residents by digest, the tier's own mapping.  Changes nothing."""

    def resize(self, capacity_bytes: int, now_s: float) -> None: ...


class _Sparing:
    """Digests that cannot go: leased, pinned, gone already, or kept alive after ``now_s``.  Looked up, never listed."""

    def __init__(self, entries: Mapping[str, Entry], now_s: float) -> None:
        self._entries = entries
        self._now_s = now_s
        self.kept_alive = False
        """whether somebody was spared for that reason alone"""

    def __contains__(self, digest: object) -> bool:
        entry = self._entries.get(digest)  # type: ignore[call-overload]
        if entry is None or entry.leased or entry.pinned:
            return True
        if entry.keep_until_s > self._now_s:
            self.kept_alive = True
            return True
        return False


class RankedPolicy:
    """Every named policy: one history, and the ranking that decides, fixed or led by a tournament."""

    def __init__(self, name: str, capacity_bytes: int, *, max_rows: int = MAX_ROWS) -> None:
        self.name = name
        self._history = History(max_rows)
        self._tournament = Tournament(capacity_bytes) if name == ADAPTIVE else None
        self._fixed = RANKINGS.get(name, RANKINGS["lru"])
        self._residents: dict[str, Row] = {}
        self._order = Order(self._residents)
        self._floor = 0.0

    @property
    def ranking(self) -> Ranking:
        return self._tournament.leader if self._tournament else self._fixed

    # -- what happens --------------------------------------------------------------------------------------------------
    def used(self, entry: Entry, now_s: float, *, hit: bool, in_use: Container[str] = ()) -> None:
        row = self._history.use(entry.digest, entry.size_bytes, entry.reload_s, now_s)
        row.priority = greedy_dual(row, self._floor)
        if hit and self._residents.get(entry.digest) is not row:
            self._residents[entry.digest] = row
        if self._tournament:
            self._tournament.use(row, self._moment(now_s), in_use, hit=hit)

    def admitted(self, digest: str) -> None:
        row = self._history.get(digest)
        if row is not None:
            row.entered_at = self._history.at
            self._residents[digest] = row

    def expected(self, entry: Entry, now_s: float) -> None:
        """It was fetched ahead.  One that was never used ranks as if it were being used now: who fetches ahead thinks that
        it will be.  No use, and the shadows hear nothing of it."""
        row = Row(entry.digest, entry.size_bytes, entry.reload_s, [1.0] * len(HALF_LIVES), self._history.at, now_s)
        self._history.adopt(row)
        self.admitted(entry.digest)

    def removed(self, digest: str) -> None:
        row = self._residents.pop(digest, None) or self._history.get(digest)
        if row is not None:
            if self._fixed.inflates:
                self._floor = max(self._floor, row.priority)
            row.stay_uses = 0

    def resize(self, capacity_bytes: int, now_s: float) -> None:
        if self._tournament:
            self._tournament.resize(capacity_bytes, self._moment(now_s))

    # -- what would go -------------------------------------------------------------------------------------------------
    def plan_room(self, entries: Mapping[str, Entry], needed_bytes: int, now_s: float, newcomer: Entry | None = None) -> EvictionPlan:
        ranking, moment = self.ranking, self._moment(now_s)
        if needed_bytes <= 0:
            return EvictionPlan((), needed_bytes, 0, True, ranking.name)
        chosen = self._chosen(entries, needed_bytes, ranking, moment)
        if not chosen and entries.keys() != self._residents.keys():
            self._take_in(entries)
            chosen = self._chosen(entries, needed_bytes, ranking, moment)
        victims = tuple(self._victim(one, moment, entries[one[2].digest].keep_until_s > now_s) for one in chosen)
        admit = newcomer is None or not refuses(ranking, self._worth(newcomer, ranking, moment), chosen)
        return EvictionPlan(victims, needed_bytes, sum(v.size_bytes for v in victims), admit, ranking.name)

    def _chosen(self, entries: Mapping[str, Entry], needed_bytes: int, ranking: Ranking, moment: Moment) -> list[Scored]:
        if len(entries) != len(self._residents):
            self._take_in(entries)
        chosen: list[Scored] = []
        for sparing in (_Sparing(entries, moment.now_s), _Sparing(entries, math.inf)):
            chosen = choose(self._order.lowest(needed_bytes, ranking, moment, sparing), needed_bytes, ranking)
            if chosen or not sparing.kept_alive:
                break
        return chosen

    def _take_in(self, entries: Mapping[str, Entry]) -> None:
        """Residents that came or went without a word (another process's files on a shared SSD).  No score changes.

        One that came while another went is noticed at a later plan; one that went is never named as a victim.
        """
        for digest in self._residents.keys() - entries.keys():
            del self._residents[digest]
        unseen = [entries[digest] for digest in entries.keys() - self._residents.keys()]
        for entry in sorted(unseen, key=lambda one: (one.last_used_s, one.digest)):
            self._residents[entry.digest] = self._history.get(entry.digest) or self._unused(entry)

    @staticmethod
    def _unused(entry: Entry) -> Row:
        """Before everything that was seen used, the latest last."""
        oldest = -(10**9) - int(max(0.0, 4e9 - entry.last_used_s) * 1e6)
        return Row(entry.digest, entry.size_bytes, entry.reload_s, used_at=oldest, used_s=entry.last_used_s)

    def _victim(self, one: Scored, moment: Moment, kept_alive: bool) -> Victim:
        score, _, row = one
        idle_s = max(moment.now_s - row.used_s, 0.0)
        loss_s = RANKINGS["steady"].score(row, moment) * row.size_bytes
        return Victim(row.digest, row.size_bytes, score, idle_s, row.reload_s, row.uses, loss_s, kept_alive)

    def _worth(self, newcomer: Entry, ranking: Ranking, moment: Moment) -> float:
        row = self._history.get(newcomer.digest) or Row(newcomer.digest, newcomer.size_bytes, newcomer.reload_s)
        # it is being asked for now: never less than one use
        if not row.uses:
            row = replace(row, counts=[1.0] * len(row.counts), used_at=moment.at)
        return worth((ranking.score(row, moment), 0, row))

    # -- reports and memory --------------------------------------------------------------------------------------------
    def rate(self, digest: str) -> tuple[float, int]:
        """Uses of it per use of the tier, with some weight on long memory, and its uses so far."""
        row = self._history.get(digest)
        if row is None or not row.reload_s:
            return 0.0, 0
        per_byte_s = RANKINGS["steady"].score(row, self._moment(0.0))
        return per_byte_s * (row.size_bytes or 1) / row.reload_s, row.uses

    def standings(self) -> tuple[Standing, ...]:
        """What each ranking of the tournament would have lost; empty for a fixed policy."""
        return self._tournament.standings() if self._tournament else ()

    def saved_s(self, now_s: float, days: int = 7) -> float:
        return self._tournament.saved_s(now_s, days) if self._tournament else 0.0

    def accounts(self) -> Accounts:
        """For a restart; empty for a fixed policy."""
        return self._tournament.accounts() if self._tournament else NO_ACCOUNTS

    def restore_accounts(self, accounts: Accounts) -> None:
        if self._tournament:
            self._tournament.restore(accounts)

    def restore(self, remembered: Iterable[Remembered]) -> None:
        """What an earlier process knew; before the first use."""
        self._history.restore(remembered)

    def start_with(self, entries: Iterable[Entry], now_s: float) -> None:
        """What the tier holds already (an SSD after a restart); after `restore`, before the first use.

        The shadows begin with the same, or they would be charged for loads that nobody needs.
        """
        for entry in sorted(entries, key=lambda one: one.last_used_s, reverse=True):
            row = self._history.get(entry.digest) or self._unused(entry)
            self._history.adopt(row)
            self._residents[entry.digest] = row
            if self._tournament:
                self._tournament.place(row)

    def remembered(self) -> Iterator[Remembered]:
        return self._history.remembered()

    def _moment(self, now_s: float) -> Moment:
        return Moment(self._history.at, now_s, self._floor)


def make_policy(name: str, capacity_bytes: int) -> RankedPolicy:
    """A policy by its configured name; ValueError for one there is not.  capacity_bytes: the tier's budget."""
    if name not in NAMES:
        raise ValueError(f"no cache policy is called {name!r}; there are {', '.join(NAMES)}")
    return RankedPolicy(name, capacity_bytes)


def _span(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "ever"
    for unit, length_s in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length_s:
            return f"{seconds / length_s:.1f} {unit}"
    return f"{seconds:.0f} s"
