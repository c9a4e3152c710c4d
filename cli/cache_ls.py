"""``modelstream cache ls``: what lies on the SSD."""

from __future__ import annotations

import argparse
import time

from .output import DONE, count_text, print_json, size_text, time_text, warn
from .select import add_selection, selection_of
from .ssd_open import SsdEntry, opened_ssd
from .tables import Column, print_table

EXAMPLES = """
modelstream cache ls
modelstream cache ls --folder loras --comfyui /srv/comfyui
modelstream cache ls --json | jq '.entries[] | select(.idle_s > 2592000) | .subject'
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)


def run(options: argparse.Namespace) -> int:
    with opened_ssd(options) as opened:
        chosen = selection_of(options)
        entries = opened.chosen(chosen) if chosen.patterns or chosen.folder else opened.entries()
        space = opened.ssd.snapshot()
    if options.json:
        print_json({"entries": [entry_json(entry) for entry in entries], "space": space})
        return DONE
    rows = ((size_text(e.size_bytes), time_text(e.last_used_s), e.tier, e.state or "-", e.subject) for e in entries)
    print_table([Column("size", right=True), "last used", "tier", "state", "object"], rows)
    budget = "" if space.budget_bytes is None else f" of {size_text(space.budget_bytes)}"
    left = f", {size_text(space.leftover_bytes)} in unfinished downloads" if space.leftover_bytes else ""
    warn(f"{count_text(len(entries), 'object')}; the SSD tier has {size_text(space.used_bytes)}{budget}{left}")
    return DONE


def entry_json(entry: SsdEntry) -> dict[str, object]:
    return {
        "subject": entry.subject,
        "digest": entry.digest,
        "tier": entry.tier,
        "size_bytes": entry.size_bytes,
        "last_used_s": entry.last_used_s,
        "idle_s": max(0.0, time.time() - entry.last_used_s),
        "pinned": entry.pinned,
        "in_use": entry.in_use,
    }
