"""Learns from every prompt, in a thread of its own, and says what the next one may need.

`prompt_used` queues; the thread counts, writes the prompt to the log, and hands predictions to ``told``.  With the first
prompt after a restart the log is replayed, slowly, and more slowly while something runs.  With ``boosting`` it also
trains a model when nothing has been asked for ten minutes, on one core at the lowest priority, and stops between two
rounds when ``may_train`` says no.  The model speaks only while it beats the counts on this history (`cache.predict`).

Off means that this is never made: no thread, no file.  Whatever goes wrong becomes an event, and learning goes on
without the log, without the model, or from nothing.  Lock order: ``_condition`` alone; ``told`` is called without it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..storage.events import EventBus, PredictorTrained, TierDegraded
from .predict import Prediction, Predictor
from .predict_clients import Clients
from .predict_experts import Use, UsedFile
from .predict_log import LogUnusable, UseLog
from .predict_price import Price
from .predict_train import MIN_PROMPTS

QUIET_S = 600.0
AGAIN_S = 6 * 3600.0
"""between two trainings"""
AGAIN_SHARE = 0.1
"""and the history has to have grown by so much"""
GIVEN = 8
PAUSE_S = 0.005
"""between two slices of a replay: others get the interpreter"""
BUSY_S = 0.25
"""the same while a prompt runs, and how often a training that is due asks whether it may begin"""
CLOSE_S = 5.0
PRICED_PROMPTS = 10_000
_WAITING = 1_000

Told = Callable[[str, tuple[Prediction, ...]], None]


class Learning:
    """Thread-safe.

    folder:    where the log lies; made with the first prompt
    may_train: False while a prompt runs; quick, any thread
    told:      stream and its predictions, likeliest first, after each prompt; in the learning thread
    clock, wall_clock: seconds that never jump; seconds since the epoch
    price:     what a guess displaces, in seconds
    """

    def __init__(
        self,
        folder: Path,
        bus: EventBus,
        *,
        may_train: Callable[[], bool] = lambda: True,
        told: Told | None = None,
        boosting: bool = False,
        quiet_s: float = QUIET_S,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._may_train = may_train
        self._told = told
        self._boosting = boosting
        self._quiet_s = quiet_s
        self._clock = clock
        self._wall_clock = wall_clock
        self._log: UseLog | None = UseLog(folder / "prompts.jsonl")
        self._predictor = Predictor()
        self.price = Price()
        self._clients = Clients()
        self._condition = threading.Condition()
        self._waiting: deque[tuple[float, float, tuple[UsedFile, ...], str]] = deque(maxlen=_WAITING)
        self._closed = False
        self._thread: threading.Thread | None = None
        self._predictions: tuple[Prediction, ...] = ()
        self._figures: dict[str, Any] = {"state": "not started", "prompts": 0}
        self._last_use_s = clock()
        self._trained_s: float | None = None
        self._trained_prompts = 0
        self._prompts = 0

    # -- callers -----------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Reads the log in the background.  `prompt_used` calls it: before the first prompt nothing has to be known."""
        with self._condition:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="modelstream-learning", daemon=True)
                self._thread.start()

    def prompt_used(self, files: Sequence[UsedFile], client: str = "") -> None:
        """A prompt has finished; files: everything it named, in loading order.  Microseconds; any thread."""
        self.start()
        with self._condition:
            if files and not self._closed:
                self._waiting.append((self._wall_clock(), self._clock(), tuple(files), client))
                self._condition.notify_all()

    def next(self, k: int) -> tuple[Prediction, ...]:
        """What was predicted after the last prompt; from memory."""
        return self._predictions[: max(k, 0)]

    def figures(self) -> dict[str, Any]:
        """For the status and the panel; from memory: what speaks, precision and recall, the last training."""
        return self._figures

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    # -- the thread ----------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        _be_nice()
        self._guarded(self._restore)
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._waiting, self._until_training_s())
                if self._closed:
                    return
                use = self._waiting.popleft() if self._waiting else None
            if use is not None:
                self._guarded(lambda use=use: self._learn(*use))  # type: ignore[misc]
            elif self._training_due():
                self._guarded(self._train)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except LogUnusable as error:
            self._log = None
            self._bus.emit(TierDegraded("learning", "history", str(error)))
        except ImportError as error:
            self._boosting = False
            self._bus.emit(TierDegraded("learning", "package", f"{error.name or 'a package'} is not installed: no gradient boosting"))
        except Exception as error:  # a background failure becomes an event; what was learned may be half of something
            self._predictor, self._predictions = Predictor(), ()
            self._bus.emit(TierDegraded("learning", "internal", type(error).__name__))

    def _restore(self) -> None:
        uses = self._log.load(self._wall_clock()) if self._log else ()
        self._show("reading the history")
        if self._predictor.restore(uses, self._may_go_on):
            for use in uses[-PRICED_PROMPTS:]:
                self._price(use)
            self._prompts = len(uses)
            self._show("learning")

    def _learn(self, at_s: float, now_s: float, files: tuple[UsedFile, ...], client: str) -> None:
        use = Use(at_s, files, self._clients.stream(client, now_s))
        self._last_use_s = now_s
        self._predictor.used(use)
        self._price(use)
        self._prompts += 1
        self._predictions = self._predictor.next(GIVEN, at_s, use.stream)
        self._show("learning")
        self._tell(use.stream)
        if self._log is not None:
            self._log.append(use)

    def _price(self, use: Use) -> None:
        for file in use.files:
            self.price.used(file.digest, file.size_bytes, use.at_s)

    def _tell(self, stream: str) -> None:
        """What the listener does wrong is not for the predictor to pay."""
        if self._told is None:
            return
        try:
            self._told(stream, self._predictions)
        except Exception as error:
            self._bus.emit(TierDegraded("learning", "told", type(error).__name__))

    # -- gradient boosting -----------------------------------------------------------------------------------------------------
    def _until_training_s(self) -> float | None:
        """None: nothing to do until a prompt comes."""
        if not self._boosting or self._log is None or not self._grown():
            return None
        due_s = self._last_use_s + self._quiet_s
        if self._trained_s is not None:
            due_s = max(due_s, self._trained_s + AGAIN_S)
        return max(BUSY_S, due_s - self._clock())

    def _grown(self) -> bool:
        return self._prompts >= MIN_PROMPTS and self._prompts >= self._trained_prompts * (1 + AGAIN_SHARE)

    def _training_due(self) -> bool:
        wait_s = self._until_training_s()
        return wait_s is not None and wait_s <= BUSY_S and self._may_train()

    def _train(self) -> None:
        from .predict_train import train

        if self._log is None:
            return
        self._show("training")
        trained = train(self._log.load(self._wall_clock()), self._undisturbed)
        if trained is not None:
            model, found = trained
            self._predictor.adopt(model if found.accepted else None)
            losses = found.learned_loss, found.mixed_loss, found.simple_loss
            self._bus.emit(PredictorTrained(found.accepted, found.prompts, found.rows, *losses, found.seconds))
        if trained is not None or self._undisturbed():
            self._trained_s, self._trained_prompts = self._clock(), self._prompts
        self._show("learning", None if trained is None else {**asdict(trained[1]), "accepted": trained[1].accepted})

    def _undisturbed(self) -> bool:
        """A training in half is dropped when somebody works: it begins again at the next quiet time."""
        return not self._closed and not self._waiting and self._may_train()

    def _may_go_on(self) -> bool:
        """Between two slices of a replay, some milliseconds of work each; False only when closing."""
        pause_s = PAUSE_S if self._may_train() else BUSY_S
        with self._condition:
            return not self._condition.wait_for(lambda: self._closed, pause_s)

    def _show(self, state: str, training: dict[str, Any] | None = None) -> None:
        accuracy = self._predictor.accuracy()
        before = self._figures.get("training")
        self._figures = {
            "state": state,
            "source": self._predictor.source,
            "prompts": self._prompts,
            "scored": accuracy.prompts,
            "precision": {str(k): round(value, 4) for k, value in accuracy.precision.items()},
            "recall": {str(k): round(value, 4) for k, value in accuracy.recall.items()},
            "reliability": [asdict(one) for one in accuracy.reliability],
            "training": training or before,
        }


def _be_nice() -> None:
    """Lowest priority for this thread alone, where a thread has one of its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it; then it is as urgent as its process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
