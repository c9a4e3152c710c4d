"""Which browsers have the panel open, and the ticks they get: at most two a second, none while no panel is open.

A panel says so every few seconds (``open``); one that stopped saying it is forgotten.  The thread runs while there is one.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

EXPIRES_S = 20.0
PANELS_MAX = 16
MOVING_S = 0.5
STILL_S = 2.0
TICK_BYTES_MAX = 8000
CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Tick = dict[str, Any]
Send = Callable[[Tick, "str | None"], None]
"""(message, client id; None for every browser); any thread, returns at once"""


class TooMany(Exception):
    """More panels than anybody looks at."""


class Panels:
    """Thread-safe.  ``tick`` makes the body of a tick for somebody who has seen events up to a number; ``moving``: something
    changes faster than in seconds."""

    def __init__(
        self,
        send: Send,
        tick: Callable[[int], Tick],
        moving: Callable[[], bool],
        *,
        last_event: Callable[[], int] = lambda: 0,
        opened: Callable[[], None] = lambda: None,
        failed: Callable[[Exception], None] = lambda error: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._tick = tick
        self._moving = moving
        self._last_event = last_event
        self._opened = opened
        self._failed = failed
        self._clock = clock
        self._turn = threading.Condition(threading.Lock())
        self._until_s: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._seq = 0

    def open(self, client: str) -> Tick:
        """A panel is open, or still open; its first tick.  Raises TooMany."""
        with self._turn:
            self._forget_expired()
            if client not in self._until_s and len(self._until_s) >= PANELS_MAX:
                raise TooMany
            fresh = client not in self._until_s
            self._until_s[client] = self._clock() + EXPIRES_S
            if fresh:
                self._seen[client] = self._last_event()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="modelstream-panel", daemon=True)
                self._thread.start()
        if fresh:
            self._opened()
        return self._body(self._last_event())

    def close_one(self, client: str) -> None:
        with self._turn:
            self._until_s.pop(client, None)
            self._turn.notify_all()

    def close(self) -> None:
        with self._turn:
            self._closed = True
            self._until_s.clear()
            self._turn.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)

    def clients(self) -> tuple[str, ...]:
        with self._turn:
            self._forget_expired()
            return tuple(self._until_s)

    def tell(self, message: Tick, *, everybody: bool) -> None:
        """An alert: at once, to every browser or to those with a panel."""
        for client in (None,) if everybody else self.clients():
            self._send(message, client)

    # -- the thread ------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._turn:
                self._forget_expired()
                clients = tuple(self._until_s)
                if not clients:
                    self._thread = None
                    self._seen.clear()
                    return
            try:
                moving = self._tell_all(clients)
            except Exception as error:
                self._failed(error)
                moving = False
            with self._turn:
                self._turn.wait_for(lambda: self._closed or not self._until_s, MOVING_S if moving else STILL_S)

    def _tell_all(self, clients: tuple[str, ...]) -> bool:
        last = self._last_event()
        bodies: dict[int, Tick] = {}
        for client in clients:
            seen = self._seen.get(client, last)
            if seen not in bodies:
                bodies[seen] = self._body(seen)
            self._seen[client] = last
            self._send(bodies[seen], client)
        return self._moving()

    def _body(self, seen: int) -> Tick:
        self._seq += 1
        return fitted({"kind": "tick", "seq": self._seq, **self._tick(seen)})

    def _forget_expired(self) -> None:
        now_s = self._clock()
        for client in [c for c, until_s in self._until_s.items() if until_s <= now_s]:
            del self._until_s[client]


def fitted(tick: Tick, most: int = TICK_BYTES_MAX) -> Tick:
    """The tick, with fewer events and transfers where it would be too long; what is left out is counted."""
    while len(json.dumps(tick, ensure_ascii=True)) > most:
        if len(tick.get("events", ())) > 1:
            tick = {**tick, "events": tick["events"][len(tick["events"]) // 2 :]}
        elif len(tick.get("transfers", ())) > 1:
            keep = len(tick["transfers"]) // 2
            tick = {**tick, "transfers": tick["transfers"][:keep], "more_transfers": tick["more_transfers"] + len(tick["transfers"]) - keep}
        elif tick.get("events"):
            tick = {**tick, "events": []}
        elif tick.get("gpus") and len(tick["gpus"]) > 1:
            tick = {**tick, "gpus": tick["gpus"][: len(tick["gpus"]) // 2]}
        elif tick.get("transfers"):
            tick = {**tick, "transfers": [], "more_transfers": tick["more_transfers"] + 1}
        elif tick.get("tiers", {}).get("loading"):
            tick = {**tick, "tiers": {**tick["tiers"], "loading": []}}
        else:
            return tick
    return tick
