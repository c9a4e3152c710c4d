"""``modelstream cost``: what the buckets cost a month, as they are and as the plan would have them: in all, by origin, class and model."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .output import DONE, count_text, print_json, say, size_text
from .places import add_origin_option, open_named_origins, read_config
from .select import add_selection, selected, selection_of
from .tables import Column, print_table
from .tier_inputs import rules_for

if TYPE_CHECKING:
    from ..storage.cost_report import CostReport, Line
    from ..storage.prices import PriceClass

EXAMPLES = """
modelstream cost
modelstream cost loras --top 20
modelstream cost --prices
modelstream cost --json --top 0
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    add_selection(parser)
    add_origin_option(parser)
    parser.add_argument("--top", type=int, default=10, metavar="N", help="the N most expensive models (default: 10; 0: all)")
    parser.add_argument("--prices", action="store_true", help="the price list that is used, each row with its day and source")


def run(options: argparse.Namespace) -> int:
    from ..storage.cost_report import report

    origins = open_named_origins(options)
    rules = rules_for(options, origins)
    if options.prices:
        return _prices([row for origin in origins for row in rules.rows(origin.name)], options)
    made = report(*rules.plan(selected(origins, selection_of(options))))
    models = made.models[: options.top or None]
    sources = sorted({(row.as_of, row.source) for origin in origins for row in rules.rows(origin.name)})
    if options.json:
        rows = {"total": made.total, "by_origin": made.by_origin, "by_class": made.by_class, "models": models}
        more = {"currency": made.currency, "prices_read": made.prices_read, "fee": made.fee, "unpriced": made.unpriced}
        print_json({**more, **rows, "saves": made.total.saves, "sources": [{"as_of": day, "source": source} for day, source in sources]})
        return DONE
    _say(made, models)
    life, own = read_config(options).tiering.life_days, read_config(options).cost.price_file
    days = sorted({row.as_of for origin in origins for row in rules.rows(origin.name)})
    listed = f"your list {own.name}" if own else "the shipped list"
    say(f"prices: {listed}, rows of {', '.join(days) or '-'} (--prices shows each with its source); life {life:g} days")
    return DONE


def _say(made: CostReport, models: Iterable[Line]) -> None:
    columns = (Column("objects", right=True), Column("size", right=True), Column("reads/month", right=True))
    money = (Column(f"{made.currency}/month", right=True), Column("with plan", right=True))
    for title, lines in (("origin", made.by_origin), ("class", made.by_class), ("model", models)):
        print_table((*columns, *money, title), (_cells(line) for line in lines))
        say("")
    total = made.total
    if total.month is None:
        say(f"no price is known for any of {count_text(total.objects, 'object')}: add prices under [cost] (docs/cost.md)")
        return
    then = f"with the plan {total.after:.2f}, which saves {total.saves:.2f} and costs {made.fee:.2f} once"
    say(f"{total.month:.2f} {made.currency} a month; {then}")
    if made.unpriced:
        say(f"{count_text(made.unpriced, 'object')} without a known price are in no sum")


def _cells(line: Line) -> tuple[str, ...]:
    figures = ("?", "?") if line.month is None or line.after is None else (f"{line.month:.3f}", f"{line.after:.3f}")
    return (f"{line.objects:,}", size_text(line.size_bytes), f"{line.reads_per_month:.2f}", *figures, line.name)


def _prices(rows: list[PriceClass], options: argparse.Namespace) -> int:
    rows = list(dict.fromkeys(rows))
    if options.json:
        print_json(rows)
        return DONE
    figures = [Column(title, right=True) for title in ("GB-month", "read GB", "egress GB", "days")]
    print_table(("class", *figures, "of", "source"), (_price_cells(row) for row in rows))
    return DONE


def _price_cells(row: PriceClass) -> tuple[str, ...]:
    figures = (f"{row.store_per_gb_month:.5f}", f"{row.retrieve_per_gb:.4f}", f"{row.egress_per_gb:.4f}", f"{row.min_days:g}")
    return (f"{row.storage_class} {row.restore_tier}".strip(), *figures, row.as_of, row.source)
