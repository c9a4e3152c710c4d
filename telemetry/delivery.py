"""Alerts on their way to a webhook: a short queue and a thread that lives while there is something in it.

A slow or dead webhook costs nobody anything: ``alert`` only puts into the queue, the oldest falls out when it is full, and
after ``TRIES`` an alert is given up.  Told once as an event until one gets through again.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable

from ..storage.events import Event
from ..storage.events_comfy import AlertCleared, AlertRaised
from .alert_rules import CRITICAL

QUEUE = 32
TRIES = 3
FIRST_PAUSE_S = 2.0

Post = Callable[[bytes], None]
"""blocks for seconds at most; raises whatever went wrong"""


class Delivery:
    """A subscriber of the bus.  ``failed``: told a short code, never the address."""

    def __init__(self, post: Post, failed: Callable[[str], None], *, everything: bool = False, pause_s: float = FIRST_PAUSE_S) -> None:
        """everything: warnings too."""
        self._post = post
        self._failed = failed
        self._everything = everything
        self._pause_s = pause_s
        self._turn = threading.Condition(threading.Lock())
        self._waiting: deque[bytes] = deque(maxlen=QUEUE)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._told = False

    def __call__(self, event: Event) -> None:
        if not isinstance(event, AlertRaised | AlertCleared) or not (self._everything or event.severity == CRITICAL):
            return
        with self._turn:
            if self._closed:
                return
            self._waiting.append(json.dumps(_document(event)).encode())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="modelstream-webhook", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """What is still on its way is given up: nobody waits for a webhook at the end."""
        with self._turn:
            self._closed = True
            self._waiting.clear()
            self._turn.notify_all()

    def _run(self) -> None:
        while True:
            with self._turn:
                if not self._waiting or self._closed:
                    self._thread = None
                    return
                body = self._waiting.popleft()
            self._send(body)

    def _send(self, body: bytes) -> None:
        code = ""
        for attempt in range(TRIES):
            try:
                self._post(body)
            except Exception as error:  # whatever a network can do
                code = str(getattr(error, "code", type(error).__name__))
            else:
                self._told = False
                return
            with self._turn:
                if self._turn.wait_for(lambda: self._closed, self._pause_s * 2**attempt if attempt + 1 < TRIES else 0):
                    return
        if not self._told:
            self._told = True
            self._failed(code)


def _document(event: AlertRaised | AlertCleared) -> dict[str, object]:
    """``text`` is what chat services show."""
    base = {"rule": event.rule, "severity": event.severity, "component": event.component, "subject": event.subject}
    if isinstance(event, AlertCleared):
        return {"text": f"over: {event.rule} {event.subject}".strip(), "active": False, **base, "seconds": event.seconds}
    figures = {"value": event.value, "threshold": event.threshold, "message": event.message, "recommendation": event.recommendation}
    return {"text": f"{event.severity}: {event.message}", "active": True, **base, **figures}
