"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator

from .output import shown

Show = Callable[[float, str], None]
"""(done so far, in the bar's unit; what it is working on)"""


@contextlib.contextmanager
def progress_bar(options: argparse.Namespace, total: float | None, *, unit: str = "B", title: str = "") -> Iterator[Show]:
    """With ``--json``, ``--quiet`` or no terminal: nothing.  Call what it yields from one thread.

    total: in ``unit``; None where it is not known.  "B" is shown with prefixes (powers of ten).
    """
    if options.json or options.quiet or not sys.stderr.isatty():
        yield lambda done, what: None
        return
    from tqdm import tqdm  # 20 ms, and most commands show none

    with tqdm(total=total, unit=unit, unit_scale=unit == "B", unit_divisor=1000, desc=title or None, file=sys.stderr) as bar:

        def show(done: float, what: str) -> None:
            bar.update(max(0, done - bar.n))
            if what:
                bar.set_description(shown(what)[:60])

        yield show
