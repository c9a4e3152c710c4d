"""``modelstream plan``: which objects would be cheaper in another storage class, as a table and as a file for ``apply``.

Asks the buckets for their listings and changes nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .output import DONE, count_text, duration_text, print_json, say, size_text, warn
from .places import add_origin_option, open_named_origins
from .select import add_selection, selected, selection_of
from .tables import Column, print_table
from .tier_inputs import plan_path, rules_for

if TYPE_CHECKING:
    from ..storage.tier_plan import Move, TierPlan
    from ..storage.tier_rules import Planned

EXAMPLES = """
modelstream plan
modelstream plan loras --out plan.json
modelstream plan --why --json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    add_origin_option(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="save the plan there as well, for `apply FILE`")
    parser.add_argument("--top", type=int, default=50, metavar="N", help="show the N moves that save most (default: 50; 0: all)")
    parser.add_argument("--fit", nargs="+", metavar="FOLDER/NAME", help="instead: whether these models fit, as `modelstream fit` says it")
    parser.add_argument("--why", action="store_true", help="also why the other objects stay, one by one")


def run(options: argparse.Namespace) -> int:
    if options.fit:
        from . import fit

        return fit.run(fit.with_defaults(options.fit, json=options.json))
    origins = open_named_origins(options)
    if options.origin is None:  # copies come and go there by the fleet's own rules; named, it is planned like any other
        origins = tuple(origin for origin in origins if not origin.config.mirror)
    objects = selected(origins, selection_of(options))
    plan, decided = rules_for(options, origins).plan(objects)
    path = save(plan, options.out or plan_path(options))
    if options.out:
        save(plan, plan_path(options))
    if options.json:
        print_json({"plan": plan, "id": plan.id, "saves": plan.saves, "fee": plan.fee, "objects": _why(decided) if options.why else None})
        return DONE
    print_moves(plan.moves[: options.top or None], plan.currency)
    if len(plan.moves) > (options.top or len(plan.moves)):
        say(f"… and {count_text(len(plan.moves) - options.top, 'move')} more (--top 0 shows all)")
    if options.why:
        print_table(("class", "why it stays", "name"), ((p.obj.storage_class, p.why, p.obj.subject) for p in decided if p.move is None))
    _say_totals(plan)
    if plan.moves:
        named = f" {path}" if options.out else ""
        say(f"nothing was changed; `modelstream apply{named}` shows what it would do, with --yes it does it")
    return DONE


def save(plan: TierPlan, path: Path) -> Path:
    """Whole or not at all."""
    from ..storage.errors import ConfigError
    from ..storage.tier_plan import to_json

    passing = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        passing.write_text(to_json(plan), "utf-8")
        passing.replace(path)
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be written", cause=error.strerror or "") from None
    return path


def print_moves(moves: Sequence[Move], currency: str) -> None:
    columns = (
        "from",
        "to",
        "by",
        Column("size", right=True),
        Column("reads/month", right=True),
        Column(f"{currency}/month", right=True),
        Column("after", right=True),
        Column("fee", right=True),
        Column("pays after", right=True),
        Column("wait to read", right=True),
        "name",
    )
    print_table(columns, map(_cells, moves))


def _cells(move: Move) -> tuple[str, ...]:
    pays = "-" if move.break_even_days is None else f"{move.break_even_days:.0f} days"
    return (
        move.from_class,
        move.to_class,
        move.way,
        size_text(move.size_bytes),
        f"{move.reads_per_month:.2f}",
        f"{move.before:.3f}",
        f"{move.after:.3f}",
        f"{move.fee:.3f}",
        pays,
        duration_text(move.restore_s) if move.restore_s else "none",
        move.subject,
    )


def _say_totals(plan: TierPlan) -> None:
    say(
        f"{count_text(len(plan.moves), 'move')} of {count_text(plan.objects, 'object')}: saves {plan.saves:.2f} {plan.currency} a month, "
        f"costs {plan.fee:.2f} once; prices of {plan.prices_read or 'an unknown day'}"
    )
    for why, count in plan.stays:
        say(f"{count_text(count, 'object')} stay{'s' if count == 1 else ''}: {why}")
    for note in plan.notes:
        warn(f"note: {note}")


def _why(decided: Sequence[Planned]) -> list[dict[str, object]]:
    return [{"origin": p.obj.origin, "key": p.obj.id.key, "moves": p.move is not None, "why": p.why, "month": p.month} for p in decided]
