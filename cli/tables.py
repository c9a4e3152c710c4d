"""Tables on a terminal: columns as wide as their cells, cells made safe, rows printed as they come."""

from __future__ import annotations

import itertools
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .output import shown

MEASURED_ROWS = 1000
"""so many rows are held back to measure their cells; a later cell that is wider moves its own row only"""


@dataclass(frozen=True, slots=True)
class Column:
    """right: figures, which line up at their end"""

    title: str
    right: bool = False


def print_table(columns: Sequence[Column | str], rows: Iterable[Sequence[str]], *, titles: bool = True) -> int:
    """Prints a table and returns how many rows it had; without rows nothing is printed.

    Put the column with names last: it is not padded, so its length moves nothing.
    """
    shape = tuple(column if isinstance(column, Column) else Column(column) for column in columns)
    remaining = iter(rows)
    first = [_safe(row) for row in itertools.islice(remaining, MEASURED_ROWS)]
    if not first:
        return 0
    head = [tuple(column.title for column in shape)] if titles else []
    widths = [max(map(_width, cells)) for cells in zip(*head, *first, strict=True)]
    for measured in itertools.chain(head, first):
        sys.stdout.write(_line(shape, widths, measured))
    count = len(first)
    for row in remaining:
        sys.stdout.write(_line(shape, widths, _safe(row)))
        count += 1
    return count


def _safe(row: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(shown, row))


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> str:
    last = len(columns) - 1
    cells = []
    for number, (column, width, cell) in enumerate(zip(columns, widths, row, strict=True)):
        blank = " " * (width - _width(cell))
        cells.append(blank + cell if column.right else cell if number == last else cell + blank)
    return "  ".join(cells).rstrip() + "\n"


def _width(text: str) -> int:
    """Terminal cells: East Asian wide characters take two, combining ones and format characters none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) or unicodedata.category(c) == "Cf" else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
