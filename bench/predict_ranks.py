"""The count-based ways to predict that ours is held against: each the plain textbook version, with all the memory it wants.

All see a prompt after they were asked about it (prequential).  "New" is what a prompt needs that the person's last
prompt did not; a person's first prompt is not asked about.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from modelstream.cache.policy import FROM_SSD
from modelstream.cache.predict_score import KS

from .predict_trace import Prompt

FADE_S = 86400.0
PER_PROMPT = 2
"""files that would be fetched after a prompt, for the columns of bytes and seconds"""
COUNTED = ("popularity", "recency", "order-1 file", "order-1 set", "order-2", "PPM")
Ranked = Sequence[str]


class Counts:
    """All of them at once: they share what they count."""

    def __init__(self) -> None:
        self._popular: dict[str, float] = {}
        self._faded_s = 0.0
        self._weight = 1.0
        self._after_file: dict[str, Counter[str]] = defaultdict(Counter)
        self._after_set: dict[frozenset[str], Counter[str]] = defaultdict(Counter)
        self._after_own: dict[tuple[str, frozenset[str]], Counter[str]] = defaultdict(Counter)
        self._after_two: dict[tuple[frozenset[str], frozenset[str]], Counter[str]] = defaultdict(Counter)
        self._people: dict[str, tuple[frozenset[str], frozenset[str], dict[str, None]]] = {}

    def rank(self, user: str) -> dict[str, Ranked] | None:
        """None: a person who has not been seen."""
        found = self._people.get(user)
        if found is None:
            return None
        now, before, recent = found
        after_files: Counter[str] = Counter()
        for file in sorted(now):
            after_files.update(self._after_file[file])
        after_set, after_two = self._after_set[now], self._after_two[before, now]
        blended = _ppm((after_two, self._after_own[user, now], after_set, after_files, self._popular))
        return {
            "popularity": _best(self._popular, now),
            "recency": [file for file in reversed(recent) if file not in now][: max(KS)],
            "order-1 file": _best(after_files, now),
            "order-1 set": _best(after_set, now),
            "order-2": _best(after_two, now),
            "PPM": _best(blended, now),
        }

    def note(self, prompt: Prompt) -> None:
        files = frozenset(prompt.files)
        now, before, recent = self._people.get(prompt.user, (frozenset[str](), frozenset[str](), {}))
        if prompt.user in self._people:
            for file in now:
                self._after_file[file].update(files)
            self._after_set[now].update(files)
            self._after_own[prompt.user, now].update(files)
            self._after_two[before, now].update(files)
        for file in prompt.files:
            recent.pop(file, None)
            recent[file] = None
        self._people[prompt.user] = (files, now, recent)
        self._weight *= 2 ** (max(prompt.at_s - self._faded_s, 0.0) / FADE_S)
        self._faded_s = prompt.at_s
        for file in prompt.files:
            self._popular[file] = self._popular.get(file, 0.0) + self._weight


def _ppm(orders: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Prediction by partial matching, escape method C: what an order has not seen goes to the next one."""
    blended: dict[str, float] = {}
    left = 1.0
    for counts in orders:
        total, kinds = sum(counts.values()), len(counts)
        if not total:
            continue
        for file, count in counts.items():
            blended[file] = blended.get(file, 0.0) + left * count / (total + kinds)
        left *= kinds / (total + kinds)
    return blended


def _best(counts: Mapping[str, float], without: frozenset[str]) -> Ranked:
    return sorted((file for file in counts if file not in without), key=lambda file: -counts[file])[: max(KS)]


@dataclass
class Tally:
    """What one way to predict was worth.

    precision at k: hits ÷ (k × prompts): a way that names fewer than k files gains nothing by it
    """

    prompts: int = 0
    new_files: int = 0
    hits: dict[int, int] = field(default_factory=lambda: dict.fromkeys(KS, 0))
    useful_bytes: float = 0.0
    wasted_bytes: float = 0.0
    saved_s: float = 0.0

    def note(self, ranked: Ranked, new: frozenset[str], sizes: Mapping[str, float], fetched: Iterable[str] | None = None) -> None:
        """fetched: what would be fetched; the first PER_PROMPT, unless said otherwise."""
        self.prompts += 1
        self.new_files += len(new)
        for k in KS:
            self.hits[k] += sum(1 for file in ranked[:k] if file in new)
        for file in ranked[:PER_PROMPT] if fetched is None else fetched:
            if file in new:
                self.useful_bytes += sizes[file]
                self.saved_s += FROM_SSD.reload_s(int(sizes[file]))
            else:
                self.wasted_bytes += sizes[file]

    def add(self, other: Tally) -> None:
        self.prompts += other.prompts
        self.new_files += other.new_files
        self.hits = {k: self.hits[k] + other.hits[k] for k in KS}
        self.useful_bytes += other.useful_bytes
        self.wasted_bytes += other.wasted_bytes
        self.saved_s += other.saved_s

    def row(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for k in KS:
            found[f"recall_{k}"] = self.hits[k] / max(self.new_files, 1)
            found[f"precision_{k}"] = self.hits[k] / max(k * self.prompts, 1)
        return {**found, "useful_gb": self.useful_bytes / 1e9, "wasted_gb": self.wasted_bytes / 1e9, "saved_s": self.saved_s}


def tally_counts(prompts: Sequence[Prompt], first: int, sizes: Mapping[str, float]) -> dict[str, Tally]:
    """Every count-based way over all prompts; what counts begins at number ``first``."""
    counts, tallies = Counts(), {name: Tally() for name in COUNTED}
    last: dict[str, frozenset[str]] = {}
    for number, prompt in enumerate(prompts):
        ranked = counts.rank(prompt.user) if number >= first else None
        if ranked is not None:
            new = frozenset(prompt.files) - last[prompt.user]
            for name, files in ranked.items():
                tallies[name].note(files, new, sizes)
        counts.note(prompt)
        last[prompt.user] = frozenset(prompt.files)
    return tallies
