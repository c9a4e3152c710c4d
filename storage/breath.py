"""Long work on many rows, done in short slices: between two of them every other thread gets the interpreter.

One call of C code over 100,000 rows (a sort, a ``map``) keeps the interpreter's lock for 5 to 30 ms, and a thread that
computes in Python gives it up only after 5 ms each time somebody wants it.  ComfyUI's event loop wants it several times
in one callback (after each system call), so it is our slices that decide how long it is held up.
"""

from __future__ import annotations

import operator
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence

ROWS = 2000
"""of one slice in C code: half a millisecond at most"""
PYTHON_ROWS = 200
"""of one slice of a Python loop: about a millisecond"""
_BREATH_S = 0.0 if os.name == "nt" else 0.0001
"""A sleep of nothing gives the lock away, and may get it back before the other thread has woken up; a tenth of a
millisecond is enough for that.  Windows would make 1 to 16 ms of it."""


def breathe() -> None:
    """Lets other threads have the interpreter.  Never while a lock is held that they may want.

    The main thread does not rest: it runs ComfyUI's event loop, for which all this is done.
    """
    if threading.current_thread() is not threading.main_thread():
        time.sleep(_BREATH_S)


def slices(count: int, rows: int | None = None) -> Iterator[slice]:
    """[0, count) in slices of ``rows`` (default: ROWS), with a breath between two of them."""
    rows = rows or ROWS
    for low in range(0, count, rows):
        if low:
            breathe()
        yield slice(low, min(low + rows, count))


def strictly_sorted(keys: Sequence[str]) -> bool:
    """Each one greater than the one before."""
    return all(all(map(operator.lt, keys[part], keys[part.start + 1 : part.stop + 1])) for part in slices(len(keys)))


def equal(one: Sequence[str], other: Sequence[str]) -> bool:
    return len(one) == len(other) and all(all(map(operator.eq, one[part], other[part])) for part in slices(len(one)))


def merged(parts: Sequence[Sequence[str]]) -> list[str]:
    """Everything in several strictly sorted sequences, sorted, each text once."""
    found: Sequence[str] = ()
    for part in sorted(parts, key=len, reverse=True):
        found = _merged(found, part) if found else list(part)
    return list(found)


def _merged(long: Sequence[str], short: Sequence[str]) -> list[str]:
    found: list[str] = []
    at = 0
    for part in slices(len(long)):
        block = long[part]
        upto = bisect_right(short, block[-1], at)
        found += sorted({*block, *short[at:upto]}) if upto > at else block
        at = upto
    found += short[at:]
    return found
