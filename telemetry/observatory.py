"""All of telemetry in one hand: subscribes once, counts, samples while something moves, tells alerts.

Made before ComfyUI imports torch: cheap, no thread, no file.  The thread of ``Sampler`` starts with the first event that
means work, or when a panel opens, and sleeps when nothing moves.  Any method may be called from any thread; those that
may wait for a disk or a driver say so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..storage import events as ev
from ..storage import events_comfy as cf
from ..storage.events import Event, EventBus
from .alert_rules import WINDOW_S, Facts
from .alerts import Alerts
from .costs import Costs, OriginPrice
from .counting import Counting, Records
from .executions import Executions
from .feed import Feed
from .gpu import GpuFigures, GpuProbe
from .gpu_prices import gpu_price
from .history import History, Kept
from .observation import Observation
from .sampler import Sampler
from .savings import Savings
from .series import Series
from .tally import Tally, declare_all
from .uses import Uses
from .waiting import Waiting

BUSY_S = 1.0
WATCHFUL_S = 15.0
"""between looks while an alert is on or an origin does not answer"""
LINGER_S = 5.0
"""after the last event"""
GPU_EVERY_S = 5.0
USAGE_EVERY_S = 10.0
SAVE_EVERY_S = 60.0
SAVE_RETRY_S = 300.0

MOVES = (
    *(ev.TransferStarted, ev.ModelLoaded, ev.Evicted, ev.Stored, ev.TierHit, ev.CorruptionFound, ev.CatalogRefreshFailed),
    *(ev.CatalogRefreshed, cf.LoadStarted, cf.ExecutionStart, cf.ExecutionComplete, cf.QueueOperation),
)
"""events after which the figures are worth a look"""


@dataclass(frozen=True, slots=True)
class Sources:
    """What telemetry reads, given by hooks.  Each is called from telemetry's thread or by whoever looks.

    observe: from memory, about a millisecond; watched: whether a panel is open; store: opens the history's file, None for none
    """

    observe: Callable[[], Observation]
    gpu: GpuProbe
    origin_price: Callable[[str], OriginPrice]
    origins: tuple[str, ...] = ()
    watched: Callable[[], bool] = lambda: False
    store: Callable[[Path, int], Any] | None = None
    folder: Path = Path()


class Telemetry:
    def __init__(
        self,
        bus: EventBus,
        sources: Sources,
        *,
        metrics: Any,
        alerts: Any,
        cost: Any,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """metrics, alerts, cost: the sections of the configuration."""
        self._bus = bus
        self._sources = sources
        self._metrics = metrics
        self._cost = cost
        self._clock = clock
        self._wall_clock = wall_clock
        self.started_s = wall_clock()
        self.tally = Tally(sources.origins)
        declare_all(self.tally, sources.origins)
        self.series = Series()
        self.executions = Executions()
        self.uses = Uses()
        self.savings = Savings()
        self.costs = Costs(self.gpu_per_second, sources.origin_price)
        self.feed = Feed()
        self.waiting = Waiting()
        self.alerts = Alerts(alerts)
        records = Records(self.tally, self.series, self.executions, self.uses, self.savings, self.costs, cost.currency)
        self._counting = Counting(records, wall_clock)
        self._sampler = Sampler(self._look)
        self._history = self._open_history()
        self._loading = threading.Lock()
        self._loaded = self._history is None
        self._history_told = False
        self._held: dict[str, float] = {}
        self._failed: set[str] = set()
        self._last_move_s = float("-inf")
        self._gpu_at_s = self._usage_at_s = float("-inf")
        self._save_at_s = clock() + SAVE_EVERY_S
        self._undo = bus.subscribe(self._on_event)

    @property
    def gpu(self) -> GpuProbe:
        return self._sources.gpu

    @property
    def idle(self) -> bool:
        return self._sampler.idle

    def wake(self) -> None:
        """A panel opened: figures are wanted now."""
        self._sampler.wake()

    def ready(self) -> None:
        """What an earlier process left is there after this.  Reads a file the first time: not for the event loop."""
        with self._loading:
            if not self._loaded and self._history is not None:
                self._loaded = True
                self._tell_history(self._history.load(self._wall_clock()))

    def close(self) -> None:
        self._undo()
        self._sampler.close()
        if self._history is not None and self._loaded:
            self._history.save(self._wall_clock())
            self._history.close()
        self._sources.gpu.close()

    # -- prices ----------------------------------------------------------------------------------------------------------
    def gpu_prices(self) -> list[tuple[float, str]]:
        """(price an hour, where it is from) of each GPU with a known price, from the last look at them."""
        names = [gpu.name for gpu in self._sources.gpu.last or ()]
        found = [gpu_price(name, self._cost.gpu_prices, self._cost.gpu_per_hour) for name in names]
        if not names and self._cost.gpu_per_hour is not None:
            return [(self._cost.gpu_per_hour, "configuration")]
        return [price for price in found if price is not None]

    def gpu_per_second(self) -> float | None:
        prices = self.gpu_prices()
        return sum(price for price, _ in prices) / 3600 if prices else None

    # -- events ------------------------------------------------------------------------------------------------------------
    def _on_event(self, event: Event) -> None:
        self._counting(event)
        self.waiting(event)
        self.feed(event, self._wall_clock())
        if isinstance(event, MOVES):
            self._last_move_s = self._clock()
            self._sampler.wake()

    # -- the sampler's thread ------------------------------------------------------------------------------------------------
    def _look(self) -> float | None:
        try:
            return self._look_once()
        except Exception as error:
            if type(error).__name__ not in self._failed:
                self._failed.add(type(error).__name__)
                self._bus.emit(cf.TelemetryDegraded("metrics", type(error).__name__, "the figures of the moment cannot be read"))
            return WATCHFUL_S

    def _look_once(self) -> float | None:
        """One look; the seconds until the next."""
        self.ready()
        now_s, wall_s = self._clock(), self._wall_clock()
        observation = self._sources.observe()
        running = self.executions.running() is not None
        watched = self._sources.watched()
        self._record(observation, wall_s)
        # a card's alert ends by a look too, also when nobody else wants one any more
        wanted = running or watched or any(alert.component == "gpu" for alert in self.alerts.active())
        if self._metrics.gpu and wanted and now_s >= self._gpu_at_s:
            self._gpu_at_s = now_s + GPU_EVERY_S
            self._record_gpus(self._sources.gpu.look(), now_s, wall_s, running=running)
        self.costs.keeps(self._sources.origins, wall_s)
        self._tell_alerts(observation, wall_s)
        self._save(now_s, wall_s)
        if running or watched or observation.transfers or now_s - self._last_move_s < LINGER_S:
            return BUSY_S
        if self._history is not None and now_s < self._save_at_s and self._history_dirty:
            return max(BUSY_S, self._save_at_s - now_s)
        return WATCHFUL_S if self.alerts.active() or self._counting.down_s(wall_s) else None

    def _record(self, observation: Observation, wall_s: float) -> None:
        """Only what has changed."""
        values = {f"{tier.level}_used_bytes": float(tier.used_bytes) for tier in observation.tiers}
        values["rate_bytes_per_s"] = observation.rate_bytes_per_s
        for name, value in values.items():
            if self._held.get(name, 0.0) != value:
                self._held[name] = value
                self.series.hold(name, value, wall_s)

    def _record_gpus(self, gpus: tuple[GpuFigures, ...], now_s: float, wall_s: float, *, running: bool) -> None:
        gauges = {
            "gpu_utilization_percent": [g.utilization_percent for g in gpus],
            "gpu_temperature_c": [g.temperature_c for g in gpus],
            "gpu_power_w": [g.power_w for g in gpus],
        }
        for name, values in gauges.items():
            known = [value for value in values if value is not None]
            if known:
                self.series.hold(name, max(known), wall_s)
        used = [g.memory_used_bytes for g in gpus if g.memory_used_bytes is not None]
        if used:
            self.series.hold("gpu_memory_bytes", sum(used), wall_s)
        if running and now_s >= self._usage_at_s:
            self._usage_at_s = now_s + USAGE_EVERY_S
            for gpu in gpus:
                self._bus.emit(_usage(gpu))

    def facts(self, observation: Observation, wall_s: float) -> Facts:
        down = self._counting.down_s(wall_s)
        return Facts(
            wall_s,
            observation,
            self._sources.gpu.last or (),
            self.series,
            self.executions.pending,
            {name: down.get(name, 0.0) for name in self._sources.origins},
            self._counting.refused(),
            self._counting.corruptions(WINDOW_S, wall_s),
            self.costs.today(wall_s).total,
        )

    def _tell_alerts(self, observation: Observation, wall_s: float) -> None:
        for event in self.alerts.evaluate(self.facts(observation, wall_s)):
            self._bus.emit(event)

    # -- history -------------------------------------------------------------------------------------------------------------
    @property
    def _history_dirty(self) -> bool:
        return self._last_move_s > self._save_at_s - SAVE_EVERY_S

    def _open_history(self) -> History | None:
        sources = self._sources
        if sources.store is None or not self._metrics.history:
            return None
        kept = Kept(self.series, self.executions, self.uses, self.costs)
        return History(sources.folder, kept, sources.store)

    def _save(self, now_s: float, wall_s: float) -> None:
        if self._history is not None and now_s >= self._save_at_s:
            good = self._history.save(wall_s)
            self._save_at_s = now_s + (SAVE_EVERY_S if good else SAVE_RETRY_S)
            self._tell_history(good)

    def _tell_history(self, good: bool) -> None:
        """Once, until it works again."""
        if not good and not self._history_told and self._history is not None:
            cause = "the history cannot be kept on disk; it goes on in memory"
            self._bus.emit(cf.TelemetryDegraded("history", self._history.trouble, cause))
        self._history_told = not good


def _usage(gpu: GpuFigures) -> cf.ResourceUsage:
    def known(value: float | None) -> float:
        return -1.0 if value is None else float(value)

    return cf.ResourceUsage(
        gpu.index,
        int(known(gpu.memory_used_bytes)),
        int(known(gpu.memory_total_bytes)),
        known(gpu.utilization_percent),
        known(gpu.temperature_c),
        known(gpu.power_w),
    )
