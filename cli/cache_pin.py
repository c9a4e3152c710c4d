"""``modelstream cache pin``: what eviction leaves alone.  A ComfyUI that runs sees it within a second."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from ..cache.operations import Pin
from ..cache.pins import Pins
from ..storage.errors import ConfigError, ObjectMissing
from .output import DONE, print_json, say, shown
from .places import open_named_origins
from .select import Selection, add_selection, list_selected, selection_of
from .ssd_open import OpenSsd, opened_ssd

EXAMPLES = """
modelstream cache pin sd_xl_base_1.0.safetensors
modelstream cache pin 'near:loras/house-style/*'
modelstream cache pin --list --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    parser.add_argument("--list", action="store_true", help="only say what is pinned")


def run(options: argparse.Namespace) -> int:
    chosen = selection_of(options)
    if not (options.list or chosen.patterns or chosen.folder):
        raise ConfigError("nothing is named", next_step="give a pattern or --folder, or --list")
    with opened_ssd(options) as opened:
        if options.list:
            print_pins(opened.pins.all(), [], opened.pins, options, "pinned")
            return DONE
        wanted = _on_the_ssd(opened, chosen) or _in_a_bucket(options, chosen)
        changed = [pin for pin in wanted if saved(opened.pins, pin, on=True)]
        print_pins(wanted, changed, opened.pins, options, "pinned")
    return DONE


def _on_the_ssd(opened: OpenSsd, chosen: Selection) -> list[Pin]:
    """What is there is found without asking a bucket."""
    try:
        entries = opened.chosen(chosen)
    except ObjectMissing:
        return []
    return list(dict.fromkeys(Pin(e.obj.origin, e.obj.id.key) for e in entries if e.obj is not None))


def _in_a_bucket(options: argparse.Namespace, chosen: Selection) -> list[Pin]:
    """What will come one day is pinned from its first moment on."""
    options.origin = None
    found = [Pin(obj.origin, obj.id.key) for obj in list_selected(open_named_origins(options), chosen)]
    if not found:
        step = "`modelstream ls` shows what the buckets hold"
        raise ObjectMissing("no object fits", subject=", ".join(chosen.patterns) or chosen.folder, next_step=step)
    return found


def saved(pins: Pins, pin: Pin, *, on: bool) -> bool:
    try:
        return pins.add(pin) if on else pins.remove(pin)
    except OSError as error:
        step = "run this as the user that runs ComfyUI"
        raise ConfigError("the choice cannot be saved", cause=error.strerror or "", next_step=step) from None


def print_pins(named: Iterable[Pin], changed: list[Pin], pins: Pins, options: argparse.Namespace, word: str) -> None:
    """named: what the command is about; changed: of these, what was not so before"""
    if options.json:
        print_json({"changed": changed, "pins": pins.all()})
        return
    for pin in named:
        say(f"{word}: {shown(f'{pin.origin}:{pin.key}')}")
