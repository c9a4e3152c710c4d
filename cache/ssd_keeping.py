"""Looking after one SSD directory: what it holds, what was used, who would go, its budget.  Memory, but for evictions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from ..storage.objects import RemoteObject
from .disk import Disk
from .entry_names import Brief
from .paths import RECORD_NAME, Layout
from .policy import EvictionPlan
from .policy_history import Remembered
from .policy_tournament import Accounts
from .record import Record
from .room import Room
from .space_values import Held, SsdSnapshot
from .ssd_reader import SsdReader
from .tier_choice import TierChoice


class SsdKeeping:
    """One half of `cache.ssd.SsdTier`, which makes the parts.  Thread-safe."""

    _space: Room
    _reader: SsdReader
    _layout: Layout
    _disk: Disk
    choice: TierChoice
    writable: bool

    def held(self) -> tuple[Held, ...]:
        """Every entry, from memory."""
        return self._space.held()

    def name_all(self) -> None:
        """Afterwards every entry that has a record has its name in `held`.  Reads a small file each."""
        self._space.name_entries()

    def leased_anywhere(self) -> frozenset[str]:
        """Digests that some process reads at this moment, this one or another.  Asks the disk."""
        return self._space.leased_anywhere()

    def free_bytes(self) -> int:
        """What fits without evicting anything; none where the disk does not answer."""
        try:
            return self._space.free_bytes()
        except OSError:
            return 0

    def named(self, digest: str) -> RemoteObject | None:
        """Which object an entry is; None where its record cannot be read."""
        return self._space.named(digest)

    def let_go(self, digest: str, reason: str = "asked") -> tuple[int, str]:
        """See `Space.let_go`; a directory that cannot be written to keeps everything: "read-only"."""
        return self._space.let_go(digest, reason) if self.writable else (0, "read-only" if self._layout.entry(digest).is_dir() else "")

    def set_budget(self, budget_bytes: int | None) -> None:
        """From now on; evicts what is above it."""
        self._space.set_budget(budget_bytes)

    def assume_budget(self, budget_bytes: int) -> None:
        """For plans: from now on it counts with this budget; nothing goes for it."""
        self._space.assume_budget(budget_bytes)

    def plan_room(self, size_bytes: int) -> EvictionPlan:
        """Who would go for an object of this size.  Changes nothing."""
        return self._space.plan_room(size_bytes)

    def missed(self, obj: RemoteObject) -> None:
        """Somebody wants it and it is not here: a use, before room is made for it."""
        self._space.missed(obj.id.digest, obj.size_bytes)

    def noted(self, obj: RemoteObject) -> bool:
        """A use of an entry that was not asked for: the model made from it was still there.  False: there is none."""
        if not self._space.holds(obj.id.digest):
            return False
        record = self._reader.find(obj)
        if record is not None:
            self._used(record)
        return record is not None

    def of_size(self, size_bytes: int) -> list[Brief]:
        """Entries of exactly this size."""
        return self._space.of_size(size_bytes)

    def holds(self, digest: str) -> bool:
        """From memory; `lookup` looks at the disk."""
        return self._space.holds(digest)

    def keep(self, digests: list[str], until_s: float) -> None:
        """See `TierChoice.keep`."""
        self._space.keep(digests, until_s)

    def recall(self, remembered: Iterable[Remembered], accounts: Accounts) -> None:
        """What an earlier process knew of uses; once it is started."""
        self._space.recall(remembered, accounts)

    def snapshot(self) -> SsdSnapshot:
        return self._space.snapshot(writable=self.writable)

    def _used(self, record: Record) -> None:
        self._touch(record, self._space.used(record))

    def _touch(self, record: Record, used_s: float) -> None:
        if self.writable:
            with contextlib.suppress(OSError):  # a read-only directory: the use counts in this process only
                self._disk.touch(self._layout.entry(record.id.digest) / RECORD_NAME, used_s)
