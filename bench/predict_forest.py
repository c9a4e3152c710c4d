"""The RandomForest baseline: hour, day, month, recent use, size, category, one negative drawn per positive, p ≥ 0.3, every five minutes.

It knows nobody: every five minutes it says which files will be used in the next five.  Trained on the first part of
the prompts, asked on the rest.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelstream.cache.predict_score import KS

from .predict_ranks import Tally
from .predict_trace import Prompt

TICK_S = 300.0
THRESHOLD = 0.3
TREES = 50
DAY_S = 86400.0


@dataclass
class Forest:
    """ticks: each tick's files by p; flagged_bytes, used_bytes: of p ≥ 0.3, and of those what was used before the next tick"""

    ticks: dict[int, list[tuple[float, str]]]
    flagged_bytes: float
    used_bytes: float
    flagged_files: float
    """a tick, mean"""


class _Past:
    """When each file was used."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self.used_s: dict[str, list[float]] = {}
        for prompt in prompts:
            for file in prompt.files:
                self.used_s.setdefault(file, []).append(prompt.at_s)

    def features(self, file: str, now_s: float, size_bytes: float) -> tuple[float, ...] | None:
        """None: not seen yet."""
        times = self.used_s[file]
        at = bisect_left(times, now_s)
        if not at:
            return None
        hour, day = now_s % DAY_S / 3600.0, now_s // DAY_S
        lately = at - bisect_left(times, now_s - 3600.0)
        today = at - bisect_left(times, now_s - DAY_S)
        kind = float(file.startswith("checkpoint:"))
        return (hour, day % 31, day // 31 % 12, now_s - times[at - 1], float(lately), float(today), size_bytes, kind)

    def used(self, file: str, after_s: float, until_s: float) -> bool:
        times = self.used_s[file]
        return bisect_left(times, after_s) < bisect_left(times, until_s)


def forest(prompts: Sequence[Prompt], first: int, sizes: Mapping[str, float]) -> Forest:
    from sklearn.ensemble import RandomForestClassifier

    past = _Past(prompts)
    split_s, end_s = prompts[first].at_s, prompts[-1].at_s
    table, truth = _samples(past, split_s, sizes)
    model = RandomForestClassifier(n_estimators=TREES, min_samples_leaf=3, random_state=1, n_jobs=1).fit(table, truth)
    ticks: dict[int, list[tuple[float, str]]] = {}
    flagged_bytes = used_bytes = flagged = 0.0
    for batch in _batches(range(int(split_s // TICK_S), int(end_s // TICK_S) + 1), 100):
        for tick, given in _asked(model, past, batch, sizes):
            ticks[tick] = sorted(given, reverse=True)[:40]
            for p, file in given:
                if p >= THRESHOLD:
                    flagged += 1
                    flagged_bytes += sizes[file]
                    used_bytes += sizes[file] * past.used(file, tick * TICK_S, (tick + 1) * TICK_S)
    return Forest(ticks, flagged_bytes, used_bytes, flagged / max(len(ticks), 1))


def _samples(past: _Past, split_s: float, sizes: Mapping[str, float]) -> tuple[list[tuple[float, ...]], list[bool]]:
    draw = random.Random(1)
    table, truth = [], []
    for tick in range(1, int(split_s // TICK_S)):
        now_s = tick * TICK_S
        known = {file: row for file in past.used_s if (row := past.features(file, now_s, sizes[file])) is not None}
        positive = [file for file in known if past.used(file, now_s, now_s + TICK_S)]
        negative = sorted(known.keys() - set(positive))
        for files, answer in ((positive, True), (draw.sample(negative, min(len(positive), len(negative))), False)):
            table += [known[file] for file in files]
            truth += [answer] * len(files)
    return table, truth


def _asked(model: Any, past: _Past, ticks: Sequence[int], sizes: Mapping[str, float]) -> list[tuple[int, list[tuple[float, str]]]]:
    rows, names = [], []
    for tick in ticks:
        for file in past.used_s:
            row = past.features(file, tick * TICK_S, sizes[file])
            if row is not None:
                rows.append(row)
                names.append((tick, file))
    given: dict[int, list[tuple[float, str]]] = {tick: [] for tick in ticks}
    for (tick, file), p in zip(names, model.predict_proba(rows)[:, 1], strict=True):
        given[tick].append((float(p), file))
    return list(given.items())


def _batches(numbers: Sequence[int], length: int) -> list[Sequence[int]]:
    return [numbers[at : at + length] for at in range(0, len(numbers), length)]


def tally_forest(found: Forest, prompts: Sequence[Prompt], first: int, sizes: Mapping[str, float]) -> Tally:
    """Its ranking of the last tick, at each prompt of somebody known."""
    tally = Tally()
    last: dict[str, frozenset[str]] = {}
    for number, prompt in enumerate(prompts):
        if number >= first and prompt.user in last:
            ranked = [file for _, file in found.ticks[int(prompt.at_s // TICK_S)] if file not in last[prompt.user]][: max(KS)]
            tally.note(ranked, frozenset(prompt.files) - last[prompt.user], sizes, fetched=())
        last[prompt.user] = frozenset(prompt.files)
    return tally
