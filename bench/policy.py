"""``bench policy``: seconds of loading lost per policy, on recorded requests and on synthetic mixes, through the cache's own module.

Recorded: a file of the columns t_s, base, loras (``--trace``; by default ``../shared/traces/requests.csv`` where there is
one).  Undated rows warm the tier, dated rows count.  Sizes are drawn per file from public ones with five seeds.  No policy
sees the future, but for the two bounds that are marked offline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelstream.cache.policy import DEFAULT

from .plot import pyplot_for
from .policy_bounds import belady_cost, foo_bound
from .policy_mixes import MIXES, Request, sizes, stream
from .policy_replay import files_of, read_trace, replay, tier
from .policy_tiers import hierarchy
from .processes import ROOT
from .report import Check, Column, Report, at_most

COLUMNS = (Column("seconds", "lost_s", ".0f"), Column("x LRU", "of_lru", ".3f"), Column("us/use", "us_per_use", ".1f"))
TRACE = ROOT.parent / "shared" / "traces" / "requests.csv"
POLICIES = ("lru", "fifo", "lfu", "gdsf", "size_aware", "size_aware_persistent", "thrifty_lru", DEFAULT)
MIX_POLICIES = ("lru", "gdsf", "size_aware", "size_aware_persistent", DEFAULT)
TRACE_TIERS = (("RAM", 24), ("RAM", 48), ("RAM", 96), ("SSD", 100), ("SSD", 200), ("SSD", 400))
MIX_TIERS = (("RAM", 24), ("RAM", 48), ("SSD", 200))
SEEDS = (1, 2, 3, 4, 5)
MIX_SEEDS = (1, 2, 3)
BOUNDS = {"Belady-cost (offline)": belady_cost, "FOO bound (offline)": foo_bound}


@dataclass
class Bench:
    report: Report
    seeds: tuple[int, ...]
    mix_seeds: tuple[int, ...]

    def add(self, source: str, cell: str, policy: str, seed: int, lost_s: float, lru_s: float, **more: Any) -> None:
        of_lru = lost_s / lru_s if lru_s else 1.0
        self.report.add({"cell": cell, "source": source, "policy": policy, "seed": seed, "lost_s": lost_s, "of_lru": of_lru, **more})

    def trace(self, requests: tuple[Request, ...], first: int) -> None:
        files = files_of(requests)
        for seed in self.seeds:
            drawn = sizes(files, seed)
            for kind, gb in TRACE_TIERS:
                self.cell("trace", kind, gb, seed, requests, first, drawn, POLICIES, bounds=True)
            inclusive_s = hierarchy("lru", False, requests, first, drawn)
            for policy, exclusive in (("lru", False), ("lru", True), (DEFAULT, False), (DEFAULT, True)):
                shown = f"{policy}, {'exclusive' if exclusive else 'inclusive'}"
                self.add("trace", "hierarchy", shown, seed, hierarchy(policy, exclusive, requests, first, drawn), inclusive_s)

    def mixes(self) -> None:
        for mix in MIXES:
            for seed in self.mix_seeds:
                requests = stream(mix, seed)
                drawn = sizes(files_of(requests), seed)
                for kind, gb in MIX_TIERS:
                    self.cell(mix.name, kind, gb, seed, requests, len(requests) // 3, drawn, MIX_POLICIES, bounds=False)

    def cell(
        self,
        source: str,
        kind: str,
        gb: int,
        seed: int,
        requests: tuple[Request, ...],
        first: int,
        drawn: dict[str, float],
        policies: Iterable[str],
        *,
        bounds: bool,
    ) -> None:
        at = tier(kind, gb)
        lru_s = 0.0
        for policy in policies:
            found = replay(policy, at, requests, first, drawn)
            lru_s = found.lost_s if policy == "lru" else lru_s
            self.add(source, at.name, policy, seed, found.lost_s, lru_s, us_per_use=found.policy_s / max(found.uses, 1) * 1e6)
        for name, bound in BOUNDS.items() if bounds else ():
            self.add(source, at.name, name, seed, bound(at, requests, first, drawn), lru_s)

    def many_entries(self) -> None:
        """3,000 residents of 4,000 files, alike in popularity: the most evictions that a cache this large can see."""
        import random

        draw = random.Random(1)
        requests = tuple(Request(float(i), (f"lora:{min(int(draw.expovariate(1 / 1500)), 3999)}",)) for i in range(30_000))
        drawn = {f"lora:{code}": 0.2e9 * (1 + code % 3) for code in range(4000)}
        found = replay(DEFAULT, tier("SSD", 1200), requests, 0, drawn)
        row = {"cell": "SSD 1200", "source": "4000 files", "policy": DEFAULT, "lost_s": found.lost_s}
        self.report.add({**row, "us_per_use": found.policy_s / found.uses * 1e6})


def main(report: Report, *, repetitions: int | None, quick: bool, trace: Path | None = None, plot: Path | None = None) -> int:
    report.keys = ("cell", "source", "policy")
    seeds = SEEDS[: repetitions or (1 if quick else len(SEEDS))]
    bench = Bench(report, seeds, MIX_SEEDS[: 1 if quick else len(MIX_SEEDS)])
    where = trace or (TRACE if TRACE.is_file() else None)
    if where is None:
        report.note("no recorded requests: give a file with --trace; only the synthetic mixes are measured")
    else:
        bench.trace(*read_trace(where))
    bench.mixes()
    bench.many_entries()
    code = report.finish(checks(report))
    if plot is not None:
        draw(report, plot)
    return code


def checks(report: Report) -> list[Check]:
    """Cells and mixes are means over their seeds; the geometric means are over every cell and seed."""
    ours = [row for row in report.rows if row["policy"] == DEFAULT]
    recorded = [row for row in ours if row["source"] == "trace"]
    mixed = [row for row in ours if row["source"] not in ("trace", "4000 files")]
    formula = {_key(row): row["lost_s"] for row in report.rows if row["policy"] == "size_aware"}
    bound = {_key(row): row["lost_s"] for row in report.rows if row["policy"].startswith("FOO")}
    whole = [row["of_lru"] for row in report.rows if row["policy"] == f"{DEFAULT}, exclusive"]
    slowest = max((row["us_per_use"] for row in ours), default=None)
    found = [
        at_most("trace: geometric mean, of LRU", _geometric(row["of_lru"] for row in recorded), 0.88),
        at_most("trace: geometric mean, of the size-aware formula", _geometric(r["lost_s"] / formula[_key(r)] for r in recorded), 0.82),
        at_most("trace: worst cell, of LRU", _worst(recorded), 1.01),
        at_most("mixes: worst mix and tier, of LRU", _worst(mixed), 1.01),
        at_most("microseconds a use, slowest replay", slowest, 40.0),
        at_most("hierarchy: exclusive, of inclusive LRU", _geometric(whole), 0.80),
    ]
    distance = _geometric(row["lost_s"] / bound[_key(row)] for row in recorded if bound.get(_key(row)))
    if distance is not None:
        report.note(f"seconds lost on the trace: {distance:.2f} x the FOO lower bound")
    report.note(f"mixes: geometric mean {_geometric(row['of_lru'] for row in mixed) or 1.0:.3f} of LRU")
    return found


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["source"], row["cell"], row.get("seed")


def _geometric(values: Iterable[float]) -> float | None:
    logs = [math.log(value) for value in values if value > 0]
    return math.exp(sum(logs) / len(logs)) if logs else None


def _worst(rows: Iterable[dict[str, Any]]) -> float | None:
    groups: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        groups.setdefault((row["source"], row["cell"]), []).append(row["of_lru"])
    return max((sum(group) / len(group) for group in groups.values()), default=None)


def draw(report: Report, path: Path) -> None:
    """Bars per cell."""
    pyplot = pyplot_for(report)
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(2, 1, figsize=(15, 10))
    for axis, wanted in zip(axes, (True, False), strict=True):
        rows = [row for row in report.rows if (row["source"] == "trace") == wanted and row["cell"] not in ("hierarchy", "SSD 1200")]
        if not rows:
            axis.set_visible(False)
            continue
        cells = list(dict.fromkeys((row["source"], row["cell"]) for row in rows))
        policies = list(dict.fromkeys(row["policy"] for row in rows))
        for number, policy in enumerate(policies):
            heights = []
            for cell in cells:
                found = [row["of_lru"] for row in rows if row["policy"] == policy and (row["source"], row["cell"]) == cell]
                heights.append(sum(found) / len(found) if found else 0.0)
            axis.bar([i + number * 0.8 / len(policies) for i in range(len(cells))], heights, 0.8 / len(policies), label=policy)
        axis.set_xticks([i + 0.4 for i in range(len(cells))], [" ".join(cell) for cell in cells], rotation=0 if wanted else 75)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_ylim(0, 2)
        axis.set_ylabel("seconds of loading lost, of LRU")
        axis.legend(ncol=5, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
