"""The figures of the moment, read from memory: tiers, transfers, origins.  Never waits; any thread, the event loop included."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

from ..telemetry.observation import DeviceObservation, Observation, OriginFigures, TierFigures

if TYPE_CHECKING:
    from ..cache.store import Cache
    from ..storage.transfer import Transfer
    from .runtime import Runtime


def observe(runtime: Runtime) -> Observation:
    """With the disk's free space and the machine's memory: some system calls, so not for every request on the event loop."""
    tiers = tier_figures(runtime)
    moving = [transfer.progress() for transfer in transfers(runtime)]
    return Observation(
        tiers=tiers,
        origins=origin_figures(runtime),
        transfers=len(moving),
        rate_bytes_per_s=sum(p.rate_bytes_per_s for p in moving),
        connections=sum(p.connections for p in moving),
        disk_spare_bytes=_disk_spare_bytes(runtime),
        ram_used=_ram_used(),
        devices=device_figures(runtime),
    )


MEMORY_KINDS = ("total", "free", "reserved", "allocated", "active", "inactive_split")


def device_figures(runtime: Runtime) -> tuple[DeviceObservation, ...]:
    """Of the allocator where there is one, and of the models as last looked at."""
    block = runtime.status_blocks.get("memory")
    said: Any = block() if block is not None else {}
    devices = said.get("devices") if isinstance(said, dict) else None
    on_devices = {one["device"]: one for one in said.get("on_devices", ())} if isinstance(said, dict) else {}
    allocators = {one["name"]: one for one in devices} if isinstance(devices, list) else {}
    return tuple(_of_device(name, allocators.get(name, {}), on_devices.get(name, {})) for name in sorted({*allocators, *on_devices}))


def _of_device(name: str, allocator: dict[str, Any], looked: dict[str, Any]) -> DeviceObservation:
    memory = [(kind, allocator[f"{kind}_bytes"]) for kind in MEMORY_KINDS if f"{kind}_bytes" in allocator]
    known = {
        "models": "models_bytes",
        "offloaded": "offloaded_bytes",
        "saved_by_precision": "saved_bytes",
        "largest_free": "largest_free_bytes",
    }
    memory += [(kind, looked[field]) for kind, field in known.items() if looked.get(field) is not None]
    models = tuple((component, dtype, size) for component, of_dtype in looked.get("bytes", {}).items() for dtype, size in of_dtype.items())
    return DeviceObservation(name, tuple(memory), models)


def transfers(runtime: Runtime) -> tuple[Transfer, ...]:
    engine = runtime.engine
    return engine.active() if engine is not None else ()


def origin_figures(runtime: Runtime) -> tuple[OriginFigures, ...]:
    return tuple(
        OriginFigures(s.name, s.objects, s.listed_s, "" if s.error is None else s.error.code, "" if s.error is None else str(s.error))
        for s in runtime.catalog.states()
    )


def tier_figures(runtime: Runtime) -> tuple[TierFigures, ...]:
    """Nearest first; () until the cache is open."""
    cache = runtime.opened
    if cache is None:
        return ()
    vram = _vram(runtime)
    return (*((vram,) if vram is not None else ()), *_of_cache(cache))


def _of_cache(cache: Cache) -> tuple[TierFigures, TierFigures]:
    snapshot = cache.snapshot()
    ram, ssd = snapshot.ram, snapshot.ssd
    held = cache.held_back()
    return (
        TierFigures("ram", ram.used_bytes, ram.budget_bytes, *held["ram"], entries=len(ram.entries), adjustable=True),
        TierFigures(
            *("ssd", ssd.used_bytes, ssd.budget_bytes, *held["ssd"], ssd.reserved_bytes, ssd.entries),
            writable=ssd.writable,
            adjustable=True,
            more=(("leftover_bytes", ssd.leftover_bytes), ("free_floor_bytes", ssd.free_floor_bytes)),
        ),
    )


def _vram(runtime: Runtime) -> TierFigures | None:
    """Loaded models: on devices where there are any, else in host memory.  None where they are not kept."""
    block = runtime.status_blocks.get("memory")
    memory: Any = block() if block is not None else {}
    models = memory.get("warm", {}).get("models") if isinstance(memory, dict) else None
    if models is None:
        return None
    devices = memory.get("devices")
    on_devices = isinstance(devices, list) and bool(devices)

    def size(model: Any) -> int:
        if on_devices:
            return sum(model["device_bytes"].values())
        return int(model["host_bytes"]) + int(model["shared_bytes"])

    used = sum(size(model) for model in models)
    config = runtime.config.vram
    budget = config.device_budget_bytes if on_devices else config.host_budget_bytes
    if budget is None and on_devices:
        budget = sum(device["total_bytes"] for device in devices)
    in_use = sum(size(model) for model in models if model["in_use"])
    return TierFigures("vram", used, budget, in_use, entries=len(models), more=(("device", "gpu" if on_devices else "cpu"),))


def _disk_spare_bytes(runtime: Runtime) -> int | None:
    """Of the fullest of the SSD tier's disks; None where there is no directory yet."""
    found = []
    for directory in runtime.config.ssd.all_directories(runtime.places.ssd):
        try:
            found.append(shutil.disk_usage(directory.path).free - directory.free_floor_bytes)
        except OSError:  # not made yet, or gone: the tier itself tells that
            continue
    return min(found, default=None)


def _ram_used() -> float | None:
    """Of the machine; a container's limit is seen by the RAM tier's budget."""
    psutil: Any = sys.modules.get("psutil")
    return None if psutil is None else float(psutil.virtual_memory().percent) / 100
