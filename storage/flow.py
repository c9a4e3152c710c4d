"""What all transfers from one origin share: how many connections it gets, and what it has delivered."""

from __future__ import annotations

from .pacing import Clock, ConnectionCount


class OriginFlow:
    """Guarded by the engine's lock.

    count:          the connection count that suits this origin
    finished_bytes: received by transfers that have ended
    lanes:          connections at work for it
    """

    def __init__(self, most: int, clock: Clock) -> None:
        self.count = ConnectionCount(most, clock)
        self.finished_bytes = 0
        self.lanes = 0
        self.warned_unverified = False
