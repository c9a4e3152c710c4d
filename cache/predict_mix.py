"""From several opinions to one probability: logistic mixing, learned as it goes.  Pure.

Each expert says how likely a file is (as log odds) and how much it has seen (a level).  The mix is a sum of the log
odds, weighted per expert and level, put through a sigmoid.  After the truth is known every weight moves a little
against the error (AdaGrad), so the probabilities stay calibrated to this history.  The idea is that of the PAQ
compressors; PPM's fixed escape is what it replaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .predict_counts import squash

LEVELS = 7
"""0: the expert has no opinion; then by how often it saw the context"""
_EDGES = (1.5, 4.5, 12.5, 50.0, 400.0)
RATE = 0.1
SLOPE = 0.12
"""what each expert's log odds count before anything was learned"""


def level(seen: float) -> int:
    """1-6 by how often a context was seen."""
    for number, edge in enumerate(_EDGES, 1):
        if seen <= edge:
            return number
    return len(_EDGES) + 1


class Mixer:
    """``experts`` opinions and ``shared`` small integers (below `LEVELS` each) that hold for all candidates at once."""

    def __init__(self, experts: int, shared: int) -> None:
        self._experts = experts
        self._slopes = [SLOPE] * (experts * LEVELS)
        self._biases = [0.0] * ((experts + shared) * LEVELS)
        self._slope_steps = [1.0] * len(self._slopes)
        self._bias_steps = [1.0] * len(self._biases)

    def probability(self, opinions: Sequence[float], levels: Sequence[int], shared: Sequence[int]) -> float:
        """opinions: log odds, 0 at level 0."""
        slopes, biases = self._slopes, self._biases
        x, at = 0.0, 0
        for opinion, own_level in zip(opinions, levels, strict=True):
            place = at + own_level
            x += slopes[place] * opinion + biases[place]
            at += LEVELS
        for own_level in shared:
            x += biases[at + own_level]
            at += LEVELS
        return squash(x)

    def learn(self, opinions: Sequence[float], levels: Sequence[int], shared: Sequence[int], error: float) -> None:
        """error: truth (0 or 1) minus the probability that was given."""
        squared = error * error
        at = 0
        for opinion, own_level in zip(opinions, levels, strict=True):
            place = at + own_level
            self._slope_steps[place] += squared * opinion * opinion
            self._slopes[place] += RATE * error * opinion / math.sqrt(self._slope_steps[place])
            self._move_bias(place, error, squared)
            at += LEVELS
        for own_level in shared:
            self._move_bias(at + own_level, error, squared)
            at += LEVELS

    def _move_bias(self, place: int, error: float, squared: float) -> None:
        self._bias_steps[place] += squared
        self._biases[place] += RATE * error / math.sqrt(self._bias_steps[place])
