"""The seams that keep models in memory, as the configuration wants them: hand-over, warm models, memory on the devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..cache.memory_budget import read_memory_figures
from ..cache.vram import Limits
from ..storage.config_memory import VramConfig
from .assign import AssignSeam
from .devices import devices_json
from .host_copies import HostCopiesSeam
from .loaded_models import LoadedModels
from .loading import LoadingSeam
from .memory_pressure import watch_memory
from .pinning import pin_memory
from .runtime import Runtime
from .seam import Seams
from .shared_memory import SharedMemory
from .vram_pressure import VramPressureSeam
from .warm_models import WarmModelsSeam

if TYPE_CHECKING:
    from .fit import Estimator

FLOOR_SHARE, FLOOR_MOST_BYTES = 8, 4 << 30


def install_memory(seams: Seams, runtime: Runtime, loading: LoadingSeam) -> WarmModelsSeam | None:
    """Each seam that the configuration asks for and that fits; the figures of those that are on go into the status.

    Returns the seam of the warm models where it is on.
    """
    config = runtime.config
    shared = SharedMemory()
    assign = AssignSeam(shared)
    copies = HostCopiesSeam(shared)
    pin_memory(runtime, loading.hear)
    if config.ram.hand_over:
        loading.hear(lambda opened: shared.add(getattr(opened, "buffer", None)))
        seams.put_on(assign)
        if seams.is_on(assign.name):
            seams.put_on(copies)
    if not config.vram.warm_models:
        runtime.make_estimator = lambda: _estimator(runtime, None, None)
        watch_memory(runtime, keep_free_bytes(config.vram))
        return None
    warm = WarmModelsSeam(runtime, shared, limits_of(config.vram), keep_free_bytes(config.vram))
    pressure = VramPressureSeam(warm, working_memory_bytes=config.vram.working_memory_bytes, compacts=config.vram.compact)
    seams.put_on(warm)
    if seams.is_on(warm.name):
        seams.put_on(pressure)
        if not seams.is_on(pressure.name):
            # without it nobody could make the pool let go
            warm.take_off()
            warm.trouble = "taken off: nobody could make it let go"
    watch_memory(runtime, keep_free_bytes(config.vram), warm, pressure)
    both_on = seams.is_on(warm.name) and seams.is_on(pressure.name)
    runtime.make_estimator = lambda: _estimator(runtime, warm if both_on else None, pressure if both_on else None)
    pressure.ladder.helps = lambda label: _smaller_names(runtime, label)
    if config.fit.smaller:
        from .smaller import SmallerSeam

        seams.put_on(SmallerSeam(runtime))
    runtime.models = LoadedModels(warm, pressure)
    runtime.status_blocks["memory"] = lambda: memory_json(warm, pressure, assign, copies)
    return warm if both_on else None


def _estimator(runtime: Runtime, warm: WarmModelsSeam | None, pressure: VramPressureSeam | None) -> Estimator:
    """Imported when somebody asks what fits: a start of ComfyUI pays nothing for it."""
    from ..cache.state_file import StateFile
    from .fit import Estimator
    from .fit_room import Rooms

    return Estimator(runtime, Rooms(warm, pressure), StateFile(runtime.places.state / "fit.json"))


def _smaller_names(runtime: Runtime, label: str) -> list[str]:
    from .fit_variants import smaller_names

    return smaller_names(runtime, label)


def limits_of(config: VramConfig) -> Limits:
    return Limits(config.host_budget_bytes, config.device_budget_bytes, config.keep_alive_s, config.device_budgets_bytes)


def keep_free_bytes(config: VramConfig) -> int:
    if config.keep_free_bytes is not None:
        return config.keep_free_bytes
    return min(read_memory_figures().there_bytes // FLOOR_SHARE, FLOOR_MOST_BYTES)


def memory_json(warm: WarmModelsSeam, pressure: VramPressureSeam, assign: AssignSeam, copies: HostCopiesSeam) -> dict[str, Any]:
    """From memory only; the sizes are those of the last measuring."""
    pool = warm.pool.snapshot()
    models = [
        {
            "label": one.label,
            "host_bytes": one.sizes.host_bytes,
            "shared_bytes": one.sizes.shared_bytes,
            "device_bytes": dict(one.sizes.device_bytes),
            "load_seconds": one.seconds,
            "uses": one.uses,
            "idle_s": one.idle_s,
            "in_use": one.in_use,
        }
        for one in pool.entries
    ]
    return {
        "warm": {
            "hits": pool.hits,
            "misses": pool.misses,
            "saved_seconds": pool.saved_seconds,
            "host_bytes": pool.host_bytes,
            "shared_bytes": pool.shared_bytes,
            "host_budget_bytes": warm.pool.limits.host_bytes,
            "keep_alive_s": warm.pool.limits.keep_alive_s,
            "models": models,
        },
        "hand_over": {
            "assigned_bytes": assign.figures.assigned_bytes,
            "copied_bytes": assign.figures.copied_bytes,
            "copies_on_write": assign.figures.copies_on_write,
        },
        "unloaded_by_the_pool": pressure.unloaded,
        "dropped_without_copy_bytes": copies.dropped_bytes,
        "compactions": pressure.compactions,
        "devices": devices_json(warm.pool),
        "on_devices": pressure.looks.as_json(),
    }
