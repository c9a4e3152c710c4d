"""Seam: ComfyUI's loaders, answered with the model that is loaded already.

A call that would load what the pool holds (same object or unchanged file, same options, see warm_key) gets clones of it:
MODEL and CLIP by their own ``clone``, a ControlNet by its ``copy``, VAE and CLIP vision as a shallow copy.  The pool keeps
the first, the parent of all clones, so that core's memory manager finds the same module again and leaves it where it is.

Patches live in the clones, never in the parent.  What others put into the module itself (ComfyUI's own way is
``add_object_patch``, which it undoes) stays with it, as it does between prompts that share a cached loader.

Threads: loaders run in the thread that runs prompts.  Everything that drops models runs there too (vram_pressure), since
ComfyUI's list of loaded models knows no other.  Two threads that want the same model load it once.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..cache.memory_budget import read_memory_figures
from ..cache.vram import Limits, Sizes, Warm, WarmPool, in_host_memory
from ..cache.vram_choice import Candidate, Plan, choose
from ..storage.errors import NoRoom
from ..storage.events import Event
from ..storage.objects import RemoteObject
from .context import executing
from .progress import send_text
from .runtime import Runtime
from .seam import Seam, Wrapped, shape_problem
from .shared_memory import SharedMemory
from .warm_key import call_key, digests_of, label_of
from .warm_result import WarmResult

WAIT_S = 0.05
"""how often somebody who waits for another's load looks whether the prompt was interrupted"""


@dataclass(frozen=True, slots=True)
class Loader:
    """One function of ComfyUI's that loads models; ``paths`` is the argument with the path or paths."""

    name: str
    module: str
    function: str
    paths: str
    first: tuple[str, ...]


LOADERS = (
    Loader("checkpoint", "comfy.sd", "load_checkpoint_guess_config", "ckpt_path", ("ckpt_path", "output_vae", "output_clip")),
    Loader("diffusion_model", "comfy.sd", "load_diffusion_model", "unet_path", ("unet_path", "model_options")),
    Loader("clip", "comfy.sd", "load_clip", "ckpt_paths", ("ckpt_paths", "embedding_directory", "clip_type")),
    Loader("controlnet", "comfy.controlnet", "load_controlnet", "ckpt_path", ("ckpt_path", "model")),
    Loader("clip_vision", "comfy.clip_vision", "load", "ckpt_path", ("ckpt_path",)),
)


class WarmModelsSeam(Seam):
    """``available_bytes``: host memory that could be used without swapping; below ``keep_free_bytes`` the pool yields."""

    name = "warm_models"

    def __init__(
        self,
        runtime: Runtime,
        shared: SharedMemory,
        limits: Limits,
        keep_free_bytes: int,
        *,
        available_bytes: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._runtime = runtime
        self._shared = shared
        self._clock = clock
        self._keep_free_bytes = keep_free_bytes
        self._available_bytes = available_bytes or _available_bytes
        self._flights = _Flights()
        self._asked_lock = threading.Lock()
        self._asked_bytes = 0
        self.pool: WarmPool[Any] = WarmPool(limits, runtime.bus, clock)
        self.changed: Callable[[], None] = lambda: None
        """called after something was put into the pool"""
        self.yielded: Callable[[], None] = lambda: None
        """called after models went for want of host memory: the RAM tier may have become idle there"""

    def problem(self) -> str:
        fitting = [loader for loader in LOADERS if not _loader_problem(loader)]
        if fitting:
            return ""
        return f"{LOADERS[0].function}: {_loader_problem(LOADERS[0])}"

    def wrap_all(self) -> None:
        """Every loader that fits; one that does not loads as ever."""
        for loader in LOADERS:
            problem = _loader_problem(loader)
            if problem:
                self.trouble = f"{loader.function}: {problem}"
            else:
                self._wrap_loader(loader)
        vae_loader = getattr(sys.modules.get("nodes"), "VAELoader", None)
        if not shape_problem(getattr(vae_loader, "load_vae", None), "self", "vae_name"):
            self.wrap(vae_loader, "load_vae", self._load_vae)
        self.undo_with(self._empty)

    def tell(self, event: Event) -> None:
        self._runtime.bus.emit(event)

    def _empty(self) -> None:
        self.pool.clear("off")

    # -- the wrappers ----------------------------------------------------------------------------------------------------
    def _wrap_loader(self, loader: Loader) -> None:
        def load(original: Wrapped, *args: Any, **kwargs: Any) -> Any:
            key = call_key(self._runtime, loader.name, original, loader.paths, args, kwargs)
            paths = kwargs[loader.paths] if loader.paths in kwargs else args[0] if args else ()
            return self._answer(key, paths, lambda: original(*args, **kwargs), (original, wrapper))

        _, wrapper = self.wrap(sys.modules[loader.module], loader.function, load)

    def _load_vae(self, original: Wrapped, node: Any, vae_name: Any, *args: Any, **kwargs: Any) -> Any:
        """At the node, because a VAE is made from a state dict.  Small ones made of two files are not kept."""
        path = self._vae_path(node, vae_name)
        key = None if path is None else call_key(self._runtime, "vae", _vae_call, "path", (path, args, kwargs), {})
        return self._answer(key, path or "", lambda: original(node, vae_name, *args, **kwargs), None)

    @staticmethod
    def _vae_path(node: Any, vae_name: Any) -> str | None:
        special = {"pixel_space", *getattr(node, "image_taes", ())}
        if not isinstance(vae_name, str) or vae_name in special or os.path.splitext(vae_name)[0] in getattr(node, "video_taes", ()):
            return None
        found: str | None = sys.modules["folder_paths"].get_full_path("vae", vae_name)
        return found

    # -- one call --------------------------------------------------------------------------------------------------------
    def _answer(self, key: Hashable | None, paths: Any, load: Callable[[], Any], pair: tuple[Wrapped, Wrapped] | None) -> Any:
        if key is None:
            return load()
        with self._flights.alone(key):
            warm = self.pool.get(key)
            if warm is not None:
                _say_warm(label_of(self._runtime, paths))
                try:
                    self._note_use(paths)
                except Exception as error:
                    self.ours_failed(error)
                return warm.hand_out()
            try:
                self._make_room(paths)
            except Exception as error:
                self.ours_failed(error)
            started_s = self._clock()
            result = self._load_with_room(load)
            seconds = self._clock() - started_s
            return self._keep(key, label_of(self._runtime, paths), result, seconds, pair)

    def _load_with_room(self, load: Callable[[], Any]) -> Any:
        """Once more, with the room of every model that nobody uses, when the host's memory does not do."""
        try:
            return load()
        except (MemoryError, NoRoom, RuntimeError) as error:
            if not _no_host_memory(error) or not self.shed(1 << 62, "no_room"):
                raise
        return load()

    def _keep(self, key: Hashable, label: str, result: Any, seconds: float, pair: tuple[Wrapped, Wrapped] | None) -> Any:
        try:
            parts = WarmResult(result, self._shared)
            if not parts.can_be_kept:
                return result
            parts.point_back(pair)
            handed = parts.hand_out()
            self.pool.put(key, Warm(label, parts, seconds, parts.measure, parts.in_use))
        except Exception as error:
            self.ours_failed(error)
            return result
        self.yield_memory()
        self.changed()
        return handed

    # -- room ------------------------------------------------------------------------------------------------------------
    def _make_room(self, paths: Any) -> None:
        """Before a load: the RAM tier gets back what warm models hold of it, as far as this object needs it."""
        self.pool.measure()
        needed = self._missing_in_ram_tier(paths)
        if needed > 0:
            self.shed(needed, "ram_tier", lambda sizes: sizes.shared_bytes)
        self.yield_memory()

    def _objects(self, paths: Any) -> list[RemoteObject]:
        named: Iterable[Any] = [paths] if isinstance(paths, str | os.PathLike) else paths
        return [obj for obj in (self._runtime.object_at(os.fspath(path)) for path in named) if obj is not None]

    def _note_use(self, paths: Any) -> None:
        """The tiers below see no use while the model itself is kept, and should know it all the same."""
        cache = self._runtime.opened
        if cache is not None:
            for obj in self._objects(paths):
                cache.used(obj)

    def _missing_in_ram_tier(self, paths: Any) -> int:
        cache = self._runtime.opened
        if cache is None:
            return 0
        ram = cache.snapshot().ram
        there = {entry.digest for entry in ram.entries}
        objects = self._objects(paths)
        coming = sum(obj.size_bytes for obj in objects if obj.id.digest not in there)
        held = self.pool.snapshot().shared_bytes
        return coming + held - ram.budget_bytes if coming else 0

    def ask_to_yield(self, size_bytes: int) -> int:
        """From any thread: so much shall go at the next opportunity of the thread that runs prompts.  The bytes that will."""
        with self._asked_lock:
            self._asked_bytes = max(self._asked_bytes, size_bytes)
        return min(size_bytes, self.pool.plan_room(size_bytes).freed_bytes)

    def yield_memory(self) -> int:
        """Drops models that nobody uses while the system has less than the floor, or because somebody asked for it;
        returns the bytes that went."""
        with self._asked_lock:
            asked, self._asked_bytes = self._asked_bytes, 0
        missing = max(asked, self._keep_free_bytes - self._available_bytes())
        went = self.shed(missing, "pressure") if missing > 0 else 0
        if went:
            self.yielded()
        return went

    def shed(self, size_bytes: int, reason: str, of: Callable[[Sizes], int] = in_host_memory) -> int:
        """Drops models that nobody uses until so many bytes, counted as ``of`` says, have gone; returns how many went.

        ComfyUI's finished prompts hold their results in a cycle: what looks in use may be garbage.
        """
        plan = self.pool.plan_room(size_bytes, of)
        if not plan.enough and any(one.in_use for one in self.pool.snapshot().entries):
            gc.collect()
            plan = self.pool.plan_room(size_bytes, of)
        return self._drop(plan, reason)

    def drop_one(self, key: Hashable, reason: str) -> int:
        """One model, in use or not; in the thread that runs prompts."""
        one = next((e for e in self.pool.snapshot().entries if e.key == key), None)
        if one is None:
            return 0
        victim = Candidate(key, one.sizes.total_bytes, one.seconds, one.idle_s, one.in_use)
        return self._drop(Plan(victim.size_bytes, (victim,)), reason)

    def loaded(self) -> dict[str, int]:
        """Digests of bucket objects that a warm model answers for → bytes of the RAM tier that it holds, as last measured."""
        found: dict[str, int] = {}
        for one in self.pool.snapshot().entries:
            for place, digest in enumerate(digests_of(one.key)):
                found[digest] = max(found.get(digest, 0), 0 if place else one.sizes.shared_bytes)
        return found

    def shed_except(self, wanted: Collection[str], size_bytes: int, reason: str) -> int:
        """Like `shed`, of the RAM tier's memory, but never a model of these objects.  In the thread that runs prompts."""
        self.pool.measure()
        free = [one for one in self.pool.snapshot().entries if not set(digests_of(one.key)) & set(wanted)]
        candidates = [Candidate(one.key, one.sizes.shared_bytes, one.seconds, one.idle_s, one.in_use) for one in free]
        plan = choose(candidates, size_bytes)
        return self._drop(plan, reason) if plan.going else 0

    def _drop(self, plan: Plan, reason: str) -> int:
        """Collects garbage (which takes ComfyUI's process 0.2 s) only when a model that went is still there: a cycle holds it."""
        values = self.pool.values()
        modules = [weakref.ref(m) for one in plan.going if one.key in values for m in values[one.key].modules()]
        del values
        went = self.pool.drop(plan, reason)
        if any(module() is not None for module in modules):
            gc.collect()
        return went


class _Flights:
    """One load a key at a time; who waits looks out for the interrupt button."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, tuple[threading.Lock, list[int]]] = {}

    @contextlib.contextmanager
    def alone(self, key: Hashable) -> Iterator[None]:
        with self._lock:
            lock, waiting = self._running.setdefault(key, (threading.Lock(), [0]))
            waiting[0] += 1
        try:
            while not lock.acquire(timeout=WAIT_S):
                _raise_if_interrupted()
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._lock:
                waiting[0] -= 1
                if not waiting[0]:
                    self._running.pop(key, None)


def _vae_call(path: Any, args: Any, kwargs: Any) -> None:
    """The signature that a VAE's key is made of."""


def _loader_problem(loader: Loader) -> str:
    return shape_problem(getattr(sys.modules.get(loader.module), loader.function, None), *loader.first)


def _no_host_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | NoRoom) or "DefaultCPUAllocator" in str(error)


def _raise_if_interrupted() -> None:
    if executing() is not None:
        sys.modules["comfy.model_management"].throw_exception_if_processing_interrupted()


def _say_warm(label: str) -> None:
    where = executing()
    if where is not None:
        with contextlib.suppress(Exception):  # only a text on the node
            send_text(f"{label.rpartition('/')[2].rpartition(':')[2]} was loaded already", where)


def _available_bytes() -> int:
    return read_memory_figures().least_available_bytes
