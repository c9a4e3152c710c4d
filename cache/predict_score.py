"""How good the predictions were: scored before every prompt is learned from, so no figure has seen its own answer.  Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KS = (1, 2, 4, 8)
BINS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""upper edges of the bins of the reliability table"""
MEMORY = 0.9985
"""what is left of a prompt's loss after one more prompt: half after 460"""
_NEVER = 1e-5


@dataclass(frozen=True, slots=True)
class Bin:
    """Files that were given about this probability: how many, the mean of what was said, the share that came true."""

    upto: float
    files: int
    said: float
    came_true: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """prompts: scored; new_files: those they needed that the prompt before had not

    precision[k]: of the first k predicted files, the share that the next prompt newly needed
    recall[k]:    of the newly needed files, the share that was among the first k
    loss:         mean log loss a prompt, over all its candidates, fading
    """

    source: str
    prompts: int
    new_files: int
    precision: Mapping[int, float]
    recall: Mapping[int, float]
    loss: float
    reliability: tuple[Bin, ...]


class Score:
    """The account of one way to predict."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.prompts = 0
        self._new_files = 0
        self._hits = dict.fromkeys(KS, 0)
        self._given = dict.fromkeys(KS, 0)
        self._loss = 0.0
        self._weight = 0.0
        self._bins = [[0.0, 0.0, 0.0] for _ in BINS]

    def note(self, digests: Sequence[str], probabilities: Sequence[float], new: frozenset[str]) -> None:
        self.prompts += 1
        self._new_files += len(new)
        ranked = sorted(zip(probabilities, digests, strict=True), key=lambda one: -one[0])
        for k in KS:
            first = ranked[:k]
            self._given[k] += len(first)
            self._hits[k] += sum(1 for _, digest in first if digest in new)
        loss = 0.0
        for probability, digest in ranked:
            needed = digest in new
            loss += log_loss(probability, needed)
            into = self._bins[next(number for number, edge in enumerate(BINS) if probability <= edge)]
            into[0] += 1
            into[1] += probability
            into[2] += needed
        # what no forecast named is missed by all of them alike
        self._loss = self._loss * MEMORY + loss
        self._weight = self._weight * MEMORY + 1.0

    @property
    def loss(self) -> float:
        return self._loss / self._weight if self._weight else 0.0

    def accuracy(self) -> Accuracy:
        bins = tuple(
            Bin(edge, int(count), said / count, true / count) for edge, (count, said, true) in zip(BINS, self._bins, strict=True) if count
        )
        precision = {k: self._hits[k] / self._given[k] if self._given[k] else 0.0 for k in KS}
        recall = {k: self._hits[k] / self._new_files if self._new_files else 0.0 for k in KS}
        return Accuracy(self.source, self.prompts, self._new_files, precision, recall, self.loss, bins)


def log_loss(probability: float, needed: bool) -> float:
    return -math.log(max(probability if needed else 1.0 - probability, _NEVER))
