"""``modelstream warm-set``: writes a warm set as TOML, to a file or to the terminal."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..cache.prefetch_set import WarmModel, to_toml
from ..storage.errors import ConfigError
from .output import DONE, print_json, say
from .places import opened_runtime
from .sets import read_set

EXAMPLES = """
modelstream warm-set --workflow portrait.json -o set.toml
modelstream warm-set --hours 24 --pins --comfyui /srv/comfyui > set.toml
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow", type=Path, action="append", default=[], metavar="FILE", help="what a workflow (or prompt) names")
    parser.add_argument("--hours", type=float, metavar="N", help="what is on the SSD and was used in the last N hours of use")
    parser.add_argument("--pins", action="store_true", help="what is pinned")
    parser.add_argument("--tier", choices=("ram", "ssd"), default="", help="where it is to be fetched; written into the file")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")


def run(options: argparse.Namespace) -> int:
    if not options.workflow and options.hours is None and not options.pins:
        raise ConfigError("nothing to make a warm set of", next_step="give --workflow, --hours or --pins")
    models = [model for path in options.workflow for model in read_set(path).models]
    if options.hours is not None or options.pins:
        models += _of_the_cache(options)
    text = to_toml(dict.fromkeys(models), options.tier)
    if options.json:
        print_json({"models": list(dict.fromkeys(models)), "tier": options.tier})
    elif options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, "utf-8")
        say(f"{options.output.name}: {len(dict.fromkeys(models))} models")
    return DONE


def _of_the_cache(options: argparse.Namespace) -> list[WarmModel]:
    with opened_runtime(options, list_timeout_s=None) as runtime:
        entries = [e for e in runtime.cache.entries() if e.last_used_s and ":" in e.subject]
        newest_s = max((e.last_used_s or 0.0 for e in entries), default=0.0)
        since_s = newest_s - (options.hours or 0.0) * 3600
        found = [WarmModel(origin=e.origin, key=e.subject.partition(":")[2]) for e in entries if (e.last_used_s or 0.0) >= since_s]
        pins = [WarmModel(origin=pin.origin, key=pin.key) for pin in runtime.cache.pins()]
    return (found if options.hours is not None else []) + (pins if options.pins else [])
