"""Counts of what followed what: the memory under the predictions.  Bounded, incremental, forgets.  Pure.

A context is anything hashable: the files of a prompt, a person's last two sets, an hour of the day.  `Table` counts
which files were *newly* needed by the prompt after it.  Old counts fade with every further use of their context,
not with time: a week-end ages nobody.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from heapq import nlargest

MAX_CONTEXTS = 6_000
MAX_SUCCESSORS = 48
"""files remembered per context: those counted least go, sixteen at a time"""
_LARGE = 1e9


class Successors:
    """What followed one context.  Counts are in units of ``unit``, which grows instead of all else fading."""

    __slots__ = ("counts", "total", "unit")

    def __init__(self) -> None:
        self.total = 0.0
        self.unit = 1.0
        self.counts: dict[str, float] = {}

    @property
    def seen(self) -> float:
        """How often the context was followed by anything, faded."""
        return self.total / self.unit

    def count(self, digest: str) -> float:
        return self.counts.get(digest, 0.0) / self.unit

    def best(self, most: int) -> Iterable[str]:
        return self.counts if len(self.counts) <= most else nlargest(most, self.counts, key=self.counts.__getitem__)

    def note(self, new: Iterable[str], keep: float) -> None:
        self.unit /= keep
        self.total += self.unit
        for digest in new:
            self.counts[digest] = self.counts.get(digest, 0.0) + self.unit
        if len(self.counts) > MAX_SUCCESSORS:
            kept = nlargest(MAX_SUCCESSORS - 16, self.counts, key=self.counts.__getitem__)
            self.counts = {digest: self.counts[digest] for digest in kept}
        if self.unit > _LARGE:
            self.total /= self.unit
            self.counts = {digest: count / self.unit for digest, count in self.counts.items()}
            self.unit = 1.0


class Table:
    """Successors by context, at most ``max_contexts``; those unused for longest go first.

    keep: what is left of a count after one more use of its context.
    """

    def __init__(self, keep: float, max_contexts: int = MAX_CONTEXTS) -> None:
        self._keep = keep
        self._max_contexts = max_contexts
        self._contexts: dict[Hashable, Successors] = {}

    def __len__(self) -> int:
        return len(self._contexts)

    def get(self, context: Hashable) -> Successors | None:
        return self._contexts.get(context)

    def note(self, context: Hashable, new: Iterable[str]) -> None:
        found = self._contexts.pop(context, None)
        if found is None:
            found = Successors()
            if len(self._contexts) >= self._max_contexts:
                for old in list(self._contexts)[: 1 + self._max_contexts // 10]:
                    del self._contexts[old]
        self._contexts[context] = found  # the last in the dict is the last used
        found.note(new, self._keep)


class Rates:
    """How often a yes/no came true per bucket: a running mean that goes on moving by 1/``memory``."""

    def __init__(self, memory: int = 400, start: float = 0.05, max_buckets: int = 5_000) -> None:
        self._memory = memory
        self._start = start
        self._max_buckets = max_buckets
        self._rates: dict[Hashable, tuple[float, int]] = {}

    def get(self, bucket: Hashable) -> float:
        return self._rates.get(bucket, (self._start, 1))[0]

    def note(self, bucket: Hashable, truth: bool) -> None:
        rate, seen = self._rates.get(bucket, (self._start, 1))
        if seen == 1 and len(self._rates) >= self._max_buckets:
            return
        seen = min(seen + 1, self._memory)
        self._rates[bucket] = (rate + (truth - rate) / seen, seen)


def stretch(probability: float) -> float:
    """The logarithm of the odds, within ±11.5."""
    p = min(max(probability, 1e-5), 1 - 1e-5)
    return math.log(p / (1 - p))


def squash(x: float) -> float:
    """The reverse of `stretch`; never 0 or 1."""
    return 1.0 / (1.0 + math.exp(-min(max(x, -11.5), 11.5)))
