"""What is fetched while ComfyUI starts: a warm set, what was used lately, what is pinned.

Wishes for the prefetcher, like the queue's, and behind them.  Works before torch is imported, in the prefetcher's thread;
it waits for the first listing only where no listing of an earlier run is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..cache.prefetch_policy import Wish
from ..cache.prefetch_set import WarmSet, find_all, plain_view, read_warm_set
from ..cache.steady_clock import SteadyClock
from ..storage.errors import ModelStreamError
from ..storage.events import CatalogRefreshed, Event, ModelLoaded, ModelsMissing, TierDegraded
from ..storage.layout import FolderView
from ..storage.objects import RemoteObject
from .folders import NOT_FROM_BUCKETS, view_of
from .pickles import is_safetensors_name
from .runtime import Runtime

KEPT_S = 900.0
"""so long after the start the set is kept for a first use"""


class BootFetch:
    """``wishes`` is for the prefetcher's thread; ``__call__`` (a subscriber of the bus) for any."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self.config = runtime.config.boot
        self._runtime = runtime
        self._clock = SteadyClock(clock)
        self._until_s = self._clock() + KEPT_S
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._read = False
        self._set = WarmSet()
        self._objects: tuple[RemoteObject, ...] | None = None
        self._undo = runtime.bus.subscribe(self)

    def close(self) -> None:
        self._undo()

    def __call__(self, event: Event) -> None:
        if isinstance(event, ModelLoaded):
            with self._lock:
                self._used.add(event.subject)
        elif isinstance(event, CatalogRefreshed) and self._objects is None and self._runtime.prefetcher is not None:
            self._runtime.prefetcher.poke()

    def again_s(self) -> float | None:
        """Seconds until the set is kept no longer; None: it is not kept any more."""
        left_s = self._until_s - self._clock()
        return left_s + 0.1 if left_s >= 0 else None

    def wishes(self) -> list[Wish]:
        if self._clock() > self._until_s:
            return []
        objects = self._objects if self._objects is not None else self._find()
        with self._lock:
            used = frozenset(self._used)
        memory = (self._set.tier or self.config.tier) == "ram"
        return [Wish(obj, 0, memory and is_safetensors_name(obj.basename), source="boot") for obj in objects if obj.subject not in used]

    def _find(self) -> tuple[RemoteObject, ...]:
        """What there is so far; final once every origin has been listed, in this run or an earlier one."""
        if not self._read:
            self._read, self._set = True, self._manifest()
        catalog = self._runtime.catalog
        found, missing = find_all(self._set, catalog, _view)
        found = tuple(dict.fromkeys((*found, *self._pinned(), *self._recent())))
        if all(state.listed_s for state in catalog.states()):
            self._objects = found
            if missing:
                self._runtime.bus.emit(ModelsMissing("boot", missing))
        return found

    def _manifest(self) -> WarmSet:
        if self.config.manifest is None:
            return WarmSet()
        try:
            return read_warm_set(self.config.manifest)
        except ModelStreamError as error:
            self._runtime.bus.emit(TierDegraded("prefetch", error.code, str(error)))
            return WarmSet()

    def _pinned(self) -> tuple[RemoteObject, ...]:
        if not self.config.pins:
            return ()
        pins = {(pin.origin, pin.key) for pin in self._runtime.cache.pins()}
        return tuple(obj for obj in self._runtime.catalog.objects() if (obj.origin, obj.id.key) in pins) if pins else ()

    def _recent(self) -> tuple[RemoteObject, ...]:
        """From the SSD: what was used within the hours before its last use.  The wall clock is asked for nothing, so a clock
        that jumped changes nothing."""
        entries = [e for e in self._runtime.cache.entries() if e.last_used_s] if self.config.recent_hours else []
        newest_s = max((e.last_used_s or 0.0 for e in entries), default=0.0)
        recent = [e for e in entries if (e.last_used_s or 0.0) >= newest_s - self.config.recent_hours * 3600]
        return tuple(obj for obj in (self._runtime.catalog.by_digest(e.digest) for e in recent) if obj is not None)


def _view(folder: str) -> FolderView | None:
    """As ComfyUI reads the folder; one that a node pack will add later is read by its name."""
    if folder in NOT_FROM_BUCKETS:
        return None
    return view_of(folder) or plain_view(folder)
