"""The pool of warm models, as bookkeeping: no ComfyUI, no torch, no clock of its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from modelstream.cache.vram import Limits, Sizes, Warm, WarmPool
from modelstream.cache.vram_choice import Candidate, Plan, choose, order
from modelstream.storage.events import Event, EventBus, Evicted, Stored, TierHit

GB = 1 << 30


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Pool:
    """A pool, its clock and its events."""

    def __init__(self, **limits: Any) -> None:
        self.clock, self.bus, self.events = Clock(), EventBus(), list[Event]()
        self.bus.subscribe(self.events.append)
        self.pool: WarmPool[str] = WarmPool(Limits(**limits), self.bus, self.clock)

    def put(self, key: str, host_bytes: int = 0, seconds: float = 1.0, *, in_use: bool = False, **sizes: Any) -> None:
        self.clock.now_s += 1
        measured = Sizes(host_bytes, **sizes)
        self.pool.put(key, Warm(key, f"model {key}", seconds, lambda: measured, lambda: in_use))

    def keys(self) -> list[str]:
        return [str(one.key) for one in self.pool.snapshot().entries]

    def went(self) -> list[tuple[str, str]]:
        return [(e.subject, e.reason) for e in self.events if isinstance(e, Evicted)]


# -- the choice --------------------------------------------------------------------------------------------------------
def candidate(key: str, size_bytes: int = 10, seconds: float = 1.0, idle_s: float = 0.0, *, in_use: bool = False) -> Candidate:
    return Candidate(key, size_bytes, seconds, idle_s, in_use)


def going(plan: Plan) -> list[Any]:
    return [one.key for one in plan.going]


def test_of_equal_models_the_longest_unused_goes() -> None:
    assert going(choose([candidate("new", idle_s=1), candidate("old", idle_s=600)], 10)) == ["old"]


def test_what_costs_few_seconds_for_its_bytes_goes_before_what_costs_many() -> None:
    assert going(choose([candidate("slow", seconds=60), candidate("quick", seconds=1)], 10)) == ["quick"]


def test_no_more_go_than_are_needed() -> None:
    small, large = candidate("small", 10, 0.1), candidate("large", 100, 90.0)
    assert going(choose([small, large], 100)) == ["large"]  # the small one was looked at first, and would not have done
    assert going(choose([small, large], 101)) == ["small", "large"]


def test_a_model_in_use_never_goes() -> None:
    plan = choose([candidate("used", 100, in_use=True), candidate("free", 10)], 50)
    assert (going(plan), plan.enough, plan.freed_bytes) == (["free"], False, 10)


def test_nothing_goes_for_no_room() -> None:
    assert choose([candidate("a")], 0) == Plan(0)


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 100), st.floats(0, 1e6), st.booleans()), max_size=12),
    st.integers(-5, 4000),
)
@settings(deadline=None)
def test_a_plan_is_enough_whenever_it_can_be_and_has_nobody_to_spare(rows: list[tuple[int, float, float, bool]], needed: int) -> None:
    entries = [candidate(str(n), size, seconds, idle, in_use=used) for n, (size, seconds, idle, used) in enumerate(rows)]
    plan = choose(entries, needed)
    free = sum(one.size_bytes for one in entries if not one.in_use)
    assert plan.enough == (free >= needed or needed <= 0)
    assert not any(one.in_use for one in plan.going)
    if plan.enough:
        assert all(plan.freed_bytes - one.size_bytes < needed for one in plan.going)
    assert [one for one in order(entries) if one in plan.going] == [*plan.going]


# -- the pool -----------------------------------------------------------------------------------------------------------
def test_what_was_put_in_comes_out_and_is_counted() -> None:
    one = Pool()
    assert one.pool.get("a") is None
    one.put("a", 5, seconds=2.5)
    assert one.pool.get("a") == "model a"
    figures = one.pool.snapshot()
    assert (figures.hits, figures.misses, figures.saved_seconds) == (1, 1, 2.5)
    assert [type(e) for e in one.events] == [Stored, TierHit]


def test_over_the_host_budget_the_cheapest_go_but_not_what_is_in_use() -> None:
    one = Pool(host_bytes=25)
    one.put("used", 10, in_use=True)
    one.put("dear", 10, seconds=50)
    one.put("cheap", 10)
    assert one.keys() == ["used", "dear"]
    assert one.went() == [("cheap", "budget")]


def test_the_ram_tiers_bytes_are_not_in_the_host_budget() -> None:
    one = Pool(host_bytes=0)
    one.put("shared", 0, shared_bytes=5 * GB)
    assert one.keys() == ["shared"]


def test_a_plan_changes_nothing_until_it_is_carried_out() -> None:
    one = Pool()
    one.put("a", 10)
    one.put("b", 10)
    plan = one.pool.plan_room(15)
    assert (len(plan.going), plan.freed_bytes, len(one.keys())) == (2, 20, 2)
    assert one.pool.drop(plan, "pressure") == 20
    assert one.keys() == []
    assert one.pool.drop(plan, "pressure") == 0


def test_room_is_planned_in_the_bytes_that_are_asked_for() -> None:
    one = Pool()
    one.put("host", 100)
    one.put("shared", 0, shared_bytes=100)
    assert [c.key for c in one.pool.plan_room(1, lambda sizes: sizes.shared_bytes).going] == ["shared"]


def test_what_is_not_used_for_the_keep_alive_time_goes() -> None:
    one = Pool(keep_alive_s=60)
    one.put("a", 1)
    one.put("b", 1, in_use=True)
    one.clock.now_s += 58
    assert one.pool.expire() == 0
    assert one.pool.next_expiry_s() == 1
    one.clock.now_s += 1
    assert one.pool.get("a") == "model a"
    one.clock.now_s += 59
    assert one.pool.expire() == 0
    one.clock.now_s += 1
    assert one.pool.expire() == 1
    assert one.keys() == ["b"]
    assert one.pool.next_expiry_s() == 0


def test_without_a_keep_alive_time_nothing_ever_expires() -> None:
    one = Pool()
    one.put("a", 1)
    one.clock.now_s += 1e9
    assert (one.pool.expire(), one.pool.next_expiry_s()) == (0, None)


def test_clearing_takes_everything_also_what_is_in_use() -> None:
    one = Pool()
    one.put("a", 1, in_use=True)
    assert one.pool.clear("asked") == 1
    assert one.went() == [("a", "asked")]


def test_the_same_key_again_takes_the_place_of_the_first() -> None:
    one = Pool()
    one.put("a", 1)
    one.put("a", 2)
    assert (one.keys(), one.pool.snapshot().host_bytes, one.went()) == (["a"], 2, [("a", "replaced")])


def test_models_that_have_moved_are_measured_anew() -> None:
    one, sizes = Pool(), [Sizes(10)]
    one.pool.put("a", Warm("a", "model a", 1.0, lambda: sizes[0]))
    sizes[0] = Sizes(0, device_bytes={"cuda:0": 10})
    assert one.pool.snapshot().host_bytes == 10
    one.pool.measure()
    assert (one.pool.snapshot().host_bytes, one.pool.snapshot().device_bytes("cuda:0")) == (0, 10)


def test_another_policy_can_take_the_choices_place() -> None:
    one = Pool()
    largest = WarmPool[str](
        Limits(host_bytes=15), one.bus, one.clock, lambda c, n: Plan(n, tuple(sorted(c, key=lambda o: -o.size_bytes)[:1]))
    )
    for key, size in (("a", 3), ("b", 9), ("c", 5)):
        largest.put(key, Warm(key, key, 1.0, lambda size=size: Sizes(size)))
    assert sorted(str(e.key) for e in largest.snapshot().entries) == ["a", "c"]


class PoolAgainstAModel(RuleBasedStateMachine):
    """The pool beside a dict: it holds what was put in less what it told to have gone, and its sums are right."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.one = Pool(host_bytes=100, keep_alive_s=50)
        self.there: dict[str, tuple[int, float]] = {}
        self.used: set[str] = set()
        self.seen = 0

    @rule(target=keys, key=st.sampled_from("abcdef"), size=st.integers(0, 60), seconds=st.floats(0, 10), used=st.booleans())
    def put(self, key: str, size: int, seconds: float, used: bool) -> str:
        self.there[key] = (size, seconds)
        (self.used.add if used else self.used.discard)(key)
        before = self.one.clock.now_s
        self.one.pool.put(key, Warm(key, key, seconds, lambda: Sizes(size), lambda: key in self.used))
        assert self.one.clock.now_s == before
        self.follow(put=key)
        return key

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert (self.one.pool.get(key) is not None) == (key in self.there)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.one.clock.now_s += seconds

    @rule()
    def expire(self) -> None:
        self.one.pool.expire()
        self.follow()

    @rule(size=st.integers(0, 150))
    def make_room(self, size: int) -> None:
        plan = self.one.pool.plan_room(size)
        went = self.one.pool.drop(plan, "pressure")
        assert went == plan.freed_bytes
        self.follow()

    @rule()
    def clear(self) -> None:
        self.one.pool.clear("asked")
        self.there.clear()
        self.seen = len(self.one.events)

    def follow(self, put: str | None = None) -> None:
        """Takes from the model what the pool says has gone."""
        for event in self.one.events[self.seen :]:
            if isinstance(event, Evicted) and event.reason != "replaced":
                assert event.reason == "asked" or event.subject not in self.used
                self.there.pop(event.subject)
        self.seen = len(self.one.events)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert sorted(self.one.keys()) == sorted(self.there)
        assert self.one.pool.snapshot().host_bytes == sum(size for size, _ in self.there.values())

    @invariant()
    def keeps_to_its_budget_but_for_what_is_in_use(self) -> None:
        free = sum(size for key, (size, _) in self.there.items() if key not in self.used)
        total = sum(size for size, _ in self.there.values())
        assert total <= 100 or free == 0


TestPoolAgainstAModel = PoolAgainstAModel.TestCase
TestPoolAgainstAModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("value", [Sizes(), Limits(), Plan(0), candidate("a")])
def test_what_crosses_a_module_cannot_be_changed(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, 1)


# -- one host copy for several devices -----------------------------------------------------------------------------------
def test_what_several_models_hold_together_is_counted_once_and_comes_free_with_the_last() -> None:
    one, shared = Pool(), {"shared_bytes": 100, "buffers": {7: 100}}
    one.put("cuda:0", seconds=9, **shared)
    one.put("cuda:1", seconds=9, **shared)
    one.put("alone", shared_bytes=30, buffers={8: 30})
    assert one.pool.snapshot().shared_bytes == 130

    def of(sizes: Sizes) -> int:
        return sizes.shared_bytes

    assert going(one.pool.plan_room(30, of)) == ["alone"]
    plan = one.pool.plan_room(100, of)
    assert (set(going(plan)), plan.freed_bytes, plan.enough) == ({"cuda:0", "cuda:1"}, 100, True)
    assert one.pool.plan_room(131, of).freed_bytes == 130
    assert not one.pool.plan_room(131, of).enough


def test_a_model_in_use_keeps_the_host_copy_whatever_the_others_do() -> None:
    one, shared = Pool(), {"shared_bytes": 100, "buffers": {7: 100}}
    one.put("cuda:0", in_use=True, **shared)
    one.put("cuda:1", **shared)
    assert one.pool.plan_room(1, lambda sizes: sizes.shared_bytes).freed_bytes == 0


def test_a_device_has_its_own_budget_before_that_of_all() -> None:
    limits = Limits(device_bytes=5, by_device={"cuda:1": 7})
    assert [limits.of_device(name) for name in ("cuda:0", "cuda:1")] == [5, 7]
    assert Limits().of_device("cuda:0") is None
