"""``modelstream apply``: carries out a plan of moves between storage classes.  Without ``--yes`` it only says what it would do.

Every object is looked at again just before: one that has changed, is pinned or in use is left, and said.  Stopped or killed, it
goes on where it was when it is called again; a plan that is done is found done.
"""

from __future__ import annotations

import argparse
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .bars import progress_bar
from .output import DONE, INCOMPLETE, count_text, print_json, say, size_text, time_text, warn
from .places import add_origin_option, open_named_origins, state_directory
from .plan import print_moves
from .tier_inputs import HeldNow, plan_path

if TYPE_CHECKING:
    from ..storage.origin import Origin
    from ..storage.tier_apply import Outcome
    from ..storage.tier_plan import Move, TierPlan

EXAMPLES = """
modelstream apply
modelstream apply plan.json --yes
modelstream apply plan.json --yes --json
"""

WORDS = {
    "moved": "moved",
    "marked": "marked: the bucket's rule moves them",
    "already": "there already",
    "changed": "changed since the plan, left",
    "held": "pinned or in use, left",
    "archived": "to be restored first, left",
    "failed": "failed",
    "stopped": "not begun or stopped",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plan", nargs="?", type=Path, metavar="PLAN", help="a file of `plan --out` (default: the last plan)")
    add_origin_option(parser)
    parser.add_argument("--yes", action="store_true", help="do it; without it nothing is changed")


def run(options: argparse.Namespace) -> int:
    from ..storage.tier_plan import read_plan

    origins = {origin.name: origin for origin in open_named_origins(options)}
    plan = read_plan(options.plan or plan_path(options), origins)
    held = HeldNow(options)
    if not options.yes:
        return _would(plan, origins, held, options)
    outcomes = _apply(plan, origins, held, options)
    _print(plan, outcomes, options)
    return DONE if all(outcome.state in ("moved", "marked", "already") for outcome in outcomes) else INCOMPLETE


def _would(plan: TierPlan, origins: dict[str, Origin], held: HeldNow, options: argparse.Namespace) -> int:
    left = {move: why for move in plan.moves if (why := held.of_move(move, origins[move.origin]))}
    moves = [move for move in plan.moves if move not in left]
    if options.json:
        print_json({"plan": plan.id, "applied": False, "moves": moves, "held": [{"subject": m.subject, "why": w} for m, w in left.items()]})
        return DONE
    print_moves(moves, plan.currency)
    for move, why in left.items():
        warn(f"{move.subject} stays: {why}")
    saves, fee = sum(move.saves for move in moves), sum(move.fee for move in moves)
    money = f"saves {saves:.2f} {plan.currency} a month, costs {fee:.2f} once"
    say(f"would move {count_text(len(moves), 'object')} by the plan of {time_text(plan.made_s)}: {money}")
    say("nothing was changed; --yes does it")
    return DONE


def _apply(plan: TierPlan, origins: dict[str, Origin], held: HeldNow, options: argparse.Namespace) -> list[Outcome]:
    from ..storage.tier_apply import Applier, Journal

    stopped, lock, copied_bytes = threading.Event(), threading.Lock(), defaultdict[str, int](int)
    journal = Journal(state_directory(options.comfyui) / "tiering" / f"{plan.id}.jsonl")

    def copied(move: Move, done_bytes: int) -> None:
        with lock:
            copied_bytes[move.subject] = done_bytes

    def is_held(move: Move) -> str:
        with lock:
            return held.of_move(move, origins[move.origin])

    applier = Applier(origins, journal, held=is_held, stopped=stopped.is_set, copied=copied)
    outcomes: list[Outcome] = []
    with progress_bar(options, sum(move.size_bytes for move in plan.moves), title="moving") as show:
        try:
            for outcome in applier.apply(plan):
                outcomes.append(outcome)
                copied(outcome.move, outcome.move.size_bytes)
                show(sum(copied_bytes.values()), outcome.move.key.rpartition("/")[2])
        except BaseException:
            stopped.set()  # what is being copied ends with its part; the journal knows where to go on
            raise
    return outcomes


def _print(plan: TierPlan, outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    if options.json:
        rows = [{"subject": o.move.subject, "to": o.move.to_class, "state": o.state, "note": o.note} for o in outcomes]
        print_json({"plan": plan.id, "applied": True, "outcomes": rows})
        return
    for outcome in outcomes:
        if outcome.note:
            warn(outcome.note if outcome.move.key in outcome.note else f"{outcome.move.subject}: {outcome.note}")
    for state, words in WORDS.items():
        mine = [outcome for outcome in outcomes if outcome.state == state]
        if mine:
            say(f"{count_text(len(mine), 'object')} ({size_text(sum(o.move.size_bytes for o in mine))}) {words}")
