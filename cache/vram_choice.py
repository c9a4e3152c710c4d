"""Which models go when room is needed: one small function over values, which any other policy can take the place of.

A model that goes has to be loaded again when it is wanted again.  So the order is that of the seconds that are
expected to be lost for a byte won: ``seconds × chance of use ÷ bytes``, with the chance falling with the time since
the last use, ``1 ÷ (1 + idle minutes)``.  Models of one size and rate therefore go least recently used first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

IDLE_UNIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a policy sees of one model.

    size_bytes: what would come free; seconds: what getting it back costs; idle_s: since its last use
    in_use:     somebody works with it now: it never goes
    """

    key: Hashable
    size_bytes: int
    seconds: float
    idle_s: float
    in_use: bool = False

    @property
    def lost_seconds_per_byte(self) -> float:
        return self.seconds / (1.0 + max(0.0, self.idle_s) / IDLE_UNIT_S) / max(1, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Plan:
    """Who goes, in this order.  ``enough`` False: even all of them do not make the room that was asked for."""

    needed_bytes: int
    going: tuple[Candidate, ...] = ()

    @property
    def freed_bytes(self) -> int:
        return sum(one.size_bytes for one in self.going)

    @property
    def lost_seconds(self) -> float:
        return sum(one.seconds for one in self.going)

    @property
    def enough(self) -> bool:
        return self.freed_bytes >= self.needed_bytes


Choice = Callable[[Iterable[Candidate], int], Plan]


def choose(entries: Iterable[Candidate], needed_bytes: int) -> Plan:
    """Pure.  The cheapest to lose first, until the room is made; then whoever turned out not to be needed is spared."""
    if needed_bytes <= 0:
        return Plan(0)
    going: list[Candidate] = []
    freed = 0
    for one in order(entries):
        if freed >= needed_bytes:
            break
        going.append(one)
        freed += one.size_bytes
    for one in sorted(going, key=lambda one: -one.lost_seconds_per_byte):
        if freed - one.size_bytes >= needed_bytes:
            going.remove(one)
            freed -= one.size_bytes
    return Plan(needed_bytes, tuple(going))


def order(entries: Iterable[Candidate]) -> list[Candidate]:
    """All that may go and hold something, the cheapest to lose first; of equals the longest unused."""
    free = [one for one in entries if not one.in_use and one.size_bytes > 0]
    return sorted(free, key=lambda one: (one.lost_seconds_per_byte, -one.idle_s))
