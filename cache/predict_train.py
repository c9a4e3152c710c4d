"""Gradient boosting over the experts' opinions: trained on the history, kept only where it beats the mix.  Pure.

scikit-learn and numpy are imported on first use.  Training replays the history through experts of its own, so every
row holds what was known before its prompt; the newest fifth of the prompts decides whether the model is any good and
takes no part in fitting.  It is bounded in rows and rounds, uses one core and asks ``may_go_on`` every few dozen
milliseconds of replay and before every round.  Nothing is written: a model is made from the history again, never unpickled.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .predict_counts import stretch
from .predict_experts import EXPERTS, SHARED, TABLES, Candidate, Experts, Forecast, Use, hour_and_weekday
from .predict_mix import Mixer
from .predict_score import log_loss

if TYPE_CHECKING:
    import numpy

MIN_PROMPTS = 500
"""of which the rows come; below it there is nothing to learn that counts do not know"""
MAX_PROMPTS = 10_000
"""the last so many prompts become rows; those before them are only counted"""
MAX_ROWS = 150_000
ROUNDS = 80
_RARE = 0.01
"""files thought less likely than this become rows one time in five, with five times the weight"""
_THINNED = 5
NEWEST = 0.2
MARGIN = 0.01

Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Mean log loss a prompt on the newest prompts, which the model was not fitted on.

    accepted: it beats the mix, and the mix or it the simple baseline, by a margin
    """

    prompts: int
    rows: int
    learned_loss: float
    mixed_loss: float
    simple_loss: float
    seconds: float

    @property
    def accepted(self) -> bool:
        return self.learned_loss < min(self.mixed_loss, self.simple_loss) * (1.0 - MARGIN)


class Boosted:
    """A trained model, for `Predictor.adopt`."""

    def __init__(self, model: Any, folders: dict[str, int]) -> None:
        self._model = model
        self._folders = folders

    def __call__(self, experts: Experts, stream: str, forecast: Forecast, mixed: Sequence[float], at_s: float) -> Sequence[float]:
        if not forecast.candidates:
            return ()
        import numpy

        shared = moment(experts, stream, at_s)
        table = [
            features(experts, stream, candidate, probability, shared, self._folders)
            for candidate, probability in zip(forecast.candidates, mixed, strict=True)
        ]
        with one_thread():
            found: list[float] = self._model.predict_proba(numpy.asarray(table, dtype=numpy.float32))[:, 1].tolist()
        return found


def moment(experts: Experts, name: str, at_s: float) -> tuple[float, ...]:
    """What is the same for all candidates: this person's ways, hour, weekday."""
    stream = experts.streams[name]
    hour, weekday = hour_and_weekday(at_s)
    return float(stream.run), stream.switching, float(stream.prompts), float(len(stream.files)), hour, float(weekday)


def features(
    experts: Experts, name: str, candidate: Candidate, mixed: float, shared: tuple[float, ...], folders: dict[str, int]
) -> tuple[float, ...]:
    """Opinions and what they rest on, recency, frequency, size, folder, hour and weekday.  NaN: not known."""
    stream = experts.streams[name]
    last, uses = stream.recent.get(candidate.digest, (None, 0))
    known = experts.known.get(candidate.digest)
    return (
        stretch(mixed),
        *candidate.opinions,
        *candidate.levels[: len(TABLES)],
        math.nan if last is None else float(stream.prompts - last),
        float(uses),
        math.nan if known is None else math.log2(experts.at - known.used_at + 1),
        float(candidate.digest in stream.previous),
        math.nan if known is None else math.log2(known.size_bytes + 1),
        math.nan if known is None else float(folders.get(known.folder, -1)),
        *shared,
    )


class Rows:
    """Table, truth, weight and number of the prompt of each row."""

    def __init__(self) -> None:
        self.table: list[tuple[float, ...]] = []
        self.needed: list[bool] = []
        self.weight: list[float] = []
        self.prompt: list[int] = []
        self.simple: list[float] = []
        self.mixed: list[float] = []
        self.folders: dict[str, int] = {}


def rows_of(uses: Sequence[Use], may_go_on: Stop) -> Rows | None:
    """Replays the history; None when it was stopped."""
    experts, mixer, rows = Experts(), Mixer(len(EXPERTS), SHARED), Rows()
    first = max(0, len(uses) - MAX_PROMPTS)
    for number, use in enumerate(uses):
        if number % 50 == 0 and not may_go_on():
            return None
        forecast = experts.forecast(use.stream, use.at_s) if number >= first and use.files else None
        if forecast is not None:
            _add(rows, number, use, experts, mixer, forecast)
        for file in use.files:
            rows.folders.setdefault(file.folder, len(rows.folders))
        if use.files:
            experts.note(use)
    return rows


def _add(rows: Rows, number: int, use: Use, experts: Experts, mixer: Mixer, forecast: Forecast) -> None:
    new = frozenset(file.digest for file in use.files) - experts.streams[use.stream].files
    shared = moment(experts, use.stream, use.at_s)
    for place, candidate in enumerate(forecast.candidates):
        mixed = mixer.probability(candidate.opinions, candidate.levels, forecast.shared)
        needed = candidate.digest in new
        rare = mixed < _RARE and not needed
        if not rare or (number + place) % _THINNED == 0:
            rows.table.append(features(experts, use.stream, candidate, mixed, shared, rows.folders))
            rows.needed.append(needed)
            rows.weight.append(float(_THINNED) if rare else 1.0)
            rows.prompt.append(number)
            rows.simple.append(candidate.simple)
            rows.mixed.append(mixed)
        mixer.learn(candidate.opinions, candidate.levels, forecast.shared, needed - mixed)
    experts.truth(forecast, new)


def train(uses: Sequence[Use], may_go_on: Stop = lambda: True) -> tuple[Boosted, Evaluation] | None:
    """None: stopped, or too little history.  Raises ImportError where scikit-learn is not installed."""
    began_s = time.thread_time()
    if len(uses) < MIN_PROMPTS:
        return None
    import numpy

    rows = rows_of(uses, may_go_on)
    if rows is None or len(set(rows.needed)) < 2:
        return None
    last = slice(-MAX_ROWS, None)
    table = numpy.asarray(rows.table[last], dtype=numpy.float32)
    needed, weight = numpy.asarray(rows.needed[last]), numpy.asarray(rows.weight[last])
    prompts = numpy.asarray(rows.prompt[last])
    newest = prompts >= numpy.unique(prompts)[-max(1, int(len(numpy.unique(prompts)) * NEWEST))]
    if len(set(needed[~newest])) < 2:
        return None
    model = _fitted(table[~newest], needed[~newest], weight[~newest], may_go_on)
    if model is None:
        return None
    judged = numpy.flatnonzero(newest)
    with one_thread():
        learned = model.predict_proba(table[judged])[:, 1]
    simple, mixed = rows.simple[last], rows.mixed[last]
    count = len(numpy.unique(prompts[judged]))

    def loss(given: Sequence[float]) -> float:
        pairs = zip(given, needed[judged], weight[judged], strict=True)
        return float(sum(w * log_loss(float(p), bool(y)) for p, y, w in pairs) / count)

    losses = loss(learned), loss([mixed[i] for i in judged]), loss([simple[i] for i in judged])
    return Boosted(model, rows.folders), Evaluation(count, len(table), *losses, time.thread_time() - began_s)


class _Stopped(Exception):
    """Raised inside scikit-learn's own loop: the only way out of it between two rounds."""


def _fitted(table: numpy.ndarray, needed: numpy.ndarray, weight: numpy.ndarray, may_go_on: Stop) -> Any:
    """None when it was stopped: asked before every round."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def ask(*_: object, **__: object) -> float:
        """In the place of a score, which is taken after every round; as it never changes, it never stops the rounds itself."""
        if not may_go_on():
            raise _Stopped
        return 0.0

    model = HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        learning_rate=0.06,
        max_leaf_nodes=15,
        min_samples_leaf=60,
        l2_regularization=2.0,
        max_bins=127,
        early_stopping=True,
        validation_fraction=None,
        n_iter_no_change=ROUNDS,
        scoring=ask,
        random_state=1,
    )
    try:
        with one_thread():
            return model.fit(table, needed, sample_weight=weight)
    except _Stopped:
        return None


@functools.cache
def _controller() -> Any:
    """Looks through every loaded library, which takes a while; after scikit-learn was imported."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> Any:
    """scikit-learn's own threads are counted per calling thread, so nobody else's torch is slowed by this."""
    return _controller().limit(limits=1, user_api="openmp")
