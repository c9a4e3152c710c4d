"""The table of commands, the options that all of them have, and what becomes of their errors.

A command is a module with ``EXAMPLES``, ``add_options`` and ``run`` (see ``CommandModule``) and a row in ``COMMANDS``.  Only
the module of the command that is called is imported, so that ``--help`` and every other command stay quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..storage import VERSION
from ..storage.errors import ModelStreamError
from .output import DONE, EXIT_CODES, INTERRUPTED, WRONG, add_output_options, warn
from .places import add_place_options


class CommandModule(Protocol):
    """run: gets the parsed options (``json``, ``quiet``, ``comfyui`` and ``config`` among them), returns the exit code; may raise
    ModelStreamError, which is printed.  Errors of botocore go through ``Origin.translate`` first.
    """

    EXAMPLES: str
    """command lines, one a line, shown below the help"""

    def add_options(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, options: argparse.Namespace) -> int: ...


@dataclass(frozen=True, slots=True)
class Command:
    """Either a command of its own (``load`` imports its module) or a group of ``commands``."""

    name: str
    summary: str
    load: Callable[[], CommandModule] | None = None
    commands: tuple[Command, ...] = ()


def _cache_ls() -> CommandModule:
    from . import cache_ls

    return cache_ls


def _cache_evict() -> CommandModule:
    from . import cache_evict

    return cache_evict


def _cache_pin() -> CommandModule:
    from . import cache_pin

    return cache_pin


def _cache_unpin() -> CommandModule:
    from . import cache_unpin

    return cache_unpin


def _cache_verify() -> CommandModule:
    from . import cache_verify

    return cache_verify


def _cache_plan() -> CommandModule:
    from . import cache_plan

    return cache_plan


def _fit() -> CommandModule:
    from . import fit

    return fit


def _doctor() -> CommandModule:
    from . import doctor

    return doctor


def _init() -> CommandModule:
    from . import init

    return init


def _ls() -> CommandModule:
    from . import ls

    return ls


def _compress() -> CommandModule:
    from . import compress

    return compress


def _mirror() -> CommandModule:
    from . import mirror

    return mirror


def _restore() -> CommandModule:
    from . import restore

    return restore


def _apply() -> CommandModule:
    from . import apply

    return apply


def _cost() -> CommandModule:
    from . import cost

    return cost


def _plan() -> CommandModule:
    from . import plan

    return plan


def _pull() -> CommandModule:
    from . import pull

    return pull


def _verify() -> CommandModule:
    from . import verify

    return verify


def _warm() -> CommandModule:
    from . import warm

    return warm


def _warm_set() -> CommandModule:
    from . import warm_set

    return warm_set


def _push() -> CommandModule:
    from . import push

    return push


def _gc() -> CommandModule:
    from . import gc

    return gc


CACHE = (
    Command("ls", "list what is on the SSD", _cache_ls),
    Command("evict", "take models off the SSD", _cache_evict),
    Command("pin", "keep models on the SSD, whatever else wants room", _cache_pin),
    Command("unpin", "give back to eviction what was pinned", _cache_unpin),
    Command("verify", "read what is on the SSD again and compare checksums", _cache_verify),
    Command("plan", "say who would go to make room", _cache_plan),
)

COMMANDS: tuple[Command, ...] = (
    Command("cache", "look after the SSD tier, also beside a running ComfyUI", commands=CACHE),
    Command("doctor", "try everything that loading a model needs, and say what to do about what fails", _doctor),
    Command("init", "set buckets up: versioning, lifecycle, encryption, policies", _init),
    Command("ls", "list what the buckets hold, and what of it is on the SSD", _ls),
    Command("pull", "fetch objects onto the SSD or into a folder, resumed and verified", _pull),
    Command("push", "put models into a bucket: checked, resumable, verified", _push),
    Command("verify", "read objects again and compare them with their checksums", _verify),
    Command("gc", "remove what killed pushes left in buckets", _gc),
    Command("compress", "make compressed forms of objects, or say for which it pays", _compress),
    Command("mirror", "copy models from far buckets to the near one in front of them", _mirror),
    Command("plan", "which objects would be cheaper in another storage class", _plan),
    Command("apply", "carry out a plan of moves between storage classes", _apply),
    Command("restore", "ask archived objects back, or say how far that is", _restore),
    Command("cost", "what the buckets cost a month, and what they would with the plan", _cost),
    Command("fit", "ask a running ComfyUI how much memory models take, and whether that is there", _fit),
    Command("warm", "fetch a warm set onto the SSD, ahead of time", _warm),
    Command("warm-set", "write a warm set: from a workflow, from recent use, from pins", _warm_set),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """For ``python -m modelstream`` and the script of that name."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 shows escapes; it never stops a command
    options = parser(given).parse_args(given)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ModelStreamError as error:
        warn(f"modelstream: {error}")
        return WRONG
    except BrokenPipeError:
        # who reads has seen enough (``modelstream ls | head``); Python would complain once more when it closes the stream
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        warn("modelstream: stopped; what has landed is resumed next time")
        return INTERRUPTED


def parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser for these arguments: of the commands that they do not name it knows the names only."""
    made = argparse.ArgumentParser(
        "modelstream",
        description="Models in buckets, streamed into ComfyUI: what can be done without it.",
        epilog=f"{EXIT_CODES}\n`modelstream COMMAND --help` has examples",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=VERSION)
    _add_commands(made, COMMANDS, [word for word in arguments if not word.startswith("-")])
    return made


def _add_commands(parent: argparse.ArgumentParser, commands: Sequence[Command], words: Sequence[str]) -> None:
    added = parent.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        named = words[:1] == [command.name]
        module = command.load() if named and command.load is not None else None
        one = added.add_parser(
            command.name,
            help=command.summary,
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=_examples(module) if module is not None else EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is not None:
            module.add_options(one)
            add_output_options(one)
            add_place_options(one)
            one.set_defaults(run=module.run)
        elif named and command.commands:
            _add_commands(one, command.commands, words[1:])


def _examples(module: CommandModule) -> str:
    lines = "\n".join(f"  {line.strip()}" for line in module.EXAMPLES.strip().splitlines())
    return f"examples:\n{lines}\n\n{EXIT_CODES}"
