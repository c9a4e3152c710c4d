"""What commands say and how: exit codes, JSON, figures for people, and text that is safe on a terminal.

Keys, names and messages of servers come from whoever can write to the bucket: everything of theirs that is printed goes
through ``shown``, so that no key can move the cursor, start a new line or turn the reading direction.  Results go to
standard output, everything else (progress, warnings, errors) to standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
import sys
import time
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..storage.people import size_text as size_text  # one home for how a size is written

DONE, INCOMPLETE, WRONG, INTERRUPTED = 0, 1, 2, 130
"""all is well; something is missing or failed; the command, the configuration or a file is wrong; Ctrl-C"""

EXIT_CODES = "exit codes: 0 done, 1 something is missing or failed, 2 command, configuration or file is wrong, 130 interrupted"

_ISOLATE, _END = "\u2068", "\u2069"


def add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the result as one JSON value on standard output, and no progress bar")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def say(text: str) -> None:
    """A line of the result."""
    print(text)


def warn(text: str) -> None:
    """A line beside the result.  ``text`` may hold keys and server messages: it is made safe here."""
    print(shown(text), file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document in one line, ASCII only.  Dataclasses are objects, paths text, what is infinite or no number is null."""
    print(json.dumps(as_json(value)))


def print_json_rows(rows: Iterable[Any]) -> None:
    """A JSON array with one element a line, written as it comes: for lists that need not fit into memory."""
    sys.stdout.write("[")
    separator = "\n"
    for row in rows:
        sys.stdout.write(separator + json.dumps(as_json(row)))
        separator = ",\n"
    sys.stdout.write("\n]\n")


def as_json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, enum.Enum)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_json(one) for one in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def shown(text: str) -> str:
    """As it may stand on a terminal: what is no printable character becomes an escape (``\\x1b``, ``\\u202e``, ``\\n``), and
    text with letters that are written from right to left is isolated, so that what stands beside it keeps its place."""
    if text.isascii():
        return text if text.isprintable() else _escaped(text)
    safe = text if text.isprintable() else _escaped(text)
    if any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in safe):
        return f"{_ISOLATE}{safe}{_END}"
    return safe


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode("ascii") for c in text)


def rate_text(rate_bytes_per_s: float) -> str:
    return f"{size_text(rate_bytes_per_s)}/s"


def duration_text(seconds: float) -> str:
    """ "3.2 ms", "4.1 s", "12 min", "5 h 20 min", "3 days"."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds / 86400:.0f} days"


def time_text(seconds: float | None) -> str:
    """Wall time in UTC, to the minute; "-" where there is none."""
    if not seconds or not math.isfinite(seconds):
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"


def count_text(count: int, one: str, many: str = "") -> str:
    """ "1 object", "12 objects"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
