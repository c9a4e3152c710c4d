"""Predictions over plain values: what follows what, mixed, scored, silent where there is nothing to say."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelstream.cache.policy import FROM_SSD, Entry, make_policy
from modelstream.cache.predict import MIXED, SILENT_PROMPTS, TRANSITIONS, Predictor, Use, UsedFile
from modelstream.cache.predict_counts import MAX_SUCCESSORS, Rates, Table
from modelstream.cache.predict_experts import EXPERTS, MAX_STREAMS, Experts, hour_and_weekday
from modelstream.cache.predict_mix import LEVELS, Mixer, level
from modelstream.cache.predict_price import LOOKS, Price
from modelstream.cache.predict_score import Score
from modelstream.cache.predict_stream import FILES_REMEMBERED

GB = 10**9


def use(*digests: str, at_s: float = 0.0, stream: str = "") -> Use:
    return Use(at_s, tuple(UsedFile(digest, GB, "checkpoints") for digest in digests), stream)


def taught(*uses: Use) -> Predictor:
    predictor = Predictor()
    for one in uses:
        predictor.used(one)
    return predictor


def test_what_always_follows_is_foretold_with_confidence():
    predictor = taught(*(use("vae", "abc"[i % 3], at_s=i * 60.0) for i in range(300)))
    first, *rest = predictor.next(8, 300 * 60.0)
    assert first.digest == "a" and first.probability > 0.8 and first.size_bytes == GB and first.horizon == 1
    assert all(one.probability < 0.2 for one in rest)
    assert predictor.accuracy().recall[1] > 0.9 and "vae" not in {first.digest, *(one.digest for one in rest)}


def test_nothing_is_said_before_there_is_something_to_go_by():
    uses = [use("ab"[i % 2], at_s=i * 60.0) for i in range(SILENT_PROMPTS)]
    predictor = taught(*uses)
    assert predictor.next(8, 0.0) == () and predictor.source == TRANSITIONS
    predictor.used(use("a"))
    assert [one.digest for one in predictor.next(8, 0.0)] == ["b"]
    assert predictor.next(0, 0.0) == () and predictor.next(8, 0.0, "somebody else") == ()


def test_the_mix_speaks_only_once_it_is_ahead_of_the_simple_baseline():
    """Two people alternate sets of their own: the last set alone does not say whose turn it is to switch, the pair does."""
    predictor = Predictor()
    sources = []
    for i in range(600):
        person = f"p{i % 2}"
        turn = i // 2 % 4
        predictor.used(use({0: "a", 1: "b", 2: "a", 3: f"own {person}"}[turn], at_s=i * 60.0, stream=person))
        sources.append(predictor.source)
    assert sources[0] == TRANSITIONS and sources[-1] == MIXED
    found = predictor.accuracies()
    assert found[MIXED].loss < found[TRANSITIONS].loss


def test_streams_do_not_mix_what_they_did_last():
    uses = []
    for i in range(200):
        uses += [use("ab"[i % 2], stream="one"), use("xy"[i % 2], stream="two")]
    predictor = taught(*uses)
    assert predictor.next(1, 0.0, "one")[0].digest == "a" and predictor.next(1, 0.0, "two")[0].digest == "x"
    assert predictor.next(1, 0.0)[0].digest == "x"


def test_when_everything_is_equally_likely_nothing_is_thought_likely():
    draw = random.Random(1)
    predictor = taught(*(use(f"f{draw.randrange(300)}", at_s=i * 60.0) for i in range(1500)))
    said = predictor.next(100, 0.0)
    assert said and max(one.probability for one in said) < 0.1
    assert sum(one.probability for one in said) < 2.0


def test_probabilities_come_true_as_often_as_they_say():
    """One of three successors follows with known odds."""
    draw = random.Random(2)
    predictor = Predictor()
    for i in range(3000):
        predictor.used(use("start" if i % 2 == 0 else draw.choices("abc", (0.6, 0.3, 0.1))[0], at_s=i * 60.0))
    predictor.used(use("start"))
    said = {one.digest: one.probability for one in predictor.next(3, 0.0)}
    assert said == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.1)
    assert all(abs(one.said - one.came_true) < 0.1 for one in predictor.accuracy().reliability if one.files > 200)


def test_a_restored_history_predicts_as_the_one_that_was_lived_through():
    uses = [use("vae", "abcd"[i * i % 4], at_s=i * 60.0) for i in range(200)]
    fresh = Predictor()
    assert fresh.restore(uses)
    assert fresh.next(8, 0.0) == taught(*uses).next(8, 0.0) != ()
    assert not Predictor().restore(uses, lambda: False)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from("abcdefgh"), max_size=4),
            st.floats(allow_nan=True, allow_infinity=True),
            st.sampled_from(["", "one", "two"]),
        ),
        min_size=25,
        max_size=60,
    )
)
def test_any_history_under_any_clock_gives_probabilities_of_files_that_are_not_there_already(history):
    predictor = Predictor()
    last: dict[str, set[str]] = {}
    for digests, at_s, stream in history:
        predictor.used(use(*digests, at_s=at_s, stream=stream))
        if digests:
            last[stream] = set(digests)
        for name in last:
            said = predictor.next(8, at_s, name)
            assert all(0.0 <= one.probability <= 1.0 for one in said)
            assert [one.probability for one in said] == sorted((one.probability for one in said), reverse=True)
            assert last[name].isdisjoint(one.digest for one in said)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 1.0), st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 200), max_size=5)), max_size=200))
def test_a_table_stays_small_and_counts_no_more_than_it_saw(keep, notes):
    table = Table(keep, max_contexts=10)
    for context, new in notes:
        table.note(context, [str(one) for one in new])
        found = table.get(context)
        assert found is not None and len(found.counts) <= MAX_SUCCESSORS and 0 < found.seen
        assert all(0 <= found.count(digest) <= found.seen * (1 + 1e-9) for digest in found.counts)
    assert len(table) <= 10


def test_memory_is_bounded_whatever_comes():
    experts = Experts()
    for i in range(MAX_STREAMS + 500):
        experts.note(use(*(f"f{i}-{j}" for j in range(3)), stream=f"s{i}"))
    for i in range(300):
        experts.note(use(f"g{i}", stream="one"))
    assert len(experts.streams) <= MAX_STREAMS and len(experts.streams["one"].recent) <= FILES_REMEMBERED
    rates = Rates(max_buckets=5)
    for i in range(50):
        rates.note(i, True)
    assert [rates.get(i) == rates.get("none") for i in range(50)].count(False) == 5


def test_the_mixer_learns_whom_to_believe():
    draw = random.Random(3)
    mixer = Mixer(2, 1)
    loss = []
    for _ in range(4000):
        needed = draw.random() < 0.3
        opinions = (2.0 if needed else -2.0, draw.uniform(-3, 3))  # the first knows, the second babbles
        p = mixer.probability(opinions, (1, 1), (0,))
        loss.append(-math.log(p if needed else 1 - p))
        mixer.learn(opinions, (1, 1), (0,), needed - p)
    assert sum(loss[-500:]) / 500 < 0.03 < 0.2 < sum(loss[:20]) / 20
    assert level(0.0) == 1 and level(1e9) == LEVELS - 1 and len(EXPERTS) == 12


def test_scores_count_what_was_named_and_what_was_needed():
    score = Score("x")
    score.note(["a", "b", "c"], [0.5, 0.4, 0.1], frozenset({"b", "z"}))
    score.note(["a"], [0.9], frozenset())
    found = score.accuracy()
    assert found.precision[1] == 0.0 and found.precision[2] == pytest.approx(1 / 3)
    assert found.recall[1] == 0.0 and found.recall[2] == found.recall[8] == 0.5 and found.new_files == 2
    assert [(one.files, one.came_true) for one in found.reliability] == [(1, 0.0), (2, 0.5), (1, 0.0)]


def test_hours_and_weekdays_are_those_of_the_calendar():
    assert hour_and_weekday(0.0) == (0.0, 3)  # 1 January 1970 was a Thursday
    assert hour_and_weekday(1.5 * 86400) == (12.0, 4)
    assert hour_and_weekday(math.nan) == hour_and_weekday(math.inf) == (0.0, 0)


def test_a_guess_costs_what_it_displaces_and_is_impossible_where_only_wanted_files_could_go():
    policy, price = make_policy("adaptive", 2 * GB), Price()
    entries = {name: Entry(name, GB, FROM_SSD.reload_s(GB)) for name in "ab"}
    for i, name in enumerate("aaaaab"):
        policy.used(entries[name], float(i), hit=False)
        policy.admitted(name)
        price.used(name, GB, float(i))
    one, both = policy.plan_room(entries, GB, 6.0), policy.plan_room(entries, 2 * GB, 6.0)
    one_s, both_s = price.displaced_s(one), price.displaced_s(both)
    assert one_s == pytest.approx(LOOKS * one.expected_loss_s) and both_s == pytest.approx(LOOKS * both.expected_loss_s)
    assert 0.0 < one_s < both_s
    assert price.displaced_s(policy.plan_room(entries, 0, 6.0)) == 0.0
    kept = {name: Entry(name, GB, 0.5, keep_until_s=math.inf) for name in "ab"}
    assert price.displaced_s(policy.plan_room(kept, GB, 6.0)) is None
    assert price.displaced_s(policy.plan_room(entries, 3 * GB, 6.0)) is None
