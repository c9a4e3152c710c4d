"""Series, executions, costs, savings, alerts, GPUs: the parts of telemetry over values and a clock of the test's own."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelstream.cache import recipe
from modelstream.storage import config_precision
from modelstream.storage.config import Config
from modelstream.storage.events import (
    CatalogRefreshed,
    CatalogRefreshFailed,
    CorruptionFound,
    Event,
    EventBus,
    Evicted,
    ModelLoaded,
    PrefetchScored,
    Stored,
    TierHit,
    TransferFinished,
)
from modelstream.storage.events_comfy import (
    AlertCleared,
    AlertRaised,
    ExecutionComplete,
    ExecutionStart,
    HttpRequest,
    LoadStarted,
    LoadStopped,
    QueueOperation,
    TelemetryDegraded,
)
from modelstream.storage.plain_disk import LongRows, open_store
from modelstream.telemetry import tally
from modelstream.telemetry.alerts import Alerts
from modelstream.telemetry.costs import OriginPrice
from modelstream.telemetry.executions import percentiles
from modelstream.telemetry.exposition import Exposition
from modelstream.telemetry.gpu import GpuFigures, GpuProbe
from modelstream.telemetry.gpu_prices import gpu_price
from modelstream.telemetry.observation import Observation, OriginFigures, TierFigures
from modelstream.telemetry.observatory import Sources, Telemetry
from modelstream.telemetry.sampler import Sampler
from modelstream.telemetry.series import NAMES, SPANS, Series
from modelstream.telemetry.tally import FAMILIES, OTHER, Tally, vocabularies
from rig.invariants import eventually
from rig.nvml.pynvml import Library

NOW_S = 1_790_000_000.0
GIB = 1 << 30


def _open_store(folder: Path, max_bytes: int) -> Any:
    return open_store(folder, max_bytes, LongRows)


class Clock:
    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def loaded(source: str = "bucket", size_bytes: int = 10**9, seconds: float = 2.0, key: str = "a.safetensors") -> ModelLoaded:
    wire = size_bytes if source == "bucket" else 0
    return ModelLoaded("checkpoints", key, f"near:checkpoints/{key}", source, size_bytes, wire, seconds, "4", "p1")


class Rig:
    """Telemetry without its thread: ``look`` does what the thread would."""

    def __init__(self, config: Config | None = None, store: Callable[..., Any] | None = None, folder: Path = Path()) -> None:
        self.bus, self.clock = EventBus(), Clock()
        self.told: list[Event] = []
        self.bus.subscribe(self.told.append)
        self.seen = Observation(tiers=(TierFigures("ram", 5, 10),), origins=(OriginFigures("near", 3, NOW_S),))
        card = GpuFigures(0, "NVIDIA GeForce RTX 4090", "nvidia", memory_used_bytes=1, memory_total_bytes=10)
        self.gpus: tuple[GpuFigures, ...] = (card,)
        sources = Sources(
            observe=lambda: self.seen,
            gpu=GpuProbe(lambda: self.gpus, nvml=no_nvml, clock=self.clock),
            origin_price=lambda name: OriginPrice(0.09 / 1e9, 0.0004 / 1000, 0.5) if name == "near" else OriginPrice(),
            origins=("near",),
            store=store,
            folder=folder,
        )
        config = config or Config()
        self.telemetry = Telemetry(
            self.bus, sources, metrics=config.metrics, alerts=config.alerts, cost=config.cost, clock=self.clock, wall_clock=self.clock
        )
        self.telemetry._sampler.close()

    def emit(self, *events: Event) -> None:
        for event in events:
            self.bus.emit(event)

    def look(self, after_s: float = 1.0) -> float | None:
        self.clock.now_s += after_s
        return self.telemetry._look()

    def metrics(self) -> str:
        return Exposition(self.telemetry, lambda: self.seen, version="1", gpu=True, errors=lambda: 0).text().decode()


def no_nvml() -> Any:
    raise ImportError


# -- bounded labels --------------------------------------------------------------------------------------------------------


def test_ten_thousand_random_names_add_no_series() -> None:
    rig = Rig()
    rig.metrics()  # a first look at the GPUs: from now on executions have a price

    def everything(name: str) -> None:
        subject = f"near:checkpoints/{name}"
        rig.emit(
            ModelLoaded("checkpoints", name, subject, "bucket", 1, 1, 0.1, name, name),
            Evicted("ram", subject, 1, "room"),
            Stored("ssd", subject, 1, 0.1),
            TierHit("vram", subject, 1, 0.1),
            TransferFinished(1, subject, 1, 1, 0.1, 1, 0, "parts"),
            CorruptionFound("wire", subject, name),
            HttpRequest("GET", "unmatched", 404, 0.1),
            ExecutionComplete(name, "success", 1.0, 3),
        )

    everything("first")
    before = {line.rpartition(" ")[0] for line in rig.metrics().splitlines()}
    for number in range(10_000):
        everything(f"{number * 7919 % 10007:x}-model <b>\n{number}")
    assert not {line.rpartition(" ")[0] for line in rig.metrics().splitlines()} ^ before
    assert len(rig.telemetry.uses.by_subject()) == 10_000
    assert rig.bus.subscriber_errors == 0


@given(st.lists(st.text(max_size=30), min_size=300, max_size=400))
@settings(max_examples=20, deadline=None)
def test_no_text_makes_more_label_values_than_there_is_room(words: list[str]) -> None:
    tally = Tally(["near"])
    for word in words:
        tally.count("comfyui_transfers", word, word)
        tally.count("comfyui_errors", word, word)
        tally.observe("comfyui_model_load_seconds", 1.0, word, word)
    results = {OTHER, "finished", "failed", "stopped", "skipped", "useful", "late", "wasted"}
    assert all(origin in ("near", OTHER) and result in results for origin, result in tally.counters()["comfyui_transfers"])
    assert len(tally.histograms()["comfyui_model_load_seconds"]) <= 66 * 5
    names = {name for row in tally.counters()["comfyui_errors"] for name in row}
    assert all(name.isascii() and name.isprintable() for name in names)


# -- series ----------------------------------------------------------------------------------------------------------------


def test_a_sum_adds_up_in_its_step_and_a_gauge_keeps_its_peak() -> None:
    series = Series()
    for at in range(20):
        series.add("loads", 2, NOW_S + at)
        series.hold("queue_depth", at % 7, NOW_S + at)
    assert [v for _, v in series.points("loads", "10m", NOW_S + 20)] == [2.0] * 20
    assert sum(v for _, v in series.points("loads", "6h", NOW_S + 20)) == sum(v for _, v in series.points("loads", "30d", NOW_S + 20)) == 40
    assert max(v for _, v in series.points("queue_depth", "30d", NOW_S + 20)) == 6
    assert series.total("loads", 5, NOW_S + 19) == 12


@given(st.lists(st.tuples(st.floats(-1e6, 1e7), st.floats(0, 1e12)), max_size=300))
@settings(deadline=None, max_examples=50)
def test_whatever_the_clock_does_points_are_in_order_and_bounded(steps: list[tuple[float, float]]) -> None:
    series, now_s = Series(), NOW_S
    for step_s, amount in steps:
        now_s = max(1.0, now_s + step_s)
        series.add("wire_bytes", amount, now_s)
        for span in SPANS.values():
            points = series.points("wire_bytes", span.name, now_s)
            assert [at for at, _ in points] == sorted({at for at, _ in points})
            assert all(now_s - span.length_s <= at <= now_s for at, _ in points)
            assert len(points) <= span.points


def test_thirty_days_of_every_series_stay_within_their_bounds() -> None:
    series = Series()
    for at in range(0, 35 * 86_400, 280):
        series.add("loads", 1, NOW_S + at)
    assert len(series.points("loads", "30d", NOW_S + 35 * 86_400)) <= SPANS["30d"].points
    assert len(NAMES) < 40


# -- history over a restart ------------------------------------------------------------------------------------------------


def busy_day(rig: Rig) -> None:
    rig.emit(ExecutionStart("p1", 0.5), loaded("bucket"), loaded("ram", seconds=0.01), ExecutionComplete("p1", "success", 12.0, 5))
    rig.emit(TransferFinished(1, "near:a", 10**9, 10**9, 2.0, 20, 0, "crc64nvme"))


def test_a_restart_keeps_series_executions_uses_and_costs(tmp_path: Path) -> None:
    first = Rig(Config.from_text("[cost]\ngpu_per_hour = 3.6"), _open_store, tmp_path)
    busy_day(first)
    first.look()
    first.telemetry.close()
    second = Rig(Config.from_text("[cost]\ngpu_per_hour = 3.6"), _open_store, tmp_path)
    second.telemetry.ready()
    t, u, now_s = first.telemetry, second.telemetry, first.clock.now_s
    for name in ("loads", "bytes_loaded", "execution_seconds"):
        assert u.series.points(name, "30d", now_s) == t.series.points(name, "30d", now_s) != []
        assert u.series.points(name, "6h", now_s) == t.series.points(name, "6h", now_s)
    assert u.executions.rows() == t.executions.rows()
    assert u.uses.by_subject() == t.uses.by_subject() != {}
    assert u.costs.today(now_s) == t.costs.today(now_s)
    assert u.costs.today(now_s).parts["gpu"] == pytest.approx(0.012)
    second.telemetry.close()


def test_a_damaged_or_planted_history_is_forgotten(tmp_path: Path) -> None:
    rig = Rig(store=_open_store, folder=tmp_path)
    busy_day(rig)
    rig.look()
    rig.telemetry.close()
    with sqlite3.connect(tmp_path / "cache.db") as database:
        rows = (
            ("series/30d/loads/99999999", "1[[1,2]]"),
            ("series/30d/loads/x", "1[]"),
            ("series/30d/../../../x/3", "1[]"),
            ("execution/1", '1{"prompt": ["x"]}'),
            ("execution/2", "1" + "[" * 5000),
            ("day/2026-01-01", '1{"parts": 7}'),
            ("use/x", '1{"subject": "x", "uses": 1e999}'),
        )
        for key, value in rows:
            database.execute("INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES (?, 1, 0, 0, 1, ?)", (key, value))
        database.execute("INSERT INTO Cache (key, raw, store_time, access_time, mode, value) VALUES ('use/p', 1, 0, 0, 4, x'80')")
    database.close()
    again = Rig(store=_open_store, folder=tmp_path)
    again.telemetry.ready()
    assert len(again.telemetry.executions.rows()) == 1
    assert "x" not in again.telemetry.uses.by_subject()
    assert not [e for e in again.told if isinstance(e, TelemetryDegraded)]
    again.telemetry.close()


def test_a_disk_that_is_full_is_told_once_and_nothing_else_stops() -> None:
    full = True

    def store(folder: Path, max_bytes: int) -> Any:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        return _Nothing()

    rig = Rig(store=store)
    for _ in range(5):
        busy_day(rig)
        rig.look(400)
    assert [e.part for e in rig.told if isinstance(e, TelemetryDegraded)] == ["history"]
    assert len(rig.telemetry.executions.rows()) == 5
    full = False
    rig.look(400)
    full = True
    rig.telemetry._history.close()  # type: ignore[union-attr]
    busy_day(rig)
    rig.look(400)
    assert len([e for e in rig.told if isinstance(e, TelemetryDegraded)]) == 2


class _Nothing:
    """A store that takes everything and has nothing."""

    def transact(self) -> Any:
        return threading.Lock()

    def _sql(self, *_: object) -> Any:
        return self

    def fetchall(self) -> list[Any]:
        return []

    def set(self, *_: object) -> None: ...
    def delete(self, *_: object) -> None: ...
    def close(self) -> None: ...


# -- executions, savings, costs --------------------------------------------------------------------------------------------


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    assert percentiles([]) is None
    assert dataclasses.astuple(percentiles([float(i) for i in range(1, 101)])) == (50, 95, 99)
    assert dataclasses.astuple(percentiles([7.0])) == (7, 7, 7)


def test_what_a_cache_saves_is_what_the_bucket_really_took() -> None:
    rig = Rig(Config.from_text("[cost]\ngpu_per_hour = 3600"))
    rig.emit(loaded("ram", seconds=0.1))  # nothing is known of the bucket yet: nothing is claimed
    assert rig.telemetry.costs.today(NOW_S).saved.seconds == 0
    rig.emit(loaded("bucket", 10**9, 2.0), loaded("ssd", 10**9, 0.5))
    saved = rig.telemetry.costs.today(NOW_S).saved
    assert saved.seconds == pytest.approx(1.5)
    assert saved.bytes == 2 * 10**9
    assert saved.money == pytest.approx(1.5 * 1.0 + 2 * 0.09)
    rig.emit(Stored("vram", "near:checkpoints/a.safetensors", 10**9, 3.0), TierHit("vram", "near:checkpoints/a.safetensors", 10**9, 0.0))
    assert rig.telemetry.costs.today(NOW_S).saved.seconds == pytest.approx(4.5)


def test_without_a_price_money_is_unknown_and_never_zero() -> None:
    rig = Rig()
    rig.gpus = ()
    rig.emit(ExecutionComplete("p", "success", 5.0, 1), loaded("ram", key="x"))
    assert rig.telemetry.executions.rows()[0].cost is None
    assert "gpu" not in rig.telemetry.costs.today(NOW_S).parts
    assert "comfyui_cost_total" not in rig.metrics()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA GeForce RTX 4090", (0.4, "table")),
        ("NVIDIA H100 80GB HBM3", (2.5, "table")),
        ("NVIDIA GH200 480GB", (2.5, "table")),
        ("NVIDIA L4", (0.7, "table")),
        ("NVIDIA L40S", (0.9, "table")),
        ("NVIDIA A100-SXM4-40GB", (1.5, "table")),
        ("NVIDIA GeForce GTX 970", None),
        ("Apple GPU", None),
    ],
)
def test_a_gpu_is_priced_by_its_name(name: str, expected: tuple[float, str] | None) -> None:
    assert gpu_price(name, {}, None) == expected
    assert gpu_price(name, {"nvidia": 1.0}, 2.0) == (2.0, "configuration")


def test_what_was_fetched_ahead_is_counted_by_what_came_of_it() -> None:
    rig = Rig()
    for outcome in ("useful", "useful", "late", "wasted", "<b>"):
        rig.emit(PrefetchScored("near:a", "ram", "queue", outcome, 1, 1, 0.5))
    counted = {row[0]: count for row, count in rig.telemetry.tally.counters()["comfyui_prefetches"].items()}
    assert counted == {"useful": 2, "late": 1, "wasted": 1, OTHER: 1}
    assert rig.telemetry.feed.last == 5


# -- who waits -------------------------------------------------------------------------------------------------------------


def test_who_waits_is_forgotten_however_the_load_ends() -> None:
    rig = Rig()
    subject = "near:checkpoints/a.safetensors"
    for end in (loaded(), LoadStopped("a.safetensors", subject, "4", "p1")):
        rig.emit(LoadStarted("checkpoints", "a.safetensors", subject, "4", "p1"), LoadStarted("checkpoints", "a", subject, "9", "p1"))
        assert [w.node for w in rig.telemetry.waiting.on(subject)] == ["4", "9"]
        rig.emit(end)
        assert [w.node for w in rig.telemetry.waiting.on(subject)] == ["9"]
        rig.emit(LoadStopped("a", subject, "9", "p1"))
        assert rig.telemetry.waiting.on(subject) == ()


# -- the sampler -----------------------------------------------------------------------------------------------------------


def test_the_thread_sleeps_without_end_when_nothing_moves() -> None:
    rig = Rig()
    assert rig.look() is None
    rig.emit(QueueOperation("put", "p", 1), ExecutionStart("p", 0.0))
    assert rig.look(100) == 1.0
    rig.emit(ExecutionComplete("p", "success", 1.0, 1))
    assert rig.look() == 1.0
    assert rig.look(6) is None


def test_a_wake_is_never_lost() -> None:
    looked = threading.Semaphore(0)
    sampler = Sampler(lambda: looked.release())
    for _ in range(200):
        sampler.wake()
        assert looked.acquire(timeout=5)
    assert eventually(lambda: sampler.idle)
    sampler.close()


def test_a_failure_while_looking_is_told_and_the_thread_goes_on() -> None:
    rig = Rig()
    rig.seen = None  # type: ignore[assignment]
    assert rig.look() == 15.0
    assert rig.look() == 15.0
    assert [e.part for e in rig.told if isinstance(e, TelemetryDegraded)] == ["metrics"]


# -- alerts ----------------------------------------------------------------------------------------------------------------


def alerts_of(rig: Rig) -> list[tuple[str, str]]:
    return [(a.rule, a.subject) for a in rig.telemetry.alerts.active()]


def test_a_value_that_swings_around_its_threshold_makes_one_alert() -> None:
    rig = Rig()
    for depth in (49, 50, 48, 52, 45, 51):
        rig.emit(QueueOperation("put", "p", depth))
        rig.look()
    rig.emit(QueueOperation("put", "p", 30))
    rig.look()
    assert [type(e) for e in rig.told if isinstance(e, AlertRaised | AlertCleared)] == [AlertRaised, AlertCleared]
    assert alerts_of(rig) == []
    assert rig.telemetry.alerts.history()[0].cleared_s == rig.clock.now_s


def gpu(**more: Any) -> GpuFigures:
    return GpuFigures(0, "X", "nvidia", memory_total_bytes=100, **more)


@pytest.mark.parametrize(
    ("make", "rule", "subject"),
    [
        (lambda r: setattr(r, "gpus", (gpu(temperature_c=86.0),)), "gpu_temperature", "0"),
        (lambda r: setattr(r, "gpus", (gpu(memory_used_bytes=96),)), "vram_critical", "0"),
        (lambda r: setattr(r, "gpus", (gpu(memory_used_bytes=86),)), "vram_warning", "0"),
        (lambda r: setattr(r, "gpus", (gpu(state="lost"),)), "gpu_lost", "0"),
        (lambda r: setattr(r, "seen", Observation(disk_spare_bytes=GIB)), "disk_floor", ""),
        (lambda r: setattr(r, "seen", Observation(ram_used=0.97)), "ram_pressure", ""),
        (lambda r: r.emit(CorruptionFound("ssd", "near:a", "chunk 3")), "corruption", ""),
        (lambda r: r.emit(CatalogRefreshFailed("near", "denied", "403")), "credentials", "near"),
        (lambda r: r.emit(*[ExecutionComplete(str(i), "error" if i else "success", 1.0, 1) for i in range(6)]), "error_rate", ""),
        (lambda r: r.emit(*[loaded("bucket", key=str(i)) for i in range(12)]), "hit_rate", ""),
        (lambda r: r.emit(*[TransferFinished(1, "near:a", 1, 10**12, 1.0, 1, 0, "parts")]), "daily_cost", ""),
    ],
)
def test_each_rule_begins_and_ends(make: Callable[[Rig], None], rule: str, subject: str) -> None:
    rig = Rig(Config.from_text("[alerts]\ndaily_cost = 10.0"))
    rig.emit(ExecutionStart("p", 0.0))
    make(rig)
    rig.look(6)
    assert (rule, subject) in alerts_of(rig)
    raised = next(e for e in rig.told if isinstance(e, AlertRaised) and e.rule == rule)
    assert raised.message and raised.recommendation
    rig.gpus, rig.seen = (), Observation(disk_spare_bytes=100 * GIB, ram_used=0.1)
    rig.emit(CatalogRefreshed("near", 1, 0, 0, 0.1), *[loaded("ram") for _ in range(50)])
    rig.emit(*[ExecutionComplete("q", "success", 1.0, 1) for _ in range(200)])
    if rule == "gpu_lost" or rule.startswith(("gpu", "vram")):
        rig.gpus = (gpu(temperature_c=40.0, memory_used_bytes=1),)
        rig.emit(ExecutionStart("p2", 0.0))
    rig.look(86_400 if rule == "daily_cost" else 700)
    assert (rule, subject) not in alerts_of(rig)


def test_an_origin_that_stays_down_is_told_after_its_time_and_the_thread_looks_again() -> None:
    rig = Rig()
    rig.emit(CatalogRefreshFailed("near", "unreachable", "refused"))
    assert rig.look() is not None
    assert ("origin_down", "near") not in alerts_of(rig)
    assert rig.look(61) == 15.0
    assert ("origin_down", "near") in alerts_of(rig)
    rig.emit(CatalogRefreshed("near", 1, 0, 0, 0.1))
    rig.look()
    assert alerts_of(rig) == []


def test_an_alert_of_a_card_ends_when_nobody_runs_or_looks_any_more() -> None:
    rig = Rig()
    rig.gpus = (dataclasses.replace(rig.gpus[0], temperature_c=95.0),)
    rig.emit(ExecutionStart("p1", 0.0))
    rig.look()
    rig.emit(ExecutionComplete("p1", "success", 1.0, 1))
    assert [e.rule for e in rig.told if isinstance(e, AlertRaised)] == ["gpu_temperature"]
    assert rig.look(10) is not None
    assert [a.rule for a in rig.telemetry.alerts.active()] == ["gpu_temperature"]
    rig.gpus = (dataclasses.replace(rig.gpus[0], temperature_c=50.0),)
    rig.look(10)
    assert rig.telemetry.alerts.active() == ()


def test_an_alert_ends_when_its_value_cannot_be_read_any_more() -> None:
    rig = Rig()
    full = dataclasses.replace(rig.gpus[0], memory_used_bytes=97, memory_total_bytes=100)
    rig.gpus = (full,)
    rig.emit(ExecutionStart("p1", 0.0))
    rig.look()
    assert {a.rule for a in rig.telemetry.alerts.active()} == {"vram_warning", "vram_critical"}
    rig.gpus = (GpuFigures(0, full.name, "nvidia", "lost"),)
    rig.look(10)
    assert {a.rule for a in rig.telemetry.alerts.active()} == {"gpu_lost"}
    rig.gpus = (full,)
    rig.look(10)
    assert {a.rule for a in rig.telemetry.alerts.active()} == {"vram_warning", "vram_critical"}


def test_a_threshold_of_zero_and_enabled_false_switch_off() -> None:
    for toml in ("[alerts]\nqueue_depth = 0", "[alerts]\nenabled = false"):
        rig = Rig(Config.from_text(toml))
        rig.emit(QueueOperation("put", "p", 10_000))
        rig.look()
        assert alerts_of(rig) == []
    assert Alerts(Config().alerts).all_rules


# -- GPUs ------------------------------------------------------------------------------------------------------------------


def test_a_figure_that_a_card_does_not_give_is_none_and_looks_are_shared() -> None:
    library, clock = Library(), Clock()
    probe = GpuProbe(nvml=lambda: library, clock=clock)
    assert probe.last is None
    (card,) = probe.look()
    assert card == GpuFigures(0, "NVIDIA L4", "nvidia", "ok", 6 << 30, 24 << 30, 40.0, 61.0, None, 72.0, 2)
    probe.look()
    assert library.asked == 1
    clock.now_s += 1
    probe.look()
    assert library.asked == 2


def test_a_lost_card_is_said_to_be_lost_and_comes_back_after_a_reset() -> None:
    library, clock, told = Library(), Clock(), []
    probe = GpuProbe(nvml=lambda: library, clock=clock, told=lambda code, cause: told.append(code))
    probe.look()
    library.state = "gone"
    for _ in range(30):
        clock.now_s += 1
        (card,) = probe.look()
        assert (card.state, card.name, card.memory_used_bytes) == ("lost", "NVIDIA L4", None)
    assert "gpu_lost" in told
    library.state = "idle"
    clock.now_s += 11
    (card,) = probe.look()
    assert card.state == "ok"
    assert library.inits == 2


def test_without_nvidia_the_others_are_asked_and_none_is_an_empty_tuple() -> None:
    assert GpuProbe(nvml=no_nvml).look() == ()
    apple = GpuFigures(0, "Apple GPU", "apple", memory_used_bytes=3)
    assert GpuProbe(lambda: (apple,), nvml=no_nvml).look() == (apple,)
    library = Library()
    library.state = "gone"
    assert GpuProbe(lambda: (apple,), nvml=lambda: library).look() == (apple,)


def test_a_figure_that_is_not_there_has_no_sample() -> None:
    rig = Rig()
    rig.gpus = (GpuFigures(0, "X", "apple", memory_used_bytes=3),)
    text = rig.metrics()
    assert 'comfyui_gpu_memory_bytes{gpu_id="0"} 3.0' in text
    assert "comfyui_gpu_temperature_celsius" not in text
    assert "comfyui_queue_depth" not in text


@pytest.mark.root
def test_a_real_disk_that_is_full_costs_the_history_and_nothing_else(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=0700", "none", str(small)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        rig = Rig(store=_open_store, folder=small / "telemetry")
        busy_day(rig)
        rig.look(61)
        with contextlib.suppress(OSError), open(small / "filler", "wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        for number in range(100):
            rig.emit(loaded(key=f"{number}-" + "k" * 200))
        rig.look(61)
        assert [e.part for e in rig.told if isinstance(e, TelemetryDegraded)] == ["history"]
        assert rig.telemetry.uses.by_subject().keys() >= {f"near:checkpoints/99-{'k' * 200}"}
        (small / "filler").unlink()
        rig.look(400)
        assert rig.telemetry._history is not None
        assert rig.telemetry._history.trouble == ""
        rig.telemetry.close()
        assert rig.bus.subscriber_errors == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False, capture_output=True)


def test_every_label_of_every_family_has_a_vocabulary() -> None:
    known = vocabularies(())
    assert {label for family in FAMILIES.values() for label in family.labels} <= known.keys()


def test_the_forms_that_are_counted_are_those_that_can_be_configured_and_made() -> None:
    assert tally.FORMS == config_precision.FORMS == tuple(recipe.FORMS)
