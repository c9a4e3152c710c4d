"""Metrics as Prometheus reads them, made when somebody scrapes; prometheus_client is imported then, with a registry of our own.

Counters and histograms come from the ``Tally``; gauges from one observation and one look at the GPUs a scrape.  A figure
that is not available has no sample, which Prometheus shows as a gap, never as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .alert_rules import RULES
from .gpu import GpuFigures
from .observation import Observation, TierFigures
from .observatory import Telemetry
from .tally import FAMILIES, Family, Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Samples = list[tuple[tuple[str, ...], float]]
Gauge = tuple[str, str, tuple[str, ...], Samples]
"""(name, help, labels, samples)"""

GPU_GAUGES: tuple[tuple[str, str, str], ...] = (
    ("comfyui_gpu_memory_bytes", "Used memory of the GPU, by all processes.", "memory_used_bytes"),
    ("comfyui_gpu_memory_total_bytes", "Memory of the GPU.", "memory_total_bytes"),
    ("comfyui_gpu_utilization_percent", "How busy the GPU is.", "utilization_percent"),
    ("comfyui_gpu_temperature_celsius", "Temperature of the GPU.", "temperature_c"),
    ("comfyui_gpu_power_watts", "Power that the GPU draws.", "power_w"),
    ("comfyui_gpu_power_limit_watts", "Power that the GPU may draw.", "power_limit_w"),
    ("comfyui_gpu_processes", "Processes that use the GPU.", "processes"),
)

TIER_GAUGES: tuple[tuple[str, str, Callable[[TierFigures], float | None]], ...] = (
    ("comfyui_cache_used_bytes", "Bytes that the tier holds.", lambda t: t.used_bytes),
    ("comfyui_cache_budget_bytes", "Bytes that the tier may hold; no sample: what the device leaves.", lambda t: t.budget_bytes),
    ("comfyui_cache_leased_bytes", "Bytes that somebody uses now.", lambda t: t.leased_bytes),
    ("comfyui_cache_pinned_bytes", "Bytes that the user wants to keep.", lambda t: t.pinned_bytes),
    ("comfyui_cache_reserved_bytes", "Bytes that are on their way.", lambda t: t.reserved_bytes),
    ("comfyui_cache_entries", "Objects that the tier holds.", lambda t: t.entries),
    ("comfyui_cache_writable", "1: the tier takes new objects.", lambda t: float(t.writable)),
)


class Exposition:
    """``text`` reads tiers and drivers (milliseconds) and imports a library the first time: not for the event loop."""

    def __init__(
        self, telemetry: Telemetry, observe: Callable[[], Observation], *, version: str, gpu: bool, errors: Callable[[], int]
    ) -> None:
        """errors: subscribers of the bus that raised."""
        self._telemetry = telemetry
        self._observe = observe
        self._version = version
        self._gpu = gpu
        self._errors = errors
        self._registry: Any = None

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        found: bytes = generate_latest(self.registry())
        return found

    def registry(self) -> Any:
        """Ours alone; made once."""
        if self._registry is None:
            from prometheus_client import CollectorRegistry

            registry = CollectorRegistry(auto_describe=False)
            registry.register(self)  # type: ignore[arg-type]
            self._registry = registry
        return self._registry

    def describe(self) -> Iterable[Any]:
        """For the registry: nothing is collected when it is made."""
        return ()

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        for name, rows in self._telemetry.tally.counters().items():
            family = CounterMetricFamily(name, FAMILIES[name].text, labels=FAMILIES[name].labels)
            for labels, value in rows.items():
                family.add_metric(labels, value)
            yield family
        for name, histograms in self._telemetry.tally.histograms().items():
            shown = HistogramMetricFamily(name, FAMILIES[name].text, labels=FAMILIES[name].labels)
            for labels, histogram in histograms.items():
                shown.add_metric(labels, _cumulative(FAMILIES[name], histogram), histogram.total)
            yield shown
        for gauge_name, text, gauge_labels, samples in self._gauges():
            gauge = GaugeMetricFamily(gauge_name, text, labels=gauge_labels)
            for labels, value in samples:
                gauge.add_metric(labels, value)
            yield gauge

    # -- gauges ------------------------------------------------------------------------------------------------------------
    def _gauges(self) -> Iterator[Gauge]:
        t = self._telemetry
        yield "comfyui_modelstream_info", "What runs.", ("version",), [((self._version,), 1.0)]
        if t.executions.pending is not None:
            running = 0.0 if t.executions.running() is None else 1.0
            yield "comfyui_queue_depth", "Prompts that wait.", (), [((), float(t.executions.pending))]
            yield "comfyui_executions_running", "Prompts that run.", (), [((), running)]
        yield from self._of_observation(self._observe())
        if self._gpu:
            yield from _of_gpus(t.gpu.look())
        active = {(a.rule, a.severity) for a in t.alerts.active()}
        alerts: Samples = [((r.name, r.severity), float((r.name, r.severity) in active)) for r in RULES]
        yield "comfyui_alerts_active", "1: the alert is on.", ("rule", "severity"), alerts
        yield "comfyui_telemetry_subscriber_errors", "Events that could not be counted.", (), [((), float(self._errors()))]

    def _of_observation(self, seen: Observation) -> Iterator[Gauge]:
        for name, text, read in TIER_GAUGES:
            tiers: Samples = [((tier.level,), float(v)) for tier in seen.tiers if (v := read(tier)) is not None]
            yield name, text, ("level",), tiers
        yield "comfyui_transfers_active", "Transfers from buckets under way.", (), [((), float(seen.transfers))]
        yield "comfyui_transfer_rate_bytes_per_second", "What comes from buckets now.", (), [((), seen.rate_bytes_per_s)]
        yield "comfyui_transfer_connections", "Connections to buckets.", (), [((), float(seen.connections))]
        objects: Samples = [((o.name,), float(o.objects)) for o in seen.origins]
        yield "comfyui_catalog_objects", "Models that the origin holds.", ("origin",), objects
        up: Samples = [((o.name,), float(not o.error)) for o in seen.origins]
        yield "comfyui_origin_up", "1: the last listing worked.", ("origin",), up
        memory: Samples = [((d.device, kind), float(v)) for d in seen.devices for kind, v in d.memory]
        models: Samples = [((d.device, component, dtype), float(v)) for d in seen.devices for component, dtype, v in d.models]
        if memory:
            yield "comfyui_device_memory_bytes", "A device's memory, by what it is.", ("device", "kind"), memory
        if models:
            yield "comfyui_device_models_bytes", "Models on a device.", ("device", "component", "dtype"), models
        if seen.disk_spare_bytes is not None:
            yield "comfyui_disk_spare_bytes", "Free on the SSD tier's disk above its floor.", (), [((), float(seen.disk_spare_bytes))]
        if seen.ram_used is not None:
            yield "comfyui_memory_used_ratio", "Share of the machine's or container's memory.", (), [((), seen.ram_used)]


def _of_gpus(gpus: tuple[GpuFigures, ...]) -> Iterator[Gauge]:
    for name, text, field in GPU_GAUGES:
        values: Samples = [((str(g.index),), float(v)) for g in gpus if (v := getattr(g, field)) is not None]
        if values:
            yield name, text, ("gpu_id",), values
    if gpus:
        health: Samples = [((str(g.index),), float(g.state == "ok")) for g in gpus]
        yield "comfyui_gpu_health", "1: the GPU answers.", ("gpu_id",), health


def _cumulative(family: Family, histogram: Histogram) -> list[tuple[str, float]]:
    found, so_far = [], 0
    for bound, count in zip((*family.buckets, float("inf")), histogram.counts, strict=True):
        so_far += count
        found.append(("+Inf" if bound == float("inf") else str(float(bound)), float(so_far)))
    return found
