"""What a guess costs: the seconds of loading that are expected to be lost by what it displaces.  Pure.

Keeps the same faded counts of uses as the cache's policy does (`cache.policy_history`), so that a tier may evict by any
policy and the price stays the same.  Both constants were chosen on the first part of the recorded requests
(docs/prediction.md): with less than `LOOKS` too much is displaced, with more hardly anything is fetched.
"""

from __future__ import annotations

from .policy import FROM_SSD, EvictionPlan, TierSpeed
from .policy_history import History
from .policy_rank import Moment, expected_seconds

LOOKS = 16.0
"""further uses of the tier over which what is displaced counts"""
KEPT_S = 60.0
"""so long what was fetched on a guess is not displaced by other guesses: about the time between two prompts of one person"""
_rate_of_loss = expected_seconds(0.3)


def worth(probability: float, seconds: float, lost_s: float | None, second_price: float) -> bool:
    """seconds: that the fetch would save; lost_s: what it displaces, None: it cannot be made; second_price: λ."""
    return lost_s is not None and probability * seconds > lost_s + second_price * seconds


class Price:
    """One thread notes uses; `displaced_s` may be asked by another: it reads values that are only ever replaced whole."""

    def __init__(self, below: TierSpeed = FROM_SSD) -> None:
        self._below = below
        self._history = History()

    def used(self, digest: str, size_bytes: int, now_s: float) -> None:
        self._history.use(digest, size_bytes, self._below.reload_s(size_bytes), now_s)

    def displaced_s(self, plan: EvictionPlan) -> float | None:
        """None: room cannot be made without what somebody uses, wants or pinned."""
        if not plan.enough or any(victim.kept_alive for victim in plan.victims):
            return None
        moment = Moment(self._history.at, 0.0)
        rows = [row for victim in plan.victims if (row := self._history.get(victim.digest)) is not None]
        return LOOKS * sum(_rate_of_loss(row, moment) * row.size_bytes for row in rows)
