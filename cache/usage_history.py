"""What the policy knows of past use, on disk: small, bounded, the same after a restart.

One SQLite file by diskcache in a folder of ours, 0700.  Its own `Disk` is replaced by one that knows text, numbers and
nothing else: a pickle in the file, planted or left by something else, is never read (CVE-2025-69872).  It is a cache
of habits: whatever cannot be read is forgotten, and losing it costs some seconds of loading.

Threads: any; processes: any number share the folder, the last one to store a file's row wins.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW

from .policy_history import HALF_LIVES, MAX_ROWS, Remembered

FORMAT = 1
MAX_BYTES = 16 << 20
_ROW_CHARS = 2_000


class HistoryUnusable(Exception):
    """The folder cannot be written or its file is no database of ours.  Without a history the policy starts empty."""


class PlainDisk(diskcache.Disk):
    """Keys and values are text, stored in the row itself.  Everything else is refused, in both directions."""

    def put(self, key: Any) -> tuple[str, bool]:
        return _text(key), True

    def get(self, key: Any, raw: bool) -> str:
        if not raw:
            raise ValueError("a key that is no plain text")
        return _text(key)

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> tuple[int, int, None, str]:
        return 0, MODE_RAW, None, _text(value)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
        if mode != MODE_RAW or filename is not None:
            raise ValueError("a value that is no plain text")
        return _text(value)


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > _ROW_CHARS:
        raise ValueError("not a short text")
    return value


class UsageHistory:
    """Rows of one tier.  ``name`` separates tiers that share the folder."""

    def __init__(self, folder: Path, name: str, *, max_rows: int = MAX_ROWS) -> None:
        self._prefix = f"{name}/"
        self._max_rows = max_rows
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.chmod(folder, 0o700)
            # no eviction by diskcache itself: `store` keeps the bound, by use
            self._cache = diskcache.Cache(
                str(folder), disk=PlainDisk, eviction_policy="none", size_limit=MAX_BYTES, statistics=0, timeout=5
            )
        except (OSError, sqlite3.Error, diskcache.Timeout, ValueError) as error:
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
    form, size_bytes, reload_s, counts, idle_uses, used_s, uses = json.loads(_text(text))
    past = tuple(float(count) for count in counts)
    row = Remembered(digest, int(size_bytes), float(reload_s), past, int(idle_uses), float(used_s), int(uses))
    figures = (row.size_bytes, row.reload_s, *row.counts, row.idle_uses, row.used_s, row.uses)
    if form != FORMAT or len(row.counts) != len(HALF_LIVES) or not all(math.isfinite(f) and f >= 0 for f in figures):
        raise ValueError("figures that no use can make")
    return row
