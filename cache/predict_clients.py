"""Who goes on where whom left off: queue clients → streams of prompts.  Pure; bounded.

ComfyUI names whoever queued a prompt by a random id: a browser tab keeps one, a script often makes a new one for each
prompt.  A client that comes back is a stream of his own.  A new one goes on with the last stream when that has been
idle for long (the same person in a new tab), or when new clients lately never came back (scripts).
Streams are numbered: no client's id is kept.
"""

from __future__ import annotations

IDLE_S = 1800.0
NEVER_BACK = 3
MAX_CLIENTS = 500


class Clients:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._streams: dict[str, int] = {}
        self._once: list[str] = []
        """the newest clients, as far as none of them has come back"""
        self._next = 0
        self._last = 0
        self._last_s: float | None = None

    def stream(self, client: str, now_s: float) -> str:
        """now_s: of a clock that does not jump."""
        known = self._streams.pop(client, None)
        if known is not None:
            self._once.clear()
            number = known
        else:
            number = self._of_new(now_s)
            self._once.append(client)
            del self._once[:-NEVER_BACK]
        self._streams[client] = number
        if len(self._streams) > MAX_CLIENTS:
            del self._streams[next(iter(self._streams))]
        self._last, self._last_s = number, now_s
        return str(number)

    def _of_new(self, now_s: float) -> int:
        idle = self._last_s is None or now_s - self._last_s >= IDLE_S
        if self._last_s is not None and (idle or len(self._once) >= NEVER_BACK):
            return self._last
        self._next += 1
        return self._next - 1
