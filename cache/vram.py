"""The pool of warm models: which loaded models are kept, how large they are, and who goes when room is needed.

Pure bookkeeping.  The pool holds values that it knows nothing of (``hooks`` gives it ComfyUI's objects), measures them
with what it was given and decides by a policy.  Dropping an entry only drops the pool's reference; whoever works with
the model keeps it, so an entry in use is passed over when room is needed: dropping it would win nothing.

Threads: every method may be called from any thread.  ``WarmPool._lock`` is innermost; values are measured, released
and events emitted without it.  Who drops ComfyUI's models must do it in the thread that runs prompts (see hooks).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from ..storage.events import EventBus, Evicted, Stored, TierHit
from .vram_choice import Candidate, Choice, Plan, choose

TIER = "warm"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where a model's bytes are.

    host_bytes:   of its own in host memory
    shared_bytes: in the RAM tier's arena: they are in that tier's budget, and their memory goes back when the last model goes
                  that holds it (the same object on two devices is two models over one host copy)
    device_bytes: by device name
    buffers:      of shared_bytes, by what names the arena's buffer; where it is empty, nobody else has the same
    """

    host_bytes: int = 0
    shared_bytes: int = 0
    device_bytes: Mapping[str, int] = field(default_factory=dict)
    buffers: Mapping[int, int] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        return self.host_bytes + self.shared_bytes + sum(self.device_bytes.values())


def in_host_memory(sizes: Sizes) -> int:
    return sizes.host_bytes + sizes.shared_bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """host_bytes, device_bytes (of each device): None for no limit of the pool's own; by_device comes before device_bytes;
    keep_alive_s: 0 for ever."""

    host_bytes: int | None = None
    device_bytes: int | None = None
    keep_alive_s: float = 0.0
    by_device: Mapping[str, int] = field(default_factory=dict)

    def of_device(self, name: str) -> int | None:
        return self.by_device.get(name, self.device_bytes)


@dataclass(frozen=True, slots=True)
class Warm(Generic[Value]):
    """What is put into the pool.

    label:   for people: an object's subject or a file's name
    seconds: what loading it took
    measure: where its bytes are now; in_use: whether somebody but the pool works with it.  Both quick, never raising
    """

    label: str
    value: Value
    seconds: float
    measure: Callable[[], Sizes]
    in_use: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class WarmFigures:
    key: Hashable
    label: str
    seconds: float
    sizes: Sizes
    uses: int
    idle_s: float
    in_use: bool


@dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """hits, misses, saved_seconds: since the pool was made; entries: least recently used first."""

    entries: tuple[WarmFigures, ...]
    hits: int
    misses: int
    saved_seconds: float

    @property
    def host_bytes(self) -> int:
        return sum(one.sizes.host_bytes for one in self.entries)

    @property
    def shared_bytes(self) -> int:
        """Of the arena, every buffer once."""
        buffers: dict[int, int] = {}
        for one in self.entries:
            for name, size_bytes in one.sizes.buffers.items():
                buffers[name] = max(size_bytes, buffers.get(name, 0))
        return sum(buffers.values()) + sum(one.sizes.shared_bytes for one in self.entries if not one.sizes.buffers)

    def device_bytes(self, device: str) -> int:
        return sum(one.sizes.device_bytes.get(device, 0) for one in self.entries)


class _Entry(Generic[Value]):
    def __init__(self, warm: Warm[Value], sizes: Sizes, now_s: float) -> None:
        self.warm = warm
        self.sizes = sizes
        self.used_s = now_s
        self.uses = 1


class WarmPool(Generic[Value]):
    """See the module's text."""

    def __init__(self, limits: Limits, bus: EventBus, clock: Callable[[], float] = time.monotonic, choice: Choice = choose) -> None:
        self.limits = limits
        self._bus = bus
        self._clock = clock
        self._choice = choice
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry[Value]] = {}
        self._hits = 0
        self._misses = 0
        self._saved_s = 0.0

    # -- in and out ----------------------------------------------------------------------------------------------------
    def get(self, key: Hashable) -> Value | None:
        """The warm value, or None.  Counts as a use."""
        started_s = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._misses += 1
                return None
            entry.used_s, entry.uses = started_s, entry.uses + 1
            self._hits += 1
            self._saved_s += entry.warm.seconds
        self._bus.emit(TierHit(TIER, entry.warm.label, entry.sizes.total_bytes, self._clock() - started_s))
        return entry.warm.value

    def put(self, key: Hashable, warm: Warm[Value]) -> None:
        """Keeps a model; one with the same key is replaced.  What then is over the host budget goes."""
        entry = _Entry(warm, warm.measure(), self._clock())
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._entries[key] = entry
        if replaced is not None:
            self._tell([replaced], "replaced")
        self._bus.emit(Stored(TIER, warm.label, entry.sizes.total_bytes, warm.seconds))
        self.keep_to_budget()

    def measure(self) -> None:
        """Measures every entry anew: models move between devices without the pool being asked."""
        with self._lock:
            entries = list(self._entries.values())
        for entry in entries:
            entry.sizes = entry.warm.measure()

    # -- room ----------------------------------------------------------------------------------------------------------
    def plan_room(self, size_bytes: int, of: Callable[[Sizes], int] = in_host_memory) -> Plan:
        """Who would go for so many bytes, counted as ``of`` says.  Changes nothing.

        What several models hold together counts for the last of them: where the rest does not do, the longest unused of those
        goes too, and what is then held by one alone counts for that one.
        """
        figures = self._figures()
        going: list[Candidate] = []
        while True:
            plan = self._choice(_candidates(figures, of), size_bytes - sum(one.size_bytes for one in going))
            joint = [one for one in figures if not one.in_use and _held_together(one, figures)]
            if plan.enough or not joint:
                return Plan(size_bytes, (*going, *plan.going))
            first = max(joint, key=lambda one: one.idle_s)
            going += [one for one in _candidates(figures, of) if one.key == first.key]
            figures = [one for one in figures if one is not first]

    def drop(self, plan: Plan, reason: str) -> int:
        """Carries a plan out; an entry that was taken into use meanwhile goes too, and costs one load.  Bytes that went."""
        return sum(one.size_bytes for one in plan.going if self.forget(one.key, reason))

    def forget(self, key: Hashable, reason: str) -> bool:
        with self._lock:
            entry = self._entries.pop(key, None)
        if entry is not None:
            self._tell([entry], reason)
        return entry is not None

    def keep_to_budget(self) -> int:
        """Drops what is over the host budget, of which the arena's bytes are no part; returns the bytes that went."""
        limit = self.limits.host_bytes
        if limit is None:
            return 0

        def own(sizes: Sizes) -> int:
            return sizes.host_bytes

        with self._lock:
            over = sum(own(entry.sizes) for entry in self._entries.values()) - limit
        return self.drop(self.plan_room(over, own), "budget") if over > 0 else 0

    def expire(self) -> int:
        """Drops what was not used for the keep-alive time and is not in use; returns how many went."""
        keep_s = self.limits.keep_alive_s
        if keep_s <= 0:
            return 0
        old = [one.key for one in self._figures() if one.idle_s >= keep_s and not one.in_use]
        return sum(self.forget(key, "keep_alive") for key in old)

    def next_expiry_s(self) -> float | None:
        """Seconds until `expire` may have something to do; None when never."""
        if self.limits.keep_alive_s <= 0:
            return None
        with self._lock:
            oldest = min((entry.used_s for entry in self._entries.values()), default=None)
        return None if oldest is None else max(0.0, oldest + self.limits.keep_alive_s - self._clock())

    def clear(self, reason: str) -> int:
        """Everything goes, in use or not; returns how many."""
        with self._lock:
            entries, self._entries = list(self._entries.values()), {}
        self._tell(entries, reason)
        return len(entries)

    # -- looking -------------------------------------------------------------------------------------------------------
    def snapshot(self) -> PoolSnapshot:
        """With the sizes of the last measuring."""
        figures = self._figures()
        with self._lock:
            return PoolSnapshot(tuple(sorted(figures, key=lambda one: -one.idle_s)), self._hits, self._misses, self._saved_s)

    def values(self) -> dict[Hashable, Value]:
        with self._lock:
            return {key: entry.warm.value for key, entry in self._entries.items()}

    def labelled(self) -> list[tuple[str, Value]]:
        with self._lock:
            return [(entry.warm.label, entry.warm.value) for entry in self._entries.values()]

    def _figures(self) -> list[WarmFigures]:
        now_s = self._clock()
        with self._lock:
            entries = list(self._entries.items())
        return [WarmFigures(key, e.warm.label, e.warm.seconds, e.sizes, e.uses, now_s - e.used_s, e.warm.in_use()) for key, e in entries]

    def _tell(self, entries: list[_Entry[Value]], reason: str) -> None:
        for entry in entries:
            self._bus.emit(Evicted(TIER, entry.warm.label, entry.sizes.total_bytes, reason))


def _held_together(one: WarmFigures, figures: list[WarmFigures]) -> frozenset[int]:
    """Those of its buffers that others hold too."""
    others = {name for other in figures if other is not one for name in other.sizes.buffers}
    return frozenset(one.sizes.buffers.keys() & others)


def _candidates(figures: list[WarmFigures], of: Callable[[Sizes], int]) -> list[Candidate]:
    """With the bytes that would come free if one of them went."""
    found = []
    for one in figures:
        joint_bytes = sum(one.sizes.buffers[name] for name in _held_together(one, figures))
        alone = replace(one.sizes, shared_bytes=one.sizes.shared_bytes - joint_bytes)
        found.append(Candidate(one.key, of(alone), one.seconds, one.idle_s, one.in_use))
    return found
