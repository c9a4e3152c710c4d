"""Several SSD directories as one tier: fast ones first, then slow ones, then what somebody else keeps and we may read.

An object is kept in one directory.  It goes to the first that takes it without evicting anything, else to the first
that can make room; it is looked for in all of them, in order.  Its path (`path_for`) lies in the first directory
that can be written to, wherever the file is: a path is a name here, `lease` says where to read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ..storage.config import SsdConfig
from ..storage.errors import DiskFailed, ModelStreamError, NoRoom
from ..storage.events import EventBus
from ..storage.objects import ObjectHead, RemoteObject
from .entry_names import Brief
from .partial import PartialFile
from .pins import Pins
from .policy import DEFAULT, EvictionPlan
from .record import Record
from .space_values import Held, SsdSnapshot
from .speeds import Speeds
from .ssd import SsdTier
from .ssd_flight import Flight
from .ssd_lease import SsdLease
from .tier_choice import TierChoice

Progress = Callable[[int], None]
ShouldStop = Callable[[], bool]


class AnySsd(Protocol):
    """What the cache needs of its SSD, one directory or several.  `SsdTier` says what each method promises."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def path_for(self, obj: RemoteObject) -> Path: ...
    def digest_of(self, path: str) -> str | None: ...
    def lookup(self, obj: RemoteObject) -> Record | None: ...
    def lease(self, obj: RemoteObject, *, use: bool = True) -> SsdLease | None: ...
    def read_into(self, lease: SsdLease, view: memoryview, progress: Progress = ..., should_stop: ShouldStop = ...) -> None: ...
    def verify(self, lease: SsdLease, progress: Progress = ..., should_stop: ShouldStop = ..., *, again: bool = False) -> None: ...
    def held(self) -> tuple[Held, ...]: ...
    def let_go(self, digest: str) -> tuple[int, str]: ...
    def set_budget(self, budget_bytes: int) -> None: ...
    def flight(self, obj: RemoteObject, progress: Progress, should_stop: ShouldStop) -> AbstractContextManager[Flight]: ...
    def begin(self, obj: RemoteObject, head: ObjectHead, *, must: bool = True) -> PartialFile: ...
    def plan_room(self, size_bytes: int) -> EvictionPlan: ...
    def missed(self, obj: RemoteObject) -> None: ...
    def noted(self, obj: RemoteObject) -> bool: ...
    def holds(self, digest: str) -> bool: ...
    def file_of(self, obj: RemoteObject) -> Path | None: ...
    def of_size(self, size_bytes: int) -> list[Brief]: ...
    def keep(self, digests: list[str], until_s: float) -> None: ...
    def directories(self) -> tuple[SsdTier, ...]: ...
    @property
    def writable(self) -> bool: ...
    def snapshot(self) -> SsdSnapshot: ...


class SsdStack:
    """Thread-safe.  ``own``: written to, at least one; ``shared``: read only, after all the others."""

    def __init__(self, own: Sequence[SsdTier], shared: Sequence[SsdTier] = ()) -> None:
        self._own = tuple(own)
        self._all = (*own, *shared)
        for tier in shared:
            tier.leave_rests_to(self._own[0])
        self._named = self._own[0]

    def start(self) -> None:
        for tier in self._all:
            tier.start()
        self._named = next((tier for tier in self._own if tier.writable), self._own[0])

    def close(self) -> None:
        with contextlib.ExitStack() as closing:
            for tier in self._all:
                closing.callback(tier.close)

    def path_for(self, obj: RemoteObject) -> Path:
        return self._named.path_for(obj)

    def digest_of(self, path: str) -> str | None:
        return next((digest for tier in self._all if (digest := tier.digest_of(path)) is not None), None)

    def lookup(self, obj: RemoteObject) -> Record | None:
        return next((record for tier in self._all if (record := tier.lookup(obj)) is not None), None)

    def lease(self, obj: RemoteObject, *, use: bool = True) -> SsdLease | None:
        return next((lease for tier in self._all if (lease := tier.lease(obj, use=use)) is not None), None)

    def read_into(
        self,
        lease: SsdLease,
        view: memoryview,
        progress: Progress = lambda done_bytes: None,
        should_stop: ShouldStop = lambda: False,
    ) -> None:
        lease.tier.read_into(lease, view, progress, should_stop)

    def verify(
        self,
        lease: SsdLease,
        progress: Progress = lambda done_bytes: None,
        should_stop: ShouldStop = lambda: False,
        *,
        again: bool = False,
    ) -> None:
        lease.tier.verify(lease, progress, should_stop, again=again)

    def held(self) -> tuple[Held, ...]:
        """Of our own directories; what several of them have is named once a directory."""
        return tuple(held for tier in self._own for held in tier.held())

    def let_go(self, digest: str) -> tuple[int, str]:
        """From every directory of ours that has it."""
        answers = [tier.let_go(digest) for tier in self._own]
        return sum(freed for freed, _ in answers), next((why for _, why in answers if why), "")

    def set_budget(self, budget_bytes: int) -> None:
        """Shared out as the directories' budgets were; raises ValueError where one of them has none."""
        before = [tier.snapshot().budget_bytes for tier in self._own]
        total = sum(b or 0 for b in before)
        if None in before or not total:
            raise ValueError("each SSD directory needs a budget of its own before they can be changed together")
        for tier, had in zip(self._own, before, strict=True):
            tier.set_budget(budget_bytes * (had or 0) // total)

    @contextlib.contextmanager
    def flight(self, obj: RemoteObject, progress: Progress, should_stop: ShouldStop) -> Iterator[Flight]:
        """One lock for all directories: that of the first one that can be written to."""
        with self._named.flight(obj, progress, should_stop) as flight:
            yield flight

    def plan_room(self, size_bytes: int) -> EvictionPlan:
        """Of the directory that would take it: the first where nobody has to go, else the first that can make room."""
        plans = [tier.plan_room(size_bytes) for tier in self._own if tier.writable] or [self._own[0].plan_room(size_bytes)]
        empty = next((plan for plan in plans if plan.enough and not plan.victims), None)
        return empty or next((plan for plan in plans if plan.enough), plans[0])

    def missed(self, obj: RemoteObject) -> None:
        """In every directory: each could have had it."""
        for tier in self._own:
            tier.missed(obj)

    def noted(self, obj: RemoteObject) -> bool:
        return any(tier.noted(obj) for tier in self._own)

    def file_of(self, obj: RemoteObject) -> Path | None:
        return next((path for tier in self._all if (path := tier.file_of(obj)) is not None), None)

    def holds(self, digest: str) -> bool:
        return any(tier.holds(digest) for tier in self._all)

    def of_size(self, size_bytes: int) -> list[Brief]:
        return [brief for tier in self._own for brief in tier.of_size(size_bytes)]

    def keep(self, digests: list[str], until_s: float) -> None:
        for tier in self._own:
            tier.keep(digests, until_s)

    @property
    def writable(self) -> bool:
        return any(tier.writable for tier in self._own)

    def directories(self) -> tuple[SsdTier, ...]:
        """Our own, in order."""
        return self._own

    def begin(self, obj: RemoteObject, head: ObjectHead, *, must: bool = True) -> PartialFile:
        errors: list[ModelStreamError] = []
        roomy = [tier for tier in self._own if tier.fits(obj, head.size_bytes)]
        for tier in (*roomy, *(tier for tier in self._own if tier not in roomy)):
            try:
                return tier.begin(obj, head, must=must)
            except (NoRoom, DiskFailed) as error:
                errors.append(error)
        raise errors[0]

    def snapshot(self) -> SsdSnapshot:
        """All of our own directories together.  No budget when one of them has none."""
        each = self.snapshots()
        budgets = [s.budget_bytes for s in each]
        return SsdSnapshot(
            entries=sum(s.entries for s in each),
            used_bytes=sum(s.used_bytes for s in each),
            reserved_bytes=sum(s.reserved_bytes for s in each),
            leftover_bytes=sum(s.leftover_bytes for s in each),
            budget_bytes=None if None in budgets else sum(b for b in budgets if b is not None),
            free_floor_bytes=sum(s.free_floor_bytes for s in each),
            leases=sum(s.leases for s in each),
            writable=any(s.writable for s in each),
        )

    def snapshots(self) -> tuple[SsdSnapshot, ...]:
        """Of each of our own directories, in order."""
        return tuple(tier.snapshot() for tier in self._own)


def open_ssd(
    config: SsdConfig, default: Path, bus: EventBus, *, policy: str = DEFAULT, pins: Pins | None = None, speeds: Speeds | None = None
) -> SsdTier | SsdStack:
    """The SSD of a configuration, not started.  ``default``: the directory where none is configured."""
    measured = speeds or Speeds()
    own = [
        SsdTier(
            d.path,
            d.budget_bytes,
            d.free_floor_bytes,
            bus,
            choice=TierChoice(policy=policy, pins=pins),
            speed=lambda: measured.from_bucket,
        )
        for d in config.all_directories(default)
    ]
    if len(own) == 1 and not config.shared:
        return own[0]
    return SsdStack(own, [SsdTier(path, None, 0, bus, shared=True) for path in config.shared])
