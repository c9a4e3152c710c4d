"""``modelstream cache verify``: reads what lies on the SSD and compares every chunk with its checksum.

A damaged copy leaves the tier; the next load takes what is damaged from the bucket and keeps the rest.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from ..storage.errors import CorruptObject, ModelStreamError
from .bars import Show, progress_bar
from .output import DONE, INCOMPLETE, count_text, print_json, rate_text, say, size_text
from .select import add_selection, selection_of
from .ssd_open import SsdEntry, opened_ssd
from .tables import Column, print_table

EXAMPLES = """
modelstream cache verify
modelstream cache verify 'checkpoints/*' --json
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """result: "right", "damaged", "gone" (evicted meanwhile) or "unreadable" (its record cannot be read)"""

    subject: str
    tier: str
    size_bytes: int
    result: str
    message: str = ""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)


def run(options: argparse.Namespace) -> int:
    started_s = time.monotonic()
    with opened_ssd(options) as opened:
        chosen = selection_of(options)
        entries = opened.chosen(chosen) if chosen.patterns or chosen.folder else opened.entries()
        results = check_entries(entries, options)
    seconds = time.monotonic() - started_s
    wrong = [one for one in results if one.result in ("damaged", "unreadable")]
    if options.json:
        print_json({"objects": results, "damaged": len(wrong), "seconds": seconds})
    else:
        rows = ((size_text(one.size_bytes), one.tier, one.result, one.subject) for one in results)
        print_table([Column("size", right=True), "tier", "result", "object"], rows)
        total = sum(one.size_bytes for one in results)
        found = f"{len(wrong)} damaged" if wrong else "nothing damaged"
        say(f"{count_text(len(results), 'object')}, {size_text(total)} at {rate_text(total / max(seconds, 1e-6))}: {found}")
    return INCOMPLETE if wrong else DONE


def check_entries(entries: list[SsdEntry], options: argparse.Namespace) -> list[Checked]:
    results, done_bytes = [], 0
    with progress_bar(options, sum(entry.size_bytes for entry in entries), title="checking") as show:
        for entry in entries:
            results.append(_check(entry, done_bytes, show))
            done_bytes += entry.size_bytes
    return results


def _check(entry: SsdEntry, before_bytes: int, show: Show) -> Checked:
    if entry.obj is None:
        return Checked(entry.subject, entry.tier, entry.size_bytes, "unreadable", "its record cannot be read")
    name = entry.obj.basename
    lease = entry.directory.lease(entry.obj, use=False)
    if lease is None:
        # the record is right and the file is not: another size, a link
        result = "damaged" if entry.directory.holds(entry.digest) else "gone"
        return Checked(entry.subject, entry.tier, entry.size_bytes, result)
    with lease:
        try:
            entry.directory.verify(lease, lambda done_bytes: show(before_bytes + done_bytes, name), again=True)
        except CorruptObject as error:
            return Checked(entry.subject, entry.tier, entry.size_bytes, "damaged", str(error))
        except ModelStreamError as error:
            return Checked(entry.subject, entry.tier, entry.size_bytes, "unreadable", str(error))
    return Checked(entry.subject, entry.tier, entry.size_bytes, "right")
