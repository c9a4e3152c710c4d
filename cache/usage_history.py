"""What the policy knows of past use, on disk: small, bounded, the same after a restart.

One SQLite file by diskcache in a folder of ours, 0700.  Its own `Disk` is replaced by one that knows text, numbers and
nothing else: a pickle in the file, planted or left by something else, is never read (CVE-2025-69872).  It is a cache
of habits: whatever cannot be read is forgotten, and losing it costs some seconds of loading.

Threads: any; processes: any number share the folder, the last one to store a file's row wins.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import diskcache

from ..storage.plain_disk import STORE_ERRORS, open_store
from .policy_history import HALF_LIVES, MAX_ROWS, Remembered

FORMAT = 1
MAX_BYTES = 16 << 20


class HistoryUnusable(Exception):
    """The folder cannot be written or its file is no database of ours.  Without a history the policy starts empty."""


class UsageHistory:
    """Rows of one tier.  ``name`` separates tiers that share the folder."""

    def __init__(self, folder: Path, name: str, *, max_rows: int = MAX_ROWS) -> None:
        self._prefix = f"{name}/"
        self._max_rows = max_rows
        try:
            self._cache = open_store(folder, MAX_BYTES)
        except STORE_ERRORS as error:
            raise HistoryUnusable(f"the usage history cannot be opened ({type(error).__name__})") from None

    def load(self) -> tuple[Remembered, ...]:
        """Everything readable, the most recently used first, at most ``max_rows``."""
        try:
            found = list(self._rows())
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise HistoryUnusable(f"the usage history cannot be read ({type(error).__name__})") from None
        return tuple(sorted(found, key=lambda row: row.idle_uses)[: self._max_rows])

    def store(self, rows: Iterable[Remembered]) -> int:
        """Replaces what is stored by these rows, at most ``max_rows``, the most recently used; returns how many."""
        kept = sorted(rows, key=lambda row: row.idle_uses)[: self._max_rows]
        wanted = {self._prefix + row.digest: _encode(row) for row in kept}
        try:
            with self._cache.transact():
                for key in self._keys():
                    if key not in wanted:
                        self._cache.delete(key)
                for key, text in wanted.items():
                    self._cache.set(key, text)
        except (OSError, sqlite3.Error, diskcache.Timeout) as error:
            raise HistoryUnusable(f"the usage history cannot be written ({type(error).__name__})") from None
        return len(wanted)

    def close(self) -> None:
        self._cache.close()

    def __enter__(self) -> UsageHistory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keys(self) -> list[str]:
        """Read from the table: an iterator of diskcache stops at the first key that is not ours."""
        low, high = self._prefix, self._prefix[:-1] + "0"  # "0" follows "/"
        sql = self._cache._sql("SELECT key FROM Cache WHERE raw = 1 AND typeof(key) = 'text' AND key >= ? AND key < ?", (low, high))
        return [key for (key,) in sql.fetchall()]

    def _rows(self) -> Iterator[Remembered]:
        for key in self._keys():
            try:
                row = _decode(key[len(self._prefix) :], self._cache.get(key))
            except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
                continue  # of another format, or damaged: forgotten, and gone with the next `store`
            yield row


def _encode(row: Remembered) -> str:
    counts = [round(count, 6) for count in row.counts]
    return json.dumps([FORMAT, row.size_bytes, row.reload_s, counts, row.idle_uses, row.used_s, row.uses], separators=(",", ":"))


def _decode(digest: str, text: str | None) -> Remembered:
    """Raises ValueError or TypeError for anything that is not exactly what `_encode` writes."""
    form, size_bytes, reload_s, counts, idle_uses, used_s, uses = json.loads(text or "")
    past = tuple(float(count) for count in counts)
    row = Remembered(digest, int(size_bytes), float(reload_s), past, int(idle_uses), float(used_s), int(uses))
    figures = (row.size_bytes, row.reload_s, *row.counts, row.idle_uses, row.used_s, row.uses)
    if form != FORMAT or len(row.counts) != len(HALF_LIVES) or not all(math.isfinite(f) and f >= 0 for f in figures):
        raise ValueError("figures that no use can make")
    return row
