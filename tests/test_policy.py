"""The policy as a tier uses it: plain values in, a plan out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.policy import DEFAULT, FROM_BUCKET, NAMES, Entry, RankedPolicy, TierSpeed, make_policy

GB = 10**9


def entry(digest: str, gb: float = 1.0, **more) -> Entry:
    return Entry(digest, int(gb * GB), FROM_BUCKET.reload_s(int(gb * GB)), **more)


class Tier:
    """A tier without bytes that does what the policy's contract says."""

    def __init__(self, name: str, capacity_gb: float) -> None:
        self.capacity_bytes = int(capacity_gb * GB)
        self.policy = make_policy(name, self.capacity_bytes)
        self.entries: dict[str, Entry] = {}
        self.evicted: list[str] = []
        self.now_s = 0.0

    @property
    def used_bytes(self) -> int:
        return sum(one.size_bytes for one in self.entries.values())

    def use(self, one: Entry) -> bool:
        self.now_s += 60.0
        hit = one.digest in self.entries
        self.policy.used(one, self.now_s, hit=hit)
        if hit or one.size_bytes > self.capacity_bytes:
            return hit
        plan = self.policy.plan_room(self.entries, self.used_bytes + one.size_bytes - self.capacity_bytes, self.now_s, one)
        if plan.enough and plan.admit:
            for victim in plan.victims:
                del self.entries[victim.digest]
                self.policy.removed(victim.digest)
                self.evicted.append(victim.digest)
            self.entries[one.digest] = one
            self.policy.admitted(one.digest)
        return False


def filled(name: str, *entries: Entry, capacity_gb: float = 100.0) -> Tier:
    tier = Tier(name, capacity_gb)
    for one in entries:
        tier.use(one)
    return tier


def victims(tier: Tier, needed_gb: float) -> list[str]:
    return [v.digest for v in tier.policy.plan_room(tier.entries, int(needed_gb * GB), tier.now_s).victims]


def test_least_recently_used_goes_by_last_use_and_fifo_by_entry():
    for name, first in (("lru", "b"), ("fifo", "a")):
        tier = filled(name, entry("a"), entry("b"), entry("c"), entry("a"))
        assert victims(tier, 1) == [first]


def test_lfu_counts_only_the_present_stay_and_the_persistent_formula_counts_all():
    tier = filled("lfu", *[entry("a")] * 5, entry("b"), entry("b"))
    del tier.entries["a"]
    tier.policy.removed("a")
    tier.use(entry("a"))
    assert victims(tier, 1) == ["a"]
    tier = filled("size_aware_persistent", *[entry("a")] * 5, entry("b"), entry("b"))
    tier.policy.removed("a")
    tier.policy.admitted("a")
    assert victims(tier, 1) == ["b"]


def test_the_size_aware_formula_lets_big_files_go_and_seconds_lost_does_not():
    rare_small, common_big = entry("small", 0.1), entry("big", 10)
    stream = [rare_small] + [entry(f"x{i}", 0.2) for i in range(20)] + [common_big] * 8 + [rare_small]
    assert victims(filled("size_aware", *stream), 1) == ["big"]
    assert "big" not in victims(filled("steady", *stream), 1)


def test_gdsf_ages_what_was_popular_once():
    tier = filled("gdsf", *[entry("old")] * 4, capacity_gb=3)
    for i in range(40):
        tier.use(entry(f"n{i}"))
    assert "old" in tier.evicted


def test_a_frequency_survives_eviction_in_the_rates():
    tier = filled("steady", *[entry("regular")] * 20)
    del tier.entries["regular"]
    tier.policy.removed("regular")
    for i in range(30):
        tier.use(entry(f"x{i}"))
    tier.use(entry("regular"))
    for i in range(30, 36):
        tier.use(entry(f"x{i}"))
    tier.use(entry("late"))
    assert victims(tier, 36) and "regular" not in victims(tier, 36)


@pytest.mark.parametrize("name", NAMES)
def test_leases_and_pins_never_go_and_then_the_plan_says_it_is_not_enough(name):
    tier = filled(name, entry("leased"), entry("pinned"), entry("free"))
    tier.entries["leased"] = entry("leased", leased=True)
    tier.entries["pinned"] = entry("pinned", pinned=True)
    assert victims(tier, 1) == ["free"]
    plan = tier.policy.plan_room(tier.entries, 2 * GB, tier.now_s)
    assert not plan.enough and plan.victims == ()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_alive_goes_only_when_the_others_do_not_do(name):
    tier = filled(name, entry("alive"), entry("b"), entry("c"))
    tier.entries["alive"] = entry("alive", keep_until_s=math.inf)
    assert "alive" not in victims(tier, 2)
    plan = tier.policy.plan_room(tier.entries, 3 * GB, tier.now_s)
    assert plan.enough and [v.digest for v in plan.victims if v.kept_alive] == ["alive"]
    assert "cut short" in next(v for v in plan.victims if v.kept_alive).why
    tier.entries["alive"] = entry("alive", keep_until_s=tier.now_s)
    assert not any(v.kept_alive for v in tier.policy.plan_room(tier.entries, 3 * GB, tier.now_s).victims)


def test_a_victim_that_turns_out_not_to_be_needed_stays():
    tier = filled("thrifty_lru", entry("small", 1), entry("large", 8), entry("new", 1))
    assert victims(tier, 8) == ["large"]
    assert victims(filled("lru", entry("small", 1), entry("large", 8), entry("new", 1)), 8) == ["small", "large"]


def test_a_newcomer_worth_far_less_than_those_who_would_go_is_not_admitted():
    regulars = [entry(f"r{i}", 5) for i in range(4)]
    tier = filled("habit", *(regulars * 50), capacity_gb=20)
    huge = entry("huge", 20)
    tier.policy.used(huge, tier.now_s, hit=False)
    assert not tier.policy.plan_room(tier.entries, 20 * GB, tier.now_s, huge).admit
    assert make_admission(filled("lru", *(regulars * 50), capacity_gb=20), huge)


def make_admission(tier: Tier, newcomer: Entry) -> bool:
    tier.policy.used(newcomer, tier.now_s, hit=False)
    return tier.policy.plan_room(tier.entries, newcomer.size_bytes, tier.now_s, newcomer).admit


def test_asking_for_a_plan_changes_nothing():
    tier = filled(DEFAULT, *[entry(f"e{i % 9}", 1 + i % 3) for i in range(60)], capacity_gb=12)
    before = (list(tier.policy.remembered()), tier.policy.standings(), dict(tier.entries))
    first = tier.policy.plan_room(tier.entries, 4 * GB, tier.now_s, entry("asked"))
    again = tier.policy.plan_room(tier.entries, 4 * GB, tier.now_s, entry("asked"))
    assert first == again and first.victims
    assert (list(tier.policy.remembered()), tier.policy.standings(), dict(tier.entries)) == before


def test_a_plan_says_who_and_why():
    tier = filled(DEFAULT, entry("a", 2), entry("a", 2), entry("b"))
    tier.now_s += 7200
    (victim,) = tier.policy.plan_room({"a": tier.entries["a"]}, GB, tier.now_s).victims
    assert victim.uses == 2 and victim.size_bytes == 2 * GB
    assert victim.why == "unused for 2.0 h, used 2 times, 8.3 s to load again"
    assert victim.expected_loss_s > 0


def test_files_the_policy_never_saw_used_go_first_the_longest_unused_before_the_rest():
    tier = filled(DEFAULT, entry("used"))
    tier.entries["later"] = entry("later", last_used_s=2000.0)
    tier.entries["earlier"] = entry("earlier", last_used_s=1000.0)
    assert victims(tier, 2) == ["earlier", "later"]


def test_nothing_needed_is_an_empty_plan_that_is_enough():
    plan = filled(DEFAULT, entry("a")).policy.plan_room({}, 0, 0.0)
    assert plan.enough and plan.admit and not plan.victims


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="adaptive, lru"):
        make_policy("best", GB)


def test_the_rate_of_the_tier_below_follows_what_is_measured():
    speed = TierSpeed(0.3, 250e6)
    for _ in range(200):
        speed = speed.observed(4 * GB, 0.3 + 4.0)
    assert speed.reload_s(GB) == pytest.approx(1.3, rel=0.01)
    assert speed.observed(0, 1.0) == speed and speed.observed(GB, 0.1) == speed


def test_what_was_remembered_ranks_the_same_after_a_restart():
    tier = filled("steady", *[entry(f"e{i % 7}", 1 + i % 3) for i in range(100)])
    fresh = make_policy("steady", tier.capacity_bytes)
    fresh.restore(tier.policy.remembered())
    before = tier.policy.plan_room(tier.entries, 6 * GB, tier.now_s)
    after = fresh.plan_room(tier.entries, 6 * GB, tier.now_s)
    assert [v.digest for v in after.victims] == [v.digest for v in before.victims]


def test_the_history_is_bounded_and_forgets_the_longest_unused():
    policy = RankedPolicy("steady", GB, max_rows=50)
    for i in range(500):
        policy.used(entry(f"e{i}"), float(i), hit=False)
    rows = list(policy.remembered())
    assert len(rows) <= 50 and max(row.used_s for row in rows) == 499.0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=120), st.sampled_from(NAMES), st.integers(5, 25))
def test_a_tier_never_holds_more_than_it_may_whatever_is_asked(uses, name, capacity_gb):
    tier = Tier(name, capacity_gb)
    for code, gb in uses:
        tier.use(tier.entries.get(f"e{code}") or entry(f"e{code}", gb))
        assert tier.used_bytes <= tier.capacity_bytes
    plan = tier.policy.plan_room(tier.entries, tier.used_bytes + 1, tier.now_s)
    assert not plan.enough


@given(st.sets(st.integers(0, 99), min_size=60, max_size=100), st.integers(1, 40), st.sampled_from(NAMES))
def test_a_plan_frees_enough_with_free_entries_only_also_among_many(codes, needed_gb, name):
    tier = Tier(name, 10_000)
    for code in sorted(codes):
        tier.use(entry(f"e{code}", 1 + code % 4))
    for code in sorted(codes)[::3]:
        tier.entries[f"e{code}"] = replace(tier.entries[f"e{code}"], leased=True)
    plan = tier.policy.plan_room(tier.entries, needed_gb * GB, tier.now_s)
    free = {d: e.size_bytes for d, e in tier.entries.items() if not e.leased}
    assert plan.enough == (sum(free.values()) >= needed_gb * GB)
    assert len({v.digest for v in plan.victims}) == len(plan.victims)
    assert all(v.digest in free for v in plan.victims)
    assert plan.freed_bytes == sum(v.size_bytes for v in plan.victims)
