"""``modelstream cache evict``: takes models off the SSD.  What is pinned, or read by any process, stays and is named."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from ..storage.errors import ConfigError
from .inputs import duration
from .output import DONE, INCOMPLETE, count_text, print_json, say, size_text, warn
from .select import add_selection, selection_of
from .ssd_open import SsdEntry, opened_ssd
from .tables import Column, print_table

EXAMPLES = """
modelstream cache evict old-model.safetensors
modelstream cache evict 'checkpoints/*' --idle 30d --dry-run
modelstream cache evict --all --comfyui /srv/comfyui
"""

REASONS = {
    "leased": "it is being read",
    "pinned": "it is pinned",
    "newer": "a newer version of Model Stream keeps it",
    "busy": "its file cannot be moved now",
    "read-only": "its directory is read-only",
}


@dataclass(frozen=True, slots=True)
class Gone:
    """freed_bytes: 0 and ``refused`` a word where it stays"""

    subject: str
    tier: str
    freed_bytes: int
    refused: str


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--all", action="store_true", help="everything that is neither pinned nor in use")
    parser.add_argument("--idle", type=duration, metavar="TIME", help="only what was not used for so long, e.g. 30d")
    parser.add_argument("--dry-run", action="store_true", help="say what would go")


def run(options: argparse.Namespace) -> int:
    chosen = selection_of(options)
    if not (chosen.patterns or chosen.folder or options.all or options.idle is not None):
        raise ConfigError("nothing is named", next_step="give a pattern, --folder, --idle or --all")
    with opened_ssd(options) as opened:
        entries = opened.chosen(chosen) if chosen.patterns or chosen.folder else opened.entries()
        if options.idle is not None:
            entries = [entry for entry in entries if time.time() - entry.last_used_s >= options.idle]
        outcomes = [_would(entry) if options.dry_run else _evict(entry) for entry in entries]
    _print(outcomes, options)
    return INCOMPLETE if any(one.refused for one in outcomes) and not options.dry_run else DONE


def _would(entry: SsdEntry) -> Gone:
    refused = "pinned" if entry.pinned else "leased" if entry.in_use else ""
    return Gone(entry.subject, entry.tier, 0 if refused else entry.size_bytes, refused)


def _evict(entry: SsdEntry) -> Gone:
    return Gone(entry.subject, entry.tier, *entry.directory.let_go(entry.digest))


def _print(outcomes: list[Gone], options: argparse.Namespace) -> None:
    freed = sum(one.freed_bytes for one in outcomes)
    if options.json:
        print_json({"dry_run": options.dry_run, "freed_bytes": freed, "objects": outcomes})
        return
    words = "would free" if options.dry_run else "freed"
    rows = ((size_text(one.freed_bytes), one.tier, one.subject) for one in outcomes if not one.refused)
    print_table([Column(words, right=True), "tier", "object"], rows)
    for one in outcomes:
        if one.refused:
            warn(f"stays: {one.subject}: {REASONS.get(one.refused, one.refused)}")
    say(f"{words} {size_text(freed)} of {count_text(len(outcomes), 'object')}")
