"""Which nodes wait for which object, from the events around a load.  Thread-safe; bounded by what really waits."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from ..storage.events import Event, LoadFailed, ModelLoaded
from ..storage.events_comfy import LoadStarted, LoadStopped

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Waiter:
    folder: str
    name: str
    node: str
    prompt: str


class Waiting:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_subject: dict[str, list[Waiter]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, LoadStarted):
            with self._lock:
                if len(self._by_subject) < KEPT:
                    self._by_subject.setdefault(event.subject, []).append(Waiter(event.folder, event.name, event.node, event.prompt))
        elif isinstance(event, ModelLoaded | LoadFailed | LoadStopped):
            with self._lock:
                waiters = self._by_subject.get(event.subject, [])
                node = getattr(event, "node", None)
                gone = next((w for w in waiters if node is None or w.node == node), None)
                if gone is not None:
                    waiters.remove(gone)
                if not waiters:
                    self._by_subject.pop(event.subject, None)

    def on(self, subject: str) -> tuple[Waiter, ...]:
        with self._lock:
            return tuple(self._by_subject.get(subject, ()))
