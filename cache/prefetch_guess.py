"""Guesses become fetches: at most so many after each prompt, each where it is worth its price.  One thread: the prefetcher's.

Nothing of this runs while the queue still wants something: the prefetcher asks only when its own steps are done.
A guess that is on its way goes on until the next prompt brings other guesses, or the queue wants the tier.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from ..storage.config_prefetch import PrefetchConfig
from ..storage.objects import RemoteObject
from .policy import EvictionPlan
from .predict_price import KEPT_S
from .prefetch_policy import Guess, Prices, Skipped, Step, Tiers, price_guesses

HOUR_S = 3600.0


class HourBudget:
    """Bytes of the last hour."""

    def __init__(self, bytes_per_hour: int) -> None:
        self._bytes_per_hour = bytes_per_hour
        self._spent: deque[tuple[float, int]] = deque()

    def spend(self, size_bytes: int, now_s: float) -> None:
        self._spent.append((now_s, size_bytes))

    def left_bytes(self, now_s: float) -> int:
        while self._spent and self._spent[0][0] <= now_s - HOUR_S:
            self._spent.popleft()
        return self._bytes_per_hour - sum(size for _, size in self._spent)


class Guesses:
    """guessed:     number of the prompt after which they were made, and the guesses; from memory
    displaced_s: what a plan costs in expected seconds; None: it would take what somebody needs
    """

    def __init__(
        self,
        guessed: Callable[[], tuple[int, Sequence[Guess]]],
        displaced_s: Callable[[EvictionPlan], float | None],
        settings: PrefetchConfig,
    ) -> None:
        self._guessed = guessed
        self._displaced_s = displaced_s
        self._settings = settings
        self._budget = HourBudget(settings.budget_bytes_per_hour)
        self._prompt = -1
        self._taken: set[str] = set()
        self._kept_until_s: dict[str, float] = {}

    def any(self) -> bool:
        return bool(self._guessed()[1])

    def steps(
        self,
        tiers: Tiers,
        prices: Prices,
        running: Iterable[Step],
        plan_room: Callable[[int, str], EvictionPlan],
        wanted: Collection[str],
        now_s: float,
    ) -> tuple[tuple[Step, ...], tuple[Skipped, ...]]:
        """What is on its way already comes first and is not priced again: its room is made.  wanted: digests of the queue."""
        prompt, guesses = self._guessed()
        if prompt != self._prompt:
            self._prompt, self._taken = prompt, set()
        named = {guess.obj.id.digest for guess in guesses}
        going = tuple(step for step in running if step.source == "learned" and step.digest in named)
        left = self._settings.learned_per_prompt - len(self._taken)
        if left <= 0:
            return going, ()
        self._kept_until_s = {digest: until_s for digest, until_s in self._kept_until_s.items() if until_s > now_s}

        def lost_s(obj: RemoteObject, tier: str) -> float | None:
            plan = plan_room(obj.size_bytes, tier)
            if any(victim.digest in wanted or victim.digest in self._kept_until_s for victim in plan.victims):
                return None
            return self._displaced_s(plan)

        asked = Prices(
            self._settings.second_price,
            prices.ssd,
            prices.bucket,
            self._settings.from_bucket,
            left,
            self._budget.left_bytes(now_s),
        )
        fresh = [guess for guess in guesses if guess.obj.id.digest not in self._taken]
        steps, skipped = price_guesses(fresh, tiers, asked, lost_s)
        return (*going, *steps), skipped

    def started(self, step: Step, now_s: float) -> None:
        if step.digest not in self._taken:
            self._taken.add(step.digest)
            self._kept_until_s[step.digest] = now_s + KEPT_S
            if step.from_bucket:
                self._budget.spend(step.obj.size_bytes, now_s)
