"""What a failure means: ask again and when, look at the object, slow down, or give up.  Pure policy, the time is passed in."""

from __future__ import annotations

import enum

from .answers import RANGE_IGNORED, Refusal, Then
from .config import TransferConfig
from .errors import DeadlineExceeded, ModelStreamError, Throttled
from .pacing import Backoff

LOOK_TRIES_MAX = 3
"""of a server that cannot be reached at all, which is told soon"""
SLOW_MAX = 2
"""how often one part is asked for again because it is slow; then slow is what this network is"""
BUDGET_FACTOR = 8
"""failures without a new byte, all parts together, in units of what one part may have"""

_AT_ONCE = frozenset({"reset", "short", "stall", "slow"})
"""accidents of one connection: the first repetition, on a new connection, needs no pause"""


class Verdict(enum.Enum):
    AGAIN = "ask again, not before ``Tries.not_before_s``"
    LOOK = "the same, but look at the object first"
    SLOW_DOWN = "the same, with fewer connections"
    GIVE_UP = "raise the refusal's error"


class Tries:
    """How often something failed in a row, and when it may be tried again."""

    __slots__ = ("fruitless", "not_before_s", "ranges_ignored", "slow", "throttled")

    def __init__(self) -> None:
        self.fruitless = 0
        """failures in a row without a new byte"""
        self.throttled = 0
        self.slow = 0
        self.ranges_ignored = 0
        self.not_before_s = 0.0

    @property
    def number(self) -> int:
        """of the repetition that follows, for people"""
        return max(1, self.fruitless + self.throttled)


class Patience:
    """Of one transfer.  Guarded by the engine's lock."""

    def __init__(self, settings: TransferConfig, backoff: Backoff | None = None) -> None:
        self._retries = settings.retries
        self._no_progress_s = settings.no_progress_s
        self._backoff = backoff or Backoff()
        self._fruitless = 0
        self._last: Refusal | None = None

    def part_landed(self) -> None:
        """Things go well again: the budget is for failures in a row."""
        self._fruitless = 0

    def let_go(self) -> None:
        """The transfer is over: an error that was raised holds the frames it came through."""
        self._last = None

    def judge(self, refusal: Refusal, tries: Tries, now_s: float, *, progressed: bool = False, looking: bool = False) -> Verdict:
        """Counts the failure in ``tries`` and says what follows.

        progressed: new bytes came before it failed; such a failure costs nothing but the repetition.
        looking: it was a HEAD.
        """
        self._last = refusal
        if progressed:
            tries.fruitless = tries.throttled = 0
        if refusal.then is Then.FAIL:
            return Verdict.GIVE_UP
        if refusal.then is Then.SIGN:  # it has been signed again, which is limited elsewhere
            return Verdict.AGAIN
        if refusal.then is Then.THROTTLE:  # limited by the deadlines, not by a count
            tries.throttled += 1
            tries.not_before_s = now_s + self._backoff.wait_s(tries.throttled)
            return Verdict.SLOW_DOWN
        tries.slow += refusal.reason == "slow"
        tries.ranges_ignored += refusal.reason == RANGE_IGNORED
        tries.fruitless += not progressed
        self._fruitless += not progressed
        if self._is_enough(refusal, tries, looking):
            return Verdict.GIVE_UP
        at_once = tries.fruitless <= 1 and refusal.reason in _AT_ONCE
        tries.not_before_s = now_s if at_once else now_s + self._backoff.wait_s(tries.fruitless)
        return Verdict.LOOK if refusal.then is Then.LOOK and not looking else Verdict.AGAIN

    def _is_enough(self, refusal: Refusal, tries: Tries, looking: bool) -> bool:
        if looking and refusal.reason in _AT_ONCE and tries.fruitless >= LOOK_TRIES_MAX:
            return True
        budget = BUDGET_FACTOR * max(1, self._retries)
        return tries.fruitless > self._retries or tries.ranges_ignored > 1 or self._fruitless > budget

    def stuck(self, subject: str) -> ModelStreamError:
        """The error of a transfer that got nothing new for ``no_progress_s``."""
        seconds = f"{self._no_progress_s:g} s"
        if self._last is not None and self._last.then is Then.THROTTLE:
            e = self._last.error
            return Throttled(e.problem, subject=subject, cause=f"{e.cause}, for {seconds}", next_step=e.next_step)
        cause = f"nothing arrived for {seconds}" + (f" ({self._last.error.cause})" if self._last else "")
        return DeadlineExceeded("the download stands still", subject=subject, cause=cause, next_step="look at the server and the network")
