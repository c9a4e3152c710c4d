"""The thread that learns: what it keeps, what it tells, when it trains, and what cannot stop it."""

from __future__ import annotations

import json
import random
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelstream.cache.learning import Learning
from modelstream.cache.predict import LEARNED, Predictor, Use, UsedFile
from modelstream.cache.predict_clients import IDLE_S, Clients
from modelstream.cache.predict_log import LogUnusable, UseLog
from modelstream.cache.predict_train import MIN_PROMPTS, train
from modelstream.storage.events import Event, EventBus, PredictorTrained, TierDegraded
from rig.invariants import eventually

GB = 10**9
NOW_S = 1.8e9


def use(*digests: str, at_s: float = NOW_S - 1000, stream: str = "0") -> Use:
    return Use(at_s, tuple(UsedFile(digest, GB, "checkpoints") for digest in digests), stream)


class Rig:
    """A learning with everything it says."""

    def __init__(self, folder: Path, **more) -> None:
        self.events: list[Event] = []
        self.told: list[tuple[str, ...]] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.learning = Learning(folder, bus, told=self._tell, wall_clock=lambda: NOW_S, **more)

    def _tell(self, stream, predictions) -> None:
        self.told.append(tuple(one.digest for one in predictions))

    def prompts(self, count: int) -> None:
        """a, b, c, a, …; returns when all are learned."""
        before = len(self.told)
        for i in range(count):
            self.learning.prompt_used(use("vae", "abc"[i % 3]).files, "tab")
        assert eventually(lambda: len(self.told) == before + count)

    def degraded(self) -> list[tuple[str, str]]:
        return [(event.tier, event.code) for event in self.events if isinstance(event, TierDegraded)]

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_) -> None:
        self.learning.close()


def test_nothing_runs_and_nothing_is_written_before_the_first_prompt(tmp_path):
    before = threading.active_count()
    with Rig(tmp_path / "state") as rig:
        assert threading.active_count() == before and not (tmp_path / "state").exists()
        assert rig.learning.next(8) == () and rig.learning.figures()["state"] == "not started"


def test_predictions_are_told_after_each_prompt_and_again_after_a_restart(tmp_path):
    with Rig(tmp_path / "state") as rig:
        rig.prompts(60)
        assert rig.told[-1][0] == "a" and rig.learning.next(1)[0].digest == "a"
        figures = rig.learning.figures()
        assert figures["prompts"] == 60 and figures["recall"]["1"] > 0.5
        json.dumps(figures)
    log = tmp_path / "state" / "prompts.jsonl"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600 and stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    with Rig(tmp_path / "state") as rig:
        rig.learning.start()
        assert eventually(lambda: rig.learning.figures()["state"] == "learning")
        rig.learning.prompt_used(use("vae", "a").files, "another tab")
        assert eventually(lambda: rig.told)
        assert rig.told[0][0] == "b" and not rig.degraded()


def test_a_history_is_also_read_while_prompts_run_one_after_the_other(tmp_path):
    with Rig(tmp_path / "state") as rig:
        rig.prompts(120)
    with Rig(tmp_path / "state", may_train=lambda: False) as rig:
        rig.prompts(1)
        assert rig.learning.figures()["prompts"] == 121 and rig.told[0][0] == "b"


def test_a_history_that_cannot_be_written_costs_the_history_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("")
    with Rig(tmp_path / "file" / "state") as rig:
        rig.prompts(40)
        assert rig.told[-1] and rig.degraded() == [("learning", "history")]


def test_a_listener_that_raises_does_not_stop_the_learning(tmp_path):
    events: list[Event] = []
    bus = EventBus()
    bus.subscribe(events.append)

    def told(stream, predictions) -> None:
        raise RuntimeError("no")

    learning = Learning(tmp_path, bus, told=told, wall_clock=lambda: NOW_S)
    for i in range(40):
        learning.prompt_used(use("ab"[i % 2]).files)
    assert eventually(lambda: learning.figures()["prompts"] == 40)
    learning.close()
    assert learning.next(1) and {event.code for event in events} == {"told"}


def habits(prompts: int) -> list[Use]:
    """What comes next depends on the hour and on the size in a way that counts of contexts see only in part."""
    draw = random.Random(5)
    uses = []
    for i in range(prompts):
        at_s = NOW_S - (prompts - i) * 1800.0
        kind = "morning" if at_s % 86400 < 43200 else "evening"
        uses.append(use(f"{kind} {draw.randrange(6)}" if draw.random() < 0.7 else f"any {draw.randrange(60)}", at_s=at_s))
    return uses


def test_a_model_is_judged_on_prompts_it_has_not_seen_and_speaks_only_while_it_is_ahead():
    uses = habits(MIN_PROMPTS + 100)
    trained = train(uses)
    assert trained is not None
    model, found = trained
    assert found.prompts == pytest.approx(0.2 * len(uses), abs=5) and min(found.learned_loss, found.mixed_loss, found.simple_loss) > 0
    predictor = Predictor()
    predictor.restore(uses)
    predictor.adopt(model)
    assert predictor.source != LEARNED
    more = [Use(one.at_s + 800 * 1800.0, one.files, one.stream) for one in habits(120)]
    for one in more:
        predictor.used(one)
    losses = {name: score.loss for name, score in predictor.accuracies().items()}
    ahead = losses[LEARNED] < 0.99 * min(losses["transitions"], losses["mixed"])
    assert (predictor.source == LEARNED) == ahead
    said = predictor.next(8, more[-1].at_s, source=LEARNED)
    assert said and all(0.0 <= one.probability <= 1.0 for one in said)


def test_training_stops_wherever_it_is_told_to_and_does_without_a_history():
    uses = habits(MIN_PROMPTS + 20)
    assert train(uses[: MIN_PROMPTS - 1]) is None
    asked = 0

    def stop_at(limit: int):
        nonlocal asked
        asked = 0

        def may_go_on() -> bool:
            nonlocal asked
            asked += 1
            return asked < limit

        return may_go_on

    replay = len(uses) // 50 + 1
    for limit in (1, replay, replay + 2, replay + 20):  # before, at the end of the replay, in the first rounds, in later ones
        assert train(uses, stop_at(limit)) is None and asked == limit


def test_a_quiet_time_trains_and_says_what_came_of_it(tmp_path):
    log = UseLog(tmp_path / "prompts.jsonl")
    for one in habits(MIN_PROMPTS + 50):
        log.append(one)
    running = threading.Event()
    running.set()
    with Rig(tmp_path, boosting=True, quiet_s=0.0, may_train=lambda: not running.is_set()) as rig:
        rig.learning.start()
        assert eventually(lambda: rig.learning.figures()["state"] == "learning", within_s=30)
        assert not rig.events
        running.clear()
        assert eventually(lambda: any(isinstance(event, PredictorTrained) for event in rig.events), within_s=60)
        trained = next(event for event in rig.events if isinstance(event, PredictorTrained))
        assert trained.rows > 0 and trained.seconds > 0
        assert eventually(lambda: rig.learning.figures()["training"])
        assert rig.learning.figures()["training"]["accepted"] == trained.accepted
        rig.prompts(3)
        assert not rig.degraded()


# -- the log -----------------------------------------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(b'[1,5.0,"",[["d",1,""]]]'), st.just(b"[" * 5000)), max_size=8))
def test_a_history_that_is_damaged_gives_what_can_be_read(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("log") / "prompts.jsonl"
    path.write_bytes(b"\n".join(lines))
    found = UseLog(path).load(NOW_S)
    assert all(one == Use(5.0, (UsedFile("d", 1),)) for one in found)
    UseLog(path).append(use("x"))  # after whatever has no end of line
    UseLog(path).append(use("y"))
    assert UseLog(path).load(NOW_S)[-1] == use("y")


def test_a_history_from_the_future_counts_as_now_and_impossible_figures_not_at_all(tmp_path):
    path = tmp_path / "prompts.jsonl"
    good = [1, NOW_S + 1e9, "0", [["d", 5, "loras"]]]
    bad = [
        [2, *good[1:]],
        [1, "now", *good[2:]],
        [1, -5, *good[2:]],
        [1, 5.0, "0", []],
        [1, 5.0, "0", [["d", -1, ""]]],
        [1, 5.0, "0", [["d", 1e300, ""]]],
        [1, 5.0, "0", [["d" * 500, 5, ""]]],
        [1, 5.0, 7, [["d", 5, ""]]],
        {"a": 1},
    ]
    path.write_text("\n".join(json.dumps(one) for one in [*bad, good]).replace("1e+300", "NaN") + '\n[1,NaN,"",[["d",5,""]]]\n')
    assert UseLog(path).load(NOW_S) == (Use(NOW_S, (UsedFile("d", 5, "loras"),), "0"),)


def test_the_log_keeps_the_last_prompts_and_no_more_than_twice_as_many_lines(tmp_path):
    path = tmp_path / "prompts.jsonl"
    log = UseLog(path, max_prompts=10)
    for i in range(95):
        log.append(use(f"d{i}"))
        assert len(path.read_bytes().splitlines()) <= 20
    assert [one.files[0].digest for one in UseLog(path, max_prompts=10).load(NOW_S)] == [f"d{i}" for i in range(85, 95)]
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(LogUnusable) as refused:
        UseLog(tmp_path / "folder.jsonl").load(NOW_S)
    assert str(tmp_path) not in str(refused.value)


# -- who is who ----------------------------------------------------------------------------------------------------------------
def test_people_who_come_back_are_told_apart_and_scripts_with_a_new_name_each_time_are_not():
    clients = Clients()
    assert [clients.stream(name, i) for i, name in enumerate(("ann", "bob", "ann", "bob"))] == ["0", "1", "0", "1"]
    assert clients.stream("bob's new tab", 10 + IDLE_S) == "1"
    script = [clients.stream(f"script {i}", 20 + IDLE_S + i) for i in range(20)]
    assert len(set(script[3:])) == 1
    assert clients.stream("ann", 50 + IDLE_S) == "0"
    for i in range(2000):
        clients.stream(f"x{i}", 100.0)
    assert len(clients._streams) <= 500
