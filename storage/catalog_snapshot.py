"""The last listing on disk, so that the next start lists at once.

JSON lines: a head, then for each origin a line about it and its rows in chunks of columns, then an end.
Chunks, because one ``json.loads`` of everything would hold the interpreter for a tenth of a second.  It is a
cache: anything unexpected in it makes it unreadable as a whole, and it is then simply listed again.  No
pickle, no names that ``layout.is_safe_name`` refuses.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from .breath import breathe, strictly_sorted
from .layout import is_safe_name
from .listing import Listing

FORMAT = 1
_CHUNK_ROWS = 2000
_STALE_S = 86400.0


class SnapshotUnreadable(Exception):
    """Absent, torn, of another format or of another configuration."""


def write_snapshot(path: Path, fingerprint: str, listings: Iterable[Listing]) -> None:
    """Writes beside and renames, mode 0600.  Raises OSError.

    Not synced to disk: after a power loss the file is torn at worst, which reading notices.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _sweep(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    try:
        with open(os.open(beside, flags, 0o600), "w", encoding="ascii") as file:
            for line in _lines(fingerprint, tuple(listings)):
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
                breathe()
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read_snapshot(path: Path, fingerprint: str, prefixes: dict[str, str]) -> tuple[Listing, ...]:
    """The listings in it.  prefixes: of each origin by name; raises SnapshotUnreadable."""
    try:
        with path.open(encoding="ascii") as file:
            head = json.loads(file.readline())
            if head != {"format": FORMAT, "fingerprint": fingerprint}:
                raise SnapshotUnreadable("of another format or configuration")
            return tuple(_read_origins(file, prefixes))
    except SnapshotUnreadable:
        raise
    except FileNotFoundError:
        raise SnapshotUnreadable("absent") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SnapshotUnreadable(f"damaged ({type(error).__name__})") from None


def _lines(fingerprint: str, listings: tuple[Listing, ...]) -> Iterator[dict[str, Any]]:
    yield {"format": FORMAT, "fingerprint": fingerprint}
    for one in listings:
        yield {
            "origin": one.origin,
            "endpoint": one.endpoint,
            "bucket": one.bucket,
            "rows": len(one),
            "skipped": one.skipped,
            "cut": one.cut,
            "listed_s": one.listed_s,
            "classes": {str(row): name for row, name in one.classes.items()},
        }
        for low in range(0, len(one), _CHUNK_ROWS):
            rows = slice(low, low + _CHUNK_ROWS)
            columns = (one.keys[rows], one.versions[rows], one.sizes[rows], one.modified_s[rows])
            yield dict(zip(("keys", "versions", "sizes", "modified_s"), map(list, columns), strict=True))
    yield {"end": True}


def _read_origins(file: IO[str], prefixes: dict[str, str]) -> Iterator[Listing]:
    while (line := json.loads(file.readline())) != {"end": True}:
        classes = {int(row): str(name) for row, name in line["classes"].items()}
        head = Listing(
            str(line["origin"]),
            str(line["endpoint"]),
            str(line["bucket"]),
            classes=classes,
            skipped=int(line["skipped"]),
            cut=bool(line["cut"]),
            listed_s=float(line["listed_s"]),
        )
        yield _read_rows(file, head, int(line["rows"]), prefixes[head.origin])


def _read_rows(file: IO[str], head: Listing, rows: int, prefix: str) -> Listing:
    keys: list[str] = []
    versions: list[str] = []
    sizes = array("q")
    modified = array("d")
    while len(keys) < rows:
        breathe()
        chunk = json.loads(file.readline())
        _check_texts(chunk["keys"], prefix)
        _check_texts(chunk["versions"], "")
        keys += chunk["keys"]
        versions += chunk["versions"]
        sizes.extend(array("q", chunk["sizes"]))
        modified.extend(array("d", chunk["modified_s"]))
        if not chunk["keys"] or not all(is_safe_name(key[len(prefix) :]) for key in chunk["keys"]):
            raise SnapshotUnreadable("damaged (names)")
    if {len(keys), len(versions), len(sizes), len(modified)} != {rows} or not strictly_sorted(keys) or min(sizes, default=0) < 0:
        raise SnapshotUnreadable("damaged (columns)")
    return replace(head, keys=keys, versions=versions, sizes=sizes, modified_s=modified)


def _check_texts(column: Any, prefix: str) -> None:
    if not isinstance(column, list) or not all(isinstance(text, str) and text.startswith(prefix) for text in column):
        raise SnapshotUnreadable("damaged (types)")


def _sweep(path: Path) -> None:
    """Removes what a killed process left behind."""
    for left in path.parent.glob(f"{path.name}.*.tmp"):
        if time.time() - left.stat().st_mtime > _STALE_S:
            left.unlink(missing_ok=True)
