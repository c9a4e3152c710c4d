"""The alerts as data: what is compared with what, how grave it is, what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .gpu import GpuFigures
from .observation import Observation
from .series import Series

WARNING, CRITICAL = "warning", "critical"
GIB = 1 << 30

WINDOW_S = 600.0
HIT_WINDOW_S = 3600.0
EXECUTIONS_MIN = 5
LOADS_MIN = 10


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a rule may look at.  origin_down_s: by origin, since no listing has worked; 0 while they do"""

    now_s: float
    observation: Observation
    gpus: tuple[GpuFigures, ...]
    series: Series
    pending: int | None
    origin_down_s: dict[str, float]
    refused: frozenset[str]
    """origins that refuse the credentials"""
    corruptions: int
    """found in the last ten minutes"""
    cost_today: float | None


Reading = tuple[str, float]
"""(subject: an origin, a device's number or empty; value)"""


@dataclass(frozen=True, slots=True)
class Rule:
    """key: of the threshold in [alerts], empty for a fixed one.

    rising: the alert begins at the threshold and above (else below it), and ends when the value is on the other side of
    threshold × ``clear``.  ``message`` is formatted with subject, value and threshold.
    """

    name: str
    severity: str
    component: str
    key: str
    unit: str
    read: Callable[[Facts], Iterable[Reading]]
    message: str
    recommendation: str
    clear: float = 0.9
    rising: bool = True
    fixed: float = 0.0

    def threshold(self, settings: Any) -> float:
        """0: off."""
        value = getattr(settings, self.key) if self.key else self.fixed
        return float(value) * (GIB if self.key.endswith("_gb") else 1)


def _queue(f: Facts) -> Iterable[Reading]:
    return [] if f.pending is None else [("", float(f.pending))]


def _temperature(f: Facts) -> Iterable[Reading]:
    return [(str(g.index), g.temperature_c) for g in f.gpus if g.temperature_c is not None]


def _vram(f: Facts) -> Iterable[Reading]:
    return [(str(g.index), share) for g in f.gpus if (share := g.memory_share) is not None]


def _lost(f: Facts) -> Iterable[Reading]:
    return [(str(g.index), 1.0 if g.state == "lost" else 0.0) for g in f.gpus]


def _errors(f: Facts) -> Iterable[Reading]:
    ran = f.series.total("executions", WINDOW_S, f.now_s)
    return [("", f.series.total("execution_errors", WINDOW_S, f.now_s) / ran)] if ran >= EXECUTIONS_MIN else [("", 0.0)]


def _disk(f: Facts) -> Iterable[Reading]:
    spare = f.observation.disk_spare_bytes
    return [] if spare is None else [("", float(spare))]


def _ram(f: Facts) -> Iterable[Reading]:
    return [] if f.observation.ram_used is None else [("", f.observation.ram_used)]


def _down(f: Facts) -> Iterable[Reading]:
    return list(f.origin_down_s.items())


def _refused(f: Facts) -> Iterable[Reading]:
    return [(name, 1.0 if name in f.refused else 0.0) for name in f.origin_down_s]


def _corrupt(f: Facts) -> Iterable[Reading]:
    return [("", float(f.corruptions))]


def _hits(f: Facts) -> Iterable[Reading]:
    hits = sum(f.series.total(f"hits_{level}", HIT_WINDOW_S, f.now_s) for level in ("ram", "ssd", "vram"))
    asked = hits + f.series.total("misses", HIT_WINDOW_S, f.now_s)
    return [("", hits / asked)] if asked >= LOADS_MIN else [("", 1.0)]


def _cost(f: Facts) -> Iterable[Reading]:
    return [] if f.cost_today is None else [("", f.cost_today)]


RULES: tuple[Rule, ...] = (
    Rule(
        *("queue_depth", WARNING, "queue", "queue_depth", "prompts", _queue),
        "{value:.0f} prompts wait in the queue",
        "add a worker, or let models of the next prompts be fetched ahead",
        clear=0.8,
    ),
    Rule(
        *("gpu_temperature", CRITICAL, "gpu", "gpu_temperature_c", "celsius", _temperature),
        "GPU {subject} is at {value:.0f} °C",
        "check the cooling; the card slows itself down or stops",
        clear=0.95,
    ),
    Rule(
        *("vram_warning", WARNING, "gpu", "vram_warning", "ratio", _vram),
        "{value:.0%} of GPU {subject}'s memory is used",
        "lower vram.device_budget_gb, or evict models that are not needed",
        clear=0.95,
    ),
    Rule(
        *("vram_critical", CRITICAL, "gpu", "vram_critical", "ratio", _vram),
        "{value:.0%} of GPU {subject}'s memory is used: the next model may not fit",
        "evict models, or raise vram.working_memory_gb so that more stays free",
        clear=0.97,
    ),
    Rule(
        *("gpu_lost", CRITICAL, "gpu", "", "state", _lost),
        "GPU {subject} does not answer any more",
        "see the system's log; a driver reset or a restart may be needed",
        fixed=1.0,
    ),
    Rule(
        *("error_rate", WARNING, "execution", "error_rate", "ratio", _errors),
        "{value:.0%} of the last ten minutes' prompts failed",
        "look at the failures in the panel and at ComfyUI's log",
        clear=0.5,
    ),
    Rule(
        *("disk_floor", CRITICAL, "ssd", "disk_free_gb", "bytes", _disk),
        "the SSD tier's disk has {value_gb:.1f} GB left above its floor",
        "free disk space, or lower ssd.budget_gb",
        clear=1.25,
        rising=False,
    ),
    Rule(
        *("ram_pressure", WARNING, "ram", "ram_used", "ratio", _ram),
        "{value:.0%} of the memory is used",
        "lower ram.budget_gb, or evict models from RAM",
        clear=0.97,
    ),
    Rule(
        *("origin_down", CRITICAL, "origin", "origin_down_s", "seconds", _down),
        "the bucket {subject} could not be listed for {value:.0f} s; what is cached still works",
        "check the network and the endpoint in the configuration",
    ),
    Rule(
        *("credentials", CRITICAL, "origin", "", "state", _refused),
        "the bucket {subject} refuses the credentials",
        "renew them; modelstream doctor says what they may do",
        fixed=1.0,
    ),
    Rule(
        *("corruption", CRITICAL, "integrity", "", "objects", _corrupt),
        "damaged bytes were found {value:.0f} times in ten minutes, and kept from every loader",
        "check the disk and the network; verify the models in the panel",
        fixed=1.0,
    ),
    Rule(
        *("hit_rate", WARNING, "cache", "hit_rate", "ratio", _hits),
        "caches answered only {value:.0%} of the last hour's loads",
        "raise ram.budget_gb or ssd.budget_gb, or pin what is used most",
        clear=1.2,
        rising=False,
    ),
    Rule(
        *("daily_cost", WARNING, "cost", "daily_cost", "money", _cost),
        "today's estimated cost is {value:.2f}",
        "see the cost in the panel: which part grows",
        clear=1.0,
    ),
)

UNITS = {rule.name: rule.unit for rule in RULES}
"""what the value and the threshold of each rule's alerts are measured in"""
