"""``modelstream cache plan``: who would go to make room on the SSD.  Asks, changes nothing."""

from __future__ import annotations

import argparse

from .inputs import size
from .output import DONE, INCOMPLETE, duration_text, print_json, say, size_text
from .places import read_config, state_directory
from .ssd_open import OpenSsd, opened_ssd
from .tables import Column, print_table

EXAMPLES = """
modelstream cache plan 20GB
modelstream cache plan 7GB --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("size", type=size, metavar="SIZE", help="of what is to come, e.g. 20GB or 6.5GiB")


def run(options: argparse.Namespace) -> int:
    with opened_ssd(options) as opened:
        _recall(opened, options)
        plan = opened.ssd.plan_room(options.size)
        names = {entry.digest: entry.subject for entry in opened.entries()}
    victims = [(victim, names.get(victim.digest, victim.digest)) for victim in plan.victims]
    if options.json:
        rows = [
            {"subject": name, "size_bytes": v.size_bytes, "idle_s": v.idle_s, "expected_loss_s": v.expected_loss_s, "why": plan.why(v)}
            for v, name in victims
        ]
        figures = {"enough": plan.enough, "needed_bytes": max(0, plan.needed_bytes), "freed_bytes": plan.freed_bytes}
        print_json({**figures, "ranking": plan.ranking, "victims": rows})
        return DONE if plan.enough else INCOMPLETE
    if not plan.enough:
        say(f"{size_text(options.size)} do not fit: {size_text(plan.needed_bytes)} would have to go, and what may go does not do")
        return INCOMPLETE
    if not victims:
        say(f"{size_text(options.size)} fit without evicting anything")
        return DONE
    cells = ((size_text(v.size_bytes), duration_text(v.idle_s), duration_text(v.expected_loss_s), name) for v, name in victims)
    print_table([Column("size", right=True), Column("idle", right=True), Column("expected loss", right=True), "object"], cells)
    say(f"{size_text(plan.freed_bytes)} would go for {size_text(options.size)}, by the ranking {plan.ranking}")
    return DONE


def _recall(opened: OpenSsd, options: argparse.Namespace) -> None:
    """Budgets that were changed while ComfyUI ran, and what it knows of past use: the plan is the one that it would carry out."""
    from ..cache.keeping import saved_budgets
    from ..cache.operations import SSD
    from ..cache.policy_memory import PolicyMemory
    from ..cache.state_file import StateFile
    from ..storage.events import EventBus

    state = state_directory(options.comfyui)
    configured = {SSD: read_config(options).ssd.budget_bytes}
    budget = saved_budgets(StateFile(state / "budgets.json"), configured).get(SSD)
    directories = opened.ssd.directories()
    if budget is not None and len(directories) == 1:
        directories[0].assume_budget(budget)
    if (state / "usage").is_dir():
        PolicyMemory(state / "usage", {f"ssd{n or ''}": one for n, one in enumerate(directories)}, EventBus()).recall()
