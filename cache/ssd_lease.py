"""What the SSD tiers hand out to read from: a leased entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..storage.objects import RemoteObject
from .lease import Lease
from .record import Record

if TYPE_CHECKING:
    from .ssd import SsdTier


class SsdLease(Lease):
    """A complete entry that is not evicted while the lease is held.  `release` any number of times, any thread."""

    def __init__(self, tier: SsdTier, obj: RemoteObject, path: Path, record: Record, give_back: Callable[[], None]) -> None:
        super().__init__(give_back)
        self.tier = tier
        self.obj = obj
        self.path = path
        self.record = record
