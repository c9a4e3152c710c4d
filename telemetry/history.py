"""Telemetry over a restart: one small SQLite file (diskcache, plain text rows), bounded, lost without harm.

Everything is written by one thread now and then and read once.  A full or broken disk is told once as an event and
tried again later; nothing that is measured waits for it.  A row that cannot be read is forgotten.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .costs import DAYS, Costs, Day, Saved
from .executions import KEPT as EXECUTIONS_KEPT
from .executions import Execution, Executions
from .series import CHUNK_POINTS, KEPT_SPANS, SPANS, Chunk, Series, chunk_of
from .uses import Use, Uses

MAX_BYTES = 32 << 20
FORMAT = "1"

Store = Any
"""a diskcache.Cache with PlainDisk, from ``storage.plain_disk.open_store``"""


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Everything that outlives the process."""

    series: Series
    executions: Executions
    uses: Uses
    costs: Costs


class History:
    """Used by one thread at a time (the sampler's, or whoever holds its lock)."""

    def __init__(self, folder: Path, kept: Kept, open_store: Callable[[Path, int], Store]) -> None:
        self._folder = folder
        self._kept = kept
        self._open = open_store
        self._store: Store = None
        self.trouble = ""
        """why the last attempt failed: an exception's name"""

    def load(self, now_s: float) -> bool:
        """Reads what an earlier process left; False when the store cannot be used now."""
        return self._attempt(lambda: self._load(now_s))

    def save(self, now_s: float) -> bool:
        """Writes what has changed, and drops what is too old; False: it is kept for the next time."""
        return self._attempt(lambda: self._save(now_s))

    def close(self) -> None:
        if self._store is not None:
            self._attempt(self._store.close)
            self._store = None

    # -- inside --------------------------------------------------------------------------------------------------------
    def _attempt(self, work: Callable[[], object]) -> bool:
        try:
            if self._store is None:
                self._store = self._open(self._folder, MAX_BYTES)
            work()
        except Exception as error:  # whatever is wrong with the disk or the file: measuring goes on, and it is told
            self.trouble = type(error).__name__
            return False
        self.trouble = ""
        return True

    def _load(self, now_s: float) -> None:
        for key in self._keys("series/"):
            chunk = _chunk_of_key(key)
            points = self._read(key)
            if chunk is None or not _fresh(chunk, now_s) or not _are_points(points):
                self._store.delete(key)
            else:
                self._kept.series.restore(chunk, ((int(at), float(value)) for at, value in points))
        executions = list(self._values("execution/", Execution))
        self._kept.executions.restore(sorted(executions, key=lambda e: e.at_s)[-EXECUTIONS_KEPT:])
        self._kept.uses.restore(self._values("use/", Use))
        self._kept.costs.restore({day.name: day for day in self._days()})

    def _save(self, now_s: float) -> None:
        chunks = self._kept.series.take_dirty()
        executions = self._kept.executions.take_fresh()
        uses = self._kept.uses.take_dirty()
        days = self._kept.costs.take_dirty()
        try:
            with self._store.transact():
                for chunk, points in chunks.items():
                    self._write(f"series/{chunk[0]}/{chunk[1]}/{chunk[2]}", [[at, _short(value)] for at, value in points])
                for row in executions:
                    self._write(f"execution/{row.at_s:.3f}", dataclasses.asdict(row))
                for subject, use in uses.items():
                    if use is not None and len(subject) < 1500:
                        self._write(f"use/{subject}", dataclasses.asdict(use))
                    else:
                        self._store.delete(f"use/{subject}")
                for day in days:
                    self._write(f"day/{day.name}", dataclasses.asdict(day))
                self._forget_old(now_s)
        except Exception:
            self._kept.series.mark_dirty(chunks)
            self._kept.uses.mark_dirty(uses)
            self._kept.costs.mark_dirty(day.name for day in days)
            raise

    def _forget_old(self, now_s: float) -> None:
        for key in self._keys("series/"):
            chunk = _chunk_of_key(key)
            if chunk is None or not _fresh(chunk, now_s):
                self._store.delete(key)
        for prefix, most in (("execution/", EXECUTIONS_KEPT), ("day/", DAYS)):
            for key in self._keys(prefix)[:-most]:
                self._store.delete(key)

    def _keys(self, prefix: str) -> list[str]:
        """Sorted.  From the table itself: diskcache's iterator stops at the first key that is not ours."""
        sql = "SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND key >= ? AND key < ? ORDER BY key"
        return [key for (key,) in self._store._sql(sql, (prefix, prefix[:-1] + "0")).fetchall()]

    def _write(self, key: str, value: object) -> None:
        self._store.set(key, FORMAT + json.dumps(value, separators=(",", ":")))

    def _read(self, key: str) -> Any:
        """None for a row that is not of ours."""
        try:
            text = self._store.get(key)
            return json.loads(text[1:]) if text[:1] == FORMAT else None
        except (ValueError, TypeError, RecursionError):
            return None

    def _values(self, prefix: str, kind: Any) -> Iterator[Any]:
        fields = {f.name: f for f in dataclasses.fields(kind)}
        for key in self._keys(prefix):
            row = self._read(key)
            if isinstance(row, dict) and row.keys() <= fields.keys() and all(_is_plain(value) for value in row.values()):
                try:
                    value = kind(**row)
                    hash(value)
                except TypeError:
                    continue
                yield value

    def _days(self) -> Iterable[Day]:
        for key in self._keys("day/"):
            row = self._read(key)
            try:
                saved = row["saved"]
                parts = {str(name): float(amount) for name, amount in row["parts"].items()}
                money = None if saved["money"] is None else float(saved["money"])
                yield Day(key[4:], parts, Saved(float(saved["seconds"]), float(saved["bytes"]), money), int(row["executions"]))
            except (TypeError, KeyError, ValueError, AttributeError):
                continue


def _chunk_of_key(key: str) -> Chunk | None:
    parts = key.split("/")
    if len(parts) != 4 or parts[1] not in KEPT_SPANS or not parts[3].isdigit():
        return None
    return parts[1], parts[2], int(parts[3])


def _fresh(chunk: Chunk, now_s: float) -> bool:
    span, _, number = chunk
    oldest = chunk_of(span, now_s - SPANS[span].length_s)
    return oldest <= number <= chunk_of(span, now_s) + 1


def _are_points(points: object) -> bool:
    return (
        isinstance(points, list)
        and len(points) <= CHUNK_POINTS + 1
        and all(isinstance(p, list) and len(p) == 2 and all(isinstance(v, int | float) and math.isfinite(v) for v in p) for p in points)
    )


def _is_plain(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) < 2000) or (isinstance(value, int | float) and math.isfinite(value))


def _short(value: float) -> float:
    """Six digits: what a chart can show."""
    return float(f"{value:.6g}")
