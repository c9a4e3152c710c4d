"""Guesses become fetches within limits: per prompt, per hour, and never at the cost of what somebody needs."""

from __future__ import annotations

import pytest

from modelstream.cache.operations import RAM, SSD
from modelstream.cache.policy import FROM_BUCKET, FROM_SSD, EvictionPlan, Victim
from modelstream.cache.prefetch_guess import HOUR_S, Guesses, HourBudget
from modelstream.cache.prefetch_policy import Guess, Prices, Tiers
from modelstream.storage.config_prefetch import PrefetchConfig
from modelstream.storage.objects import ObjectId, RemoteObject

GB = 10**9
PRICES = Prices(0.0, FROM_SSD, FROM_BUCKET)


def model(name: str, gb: float = 2.0) -> RemoteObject:
    return RemoteObject("near", ObjectId("", "bucket", name, "1"), int(gb * GB), 0.0)


class Rig:
    """A prefetcher's side of it, without a cache."""

    def __init__(self, *guesses: tuple[str, float], **settings) -> None:
        self.models = {name: model(name) for name, _ in guesses}
        self.prompt = 1
        self.guesses = [Guess(self.models[name], p) for name, p in guesses]
        self.victims: tuple[str, ...] = ()
        self.cost_s: float | None = 0.0
        self.asked = Guesses(lambda: (self.prompt, self.guesses), lambda plan: self.cost_s, PrefetchConfig(**settings))
        self.in_ram: set[str] = set()
        self.on_ssd = {obj.id.digest for obj in self.models.values()}
        self.running = []
        self.wanted: set[str] = set()
        self.now_s = 0.0

    def plan_room(self, size_bytes: int, tier: str) -> EvictionPlan:
        gone = tuple(Victim(digest, GB, 0.0, 0.0, 1.0, 1, 0.1) for digest in self.victims)
        return EvictionPlan(gone, size_bytes, size_bytes, True, "lru")

    def steps(self) -> list[tuple[str, str]]:
        tiers = Tiers(self.in_ram, self.on_ssd, 100 * GB, 100 * GB)
        found, self.skipped = self.asked.steps(tiers, PRICES, self.running, self.plan_room, self.wanted, self.now_s)
        self.found = found
        return [(step.obj.id.key, step.tier) for step in found]

    def start_all(self) -> None:
        for step in self.found:
            self.asked.started(step, self.now_s)
        self.running = list(self.found)


def test_two_of_a_prompt_s_guesses_are_fetched_and_the_next_prompt_brings_others():
    rig = Rig(("a", 0.5), ("b", 0.4), ("c", 0.3))
    assert rig.steps() == [("a", RAM), ("b", RAM)]
    rig.start_all()
    assert rig.steps() == [("a", RAM), ("b", RAM)], "what is on its way goes on"
    rig.running, rig.in_ram = [], {step.digest for step in rig.found}
    assert rig.steps() == []
    rig.prompt = 2
    assert rig.steps() == [("c", RAM)]
    assert rig.asked.any()


def test_what_is_on_its_way_is_not_priced_again_and_ends_with_the_guess():
    rig = Rig(("a", 0.5))
    rig.steps()
    rig.start_all()
    rig.cost_s = None
    assert rig.steps() == [("a", RAM)]
    rig.prompt, rig.guesses = 2, []
    assert rig.steps() == [] and not rig.asked.any()


@pytest.mark.parametrize(
    "p, cost_s, fetched", [(0.05, 0.0, False), (0.15, 0.0, True), (0.5, 0.2, True), (0.5, 1.0, False), (0.9, None, False)]
)
def test_a_guess_has_to_save_more_than_it_displaces_and_a_tenth_of_its_own_time(p, cost_s, fetched):
    rig = Rig(("a", p))
    rig.cost_s = cost_s
    assert bool(rig.steps()) == fetched
    assert fetched or "price" in rig.skipped[0].reason or "room" in rig.skipped[0].reason


def test_what_the_queue_wants_and_what_was_just_guessed_is_never_displaced():
    rig = Rig(("a", 0.9), ("b", 0.9))
    rig.victims = ("queued",)
    rig.wanted = {"queued"}
    assert rig.steps() == []
    rig.wanted = set()
    assert len(rig.steps()) == 2
    rig.start_all()
    rig.running, rig.prompt, rig.victims = [], 2, (rig.found[0].digest,)
    assert rig.steps() == []
    rig.now_s = 61.0
    assert len(rig.steps()) == 2


def test_buckets_are_asked_only_where_the_owner_says_so_and_within_the_hour_s_budget():
    rig = Rig(("a", 0.9))
    rig.on_ssd = set()
    assert rig.steps() == [] and "bucket" in rig.skipped[0].reason
    rig = Rig(("a", 0.9), ("b", 0.9), from_bucket=True, budget_gb_per_hour=3.0)
    rig.on_ssd = set()
    assert [tier for _, tier in rig.steps()] == [SSD], "the second does not fit into the budget"
    rig.start_all()
    rig.running, rig.prompt = [], 2
    assert rig.steps() == [] and "budget" in rig.skipped[0].reason
    rig.now_s = HOUR_S
    assert len(rig.steps()) == 1
    budget = HourBudget(10)
    budget.spend(7, 0.0)
    assert budget.left_bytes(HOUR_S - 1) == 3 and budget.left_bytes(HOUR_S) == 10


def test_none_at_all_is_allowed():
    rig = Rig(("a", 0.9), learned_per_prompt=0)
    assert rig.steps() == []


def test_a_storm_of_equally_likely_files_fetches_nothing():
    rig = Rig(*((f"m{number}", 1 / 300) for number in range(300)))
    assert rig.steps() == []
