"""When host memory gets scarce: how much to let go, and when to take it back.  Decisions over values; no clock, no file.

Two levels keep it from swinging.  Below ``floor_bytes`` of available memory so much goes that ``target_bytes`` are available; only
when memory has stayed above ``calm_bytes`` for ``calm_s`` may the tier grow again, and then by no more than leaves the target
available.  So its own growth never brings it back below the floor.

The kernel's stall figures say that somebody already waits for memory.  Those of our own cgroup always cost a share of what we
hold; those of the whole machine only where little is available, since another container's limit may be what stalls.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

STALL_SHARE = 8
"""of what is held goes at once when our own cgroup stalls, whatever its figures say"""
CALM_S = 20.0
LOOK_S = 5.0
"""between two looks where the kernel tells nothing, and while the tier is limited"""
CALM_SHARE_MOST_BYTES = 2 << 30
"""between floor and target, and between target and calm, at most"""


class Stall(enum.Enum):
    """What the kernel has told since the last look."""

    NONE = "none"
    MACHINE = "machine"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Levels:
    """Of available host memory, rising."""

    floor_bytes: int
    target_bytes: int
    calm_bytes: int
    calm_s: float = CALM_S

    @classmethod
    def above(cls, floor_bytes: int, calm_s: float = CALM_S) -> Levels:
        step = min(floor_bytes // 2, CALM_SHARE_MOST_BYTES)
        return cls(floor_bytes, floor_bytes + step, floor_bytes + 2 * step, calm_s)


@dataclass(frozen=True, slots=True)
class Look:
    """available_bytes: of machine and container, less what is about to be used; held_bytes: by the RAM tier."""

    now_s: float
    available_bytes: int
    held_bytes: int
    stall: Stall = Stall.NONE


@dataclass(frozen=True, slots=True)
class Yield:
    """Let so much go; ``reason`` as the event says it."""

    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Regain:
    """The tier may hold so much; None: its whole budget."""

    limit_bytes: int | None


class Governor:
    """The memory of the decisions.  Used by one thread at a time."""

    def __init__(self, levels: Levels, budget_bytes: int) -> None:
        self.levels = levels
        self.budget_bytes = budget_bytes
        self.limit_bytes: int | None = None
        """None: the tier may hold its whole budget"""
        self._calm_since_s: float | None = None

    def decide(self, look: Look) -> Yield | Regain | None:
        wanted, reason = self._wanted(look)
        if wanted > 0:
            self._calm_since_s = None
            return Yield(wanted, reason)
        if look.available_bytes < self.levels.calm_bytes or look.stall is Stall.OWN:
            self._calm_since_s = None
            return None
        if self._calm_since_s is None:
            self._calm_since_s = look.now_s
        if self.limit_bytes is None or look.now_s - self._calm_since_s < self.levels.calm_s:
            return None
        self._calm_since_s = look.now_s
        limit = look.held_bytes + look.available_bytes - self.levels.target_bytes
        if limit <= self.limit_bytes:
            return None
        self.limit_bytes = None if limit >= self.budget_bytes else limit
        return Regain(self.limit_bytes)

    def yielded(self, held_bytes: int) -> None:
        """After a Yield was carried out, as far as it could be: what is held now is the most until memory is calm."""
        self.limit_bytes = min(held_bytes, self.budget_bytes)

    def _wanted(self, look: Look) -> tuple[int, str]:
        levels = self.levels
        short = levels.target_bytes - look.available_bytes
        if look.stall is Stall.OWN:
            return max(short, look.held_bytes // STALL_SHARE), "stalls"
        if look.available_bytes < levels.floor_bytes:
            return short, "low"
        if look.stall is Stall.MACHINE and look.available_bytes < levels.calm_bytes:
            return max(short, look.held_bytes // STALL_SHARE), "stalls"
        return 0, ""
