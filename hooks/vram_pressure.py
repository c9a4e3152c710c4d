"""Seam: who leaves the device when memory is needed there, and when the warm pool lets go.

* ``free_memory`` is what ComfyUI calls before it loads a model.  Here the models on the device go in the pool's order, one
  after the other until there is room; then core's own function does what it always does.  Core's order among fully loaded
  models is by references and size, which knows nothing of use.
* ``extra_reserved_memory``: the working memory that the owner wants kept free is added to core's own reserve.
* ``load_models_gpu``: where a model still does not fit (fragments, another program's memory), its part that went is taken back, memory
  is compacted, others leave in the pool's order, and it is tried again: once with as much room as it needs, once with all.
* ``PromptExecutor.reset`` ("free model and node cache") empties the pool; "unload models" leaves it: their memory on the
  device goes, as ever, by ``free_memory``.
* ``PromptQueue.get_flags`` is called by the thread that runs prompts, between two of them: keep-alive, budgets and
  compaction are seen to there, and nowhere else.

Where ComfyUI runs with dynamic VRAM it pages weights itself: the pool keeps models and ``free_memory`` is passed on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from ..cache.vram_choice import Candidate, order
from ..storage.events import DeviceFull
from .device_models import DeviceLooks
from .devices import compact
from .host_copies import host_copy_bytes
from .memory_ladder import MemoryLadder
from .seam import Seam, Wrapped, shape_problem
from .warm_models import WarmModelsSeam

if TYPE_CHECKING:
    from ..cache.fit import Held

WAKE_FLAG = "modelstream_wake"
"""set on ComfyUI's queue to wake the thread that runs prompts; taken out again before ComfyUI sees it"""
TO_DEVICE_BYTES_PER_S = 12e9
"""PCIe 4.0 x16 from pageable or pinned memory, as the policies were measured with"""
FROM_DEVICE_BYTES_PER_S = 6e9
"""into fresh pageable memory, which has to be faulted in too"""
EVERYTHING = 1e30
"""what core asks for when every model has to go"""


class VramPressureSeam(Seam):
    name = "vram_pressure"

    def __init__(
        self, warm: WarmModelsSeam, *, working_memory_bytes: int = 0, compacts: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._warm = warm
        self._working_memory_bytes = working_memory_bytes
        self._compacts = compacts
        self._clock = clock
        self._timer: threading.Timer | None = None
        self._queue: Any = None
        self.ladder = MemoryLadder(warm)
        self.looks = DeviceLooks()
        self.unloaded = 0
        """models that the pool sent off a device, since the start"""
        self.compactions = 0
        self.looked: Callable[[], None] = lambda: None
        """called between prompts, after what had to go has gone"""
        self.asked_between_prompts: Callable[[], None] = lambda: None
        """called in the thread that runs prompts, between two of them"""

    def problem(self) -> str:
        management, execution = sys.modules.get("comfy.model_management"), sys.modules.get("execution")
        if not isinstance(getattr(management, "current_loaded_models", None), list):
            return "comfy.model_management has no list of loaded models"
        return (
            shape_problem(getattr(management, "free_memory", None), "memory_required", "device", "keep_loaded")
            or shape_problem(getattr(getattr(execution, "PromptExecutor", None), "reset", None), "self")
            or shape_problem(getattr(getattr(execution, "PromptQueue", None), "get_flags", None), "self", "reset")
        )

    def wrap_all(self) -> None:
        management, execution = sys.modules["comfy.model_management"], sys.modules["execution"]
        self.wrap(management, "free_memory", self._free_memory)
        if not shape_problem(getattr(management, "load_models_gpu", None), "models", "memory_required"):
            self.wrap(management, "load_models_gpu", self._load_models)
        if self._working_memory_bytes:
            self.wrap(management, "extra_reserved_memory", lambda original: original() + self._working_memory_bytes)
        self.wrap(execution.PromptExecutor, "reset", self._reset)
        self.wrap(execution.PromptQueue, "get_flags", self._get_flags)
        self._warm.changed = self._arm
        self.undo_with(self._disarm)

    # -- memory on a device ----------------------------------------------------------------------------------------------
    def _free_memory(self, original: Wrapped, memory_required: Any, device: Any, keep_loaded: Any = (), *args: Any, **kwargs: Any) -> Any:
        """Newer ComfyUI also says what it needs of pinned and of host memory: that is core's own to see to."""
        unloaded: list[Any] = []
        if device is not None and memory_required < EVERYTHING and not _unloads_always() and not _dynamic_vram():
            try:
                unloaded = self._go_in_order(original, memory_required, device, keep_loaded)
            except Exception as error:
                self.ours_failed(error)
        return unloaded + list(original(memory_required, device, keep_loaded, *args, **kwargs) or ())

    def _go_in_order(self, original: Wrapped, memory_required: float, device: Any, keep_loaded: Any) -> list[Any]:
        """One model at a time, by core's own hand: everybody else is named as to be kept."""
        management = sys.modules["comfy.model_management"]
        unloaded: list[Any] = []
        victims = self._in_order(device, keep_loaded)
        free_before, went = management.get_free_memory(device), []
        over = self._over_budget(device, victims)
        for victim in victims:
            enough = management.get_free_memory(device) > memory_required
            if enough and over <= 0:
                break
            others = [one for one in management.current_loaded_models if one is not victim]
            patcher, held = victim.model, victim.model.loaded_size()
            gone = list(original(EVERYTHING if over > 0 else memory_required, device, others) or ())
            over -= held if gone else 0
            self.unloaded += len(gone)
            unloaded += gone
            if patcher.loaded_size() < held:
                went.append((self.ladder.label(patcher), held - patcher.loaded_size()))
        if went:
            self.ladder.left(device, memory_required, free_before, went)
        return unloaded

    def _in_order(self, device: Any, keep_loaded: Any) -> list[Any]:
        """The models on the device, the cheapest to lose first.  One with its weights in the RAM tier costs only the way back."""
        management = sys.modules["comfy.model_management"]
        now_s = self._clock()
        loaded = [one for one in management.current_loaded_models if one.device == device and one.model is not None]
        candidates: list[Candidate] = []
        by_key: dict[Hashable, Any] = {}
        for place, one in enumerate(loaded):
            if one in keep_loaded:
                continue
            model = one.model.model
            size_bytes = one.model.loaded_size()
            copied = max(0, size_bytes - host_copy_bytes(model))
            seconds = size_bytes / TO_DEVICE_BYTES_PER_S + copied / FROM_DEVICE_BYTES_PER_S
            # core has the newest first; a model that was never asked for through the pool is as old as its place says
            idle_s = now_s - self._used_s().get(id(model), now_s - place)
            by_key[place] = one
            candidates.append(Candidate(place, size_bytes, seconds, idle_s))
        return [by_key[one.key] for one in order(candidates)]

    def could_leave(self, device: Any) -> tuple[Held, ...]:
        """Who would leave the device, the first first.  From any thread: a look, which a load meanwhile may make untrue."""
        from ..cache.fit import Held

        labels = {id(patcher.model): label for label, value in self._warm.pool.labelled() for patcher in value.patchers()}
        found = self._in_order(device, ())
        return tuple(Held(labels.get(id(one.model.model), type(one.model.model).__name__), one.model.loaded_size()) for one in found)

    def _over_budget(self, device: Any, victims: list[Any]) -> int:
        limit = self._warm.pool.limits.of_device(str(device))
        return 0 if limit is None else sum(one.model.loaded_size() for one in victims) - limit

    def keep_to_device_budgets(self) -> None:
        """When nothing runs: what is on a device over its budget leaves it, and stays warm."""
        management, limits = sys.modules["comfy.model_management"], self._warm.pool.limits
        if _dynamic_vram() or (limits.device_bytes is None and not limits.by_device):
            return
        for device in {one.device for one in management.current_loaded_models}:
            if getattr(device, "type", "cpu") != "cpu" and self._over_budget(device, self._in_order(device, ())) > 0:
                management.free_memory(0, device)

    # -- a device that is full -------------------------------------------------------------------------------------------
    def _load_models(self, original: Wrapped, models: Any, *args: Any, **kwargs: Any) -> Any:
        models = list(models)
        self._tell(self.ladder.wants, models)
        try:
            result = self._load_with_room(original, models, args, kwargs)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            raise self._explained(models, error) from error
        finally:
            self.ladder.done()
        if not _dynamic_vram():
            self._tell(self.ladder.loaded, models)
        self._look()
        return result

    def _tell(self, step: Callable[[list[Any]], None], models: list[Any]) -> None:
        try:
            step(models)
        except Exception as error:
            self.ours_failed(error)

    def _explained(self, models: list[Any], error: Exception) -> Exception:
        try:
            return self.ladder.failed(models, error)
        except Exception as ours:
            self.ours_failed(ours)
            return error

    def _load_with_room(self, original: Wrapped, models: list[Any], args: Any, kwargs: Any) -> Any:
        for attempt in (1, 2):
            try:
                return original(models, *args, **kwargs)
            except Exception as error:
                if not _is_out_of_memory(error) or _dynamic_vram() or not self._room_again(models, attempt):
                    raise
        return original(models, *args, **kwargs)

    def _room_again(self, models: list[Any], attempt: int) -> bool:
        """Whether there is more room now than before."""
        try:
            freed = {device: self._free_for(device, models, attempt) for device in {one.load_device for one in models}}
        except Exception as error:
            self.ours_failed(error)
            return False
        again = sum(freed.values()) > 0
        for device, freed_bytes in freed.items():
            needed = sum(one.model_size() for one in models if one.load_device == device)
            self._warm.tell(DeviceFull(str(device), needed, freed_bytes, again))
        return again

    def _free_for(self, device: Any, models: list[Any], attempt: int) -> int:
        """Bytes that came free on it, for others than these models."""
        management = sys.modules["comfy.model_management"]
        if getattr(device, "type", "cpu") == "cpu":
            return 0
        for one in models:
            if one.load_device == device and one.loaded_size() == 0:
                one.detach()  # what had arrived before there was no more room; newer ComfyUI has done so itself
        management.soft_empty_cache()
        before = management.get_free_memory(device)
        asked = {id(one.model) for one in models}
        keep = [one for one in management.current_loaded_models if one.model is not None and id(one.model.model) in asked]
        needed = sum(one.model_size() for one in models if one.load_device == device)
        management.free_memory(before + needed if attempt == 1 else EVERYTHING, device, keep)
        return max(0, int(management.get_free_memory(device) - before))

    def _used_s(self) -> dict[int, float]:
        """When each pooled model was last asked for, by the identity of its module."""
        now_s = self._clock()
        values, found = self._warm.pool.values(), {}
        for one in self._warm.pool.snapshot().entries:
            if one.key in values:
                found.update({id(patcher.model): now_s - one.idle_s for patcher in values[one.key].patchers()})
        return found

    # -- letting go --------------------------------------------------------------------------------------------------------
    def _reset(self, original: Wrapped, executor: Any) -> Any:
        result = original(executor)
        self._warm.pool.clear("asked")
        return result

    def _get_flags(self, original: Wrapped, queue: Any, *args: Any, **kwargs: Any) -> Any:
        flags = original(queue, *args, **kwargs)
        self._queue = queue
        flags.pop(WAKE_FLAG, None)
        try:
            self.between_prompts(nothing_runs=not queue.currently_running)
        except Exception as error:
            self.ours_failed(error)
        return flags

    def between_prompts(self, *, nothing_runs: bool) -> None:
        """In the thread that runs prompts.  Milliseconds when there is nothing to do."""
        pool = self._warm.pool
        self.asked_between_prompts()
        pool.measure()
        pool.keep_to_budget()
        pool.expire()
        self._warm.yield_memory()
        if nothing_runs:
            self.keep_to_device_budgets()
        if nothing_runs and self._compacts and compact():
            self.compactions += 1
        self._look()
        self._arm()
        self.looked()

    def _look(self) -> None:
        try:
            self.looks.look()
        except Exception as error:
            self.ours_failed(error)

    # -- keep-alive ----------------------------------------------------------------------------------------------------------
    def _arm(self) -> None:
        """A timer that wakes the thread that runs prompts; it drops nothing itself.  None while nothing can expire."""
        due_s = self._warm.pool.next_expiry_s()
        if due_s is None or (self._timer is not None and self._timer.is_alive()):
            return
        self._timer = threading.Timer(max(due_s, 0.05), self._expired)
        self._timer.daemon = True
        self._timer.start()

    def _expired(self) -> None:
        self._timer = None
        self.wake()

    def wake(self) -> None:
        """From any thread: `between_prompts` soon, if no prompt runs, else after it."""
        if self._queue is not None:
            self._queue.set_flag(WAKE_FLAG, True)

    def _disarm(self) -> None:
        self._warm.changed = lambda: None
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _dynamic_vram() -> bool:
    return bool(getattr(sys.modules.get("comfy.memory_management"), "aimdo_enabled", False))


def _is_out_of_memory(error: Exception) -> bool:
    """By torch's own class; ComfyUI's ``OOM_EXCEPTION`` is any exception where there is no CUDA."""
    kind = getattr(sys.modules["comfy.model_management"], "OOM_EXCEPTION", Exception)
    return kind is not Exception and isinstance(error, kind)


def _unloads_always() -> bool:
    return bool(getattr(sys.modules["comfy.model_management"], "DISABLE_SMART_MEMORY", False))
