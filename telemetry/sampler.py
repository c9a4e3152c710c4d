"""The one thread of telemetry: looks once a second while something moves, and sleeps without end when nothing does.

``wake`` may be called from any thread, thousands of times a second.  ``work`` does one look and returns the seconds until
the next, None for "when somebody wakes me".  The thread is started by the first ``wake``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

CLOSE_S = 2.0
SHORT_S = 1.0
"""a pause that nobody needs to end early"""


class Sampler:
    def __init__(self, work: Callable[[], float | None], *, name: str = "modelstream-telemetry") -> None:
        self._work = work
        self._name = name
        self._turn = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._woken = False
        self._sleeping = False
        self._closed = False

    def wake(self) -> None:
        """Something began to move.  Costs a flag while the thread is busy anyway."""
        if self._woken or self._closed:
            return
        with self._turn:
            self._woken = True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif self._sleeping:
                self._turn.notify_all()

    def close(self) -> None:
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CLOSE_S)

    @property
    def idle(self) -> bool:
        """It does nothing until it is woken."""
        return self._sleeping or self._thread is None

    def _run(self) -> None:
        while not self._closed:
            self._woken = False
            pause_s = self._work()
            with self._turn:
                self._sleeping = pause_s is None or pause_s > SHORT_S
                self._turn.wait_for(lambda: self._closed or (self._sleeping and self._woken), pause_s)
                self._sleeping = False
