"""Rows, checks and the live table of one benchmark.

A row is one run, raw, as a plain dict that goes into the JSON as it is; a check is one figure that was asked for.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """value None: it could not be measured, which never holds."""

    name: str
    value: float | None
    asked: str
    ok: bool


def at_most(name: str, value: float | None, limit: float) -> Check:
    return Check(name, _rounded(value), f"<= {limit:g}", value is not None and value <= limit)


def at_least(name: str, value: float | None, limit: float) -> Check:
    return Check(name, _rounded(value), f">= {limit:g}", value is not None and value >= limit)


def median(rows: Iterable[Row], name: str) -> float | None:
    """Of the runs that succeeded and have this figure."""
    values = [row[name] for row in rows if not row.get("error") and row.get(name) is not None]
    return statistics.median(values) if values else None


@dataclass(frozen=True)
class Column:
    title: str
    name: str
    form: str = ".2f"


@dataclass
class Report:
    """What a benchmark has found so far.  Written to ``path`` after every row: an interrupted run loses one."""

    bench: str
    columns: Sequence[Column]
    path: Path | None = None
    quick: bool = False
    keys: tuple[str, ...] = ("situation", "client", "setting")
    rows: list[Row] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _drawn_lines: int = 0

    def resume(self) -> None:
        """Takes over the rows of an earlier, interrupted run of the same benchmark."""
        if self.path is not None and self.path.exists():
            before = json.loads(self.path.read_text())
            self.rows = [row for row in before.get("rows", []) if not row.get("error")]
            self.notes = before.get("notes", [])

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.write()
        self._show(row)

    def note(self, text: str) -> None:
        """Something a reader has to know: a table that could not be run, a peer that is missing."""
        if text not in self.notes:
            self.notes.append(text)
        print(f"note: {text}", flush=True)

    def groups(self) -> dict[tuple[Any, ...], list[Row]]:
        """Rows of one client with one setting in one situation, in order of appearance."""
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            found.setdefault(tuple(row.get(key) for key in self.keys), []).append(row)
        return found

    def finish(self, checks: Iterable[Check]) -> int:
        """Prints checks, writes the file; the exit code."""
        self.checks = list(checks)
        self.write()
        self._draw(final=True)
        print()
        for check in self.checks:
            value = "not measured" if check.value is None else f"{check.value:g}"
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {value} (asked {check.asked})")
        return 0 if self.checks and all(check.ok for check in self.checks) else 1

    def write(self) -> None:
        if self.path is None:
            return
        whole = {"bench": self.bench, "quick": self.quick, "machine": machine(), "notes": self.notes, "rows": self.rows}
        whole["checks"] = [asdict(check) for check in self.checks]
        whole["ok"] = bool(self.checks) and all(check.ok for check in self.checks)
        fresh = self.path.with_suffix(self.path.suffix + ".new")
        fresh.write_text(json.dumps(whole, indent=1, default=str))
        fresh.replace(self.path)

    # -- the table -----------------------------------------------------------------------------------------------
    def _show(self, row: Row) -> None:
        if sys.stdout.isatty():
            self._draw()
        else:
            print(self._line([str(row.get(k, "")) for k in self.keys], "", lambda name: row.get(name), row.get("error", "")), flush=True)

    def _draw(self, *, final: bool = False) -> None:
        if sys.stdout.isatty() and self._drawn_lines:
            print(f"\x1b[{self._drawn_lines}F\x1b[J", end="")
        lines = [self._line(list(self.keys), "runs", lambda _: None, "", titles=True)]
        lines += [self._median_line(key, rows) for key, rows in self.groups().items()]
        print("\n".join(lines), flush=True)
        self._drawn_lines = 0 if final else len(lines)

    def _median_line(self, key: tuple[Any, ...], rows: list[Row]) -> str:
        good = [row for row in rows if not row.get("error")]
        error = next((row["error"] for row in rows if row.get("error")), "")
        return self._line([str(k) for k in key], str(len(good)), lambda name: median(good, name), error)

    def _line(self, keys: list[str], runs: str, value: Callable[[str], Any], error: str, *, titles: bool = False) -> str:
        cells = [f"{key[:width]:<{width}}" for key, width in zip(keys, (11, 12, 26, 12), strict=False)]
        cells.append(f"{runs:>4}")
        for column in self.columns:
            found = value(column.name)
            text = column.title if titles else "" if found is None else _formatted(found, column.form)
            cells.append(f"{text:>9}")
        return " ".join([*cells, error[:60]]).rstrip()


def _formatted(value: Any, form: str) -> str:
    return format(value, form) if isinstance(value, (int, float)) else str(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def machine() -> dict[str, Any]:
    """What a reader needs to compare; nothing that names the machine."""
    memory = _first("/proc/meminfo", "MemTotal")
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory.split()[0]) / 1e6, 1) if memory else None,
        "kernel": platform.release(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _first(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
