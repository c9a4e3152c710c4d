"""Which files the next prompt will newly need, learned from every prompt as it comes.

`Predictor.used` takes one finished prompt, `Predictor.next` gives probabilities.  Pure: no file, no socket, no clock,
no thread, no lock; its owner (`cache.learning`) calls it from one thread.  Memory is bounded (`cache.predict_experts`);
a prompt costs under a millisecond, whatever the length of the history.

Three ways to predict are scored on every prompt before it is learned from, and the best so far speaks:

    transitions  what followed this set of files, popularity where that was rarely seen: the simple baseline
    mixed        a dozen counts mixed by weights that are learned as it goes
    learned      gradient boosting, if `adopt` was given one (`cache.predict_train`)

A cleverer way speaks only while its log loss on this very history is lower by a margin.  What all of them say is
how likely a file is; whether it is worth fetching is the scheduler's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .predict_experts import EXPERTS, SHARED, Experts, Forecast, Use, UsedFile
from .predict_mix import Mixer
from .predict_score import Accuracy, Score

__all__ = ["Accuracy", "Learned", "Prediction", "Predictor", "Use", "UsedFile"]

TRANSITIONS, MIXED, LEARNED = "transitions", "mixed", "learned"
SILENT_PROMPTS = 20
"""nothing is said before so many prompts were scored"""
MARGIN = 0.01
RESTORED = 4_000
"""of a stored history so many of the last prompts are also scored; those before are only counted"""


@dataclass(frozen=True, slots=True)
class Prediction:
    """digest: a file that the last prompt did not have; horizon: within so many prompts of that stream;
    source: which way of predicting spoke"""

    digest: str
    probability: float
    horizon: int
    source: str
    size_bytes: int


class Learned(Protocol):
    """A trained model: probabilities of a forecast's candidates, in their order."""

    def __call__(self, experts: Experts, stream: str, forecast: Forecast, mixed: Sequence[float], at_s: float) -> Sequence[float]: ...


class Predictor:
    def __init__(self) -> None:
        self.experts = Experts()
        self._mixer = Mixer(len(EXPERTS), SHARED)
        self._learned: Learned | None = None
        self._scores = {TRANSITIONS: Score(TRANSITIONS), MIXED: Score(MIXED)}
        self._spoken = Score("spoken")
        self._last_stream = ""

    @property
    def source(self) -> str:
        """The way of predicting that speaks now."""
        best = TRANSITIONS
        for name in (MIXED, LEARNED):
            score = self._scores.get(name)
            if score is not None and score.prompts >= SILENT_PROMPTS and score.loss < self._scores[best].loss * (1.0 - MARGIN):
                best = name
        return best

    def used(self, use: Use) -> None:
        """One finished prompt; one without files says nothing."""
        if not use.files:
            return
        forecast = self.experts.forecast(use.stream, use.at_s)
        if forecast is not None:
            self._settle(forecast, use)
        self.experts.note(use)
        self._last_stream = use.stream

    def next(self, k: int, now_s: float, stream: str | None = None, *, source: str = "") -> tuple[Prediction, ...]:
        """The k likeliest new files of the next prompt of this stream (None: who was seen last), likeliest first.

        source: another way of predicting than the one that speaks, to compare them.
        """
        name = self._last_stream if stream is None else stream
        if self._spoken.prompts < SILENT_PROMPTS or k <= 0:
            return ()
        forecast = self.experts.forecast(name, now_s)
        if forecast is None:
            return ()
        source = source or self.source
        given = self._given(forecast, name, now_s)[source]
        ranked = sorted(zip(given, forecast.candidates, strict=True), key=lambda one: -one[0])[:k]
        known = self.experts.known
        return tuple(
            Prediction(c.digest, min(max(p, 0.0), 1.0), 1, source, known[c.digest].size_bytes) for p, c in ranked if c.digest in known
        )

    def adopt(self, learned: Learned | None) -> None:
        """A newly trained model, or none; it is scored from now on and speaks once it is ahead."""
        self._learned = learned
        self._scores.pop(LEARNED, None)
        if learned is not None:
            # on equal terms: it is compared over the prompts that it saw coming
            self._scores = {name: Score(name) for name in (TRANSITIONS, MIXED, LEARNED)}

    def restore(self, uses: Sequence[Use], may_go_on: Callable[[], bool] = lambda: True) -> bool:
        """What an earlier process saw, in order; False: stopped before the end."""
        first_scored = len(uses) - RESTORED
        for number, use in enumerate(uses):
            if number % 50 == 0 and not may_go_on():
                return False
            if number >= first_scored:
                self.used(use)
            elif use.files:
                self.experts.note(use)
        return True

    def accuracy(self) -> Accuracy:
        """Of what was really said, with the loss of the way that speaks now."""
        return self._spoken.accuracy()

    def accuracies(self) -> Mapping[str, Accuracy]:
        """Of each way to predict."""
        return {name: score.accuracy() for name, score in self._scores.items()}

    # -- inside ----------------------------------------------------------------------------------------------------------
    def _given(self, forecast: Forecast, stream: str, at_s: float) -> dict[str, Sequence[float]]:
        """Probabilities of the candidates by way of predicting."""
        mixed = [self._mixer.probability(c.opinions, c.levels, forecast.shared) for c in forecast.candidates]
        given: dict[str, Sequence[float]] = {TRANSITIONS: [c.simple for c in forecast.candidates], MIXED: mixed}
        if self._learned is not None:
            given[LEARNED] = self._learned(self.experts, stream, forecast, mixed, at_s)
        return given

    def _settle(self, forecast: Forecast, use: Use) -> None:
        new = frozenset(file.digest for file in use.files) - self.experts.streams[use.stream].files
        digests = [c.digest for c in forecast.candidates]
        given = self._given(forecast, use.stream, use.at_s)
        self._spoken.note(digests, given[self.source], new)
        for name, score in self._scores.items():
            score.note(digests, given[name], new)
        for probability, c in zip(given[MIXED], forecast.candidates, strict=True):
            self._mixer.learn(c.opinions, c.levels, forecast.shared, (c.digest in new) - probability)
        self.experts.truth(forecast, new)
