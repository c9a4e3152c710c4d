"""How long the device waits for models: one worker with its queue, one loader and one cache, replayed through the product's policies.

A worker takes prompts in order.  What its prompt misses is loaded first (demand); while it computes or idles, the
loader fetches what the next queued prompts miss (look-ahead), and after that what the predictor guesses, where the
product's own price test says so.  Demand pauses any other fetch, which keeps what it has and goes on later.  Loads are
one after the other.  Caches begin empty and are warm when the prompts that count come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from modelstream.cache.policy import FROM_SSD, Entry, EvictionPlan, RankedPolicy, make_policy
from modelstream.cache.predict import Prediction, Predictor
from modelstream.cache.predict_price import KEPT_S, Price, worth

from .policy_replay import Tier, entries_of
from .predict_trace import Prompt, uses_of

AHEAD, GUESS = "ahead", "guess"
PROMPTS_AHEAD = 4
GUESSES = 2
SECOND_PRICE = 0.1


@dataclass(frozen=True, slots=True)
class Setting:
    """ahead: prompts looked ahead; guesses: fetched after a prompt at most"""

    policy: str
    ahead: int = 0
    guesses: int = 0

    @property
    def name(self) -> str:
        return f"{self.policy}{f', {self.ahead} ahead' if self.ahead else ''}{', learned' if self.guesses else ''}"


@dataclass
class Stalls:
    """Of the prompts that count.  Bytes were fetched with nobody waiting; wasted: gone, or left at the end, without a use."""

    stall_s: float = 0.0
    prompts: int = 0
    stalled: int = 0
    ahead_bytes: float = 0.0
    ahead_wasted_bytes: float = 0.0
    guess_bytes: float = 0.0
    guess_wasted_bytes: float = 0.0

    def add(self, other: Stalls) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def guesses_of(prompts: Sequence[Prompt], sizes: Mapping[str, float], k: int = 4) -> list[tuple[Prediction, ...]]:
    """After each prompt, from this worker's own history alone, as each ComfyUI has only its own."""
    predictor, found = Predictor(), []
    for use in uses_of(prompts, sizes):
        predictor.used(use)
        found.append(predictor.next(k, use.at_s, use.stream))
    return found


class Cache:
    """One tier: what is in it, what must stay."""

    def __init__(self, policy: RankedPolicy, capacity_bytes: int, entries: Mapping[str, Entry]) -> None:
        self.policy = policy
        self.capacity_bytes = capacity_bytes
        self.entries = entries
        self.resident: dict[str, Entry] = {}
        self.used_bytes = 0
        self.keep_until_s: dict[str, float] = {}

    def plan(self, file: str, now_s: float, in_use: Collection[str]) -> EvictionPlan:
        needed = self.used_bytes + self.entries[file].size_bytes - self.capacity_bytes
        flagged = [held for held in self.resident if held in in_use or self.keep_until_s.get(held, 0.0) > now_s]
        for held in flagged:
            self.resident[held] = replace(self.entries[held], leased=held in in_use, keep_until_s=self.keep_until_s.get(held, 0.0))
        plan = self.policy.plan_room(self.resident, needed, now_s, self.entries[file])
        for held in flagged:
            self.resident[held] = self.entries[held]
        return plan

    def add(self, file: str, plan: EvictionPlan) -> list[str]:
        """Returns who went."""
        for victim in plan.victims:
            self.used_bytes -= self.resident.pop(victim.digest).size_bytes
            self.keep_until_s.pop(victim.digest, None)
            self.policy.removed(victim.digest)
        self.resident[file] = self.entries[file]
        self.used_bytes += self.entries[file].size_bytes
        self.policy.admitted(file)
        return [victim.digest for victim in plan.victims]


class Worker:
    def __init__(
        self, setting: Setting, at: Tier, prompts: Sequence[Prompt], first_s: float, sizes: Mapping[str, float],
        guesses: Sequence[Sequence[Prediction]],
    ) -> None:  # fmt: skip
        self.setting, self.at, self.prompts = setting, at, prompts
        self.entries = entries_of(sizes, at.below)
        self.cache = Cache(make_policy(setting.policy, at.capacity_bytes), at.capacity_bytes, self.entries)
        self.found = Stalls()
        self._price = Price(at.below)
        self._guesses = guesses
        self._first_s = first_s
        self._queue: deque[int] = deque()
        self._arrived = 0
        self._left_s: dict[str, float] = {}
        """of fetches that were begun"""
        self._unused: dict[str, str] = {}
        """fetched ahead and not used yet → how"""
        self._wanted: Sequence[Prediction] = ()
        self._guessed = 0
        self._counts = False
        self._on_ssd = at.below is FROM_SSD

    # -- one prompt after the other --------------------------------------------------------------------------------------
    def run(self) -> Stalls:
        now_s = 0.0
        while self._arrived < len(self.prompts) or self._queue:
            self._arrive(now_s)
            if not self._queue:
                next_s = self.prompts[self._arrived].at_s
                self._load(now_s, next_s, ())
                now_s = next_s
                continue
            number = self._queue.popleft()
            prompt = self.prompts[number]
            self._counts = prompt.at_s >= self._first_s
            self._protect(prompt.files)
            stall_s = self._demand(prompt, now_s)
            if self._counts:
                self.found.prompts += 1
                self.found.stall_s += stall_s
                self.found.stalled += stall_s > 0
            now_s += stall_s
            now_s = self._compute(now_s, now_s + prompt.compute_s, prompt.files)
            self._wanted, self._guessed = self._guesses[number], 0
        for file in list(self._unused):
            self._gone(file)
        return self.found

    def _arrive(self, now_s: float) -> None:
        while self._arrived < len(self.prompts) and self.prompts[self._arrived].at_s <= now_s:
            self._queue.append(self._arrived)
            self._arrived += 1

    def _compute(self, now_s: float, ends_s: float, files: Sequence[str]) -> float:
        while now_s < ends_s:
            self._arrive(now_s)
            until_s = min(ends_s, self.prompts[self._arrived].at_s) if self._arrived < len(self.prompts) else ends_s
            self._load(now_s, until_s, files)
            now_s = until_s
        return ends_s

    def _demand(self, prompt: Prompt, now_s: float) -> float:
        """Seconds until everything is there.  Its files are used in order, and leased from then on."""
        waited_s = 0.0
        for place, file in enumerate(prompt.files):
            in_use = prompt.files[: place + 1]
            hit = file in self.cache.resident
            self._unused.pop(file, None)
            self.cache.keep_until_s.pop(file, None)
            self.cache.policy.used(self.entries[file], now_s + waited_s, hit=hit, in_use=in_use)
            self._price.used(file, self.entries[file].size_bytes, now_s)
            if not hit:
                waited_s += self._left_s.pop(file, self.entries[file].reload_s)
                plan = self.cache.plan(file, now_s + waited_s, in_use)
                if plan.enough and plan.admit:
                    self._leave(self.cache.add(file, plan))
        return waited_s

    # -- what the loader does while nobody waits ---------------------------------------------------------------------------
    def _load(self, now_s: float, until_s: float, in_use: Sequence[str]) -> None:
        """Fetches ahead until then; a fetch that does not end in time keeps what it has."""
        while now_s < until_s:
            found = self._ahead(now_s, in_use) or self._guess(now_s, in_use)
            if found is None:
                return
            kind, file, plan = found
            left_s = self._left_s.pop(file, self.entries[file].reload_s)
            if now_s + left_s > until_s:
                self._left_s[file] = left_s - (until_s - now_s)
                return
            now_s += left_s
            self._leave(self.cache.add(file, plan))
            self._unused[file] = kind
            if kind == GUESS:
                self._guessed += 1
                self.cache.keep_until_s[file] = now_s + KEPT_S
            if self._counts:
                size_bytes = self.entries[file].size_bytes
                self.found.ahead_bytes += size_bytes if kind == AHEAD else 0
                self.found.guess_bytes += size_bytes if kind == GUESS else 0

    def _ahead(self, now_s: float, in_use: Sequence[str]) -> tuple[str, str, EvictionPlan] | None:
        for file in self._protect(in_use):
            if file not in self.cache.resident:
                plan = self.cache.plan(file, now_s, in_use)
                return (AHEAD, file, plan) if plan.enough and not any(victim.kept_alive for victim in plan.victims) else None
        return None

    def _protect(self, in_use: Sequence[str]) -> list[str]:
        """What the next prompts want, soonest first, as far as it fits together: nothing of it goes for something later."""
        wanted = dict.fromkeys(in_use)
        left = self.at.capacity_bytes - sum(self.entries[file].size_bytes for file in wanted)
        for number in list(self._queue)[: self.setting.ahead]:
            for file in self.prompts[number].files:
                if file not in wanted:
                    left -= self.entries[file].size_bytes
                    if left < 0:
                        return list(wanted)[len(in_use) :]
                    wanted[file] = None
                    self.cache.keep_until_s[file] = math.inf
        return list(wanted)[len(in_use) :]

    def _guess(self, now_s: float, in_use: Sequence[str]) -> tuple[str, str, EvictionPlan] | None:
        if self._guessed >= self.setting.guesses or not self._wanted:
            return None
        for guess in self._wanted if self._on_ssd else ():  # from a bucket nothing is guessed
            file = guess.digest
            if file in self.cache.resident or file in in_use:
                continue
            plan = self.cache.plan(file, now_s, in_use)
            if worth(guess.probability, self.entries[file].reload_s, self._price.displaced_s(plan), SECOND_PRICE):
                return GUESS, file, plan
        self._wanted = ()  # nothing changes before the next prompt
        return None

    def _leave(self, files: Sequence[str]) -> None:
        for file in files:
            if file in self._unused:
                self._gone(file)

    def _gone(self, file: str) -> None:
        kind = self._unused.pop(file)
        if self._counts:
            size_bytes = self.entries[file].size_bytes
            self.found.ahead_wasted_bytes += size_bytes if kind == AHEAD else 0
            self.found.guess_wasted_bytes += size_bytes if kind == GUESS else 0
