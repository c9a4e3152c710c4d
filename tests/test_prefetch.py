"""The prefetcher: what it plans, over plain values; what it does, over a real cache and a real S3 server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from modelstream.cache.policy import FROM_BUCKET, FROM_SSD
from modelstream.cache.predict import Prediction
from modelstream.cache.prefetch import Prefetcher
from modelstream.cache.prefetch_credit import Credit
from modelstream.cache.prefetch_guess import Guesses
from modelstream.cache.prefetch_policy import Depth, Guess, Prices, Tiers, Wish, lanes, plan_queue, price_guesses
from modelstream.hooks.learning_install import Guessed
from modelstream.storage.config_prefetch import PrefetchConfig
from modelstream.storage.events import PrefetchDecided, PrefetchScored
from modelstream.storage.objects import ObjectId, RemoteObject
from rig.cached_loads import MIB, Rig, tensors
from rig.invariants import eventually


def thing(number: int, size_bytes: int) -> RemoteObject:
    return RemoteObject("o", ObjectId("e", "b", f"{number}.safetensors", "v"), size_bytes, 1.0)


sizes = st.integers(1, 60)
wish_lists = st.lists(
    st.builds(
        lambda n, size, ahead, memory, certain: Wish(thing(n, size), ahead, memory, certain),
        st.integers(0, 6),
        sizes,
        st.integers(0, 8),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
).map(lambda wishes: sorted(wishes, key=lambda w: w.prompts_ahead))


@given(wish_lists, st.integers(0, 120), st.integers(0, 120), st.integers(0, 60), st.booleans())
def test_a_plan_never_holds_more_than_the_tiers_and_prefers_what_is_wanted_sooner(wishes, ram, ssd, taken, quiet):
    plan = plan_queue(wishes, Tiers(set(), set(), ram, ssd, taken), Depth(4, quiet))
    kept = {tier: sum(obj.size_bytes for obj in objects) for tier, objects in plan.keep.items()}
    assert kept["ram"] <= max(0, ram - taken) and kept["ssd"] <= ssd
    assert len({step.digest for step in plan.steps}) == len(plan.steps)
    ahead = [step.prompts_ahead for step in plan.steps]
    assert ahead == sorted(ahead)
    assert all(step.tier == "ssd" or step.prompts_ahead <= 4 for step in plan.steps)
    assert not quiet or all(step.prompts_ahead <= 1 for step in plan.steps)
    told = {step.digest for step in plan.steps} | {skip.obj.id.digest for skip in plan.skipped}
    assert told == {wish.digest for wish in wishes}, "nothing is passed over in silence"
    assert list(lanes(plan.steps)) == list(plan.steps[: len(lanes(plan.steps))])


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1), sizes), max_size=20), st.integers(0, 5), st.booleans(), st.integers(0, 100))
def test_a_storm_of_guesses_stays_within_its_number_budget_and_price(given_guesses, per_prompt, from_bucket, budget):
    guesses = [Guess(thing(number, size * 10**9), p) for number, p, size in {n: (n, p, s) for n, p, s in given_guesses}.values()]
    on_ssd = {g.obj.id.digest for g in guesses if g.obj.size_bytes % 2 == 0}
    prices = Prices(0.1, FROM_SSD, FROM_BUCKET, from_bucket, per_prompt, budget * 10**9)
    steps, _ = price_guesses(guesses, Tiers(set(), on_ssd, 1 << 60, 1 << 60), prices, lambda obj, tier: 0.0)
    assert len(steps) <= per_prompt
    assert sum(step.obj.size_bytes for step in steps if step.from_bucket) <= budget * 10**9
    assert from_bucket or not any(step.from_bucket for step in steps)
    assert all(step.p > 0.1 for step in steps)


def test_equal_guesses_displace_nothing_that_is_worth_more_and_nothing_that_is_needed():
    guesses = [Guess(thing(number, 10**9), 0.5) for number in range(100)]
    on_ssd = {g.obj.id.digest for g in guesses}
    prices = Prices(0.1, FROM_SSD, FROM_BUCKET)
    assert price_guesses(guesses, Tiers(set(), on_ssd, 1, 1), prices, lambda obj, tier: None)[0] == ()
    steps, skipped = price_guesses(guesses, Tiers(set(), on_ssd, 1, 1), prices, lambda obj, tier: 10.0)
    assert steps == () and all("price" in skip.reason for skip in skipped)


def test_the_rate_is_kept_on_average_and_a_clock_that_stands_still_earns_nothing():
    now = [0.0]
    credit = Credit(10.0, lambda: now[0])
    assert credit.allows(600)
    credit.spend(600)
    assert not credit.allows(100)
    now[0] = credit.ready_s()
    assert now[0] == pytest.approx(10.0) and credit.allows(100)
    assert Credit(0.0, lambda: 0.0).allows(1 << 60)


class Live:
    """A prefetcher over a real cache, and what it is told to want."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.wanted: list[Wish] = []
        self.now_s = 0.0
        self.prefetcher = Prefetcher(
            lambda: rig.parts.cache, rig.parts.bus, PrefetchConfig(), lambda: self.wanted, clock=lambda: self.now_s
        )

    def want(self, *wishes: Wish) -> None:
        self.wanted = list(wishes)
        self.prefetcher.poke()

    def told(self, kind: type) -> list[Any]:
        return [event for event in self.rig.parts.events if isinstance(event, kind)]

    def tiers(self) -> dict[str, tuple[str, ...]]:
        return {entry.name: entry.tiers for entry in self.rig.parts.cache.entries()}


@pytest.fixture
def live(seaweed: Any, bucket: str, tmp_path: Path) -> Iterator[Live]:
    made = Live(Rig(seaweed, bucket, tmp_path, ram_mib=20))
    yield made
    made.prefetcher.close()
    made.rig.parts.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "modelstream-prefetch"]


def test_what_fits_goes_to_ram_the_rest_to_the_ssd_and_a_use_is_scored(live: Live):
    a, b = (live.rig.put(f"checkpoints/{name}.safetensors", save(tensors(number, 12))) for number, name in enumerate("ab"))
    assert not [thread for thread in threading.enumerate() if thread.name == "modelstream-prefetch"], "no thread before a first wish"
    live.want(Wish(a, 0), Wish(b, 1))
    assert eventually(lambda: live.tiers() == {"a.safetensors": ("ram", "ssd"), "b.safetensors": ("ssd",)}, 20)
    live.want()
    live.rig.parts.cache.evict(b)
    live.want(Wish(b, 0))
    assert eventually(lambda: "ram" in live.tiers().get("b.safetensors", ()), 20), "what nobody wants any more makes room"
    (decision,) = [d for d in live.told(PrefetchDecided) if d.subject == a.subject and d.action == "fetch"]
    assert (decision.tier, decision.source, decision.p) == ("ram", "queue", 1.0)


def test_an_outage_and_a_deleted_model_are_told_and_tried_again_later_and_the_others_go_on(live: Live):
    gone, other = (
        live.rig.put(f"checkpoints/{name}.safetensors", save(tensors(number, 2))) for number, name in enumerate(("gone", "other"))
    )
    live.rig.client.delete_object(Bucket=live.rig.bucket, Key="checkpoints/gone.safetensors")
    live.want(Wish(gone, 0), Wish(other, 1))
    assert eventually(lambda: "ram" in live.tiers().get("other.safetensors", ()), 20)
    assert eventually(lambda: [d.subject for d in live.told(PrefetchDecided) if d.action == "failed"] == [gone.subject], 20)
    live.rig.client.put_object(Bucket=live.rig.bucket, Key="checkpoints/gone.safetensors", Body=save(tensors(7, 2)))
    live.now_s = 1000.0
    live.want(Wish(gone, 0), Wish(other, 1))
    assert eventually(lambda: any("gone" in name for name in live.tiers()), 20)


def test_a_clock_that_jumps_delays_no_second_attempt_for_ever_and_stops_nothing(live: Live):
    gone, other = (live.rig.put(f"checkpoints/{n}.safetensors", save(tensors(s, 2))) for s, n in enumerate(("gone", "other")))
    live.rig.client.delete_object(Bucket=live.rig.bucket, Key="checkpoints/gone.safetensors")
    live.want(Wish(gone, 0))
    assert eventually(lambda: [d.action for d in live.told(PrefetchDecided)][-1:] == ["failed"], 20)
    live.rig.client.put_object(Bucket=live.rig.bucket, Key="checkpoints/gone.safetensors", Body=save(tensors(7, 2)))
    live.now_s -= 1e9

    def there_a_little_later() -> bool:
        live.now_s += 5.0
        live.want(Wish(gone, 0))
        return any("gone" in name for name in live.tiers())

    assert eventually(there_a_little_later, 20)
    live.now_s += 1e9
    live.want(Wish(other, 0))
    assert eventually(lambda: "ram" in live.tiers().get("other.safetensors", ()), 20)
    times = [event.seconds for event in live.told(PrefetchScored)]
    assert all(0 <= seconds < 1e6 for seconds in times), times


def test_a_guess_that_was_deleted_is_told_once_and_is_none_after_the_next_listing(live: Live):
    gone, other = (live.rig.put(f"checkpoints/{n}.safetensors", save(tensors(s, 2))) for s, n in enumerate(("gone", "other")))
    parts, predictions = live.rig.parts, tuple(Prediction(obj.id.digest, 0.9, 1, "ppm", obj.size_bytes) for obj in (gone, other))
    parts.catalog.remember(gone)
    guessed = Guessed(parts.catalog, live.prefetcher.poke)
    live.prefetcher.guesses = Guesses(guessed.now, lambda plan: 0.0, PrefetchConfig(from_bucket=True))
    live.rig.client.delete_object(Bucket=live.rig.bucket, Key="checkpoints/gone.safetensors")
    guessed.told("", predictions)
    assert eventually(lambda: live.tiers() == {"other.safetensors": ("ssd",)}, 20)
    assert eventually(lambda: [d.subject for d in live.told(PrefetchDecided) if d.action == "failed"] == [gone.subject], 20)
    parts.catalog.refresh(wait=True)
    guessed.told("", predictions)
    assert [guess.obj for guess in guessed.now()[1]] == [other]
    assert eventually(lambda: "ram" in live.tiers()["other.safetensors"], 20), "the next prompt's guess goes on with what is there"
    assert [d.subject for d in live.told(PrefetchDecided) if d.action == "failed"] == [gone.subject]
    assert eventually(lambda: not live.prefetcher.status()["running"], 20)


def test_a_pause_and_a_thousand_changed_minds_leave_nothing_running_and_nothing_kept(live: Live):
    objects = [live.rig.put(f"checkpoints/{number}.safetensors", save(tensors(number, 4))) for number in range(4)]
    for number in range(1000):
        live.want(*(Wish(obj, place) for place, obj in enumerate(objects[number % 4 :])))
    live.prefetcher.pause(True)
    assert eventually(lambda: not live.prefetcher.status()["running"] and not live.rig.parts.cache.snapshot().loading, 20)
    assert live.prefetcher.status()["plan"] == [] and live.prefetcher.status()["paused"]
    assert all(event.outcome == "wasted" for event in live.told(PrefetchScored))
    live.prefetcher.pause(False)
    live.want(Wish(objects[0]))
    assert eventually(lambda: "ram" in live.tiers().get("0.safetensors", ()), 20)
    assert objects[0].size_bytes < 20 * MIB
