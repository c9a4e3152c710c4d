"""How a waiting loader sees a load and stops waiting for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """One moment of a load.

    source: where the bytes come from: "bucket" or "ssd"
    eta_s:  None while no rate is known
    waits:  what has to happen before the first byte, in words; empty: nothing
    """

    size_bytes: int
    done_bytes: int
    rate_bytes_per_s: float
    eta_s: float | None
    source: str
    waits: str = ""


class Watch(Protocol):
    """Given by whoever waits.  Both methods are called in the waiting thread only."""

    def progress(self, progress: LoadProgress) -> None:
        """About ten times a second."""

    def check(self) -> None:
        """At least every 50 ms.  Raises to stop waiting; the load itself goes on while others wait for it."""


class Unwatched:
    """A watch for callers that neither show progress nor can be interrupted."""

    def progress(self, progress: LoadProgress) -> None:
        return None

    def check(self) -> None:
        return None
