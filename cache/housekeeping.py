"""The cache's one standing thread: what is worth doing now and then, off every load's way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..storage.errors import ModelStreamError
from ..storage.events import EventBus, TierDegraded

EVERY_S = 300.0
CLOSE_S = 5.0


class Housekeeping:
    """``jobs`` run in its thread, in order, every ``every_s`` and never at once.  A job that fails is told as an event
    and done again the next time.  A job that takes long asks `stopping`."""

    def __init__(self, jobs: Sequence[Callable[[], None]], bus: EventBus, every_s: float = EVERY_S) -> None:
        self._jobs = tuple(jobs)
        self._bus = bus
        self._every_s = every_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelstream-housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stopping(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        """Joins the thread."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._closed.wait(self._every_s):
            for job in self._jobs:
                if not self._closed.is_set():
                    self._do(job)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except ModelStreamError as error:
            self._bus.emit(TierDegraded("cache", error.code, str(error)))
        except Exception as error:  # told, and the others still run
            self._bus.emit(TierDegraded("cache", "housekeeping", f"a background task failed: {type(error).__name__}"))
