"""Rate limit, pauses, connection count, slow parts and patience, on a clock that the tests turn."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.answers import RANGE_IGNORED, Refusal, Then
from modelstream.storage.config import TransferConfig
from modelstream.storage.errors import BadAnswer, DeadlineExceeded, Throttled
from modelstream.storage.pacing import Backoff, ConnectionCount, PartTimes, RateMeter, SpeedFloor, TokenBucket
from modelstream.storage.patience import LOOK_TRIES_MAX, Patience, Tries, Verdict

MIB = 1 << 20


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@given(st.lists(st.tuples(st.integers(1, 2 * MIB), st.floats(0, 0.5)), max_size=60), st.integers(10_000, 100 * MIB))
def test_nobody_gets_more_than_the_rate_limit_over_time(takes, rate):
    clock = Clock()
    bucket = TokenBucket(rate, clock)
    begun_s, read_bytes = clock.now_s, 0
    for count, pause_s in takes:
        clock.now_s += pause_s + bucket.take(count)
        read_bytes += count
        assert read_bytes <= rate * (clock.now_s - begun_s + 0.1) + 1


def test_takers_that_always_wait_get_exactly_the_rate():
    clock = Clock()
    bucket = TokenBucket(1_000_000, clock)
    begun_s = clock.now_s
    for _ in range(100):
        clock.now_s += bucket.take(100_000)
    assert 10_000_000 / (clock.now_s - begun_s) == pytest.approx(1_000_000, rel=0.02)


def test_bytes_that_did_not_come_can_be_taken_again():
    clock = Clock()
    bucket = TokenBucket(1000, clock)
    bucket.take(100)
    bucket.give_back(50)
    assert bucket.take(50) == 0.0
    assert bucket.take(10) == pytest.approx(0.01)


def test_without_a_limit_nobody_waits():
    bucket = TokenBucket(0, Clock())
    assert bucket.take(1 << 40) == 0.0
    assert bucket.slice_bytes(MIB) == MIB


def test_a_slow_limit_is_read_in_small_slices():
    assert TokenBucket(1_000_000, Clock()).slice_bytes(MIB) == 100_000
    assert TokenBucket(1000, Clock()).slice_bytes(MIB) == 4096


@given(st.integers(1, 100), st.floats(0, 1))
def test_a_pause_is_jittered_and_capped(attempt, draw):
    wait_s = Backoff(0.2, 8.0, draw=lambda: draw).wait_s(attempt)
    assert 0.02 - 1e-9 <= wait_s <= min(8.0, 0.2 * 2 ** min(attempt - 1, 10)) + 1e-9


def test_the_rate_is_that_of_the_last_two_seconds():
    clock = Clock()
    meter = RateMeter(clock)
    for _ in range(50):
        meter.add(100)
        clock.now_s += 0.1
    assert meter.rate_bytes_per_s() == pytest.approx(1000, rel=0.15)
    assert meter.total_bytes == 5000
    clock.now_s += 10
    assert meter.rate_bytes_per_s() == 0.0


def run(count: ConnectionCount, clock: Clock, rate_of, seconds: float) -> list[str]:
    """Connections that are always busy and deliver ``rate_of(count)`` bytes per second."""
    total, reasons = 0.0, []
    for _ in range(int(seconds / 0.1)):
        clock.now_s += 0.1
        total += rate_of(count.target) * 0.1
        reason = count.observe(int(total), count.target)
        count.recover()
        if reason:
            reasons.append(reason)
    return reasons


def test_connections_grow_while_that_brings_a_tenth_more():
    clock = Clock()
    count = ConnectionCount(32, clock)
    run(count, clock, lambda n: n * 10 * MIB, 20)
    assert count.target == 32


def test_connections_do_not_stay_where_they_brought_nothing():
    clock = Clock()
    count = ConnectionCount(32, clock)
    reasons = run(count, clock, lambda n: 40 * MIB, 5)
    assert reasons == ["growing", "no gain"]
    assert count.target == 4


def test_connections_are_not_judged_while_they_are_not_all_used():
    clock = Clock()
    count = ConnectionCount(32, clock)
    for n in range(100):
        clock.now_s += 0.1
        assert count.observe(n * MIB, 2) is None
    assert count.target == 4


def test_throttling_halves_the_connections_once_a_second_and_they_come_back_one_by_one():
    clock = Clock()
    count = ConnectionCount(4, clock)
    assert count.throttled() and count.target == 2
    assert not count.throttled()  # answers to requests that were under way already
    clock.now_s += 1.5
    assert count.throttled() and count.target == 1
    clock.now_s += 1.5
    assert not count.throttled() and count.target == 1
    targets = []
    for _ in range(40):
        clock.now_s += 1
        count.recover()
        targets.append(count.target)
    assert targets[-1] == 4
    assert all(b - a in (0, 1) for a, b in itertools.pairwise(targets))


@given(st.lists(st.sampled_from(["busy", "idle", "throttled", "wait"]), max_size=80), st.integers(1, 32))
def test_the_connection_count_stays_within_its_bounds(steps, most):
    clock = Clock()
    count, total = ConnectionCount(most, clock), 0
    for step in steps:
        clock.now_s += 0.6
        total += 50 * MIB
        if step == "throttled":
            count.throttled()
        elif step != "wait":
            count.observe(total, count.target if step == "busy" else 0)
        count.recover()
        assert 1 <= count.target <= most


def test_a_part_is_slow_when_it_takes_four_times_the_median():
    times = PartTimes()
    assert times.slow_after_s(MIB) == float("inf")
    for seconds in (1.0, 1.0, 9.0):
        times.add(MIB, seconds)
    assert times.slow_after_s(MIB) == pytest.approx(4.0)
    assert times.slow_after_s(1000) == 2.0


def test_a_request_is_too_slow_only_after_the_whole_window():
    floor = SpeedFloor(1000, 10.0, 0.0)
    assert not any(floor.too_slow(900, s) for s in range(1, 10))
    assert floor.too_slow(900, 10.0)
    assert not floor.too_slow(20_000, 20.0)  # a new window


def test_waiting_for_the_rate_limit_is_not_slowness():
    floor = SpeedFloor(1000, 10.0, 0.0)
    floor.waited(9.0)
    assert not floor.too_slow(1500, 10.5)
    assert not floor.too_slow(20_000, 19.5)


def refusal(reason: str, then: Then = Then.RETRY) -> Refusal:
    return Refusal(reason, then, BadAnswer("p", subject="s", cause="c", next_step="n"))


def patience(**settings: float) -> Patience:
    return Patience(TransferConfig(**settings), Backoff(draw=lambda: 1.0))  # type: ignore[arg-type]


def test_the_first_accident_is_repeated_at_once_and_later_ones_after_growing_pauses():
    judge, tries, waits = patience(), Tries(), []
    for _ in range(6):
        assert judge.judge(refusal("reset"), tries, 100.0) is Verdict.AGAIN
        waits.append(tries.not_before_s - 100.0)
    assert waits[0] == 0.0
    assert waits[1:] == sorted(waits[1:]) and waits[1] > 0
    assert judge.judge(refusal("reset"), tries, 100.0) is Verdict.GIVE_UP


def test_a_line_that_is_cut_again_and_again_but_makes_progress_is_no_reason_to_give_up():
    judge, tries = patience(retries=1), Tries()
    verdicts = {judge.judge(refusal("reset"), tries, 0.0, progressed=True) for _ in range(500)}
    assert verdicts == {Verdict.AGAIN}


def test_a_transfer_has_one_budget_of_fruitless_failures_for_all_its_parts():
    judge, count = patience(retries=2), 0
    while judge.judge(refusal("status"), Tries(), 0.0) is Verdict.AGAIN:
        count += 1
    assert count == 16
    judge.part_landed()
    assert judge.judge(refusal("status"), Tries(), 0.0) is Verdict.AGAIN


def test_throttling_is_limited_by_the_deadline_and_not_by_a_count():
    judge, tries = patience(retries=1, no_progress_s=60), Tries()
    throttled = Refusal("throttled", Then.THROTTLE, Throttled("S3 throttling", subject="s", cause="503 SlowDown", next_step="n"))
    assert {judge.judge(throttled, tries, 0.0) for _ in range(50)} == {Verdict.SLOW_DOWN}
    error = judge.stuck("s")
    assert isinstance(error, Throttled) and "503 SlowDown" in str(error) and "60 s" in str(error)


def test_standing_still_names_what_was_seen_last():
    judge = patience(no_progress_s=60)
    judge.judge(refusal("stall"), Tries(), 0.0)
    error = judge.stuck("s")
    assert isinstance(error, DeadlineExceeded) and "(c)" in error.cause


def test_an_ignored_range_is_worth_one_repetition():
    judge, tries = patience(), Tries()
    assert judge.judge(refusal(RANGE_IGNORED), tries, 0.0) is Verdict.AGAIN
    assert judge.judge(refusal(RANGE_IGNORED), tries, 0.0) is Verdict.GIVE_UP


def test_a_server_that_is_not_there_is_told_soon():
    judge, tries = patience(), Tries()
    verdicts = [judge.judge(refusal("reset"), tries, 0.0, looking=True) for _ in range(LOOK_TRIES_MAX)]
    assert verdicts == [Verdict.AGAIN] * (LOOK_TRIES_MAX - 1) + [Verdict.GIVE_UP]
    assert tries.not_before_s < 1.0


def test_a_suspicion_is_looked_into_before_the_part_is_asked_for_again():
    judge = patience()
    assert judge.judge(refusal("etag", Then.LOOK), Tries(), 0.0) is Verdict.LOOK
    assert judge.judge(refusal("etag", Then.LOOK), Tries(), 0.0, looking=True) is Verdict.AGAIN
