"""``modelstream cache unpin``: gives back to eviction what was pinned."""

from __future__ import annotations

import argparse

from ..cache.operations import Pin
from ..storage.errors import ObjectMissing
from .cache_pin import print_pins, saved
from .output import DONE
from .select import Selection, add_selection, selection_of
from .ssd_open import OpenSsd, opened_ssd

EXAMPLES = """
modelstream cache unpin sd_xl_base_1.0.safetensors
modelstream cache unpin 'loras/*'
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser, required=True)


def run(options: argparse.Namespace) -> int:
    with opened_ssd(options) as opened:
        pins = _pinned(opened, selection_of(options))
        changed = [pin for pin in pins if saved(opened.pins, pin, on=False)]
        print_pins(pins, changed, opened.pins, options, "no longer pinned")
    return DONE


def _pinned(opened: OpenSsd, chosen: Selection) -> list[Pin]:
    tests = {config.name: chosen.test(config) for config in opened.origins}
    found = [pin for pin in opened.pins.all() if pin.origin in tests and tests[pin.origin](pin.key)]
    if not found:
        step = "`modelstream cache pin --list` shows what is pinned"
        raise ObjectMissing("nothing that is pinned fits", subject=", ".join(chosen.patterns), next_step=step)
    return found
