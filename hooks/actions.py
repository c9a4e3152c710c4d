"""What the panel may change, over values: digests in, outcomes out.  Blocks; any thread but the event loop.

A digest is looked up in the catalog and nothing else becomes of it.  Every action is told as an event.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..storage.errors import ModelStreamError
from ..storage.events_comfy import PanelAction
from ..storage.landing import Priority
from .bodies import Refused

if TYPE_CHECKING:
    from ..cache.operations import CacheEntry
    from ..cache.store import Cache
    from ..cache.warming import Warming
    from ..storage.objects import RemoteObject
    from .runtime import Runtime

CONFIRM_S = 60.0
WARMINGS_KEPT = 100
MODELS_WAIT_S = 2.0
"""how long an eviction waits for the thread that runs prompts to let go of a loaded model"""
CACHE_TIERS = ("ram", "ssd")


class Actions:
    """Thread-safe."""

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._warmings: OrderedDict[str, Warming] = OrderedDict()
        self._confirmations: dict[str, tuple[str, float]] = {}

    # -- one by one ------------------------------------------------------------------------------------------------------
    def evict(self, digests: Sequence[str], tier: str | None) -> dict[str, Any]:
        cache = self._cache()
        objects = self._cached(cache, digests)
        results, total = [], 0
        for digest, obj in zip(digests, objects, strict=True):
            freed, refused = self._evict(cache, obj, tier)
            total += sum(freed.values())
            results.append({"digest": digest, "freed": freed, "refused": refused})
        done = total > 0 or not any(result["refused"] for result in results)
        self._tell("evict", len(digests), "done" if done else "refused", total)
        return {"freed_bytes": total, "results": results}

    def _evict(self, cache: Cache, obj: RemoteObject | CacheEntry, tier: str | None) -> tuple[dict[str, int], dict[str, str]]:
        freed: dict[str, int] = {}
        refused: dict[str, str] = {}
        if tier in (None, "vram"):
            freed, refused = self._let_go_of_model(obj)
        if tier != "vram":
            outcome = cache.evict(obj, tier)
            freed, refused = {**freed, **outcome.freed_bytes}, {**refused, **outcome.refused}
        return freed, refused

    def _let_go_of_model(self, obj: RemoteObject | CacheEntry) -> tuple[dict[str, int], dict[str, str]]:
        """Loaded models are dropped by the thread that runs prompts; while a prompt runs nothing is dropped."""
        models = self._runtime.models
        size_bytes = models.size_of(obj.subject) if models is not None else None
        if models is None or size_bytes is None:
            return {}, {}
        if models.let_go((obj.subject,), MODELS_WAIT_S):
            return {"vram": size_bytes}, {}
        return {}, {"vram": "busy"}

    def pin(self, digests: Sequence[str], *, pinned: bool) -> dict[str, Any]:
        cache = self._cache()
        for obj in self._objects(digests):
            (cache.pin if pinned else cache.unpin)(obj)
        self._tell("pin" if pinned else "unpin", len(digests), "done")
        return {"pinned": pinned, "digests": list(digests)}

    def verify(self, digests: Sequence[str]) -> dict[str, Any]:
        """In a thread of its own, one after the other; the outcome is told as events."""
        cache, objects = self._cache(), self._objects(digests)

        def run() -> None:
            for obj in objects:
                try:
                    cache.verify(obj)
                except ModelStreamError as error:
                    self._tell("verify", 1, error.code)

        threading.Thread(target=run, name="modelstream-verify", daemon=True).start()
        self._tell("verify", len(digests), "done")
        return {"asked": len(objects)}

    # -- moving ----------------------------------------------------------------------------------------------------------
    def prefetch(self, digests: Sequence[str], tier: str) -> dict[str, Any]:
        cache, objects = self._cache(), self._objects(digests)
        warming = cache.warm(objects, tier, Priority.QUEUED)
        with self._lock:
            name = f"w{next(self._numbers)}"
            self._warmings[name] = warming
            while len(self._warmings) > WARMINGS_KEPT:
                self._warmings.popitem(last=False)
        size_bytes = sum(obj.size_bytes for obj in objects)
        self._tell("prefetch", len(objects), "done", size_bytes)
        return {"warming": name, "size_bytes": size_bytes, "objects": len(objects)}

    def warming(self, name: str) -> dict[str, Any]:
        """How far one of the last lists of ``prefetch`` is.  Raises Refused where there is none of that name."""
        with self._lock:
            found = self._warmings.get(name)
        if found is None:
            raise Refused(404, "unknown_transfer", "nothing of that name was asked for")
        p = found.progress()
        failed = [{"subject": f.subject, "code": f.code, "message": f.message} for f in p.failures]
        shown = {key: getattr(p, key) for key in ("objects", "done", "size_bytes", "done_bytes", "finished", "cancelled")}
        return {**shown, "tier": found.tier, "wire_bytes": found.wire_bytes, "failed": failed}

    def cancel(self, *, transfer: int | None = None, digest: str | None = None, warming: str | None = None) -> dict[str, Any]:
        """One of the three.  Raises Refused where there is nothing of that name."""
        if warming is not None:
            with self._lock:
                found = self._warmings.get(warming)
            if found is None:
                raise Refused(404, "unknown_transfer", "nothing of that name is on its way")
            found.cancel()
        else:
            engine = self._runtime.engine
            active = engine.active() if engine is not None else ()
            wanted = [t for t in active if t.id == transfer or (digest is not None and t.obj.id.digest == digest)]
            if not wanted:
                raise Refused(404, "unknown_transfer", "that transfer has ended")
            for one in wanted:
                one.cancel()
        self._tell("cancel", 1, "done")
        return {"cancelled": True}

    # -- everything ------------------------------------------------------------------------------------------------------
    def clear(self, tier: str, confirm: str | None) -> dict[str, Any]:
        """Without a confirmation: what would go, and the word that confirms it."""
        if confirm is None:
            raise self._unconfirmed(tier)
        if not self._confirmed(tier, confirm):
            raise Refused(409, "confirm", "that confirmation is not valid any more: ask again", confirm="", expires_s=0)
        models = self._runtime.models
        if tier == "vram":
            entries, size_bytes = (models.count(), models.size_of(None) or 0) if models is not None else (0, 0)
            gone = models is not None and models.let_go(None, MODELS_WAIT_S)
            self._tell("clear", entries, "done" if gone else "refused", size_bytes if gone else 0)
            refused = 0 if gone else entries
            return {"freed_bytes": size_bytes if gone else 0, "entries": entries - refused, "refused": refused}
        return self._clear_cache(tier)

    def _clear_cache(self, tier: str) -> dict[str, Any]:
        cache, catalog = self._cache(), self._runtime.catalog
        freed = entries = refused = 0
        for entry in cache.entries():
            if tier not in entry.tiers:
                continue
            outcome = cache.evict(catalog.by_digest(entry.digest) or entry, tier)
            if not outcome.refused:
                freed, entries = freed + outcome.total_bytes, entries + 1
            else:
                refused += 1
        self._tell("clear", entries, "done" if entries or not refused else "refused", freed)
        return {"freed_bytes": freed, "entries": entries, "refused": refused}

    def _unconfirmed(self, tier: str) -> Refused:
        models = self._runtime.models
        if tier == "vram":
            entries, size_bytes, stay = (models.count(), models.size_of(None) or 0, 0) if models is not None else (0, 0, 0)
        else:
            held = [entry for entry in self._cache().entries() if tier in entry.tiers]
            going = [entry for entry in held if not entry.leased and not entry.pinned]
            entries, size_bytes, stay = len(going), sum(entry.size_bytes for entry in going), len(held) - len(going)
        word = secrets.token_urlsafe(16)
        with self._lock:
            self._confirmations = {w: c for w, c in self._confirmations.items() if c[1] > self._clock()}
            self._confirmations[word] = (tier, self._clock() + CONFIRM_S)
        return Refused(
            *(409, "confirm", f"{entries} models would leave {tier}: send this again with the confirmation"),
            confirm=word,
            entries=entries,
            size_bytes=size_bytes,
            refused=stay,
            expires_s=CONFIRM_S,
        )

    def _confirmed(self, tier: str, word: str) -> bool:
        with self._lock:
            found = self._confirmations.pop(word, None)
        return found is not None and found[0] == tier and found[1] > self._clock()

    def budget(self, tier: str, size_bytes: int) -> dict[str, Any]:
        cache = self._cache()
        before = self._used(cache, tier)
        cache.set_budget(tier, size_bytes)
        freed = max(0, before - self._used(cache, tier))
        self._tell("budget", 1, "done", size_bytes)
        return {"tier": tier, "budget_bytes": size_bytes, "freed_bytes": freed}

    # -- inside --------------------------------------------------------------------------------------------------------
    @staticmethod
    def _used(cache: Cache, tier: str) -> int:
        snapshot = cache.snapshot()
        return snapshot.ram.used_bytes if tier == "ram" else snapshot.ssd.used_bytes

    def _cache(self) -> Cache:
        cache = self._runtime.opened
        if cache is None:
            failure = self._runtime.failure
            if failure is not None:
                raise failure
            raise Refused(503, "not_ready", "the cache is being opened")
        return cache

    def _cached(self, cache: Cache, digests: Sequence[str]) -> list[RemoteObject | CacheEntry]:
        """All of them or none; an old version that no bucket lists any more is known by what the cache says of it."""
        if all(self._runtime.catalog.by_digest(digest) is not None for digest in digests):
            return list(self._objects(digests))
        entries = {entry.digest: entry for entry in cache.entries()}
        return [entries[d] if d in entries else self._objects([d])[0] for d in digests]

    def _objects(self, digests: Sequence[str]) -> list[RemoteObject]:
        """All of them or none."""
        found = [self._runtime.catalog.by_digest(digest) for digest in digests]
        missing = [digest for digest, obj in zip(digests, found, strict=True) if obj is None]
        if missing:
            raise Refused(404, "unknown_digest", "no such model", digests=missing)
        return [obj for obj in found if obj is not None]

    def _tell(self, action: str, objects: int, outcome: str, size_bytes: int = 0) -> None:
        self._runtime.bus.emit(PanelAction(action, objects, outcome, size_bytes))
