"""A diskcache ``Disk`` for small text: no pickle, no file beside the database, in either direction.

diskcache's own Disk unpickles whatever a row says is a pickle (CVE-2025-69872) and opens whatever file name a row
holds.  Here a row's key and value are short texts in the row itself; anything else raises ``ValueError`` and the
caller forgets the row.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW

ROW_CHARS = 2_000

STORE_ERRORS = (OSError, sqlite3.Error, diskcache.Timeout, ValueError)
"""what opening, reading and writing may raise: a full or broken disk, a damaged database, somebody who holds it locked"""


class PlainDisk(diskcache.Disk):
    """Keys and values are text of at most ``ROW_CHARS``, stored in the row itself."""

    row_chars = ROW_CHARS

    def put(self, key: Any) -> tuple[str, bool]:
        return self._text(key), True

    def get(self, key: Any, raw: bool) -> str:
        if not raw:
            raise ValueError("a key that is no plain text")
        return self._text(key)

    def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> tuple[int, int, None, str]:
        return 0, MODE_RAW, None, self._text(value)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
        if mode != MODE_RAW or filename is not None:
            raise ValueError("a value that is no plain text")
        return self._text(value)

    def _text(self, value: Any) -> str:
        if type(value) is not str or len(value) > self.row_chars:
            raise ValueError("not a short text")
        return value


class LongRows(PlainDisk):
    """For the points of a chart."""

    row_chars = 16_000


def open_store(folder: Path, max_bytes: int, disk: type[PlainDisk] = PlainDisk) -> diskcache.Cache:
    """A store in a folder of ours (0700).  Evicts nothing by itself: whoever writes keeps the bound.  Raises STORE_ERRORS."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.chmod(folder, 0o700)
    return diskcache.Cache(str(folder), disk=disk, eviction_policy="none", size_limit=max_bytes, statistics=0, timeout=5)
