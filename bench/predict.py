"""``bench predict``: how well the next prompt's files are foretold, and what that is worth in seconds of waiting.

Recorded prompts with person and time (``--trace``; by default ``../shared/traces/requests.csv`` where there is one), in
order of time; whatever predicts is asked before it is told.  The first 60 % of the dated rows are only learned from.
``rank``: each way to predict, all people known to one history.  ``alone``: each person's own ComfyUI, the history empty at
first.  ``mix``: one person's synthetic sessions.  ``stalls``: people hashed to workers, each with its own cache, history
and loader (`predict_stalls`).
"""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelstream.cache.policy import DEFAULT, FROM_SSD
from modelstream.cache.predict import LEARNED, Predictor, Use
from modelstream.cache.predict_score import KS
from modelstream.cache.predict_train import Evaluation, train

from .policy import TRACE
from .policy_mixes import MIXES, sizes, stream
from .policy_replay import tier
from .predict_forest import TREES, forest, tally_forest
from .predict_plot import draw
from .predict_ranks import COUNTED, PER_PROMPT, Tally, tally_counts
from .predict_stalls import GUESSES, PROMPTS_AHEAD, SECOND_PRICE, Setting, Stalls, Worker, guesses_of
from .predict_trace import Prompt, of_one_person, read_prompts, uses_of
from .report import Check, Column, Report, at_least, at_most

COLUMNS = (
    *(Column(f"recall@{k}", f"recall_{k}", ".3f") for k in KS),
    Column("prec@2", "precision_2", ".3f"),
    Column("useful GB", "useful_gb", ".0f"),
    Column("wasted GB", "wasted_gb", ".0f"),
    Column("saved s", "saved_s", ".0f"),
    Column("stall s", "stall_s", ".0f"),
    Column("x LRU", "of_lru", ".3f"),
)
OURS, PRICED, BOOSTED, FOREST = "ours", "ours, priced", "gradient boosting", "RandomForest"
LEARNED_SHARE = 0.6
SIZE_SEEDS = (1, 2, 3, 4, 5)
CELLS = ((4, "RAM", 48), (8, "RAM", 48), (4, "SSD", 200), (8, "SSD", 200))
QUICK_CELLS = CELLS[:2]
SETTINGS = (
    Setting("lru"),
    Setting(DEFAULT),
    Setting("lru", PROMPTS_AHEAD),
    Setting(DEFAULT, PROMPTS_AHEAD),
    Setting(DEFAULT, PROMPTS_AHEAD, GUESSES),
)
ALONE_PROMPTS = 80
MANY_USES, USES = "100,000 uses", 100_000
"""so many uses are trained on for the check of the time that takes"""
Sizes = Mapping[str, float]


@dataclass
class Bench:
    report: Report
    quick: bool

    def tallies(self, part: str, cell: str, found: Mapping[str, Tally]) -> None:
        for name, tally in found.items():
            counted = {"prompts": tally.prompts, "new_files": tally.new_files}
            self.report.add({"part": part, "cell": cell, "method": name, **counted, **tally.row()})

    # -- ranking -----------------------------------------------------------------------------------------------------------
    def rank(self, prompts: Sequence[Prompt], drawn: Sizes) -> None:
        first = int(len(prompts) * LEARNED_SHARE)
        self.tallies("rank", "trace", tally_counts(prompts, first, drawn))
        uses = uses_of(prompts, drawn)
        found, predictor = tally_ours(uses, first, drawn)
        self.tallies("rank", "trace", found)
        spoken = [asdict(one) for one in predictor.accuracy().reliability]
        self.report.add({"part": "reliability", "cell": "trace", "method": OURS, "bins": spoken})
        if not self.quick:
            self.boosted(uses, first, drawn)
            trees = forest(prompts, first, drawn)
            self.tallies("rank", "trace", {FOREST: tally_forest(trees, prompts, first, drawn)})
            more = {"useful_gb": trees.used_bytes / 1e9, "wasted_gb": (trees.flagged_bytes - trees.used_bytes) / 1e9}
            self.report.add({"part": "rank", "cell": "trace", "method": f"{FOREST} p>=0.3", "files_a_tick": trees.flagged_files, **more})

    def boosted(self, uses: Sequence[Use], first: int, drawn: Sizes) -> None:
        """Trained once on the first part; a history goes on with it."""
        trained = train(uses[:first])
        if trained is None:
            return
        self.trained("trace, first part", trained[1], sum(len(use.files) for use in uses[:first]))
        found, _ = tally_ours(uses, first, drawn, trained[0])
        self.tallies("rank", "trace", {BOOSTED: found[BOOSTED]})

    def alone(self, prompts: Sequence[Prompt], drawn: Sizes) -> None:
        """Everybody with enough prompts, each in a ComfyUI of his own; from the twentieth prompt on."""
        people = Counter(prompt.user for prompt in prompts)
        sums = {name: Tally() for name in (*COUNTED, OURS)}
        for person in sorted(user for user, count in people.items() if count >= ALONE_PROMPTS):
            mine = [prompt for prompt in prompts if prompt.user == person]
            ours, _ = tally_ours(uses_of(mine, drawn), 20, drawn)
            for name, tally in {**tally_counts(mine, 20, drawn), OURS: ours[OURS]}.items():
                sums[name].add(tally)
        self.tallies("alone", "trace", sums)

    def mix(self) -> None:
        requests = stream(next(mix for mix in MIXES if mix.name == "one user"), 1)[: 2_000 if self.quick else None]
        prompts = of_one_person(requests)
        drawn = sizes(sorted({file for prompt in prompts for file in prompt.files}), 1)
        first = len(prompts) // 3
        self.tallies("mix", "one user", tally_counts(prompts, first, drawn))
        ours, _ = tally_ours(uses_of(prompts, drawn), first, drawn)
        self.tallies("mix", "one user", ours)

    # -- training ------------------------------------------------------------------------------------------------------------
    def train_much(self, prompts: Sequence[Prompt], drawn: Sizes) -> None:
        """The recorded prompts again and again until there are enough uses: what a long history costs, not what it is worth."""
        uses = uses_of(prompts, drawn)
        span_s, per_round = prompts[-1].at_s - prompts[0].at_s + 60.0, sum(len(use.files) for use in uses)
        many = [Use(use.at_s + number * span_s, use.files, use.stream) for number in range(-(-USES // per_round)) for use in uses]
        while sum(len(use.files) for use in many[:-1]) >= USES:
            many.pop()
        began_s = time.process_time()
        trained = train(many)
        if trained is not None:
            self.trained(MANY_USES, trained[1], sum(len(use.files) for use in many), time.process_time() - began_s)

    def trained(self, method: str, found: Evaluation, uses: int, seconds: float | None = None) -> None:
        row = {"part": "training", "cell": "trace", "method": method, "uses": uses, "accepted": found.accepted, **asdict(found)}
        self.report.add({**row, "seconds": found.seconds if seconds is None else seconds})

    # -- stalls ----------------------------------------------------------------------------------------------------------------
    def stalls(self, prompts: Sequence[Prompt]) -> None:
        files = sorted({file for prompt in prompts for file in prompt.files})
        first_s = prompts[int(len(prompts) * LEARNED_SHARE)].at_s
        seeds = SIZE_SEEDS[:3] if self.quick else SIZE_SEEDS
        told: dict[tuple[int, int], Any] = {}
        for workers, kind, gb in QUICK_CELLS if self.quick else CELLS:
            at = tier(kind, gb)
            of_worker = [[p for p in prompts if zlib.crc32(p.user.encode()) % workers == number] for number in range(workers)]
            if workers not in (key[0] for key in told):
                # sizes hardly matter to what is foretold (they decide which file leads a prompt): one drawing serves all seeds
                told.update({(workers, n): guesses_of(mine, sizes(files, SIZE_SEEDS[0])) for n, mine in enumerate(of_worker)})
            for seed in seeds:
                drawn, lru_s = sizes(files, seed), 0.0
                for setting in SETTINGS:
                    total = Stalls()
                    for number, mine in enumerate(of_worker):
                        total.add(Worker(setting, at, mine, first_s, drawn, told[workers, number]).run())
                    lru_s = lru_s or total.stall_s
                    row = {"part": "stalls", "cell": f"{workers} x {at.name}", "method": setting.name, "seed": seed, **asdict(total)}
                    self.report.add({**row, "of_lru": total.stall_s / lru_s})


def tally_ours(uses: Sequence[Use], first: int, drawn: Sizes, model: Any = None) -> tuple[dict[str, Tally], Predictor]:
    """What the product says: all of it, what it would fetch at the price of a second, and with a model what that says."""
    predictor = Predictor()
    found = {name: Tally() for name in ((BOOSTED,) if model else (OURS, PRICED))}
    last: dict[str, frozenset[str]] = {}
    for number, use in enumerate(uses):
        if number == first and model is not None:
            predictor.adopt(model)
        files = frozenset(file.digest for file in use.files)
        if number >= first and use.stream in last:
            # of somebody whom the product has forgotten it says nothing, and that counts as a miss
            new = files - last[use.stream]
            given = predictor.next(max(KS), use.at_s, use.stream, source=LEARNED if model else "")
            ranked = [one.digest for one in given]
            for name, tally in found.items():
                worth = [p.digest for p in given[:PER_PROMPT] if p.probability > SECOND_PRICE] if name == PRICED else None
                tally.note(ranked, new, drawn, worth)
        predictor.used(use)
        last[use.stream] = files
    return found, predictor


def main(report: Report, *, repetitions: int | None, quick: bool, trace: Path | None = None, plot: Path | None = None) -> int:
    report.keys = ("part", "cell", "method")
    bench = Bench(report, quick)
    where = trace or (TRACE if TRACE.is_file() else None)
    if where is None:
        report.note("no recorded requests: give a file with --trace; only synthetic sessions are measured")
    else:
        prompts = read_prompts(where)
        drawn = sizes(sorted({file for prompt in prompts for file in prompt.files}), SIZE_SEEDS[0])
        bench.rank(prompts, drawn)
        bench.stalls(prompts)
        if not quick:
            bench.alone(prompts, drawn)
            bench.train_much(prompts, drawn)
    bench.mix()
    code = report.finish(checks(report))
    if plot is not None:
        draw(report, plot)
    return code


def checks(report: Report) -> list[Check]:
    found = []
    ranks = {row["method"]: row for row in report.rows if row["part"] == "rank"}
    for k in KS:
        best = max((ranks[name][f"recall_{k}"] for name in COUNTED if name in ranks), default=None)
        ours = ranks.get(OURS, {}).get(f"recall_{k}")
        value = ours / best if best and ours is not None else None
        found.append(at_least(f"recall and precision at {k}, of the best count-based way", value, 1.0))
    ahead, guessed, plain = (setting.name for setting in (SETTINGS[3], SETTINGS[4], SETTINGS[0]))
    four = _stall_s(report, "4 x RAM 48")
    found.append(at_most("4 workers, RAM 48: look-ahead and default policy, of LRU", _over(four.get(ahead), four.get(plain)), 0.62))
    waste = [row["ahead_wasted_bytes"] / 1e9 for row in report.rows if row["part"] == "stalls"]
    found.append(at_most("GB fetched by look-ahead and not used", sum(waste) if waste else None, 0.0))
    cells = dict.fromkeys(row["cell"] for row in report.rows if row["part"] == "stalls")
    learned = [_over(by_name.get(guessed), by_name.get(ahead)) for by_name in (_stall_s(report, cell) for cell in cells)]
    found.append(at_most("learned on top: worst cell, of without", max((x for x in learned if x is not None), default=None), 1.0))
    if not report.quick:
        much = next((row["seconds"] for row in report.rows if row["method"] == MANY_USES), None)
        found.append(at_most("seconds of one core to train on 100,000 uses", much, 20.0))
    for row in report.rows:
        if row["part"] == "training" and row["method"] != MANY_USES:
            gain = 1 - row["learned_loss"] / row["mixed_loss"]
            accepted = "used" if row["accepted"] else "not used"
            report.note(f"{row['method']}: log loss of gradient boosting {gain:.1%} below the mix, {accepted}")
    single = _singles(report, ahead, guessed)
    if single:
        report.note(f"learned on top, single drawings of sizes: {min(single):.3f}-{max(single):.3f} of without")
    rate = FROM_SSD.bytes_per_s / 1e9
    report.note(f"RandomForest of {TREES} trees; bytes and seconds: the first {PER_PROMPT} files of each prompt, loaded at {rate:.0f} GB/s")
    return found


def _stall_s(report: Report, cell: str) -> dict[str, float]:
    """Of all drawings of sizes together, by setting."""
    total: dict[str, float] = {}
    for row in report.rows:
        if row["part"] == "stalls" and row["cell"] == cell:
            total[row["method"]] = total.get(row["method"], 0.0) + row["stall_s"]
    return total


def _singles(report: Report, ahead: str, guessed: str) -> list[float]:
    by = {(row["cell"], row["seed"], row["method"]): row["stall_s"] for row in report.rows if row["part"] == "stalls"}
    return [by[cell, seed, guessed] / by[cell, seed, ahead] for cell, seed, name in by if name == ahead and by[cell, seed, ahead]]


def _over(value: float | None, of: float | None) -> float | None:
    return value / of if value is not None and of else None
