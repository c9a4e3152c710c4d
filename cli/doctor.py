"""``modelstream doctor``: tries everything that loading a model needs, and says what does not work and what to do.

Nothing is changed without ``--write``, and then only one object of its own, which it takes away again.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .findings import ERROR, OK, WARNING, Finding
from .output import DONE, INCOMPLETE, count_text, print_json, say, shown
from .places import add_origin_option
from .tables import print_table

if TYPE_CHECKING:
    from ..storage.config import Config

EXAMPLES = """
modelstream doctor
modelstream doctor --comfyui /srv/comfyui --url http://127.0.0.1:8188
modelstream doctor --origin near --write --json
modelstream doctor --quick
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_origin_option(parser)
    tries = "also try to put, upload in parts, delete and set a lifecycle, with a probe object"
    parser.add_argument("--write", action="store_true", help=tries)
    parser.add_argument("--quick", action="store_true", help="measure no rates")
    parser.add_argument("--heads", type=int, default=9, metavar="N", help="requests for the latency (default: 9)")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="to read for the rate, at most (default: 3)")
    parser.add_argument("--url", metavar="URL", help="of a running ComfyUI, to ask it which seams fit")
    parser.add_argument("--probe", metavar="KEY", help="the object to read (default: the largest of the first page)")


def run(options: argparse.Namespace) -> int:
    findings = list(_all(options))
    errors = sum(one.status == ERROR for one in findings)
    if options.json:
        print_json({"findings": findings, "errors": errors, "warnings": sum(one.status == WARNING for one in findings)})
    else:
        _print(findings)
    return INCOMPLETE if errors else DONE


def _all(options: argparse.Namespace) -> Iterator[Finding]:
    from . import doctor_comfyui, doctor_config, doctor_machine

    config, found = doctor_config.check(options)
    yield from found
    if config is not None:
        yield from _origins(config, options)
        yield from doctor_machine.check_tiers(config, options)
    yield from doctor_machine.check_packages(config)
    yield from doctor_comfyui.check(options)


def _origins(config: Config, options: argparse.Namespace) -> Iterator[Finding]:
    from ..storage.origin import open_origins
    from . import doctor_origin, doctor_write
    from .places import named_origin

    origins = open_origins(config)
    for origin in origins if options.origin is None else (named_origin(origins, options.origin),):
        yield from doctor_origin.check(origin, config, options)
        if options.write:
            yield from doctor_write.check(origin)


def _print(findings: list[Finding]) -> None:
    for part, group in itertools.groupby(findings, key=lambda one: one.part):
        say(f"\n{shown(part)}")
        print_table(["", "", ""], ((f"  {one.status}", one.check, one.found) for one in group), titles=False)
    steps = [one for one in findings if one.status != OK and one.next_step]
    if steps:
        say("\nWhat to do")
        for one in steps:
            say(f"  {shown(one.part)}, {one.check}: {shown(one.next_step)}")
    errors = sum(one.status == ERROR for one in findings)
    warnings = sum(one.status == WARNING for one in findings)
    say(f"\n{count_text(errors, 'error')}, {count_text(warnings, 'warning')}")
