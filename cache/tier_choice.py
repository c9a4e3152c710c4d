"""What one tier lets go of: its policy, told of every use, and asked with what it has to know of the tier's entries.

Not thread-safe: the tier calls it under its own lock, but `remembered` and `report` may be called from anywhere.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from .pins import Pins
from .policy import DEFAULT, Entry, EvictionPlan, RankedPolicy, make_policy
from .policy_history import Remembered
from .policy_tournament import Accounts, Standing

USES_KEPT = 10_000
"""for the report of how far from the best possible the tier was; 100 bytes each"""


@dataclass(frozen=True, slots=True)
class Use:
    digest: str
    size_bytes: int
    reload_s: float
    hit: bool


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """saved_s: against least recently used, over the days asked for; negative: lost.  None: a fixed policy, which has
    nothing to compare itself with"""

    policy: str
    ranking: str
    capacity_bytes: int
    saved_s: float | None
    standings: tuple[Standing, ...]
    recent: tuple[Use, ...]


class TierChoice:
    def __init__(
        self,
        capacity_bytes: int = 0,
        policy: str = DEFAULT,
        pins: Pins | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.pins = Pins() if pins is None else pins
        self._policy: RankedPolicy = make_policy(policy, capacity_bytes)
        self._capacity_bytes = capacity_bytes
        self._wall_clock = wall_clock
        self._keep_until_s: dict[str, float] = {}
        self._ahead: set[str] = set()
        self._recent: deque[Use] = deque(maxlen=USES_KEPT)
        self.changes = 0
        """uses so far: whoever stores what is remembered sees whether there is anything new"""

    # -- what happens --------------------------------------------------------------------------------------------------
    def used(self, digest: str, size_bytes: int, reload_s: float, in_use: Container[str] = (), *, hit: bool) -> None:
        """Every use once, before the plan that a miss asks for.  The first use of what was fetched ahead is the miss
        that the tier would have had without: who is told what the policy saved should not be told of that."""
        if digest in self._ahead:
            self._ahead.discard(digest)
            hit = False
        self.changes += 1
        self._recent.append(Use(digest, size_bytes, reload_s, hit))
        self._policy.used(Entry(digest, size_bytes, reload_s), self._wall_clock(), hit=hit, in_use=in_use)

    def admitted(self, digest: str) -> None:
        self._policy.admitted(digest)

    def came_ahead(self, digest: str, size_bytes: int, reload_s: float) -> None:
        """Admitted, and nobody has asked for it yet."""
        self._ahead.add(digest)
        self._policy.expected(Entry(digest, size_bytes, reload_s), self._wall_clock())

    def removed(self, digest: str) -> None:
        self._policy.removed(digest)
        self._ahead.discard(digest)

    def resize(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._policy.resize(capacity_bytes, self._wall_clock())

    def keep(self, digests: Iterable[str], until_s: float) -> None:
        """Until then (wall time; inf: for a queued prompt; 0: no longer) they go only when the others do not do."""
        now_s = self._wall_clock()
        self._keep_until_s = {digest: end_s for digest, end_s in self._keep_until_s.items() if end_s > now_s}
        for digest in digests:
            self._keep_until_s.pop(digest, None)
            if until_s > now_s:
                self._keep_until_s[digest] = until_s

    # -- who would go --------------------------------------------------------------------------------------------------
    def entry(
        self, digest: str, size_bytes: int, reload_s: float, *, leased: bool = False, pinned: bool = False, last_used_s: float = 0.0
    ) -> Entry:
        return Entry(digest, size_bytes, reload_s, leased, pinned, self._keep_until_s.get(digest, 0.0), last_used_s)

    def plan(self, entries: Mapping[str, Entry], needed_bytes: int, newcomer: Entry | None = None) -> EvictionPlan:
        """Changes nothing."""
        return self._policy.plan_room(entries, needed_bytes, self._wall_clock(), newcomer)

    def plan_what_goes(self, entries: Mapping[str, Entry], needed_bytes: int) -> EvictionPlan:
        """Like `plan`, and where that is not enough: everything that may go."""
        free = sum(entry.size_bytes for entry in entries.values() if not entry.leased and not entry.pinned)
        return self.plan(entries, min(needed_bytes, free))

    # -- reports and memory --------------------------------------------------------------------------------------------
    def report(self, days: int) -> PolicyReport:
        policy = self._policy
        saved_s = policy.saved_s(self._wall_clock(), days) if policy.standings() else None
        return PolicyReport(policy.name, policy.ranking.name, self._capacity_bytes, saved_s, policy.standings(), tuple(self._recent))

    def rate(self, digest: str) -> tuple[float, int]:
        """See `RankedPolicy.rate`."""
        return self._policy.rate(digest)

    def remembered(self) -> list[Remembered]:
        return list(self._policy.remembered())

    def accounts(self) -> Accounts:
        return self._policy.accounts()

    def recall(self, remembered: Iterable[Remembered], accounts: Accounts, held: Iterable[Entry]) -> None:
        """What an earlier process knew, and what the tier holds already."""
        self._policy.restore(remembered)
        self._policy.restore_accounts(accounts)
        self._policy.start_with(held, self._wall_clock())


FOR_EVER = math.inf
