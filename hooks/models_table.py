"""The models of all buckets and caches as one table: filtered, sorted, cut into pages.  Not for the event loop.

What the buckets hold changes with a listing and is kept until then (``_Listed``); what the caches hold is joined at
every question.  10,000 rows: about 60 ms the first time after a listing, then 20.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..cache.operations import CacheEntry
    from ..storage.layout import FolderView
    from ..storage.objects import RemoteObject
    from ..telemetry.uses import Use
    from .runtime import Runtime

DIGEST = re.compile(r"[0-9a-f]{64}")
LIMIT_MAX = 1000
FILTER_MAX = 200
TIERS = ("vram", "ram", "ssd")
TIER_CHOICES = (*TIERS, "bucket", "cached", "pinned", "loading")
SORTS = ("name", "folder", "origin", "size_bytes", "uses", "last_used_s", "saved_s", "tier")


class BadQuery(ValueError):
    """The text says which parameter is wrong."""


@dataclass(frozen=True, slots=True)
class Query:
    offset: int = 0
    limit: int = 100
    sort: str = "name"
    descending: bool = False
    words: tuple[str, ...] = ()
    folder: str = ""
    tier: str = ""

    @classmethod
    def of(cls, given: Any) -> Query:
        """From a request's query.  Raises BadQuery."""
        text = str(given.get("filter", ""))
        if len(text) > FILTER_MAX:
            raise BadQuery(f"filter: at most {FILTER_MAX} characters")
        return cls(
            offset=_whole(given.get("offset", "0"), "offset", 10**9),
            limit=_whole(given.get("limit", "100"), "limit", LIMIT_MAX),
            sort=_one_of(given.get("sort", "name"), "sort", SORTS),
            descending=_one_of(given.get("order", "asc"), "order", ("asc", "desc")) == "desc",
            words=tuple(text.casefold().split()),
            folder=str(given.get("folder", ""))[:256],
            tier=_one_of(given["tier"], "tier", TIER_CHOICES) if given.get("tier") else "",
        )


@dataclass(frozen=True, slots=True)
class _Row:
    """obj None: it is cached and no longer listed"""

    folder: str
    name: str
    folded: str
    origin: str
    subject: str
    size_bytes: int
    obj: RemoteObject | None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class _Now:
    """What is joined to the rows."""

    entries: dict[str, CacheEntry]
    """by digest"""
    subjects: frozenset[str]
    """of the entries: nothing else needs its digest"""
    warm: frozenset[str]
    loading: frozenset[str]
    pins: frozenset[str]
    uses: dict[str, Use]

    def entry(self, row: _Row) -> CacheEntry | None:
        if row.digest:
            return self.entries.get(row.digest)
        if row.obj is None or row.subject not in self.subjects:
            return None
        return self.entries.get(row.obj.id.digest)

    def tiers(self, row: _Row) -> tuple[str, ...]:
        entry = self.entry(row)
        found = entry.tiers if entry is not None else ()
        return ("vram", *found) if row.subject in self.warm else found


class ModelsTable:
    """Thread-safe.  ``views``: ComfyUI's folders as the buckets see them; ``uses``: what telemetry knows of past use."""

    def __init__(self, runtime: Runtime, views: Callable[[], Iterable[FolderView]], uses: Callable[[], dict[str, Use]] = dict) -> None:
        self._runtime = runtime
        self._views = views
        self._uses = uses
        self._lock = threading.Lock()
        self._listed: tuple[_Row, ...] = ()
        self._generation = -1

    def page(self, query: Query) -> dict[str, Any]:
        """The body of GET /modelstream/models."""
        generation, rows, now = self._joined()
        found = [row for row in rows if self._fits(row, query, now)]
        found = _sorted(found, query, now)
        shown = found[query.offset : query.offset + query.limit]
        counts = Counter(row.folder for row in rows)
        return {
            "total": len(found),
            "all": len(rows),
            "generation": generation,
            "folders": [{"folder": folder, "count": count} for folder, count in sorted(counts.items())],
            "rows": [self._json(row, now) for row in shown],
        }

    def one(self, digest: str) -> dict[str, Any] | None:
        _, rows, now = self._joined()
        obj = self._runtime.catalog.by_digest(digest)
        wanted = next((r for r in rows if r.digest == digest or (obj is not None and r.obj == obj)), None)
        return None if wanted is None else self._json(wanted, now)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _joined(self) -> tuple[int, list[_Row], _Now]:
        generation, listed = self._rows()
        now = self._now()
        subjects = {row.subject for row in listed}
        return generation, [*listed, *self._unlisted(listed, subjects, now)], now

    def _rows(self) -> tuple[int, tuple[_Row, ...]]:
        with self._lock:
            generation = self._runtime.catalog.generation
            if generation != self._generation:
                self._listed, self._generation = tuple(self._list()), generation
            return self._generation, self._listed

    def _list(self) -> Iterable[_Row]:
        """An object that several folders show is one row, under the first of them."""
        seen: set[tuple[str, str]] = set()
        for view in self._views():
            for name, obj in self._runtime.catalog.entries(view):
                key = (obj.origin, obj.id.key)
                if key not in seen:
                    seen.add(key)
                    yield _Row(view.folder, name, f"{view.folder}/{name}".casefold(), obj.origin, obj.subject, obj.size_bytes, obj)

    def _now(self) -> _Now:
        cache = self._runtime.opened
        entries = {entry.digest: entry for entry in cache.entries(other_names=True)} if cache is not None else {}
        loading = frozenset(cache.snapshot().loading) if cache is not None else frozenset()
        pins = frozenset(f"{pin.origin}:{pin.key}" for pin in cache.pins()) if cache is not None else frozenset()
        subjects = frozenset(entry.subject for entry in entries.values())
        return _Now(entries, subjects, self._warm(), loading, pins, self._uses())

    def _warm(self) -> frozenset[str]:
        block = self._runtime.status_blocks.get("memory")
        memory: Any = block() if block is not None else {}
        models = memory.get("warm", {}).get("models", ()) if isinstance(memory, dict) else ()
        return frozenset(model["label"] for model in models)

    @staticmethod
    def _unlisted(listed: Iterable[_Row], subjects: set[str], now: _Now) -> Iterable[_Row]:
        """Cached versions that no listing has: overwritten or deleted in the bucket, or of a bucket that is not listed yet."""
        current = {row.obj.id.digest for row in listed if row.obj is not None and row.subject in now.subjects}
        for digest, entry in now.entries.items():
            if digest not in current:
                name = entry.subject.partition(":")[2] or entry.name
                yield _Row("", name, name.casefold(), entry.origin, entry.subject, entry.size_bytes, None, digest)

    @staticmethod
    def _fits(row: _Row, query: Query, now: _Now) -> bool:
        if query.folder and row.folder != query.folder:
            return False
        if query.words and not all(word in row.folded for word in query.words):
            return False
        if not query.tier:
            return True
        if query.tier == "pinned":
            return row.subject in now.pins
        if query.tier == "loading":
            return row.subject in now.loading
        tiers = now.tiers(row)
        return bool(tiers) if query.tier == "cached" else not tiers if query.tier == "bucket" else query.tier in tiers

    def _json(self, row: _Row, now: _Now) -> dict[str, Any]:
        entry, use, obj = now.entry(row), now.uses.get(row.subject), row.obj
        return {
            "digest": row.digest or (obj.id.digest if obj is not None else ""),
            "name": row.name,
            "folder": row.folder,
            "origin": row.origin,
            "size_bytes": row.size_bytes,
            "modified_s": obj.modified_s if obj is not None else None,
            "tiers": list(now.tiers(row)),
            "uses": _uses(entry, use),
            "last_used_s": _last_used_s(entry, use),
            "saved_s": _saved_s(entry, use),
            "pinned": row.subject in now.pins,
            "leased": entry.leased if entry is not None else False,
            "loading": row.subject in now.loading,
            "storage_class": obj.storage_class if obj is not None else None,
            "listed": obj is not None,
            "fit": self._fit(row),
        }

    def _fit(self, row: _Row) -> dict[str, Any] | None:
        """Where an estimate was made before: the verdict over the devices of this moment."""
        estimator = self._runtime.estimator
        known = None if estimator is None or row.obj is None else estimator.known(row.obj, row.folder, row.name)
        if estimator is None or known is None:
            return None
        from .fit_json import verdict_json

        return verdict_json(estimator.judged(known).verdict)


def _uses(entry: CacheEntry | None, use: Use | None) -> int:
    return max(entry.uses if entry is not None else 0, use.uses if use is not None else 0)


def _last_used_s(entry: CacheEntry | None, use: Use | None) -> float | None:
    known = [at for at in (entry and entry.last_used_s, use and use.last_s) if at]
    return max(known, default=None)


def _saved_s(entry: CacheEntry | None, use: Use | None) -> float:
    return max(entry.saved_s if entry is not None else 0.0, use.saved_s if use is not None else 0.0)


def _sorted(rows: list[_Row], query: Query, now: _Now) -> list[_Row]:
    """By the column, then by folder and name; rows without a value last, whichever way."""
    rows = sorted(rows, key=lambda row: (row.folder, row.name))
    if query.sort == "name":
        return sorted(rows, key=lambda row: row.name.casefold(), reverse=query.descending)
    columns: dict[str, Callable[[_Row], Any]] = {
        "folder": lambda row: row.folder or None,
        "origin": lambda row: row.origin,
        "size_bytes": lambda row: row.size_bytes,
        "uses": lambda row: _uses(now.entry(row), now.uses.get(row.subject)) or None,
        "last_used_s": lambda row: _last_used_s(now.entry(row), now.uses.get(row.subject)),
        "saved_s": lambda row: _saved_s(now.entry(row), now.uses.get(row.subject)) or None,
        "tier": lambda row: next((TIERS.index(tier) for tier in now.tiers(row)), None),
    }
    read = columns[query.sort]
    valued = [(read(row), row) for row in rows]
    known = sorted((pair for pair in valued if pair[0] is not None), key=lambda pair: pair[0], reverse=query.descending)
    return [row for _, row in known] + [row for value, row in valued if value is None]


def _whole(value: object, name: str, most: int) -> int:
    text = str(value)
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > most:
        raise BadQuery(f"{name}: a whole number, at most {most}")
    return int(text)


def _one_of(value: object, name: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise BadQuery(f"{name}: one of {', '.join(choices)}")
    return str(value)
