"""What it costs to keep one object in one storage class and to use it, and what it costs to move it there.

Pure arithmetic over values; no clock, no network.  The formula (every term that a price list has, because the one that is left
out decides: by storage price alone an archive always wins):

    storage     store × billed GB × max(life, min_days) / 30
    reads       retrieval and egress per GB, a GET a part, a restore request
    waiting     stalled seconds × what a second of the waiting machine costs
    a move      PUT of the new class, GET and retrieval of the old, and the rest of the old class's minimum duration

An archive class is feasible only where somebody may wait as long as its restore takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .prices import PriceClass

DAYS_A_MONTH = 30.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class Use:
    """How an object is used.

    reads_per_month: whole reads from the bucket (what RAM and SSD answer is none)
    life_days:       for how long it will be kept
    leaves_region:   reads pay egress
    part_bytes:      of one GET; stall_per_s: money a second of waiting costs; allowed_wait_s: for a restore
    """

    size_bytes: int
    reads_per_month: float
    life_days: float = 365.0
    leaves_region: bool = True
    part_bytes: int = 64 << 20
    allowed_wait_s: float = 0.0
    stall_per_s: float = 0.0

    @property
    def reads(self) -> float:
        return self.reads_per_month * self.life_days / DAYS_A_MONTH


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one object over its life, by what it is paid for."""

    storage: float = 0.0
    retrieval: float = 0.0
    egress: float = 0.0
    requests: float = 0.0
    waiting: float = 0.0
    moving: float = 0.0

    @property
    def total(self) -> float:
        return self.storage + self.retrieval + self.egress + self.requests + self.waiting + self.moving

    def a_month(self, life_days: float) -> float:
        return self.total * DAYS_A_MONTH / life_days if life_days else 0.0


def billed_bytes(size_bytes: int, kept: PriceClass) -> int:
    return max(size_bytes, kept.min_bytes) + kept.overhead_bytes


def feasible(use: Use, kept: PriceClass) -> bool:
    """Whether a reader gets the object within the wait that is allowed.  An object nobody reads may be anywhere."""
    if kept.restore_max_bytes and use.size_bytes > kept.restore_max_bytes:
        return False
    return use.reads_per_month == 0 or kept.restore_s <= use.allowed_wait_s


def keeping(use: Use, kept: PriceClass, *, served_days: float = 0.0) -> Cost:
    """``served_days``: of the minimum duration, how much is over already."""
    reads, gb = use.reads, use.size_bytes / GB
    billed_days = max(use.life_days, kept.min_days - served_days)
    stored_gb = billed_bytes(use.size_bytes, kept) / GB
    leaving_gb = reads * gb if use.leaves_region else 0.0
    free_gb = kept.egress_free_x_stored * gb * use.life_days / DAYS_A_MONTH
    gets = reads * math.ceil(use.size_bytes / use.part_bytes)
    return Cost(
        storage=kept.store_per_gb_month * stored_gb * billed_days / DAYS_A_MONTH,
        retrieval=reads * gb * kept.retrieve_per_gb,
        egress=max(0.0, leaving_gb - free_gb) * kept.egress_per_gb,
        requests=(gets * kept.get_per_1k + reads * kept.restore_per_1k) / 1000,
        waiting=reads * kept.restore_s * use.stall_per_s,
    )


def moving(use: Use, old: PriceClass, new: PriceClass, *, served_days: float) -> Cost:
    """A copy in place: the old class is read once and left, the new one written once.  Copies stay in the region."""
    if old.storage_class == new.storage_class:
        return Cost()  # another way back out of the same class: nothing moves
    gb = use.size_bytes / GB
    parts = math.ceil(use.size_bytes / use.part_bytes)
    early_days = max(0.0, old.min_days - served_days)
    early = old.store_per_gb_month * billed_bytes(use.size_bytes, old) / GB * early_days / DAYS_A_MONTH
    requests = (parts * (old.get_per_1k + new.put_per_1k) + old.restore_per_1k) / 1000
    return Cost(moving=early + gb * old.retrieve_per_gb + requests)
