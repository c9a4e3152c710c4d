"""The table of commands, the options that all of them have, and exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..storage import VERSION
from ..storage.errors import ModelStreamError
from . import warm, warm_set
from .places import add_place_options

DONE, INCOMPLETE, WRONG, INTERRUPTED = 0, 1, 2, 130
"""all is well; something is missing or failed; the command, the configuration or a file is wrong; Ctrl-C"""


@dataclass(frozen=True, slots=True)
class Command:
    """run: gets the parsed options, returns the exit code; may raise ModelStreamError, which is printed"""

    name: str
    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


COMMANDS: tuple[Command, ...] = (
    Command("warm", "fetch a warm set onto the SSD, ahead of time", warm.add_options, warm.run),
    Command("warm-set", "write a warm set: from a workflow, from recent use, from pins", warm_set.add_options, warm_set.run),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """For ``python -m modelstream`` and the script of that name."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        return code
    except ModelStreamError as error:
        print(f"modelstream: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("modelstream: stopped; what has landed on the SSD is resumed next time", file=sys.stderr)
        return INTERRUPTED


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("modelstream", description="Models in buckets, streamed into ComfyUI: what can be done without it.")
    made.add_argument("--version", action="version", version=VERSION)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = commands.add_parser(command.name, help=command.summary, description=f"{command.summary[0].upper()}{command.summary[1:]}.")
        add_place_options(one)
        command.add_options(one)
        one.set_defaults(run=command.run)
    return made
