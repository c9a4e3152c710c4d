"""Feeds the learning with the prompts that ran, and the prefetcher with what it guesses.  Off: nothing is made at all.

A prompt counts when it has run, with every object that it named, in the order in which it was to load them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..cache.learning import Learning
from ..cache.predict import Prediction, UsedFile
from ..cache.prefetch_guess import Guesses
from ..cache.prefetch_policy import Guess
from ..storage.catalog import Catalog
from .queue_seam import QueuedPrompt, QueueSeam

if TYPE_CHECKING:
    from .lookahead import LookAhead
    from .lookahead_find import Finder
    from .runtime import Runtime

TAKEN_MAX = 256


class PromptsThatRan:
    """Looked at in the prefetcher's thread, with every change of the queue."""

    def __init__(
        self, taken: deque[QueuedPrompt], ahead: LookAhead, finder: Finder, used: Callable[[Sequence[UsedFile], str], None]
    ) -> None:
        """taken: what was taken from the queue, in order; emptied here"""
        self._taken = taken
        self._ahead = ahead
        self._finder = finder
        self._used = used
        self._running: dict[str, QueuedPrompt] = {}

    def look(self, queued: Sequence[QueuedPrompt]) -> None:
        while self._taken:
            prompt = self._taken.popleft()
            self._running[prompt.id] = prompt
        running = {prompt.id for prompt in queued if prompt.running}
        for number in [number for number in self._running if number not in running]:
            prompt = self._running.pop(number)
            self._used(self._files(prompt), prompt.client)

    def _files(self, prompt: QueuedPrompt) -> list[UsedFile]:
        found: dict[str, UsedFile] = {}
        for ref in self._ahead.refs_of(prompt):
            obj = self._finder.find(ref)
            if obj is not None:
                found.setdefault(obj.id.digest, UsedFile(obj.id.digest, obj.size_bytes, ref.folder))
        return list(found.values())


class Guessed:
    """The last prompt's guesses, as objects that are still there.  Thread-safe."""

    def __init__(self, catalog: Catalog, changed: Callable[[], None]) -> None:
        self._catalog = catalog
        self._changed = changed
        self._lock = threading.Lock()
        self._prompt = 0
        self._predictions: tuple[Prediction, ...] = ()

    def told(self, stream: str, predictions: tuple[Prediction, ...]) -> None:
        """In the learning thread."""
        with self._lock:
            self._prompt += 1
            self._predictions = predictions
        self._changed()

    def now(self) -> tuple[int, list[Guess]]:
        """What was deleted since is no guess any more."""
        with self._lock:
            prompt, predictions = self._prompt, self._predictions
        found = [(self._catalog.by_digest(one.digest), one.probability) for one in predictions]
        return prompt, [Guess(obj, p) for obj, p in found if obj is not None and self._catalog.is_listed(obj)]


@dataclass(frozen=True, slots=True)
class Learned:
    learning: Learning
    guesses: Guesses
    ran: PromptsThatRan


def install_learning(runtime: Runtime, seam: QueueSeam, ahead: LookAhead, finder: Finder, changed: Callable[[], None]) -> Learned:
    """changed: there are new guesses."""
    config = runtime.config.prefetch
    guessed = Guessed(runtime.catalog, changed)
    learning = Learning(
        runtime.places.state / "learning",
        runtime.bus,
        may_train=lambda: not seam.queued(),
        told=guessed.told,
        boosting=config.learned_boosting,
    )
    runtime.status_blocks["learning"] = learning.figures
    seam.taken = deque(maxlen=TAKEN_MAX)
    ran = PromptsThatRan(seam.taken, ahead, finder, learning.prompt_used)
    return Learned(learning, Guesses(guessed.now, learning.price.displaced_s, config), ran)
