"""Promotion and demotion between the directories of an SSD stack: what is used often belongs on the fast disk.

A plan is a value, made from numbers alone (`choose_moves`), shown on request and carried out one at a time in the
housekeeping thread, while nothing is being fetched.  What is leased or pinned stays where it is.  A move is a checked copy
and then an eviction: at no moment is the object in neither directory, and a damaged source is noticed instead of copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..storage.errors import CorruptObject, NoRoom
from ..storage.events import EventBus, Moved
from ..storage.objects import Extent, ObjectHead, RemoteObject
from .ssd import SsdTier

MOST_BYTES = 32 << 30
"""moved in one round: a disk should not be worn by second thoughts"""
CLEARLY = 2.0
"""so many times the bytes read must a promotion be worth of those who would be demoted for it"""
USES = 2
"""on the slow disk, before an entry is promoted"""


@dataclass(frozen=True, slots=True)
class Placed:
    """One entry where it lies.  rate: uses of it per use of the whole SSD; movable: neither leased nor pinned"""

    obj: RemoteObject
    rate: float
    uses: int
    movable: bool

    @property
    def worth(self) -> float:
        """Bytes that are read from it per use of the SSD."""
        return self.rate * self.obj.size_bytes


@dataclass(frozen=True, slots=True)
class Shelf:
    """One directory; in order of speed.  free_bytes: what it takes without evicting anything"""

    free_bytes: int
    entries: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """source, target: numbers of directories in the configuration's order"""

    obj: RemoteObject
    source: int
    target: int
    why: str


def choose_moves(shelves: Sequence[Shelf], most_bytes: int = MOST_BYTES) -> tuple[Move, ...]:
    """One promotion and the demotions that it needs, in order; the one that brings most.  Pure."""
    best: tuple[float, tuple[Move, ...]] = (0.0, ())
    for target, fast in enumerate(shelves):
        for source in range(target + 1, len(shelves)):
            for newcomer in shelves[source].entries:
                if newcomer.movable and newcomer.uses >= USES and newcomer.obj.size_bytes <= most_bytes:
                    gain, victims = _room_for(newcomer, fast, shelves[source], most_bytes)
                    if gain > best[0]:
                        best = gain, _moves(newcomer, victims, source, target)
    return best[1]


def _room_for(newcomer: Placed, fast: Shelf, slow: Shelf, most_bytes: int) -> tuple[float, list[Placed]]:
    """What is gained, and who goes to the slow disk for it; nothing gained where it does not do."""
    victims: list[Placed] = []
    missing = newcomer.obj.size_bytes - fast.free_bytes
    for entry in sorted((e for e in fast.entries if e.movable), key=lambda e: e.rate):
        if missing <= 0:
            break
        victims.append(entry)
        missing -= entry.obj.size_bytes
    moved = sum(v.obj.size_bytes for v in victims)
    lost = sum(v.worth for v in victims)
    if missing > 0 or moved > slow.free_bytes or moved + newcomer.obj.size_bytes > most_bytes or newcomer.worth <= CLEARLY * lost:
        return 0.0, []
    return newcomer.worth - lost, victims


def _moves(newcomer: Placed, victims: list[Placed], source: int, target: int) -> tuple[Move, ...]:
    down = tuple(Move(v.obj, target, source, f"used less than {newcomer.obj.basename}, which takes its place") for v in victims)
    return (*down, Move(newcomer.obj, source, target, f"used {newcomer.uses} times, from a slower disk than it could"))


def shelf_of(tier: SsdTier, all_uses: int) -> Shelf:
    """From memory, but for the disk's free space.  all_uses: of all directories, for rates that can be compared."""
    share = tier.choice.changes / max(all_uses, 1)
    placed = []
    for held in tier.held():
        obj = tier.named(held.digest)
        if obj is not None:
            rate, uses = tier.choice.rate(held.digest)
            movable = not held.leased and not tier.choice.pins.holds(obj)
            placed.append(Placed(obj, rate * share, uses, movable))
    return Shelf(tier.free_bytes(), tuple(placed))


class SsdMoves:
    """Housekeeping's job for a stack.  ``quiet``: whether nothing is being fetched."""

    def __init__(self, directories: Sequence[SsdTier], bus: EventBus, quiet: Callable[[], bool]) -> None:
        self._directories = tuple(directories)
        self._bus = bus
        self._quiet = quiet

    def plan(self) -> tuple[Move, ...]:
        """What the next round would do.  Changes nothing."""
        own = self._directories
        if len(own) < 2 or not all(tier.writable for tier in own):
            return ()
        all_uses = sum(tier.choice.changes for tier in own)
        return choose_moves([shelf_of(tier, all_uses) for tier in own])

    def round(self) -> None:
        """Plans and does it.  A move that cannot be made any more ends the round."""
        for move in self.plan():
            if not self._quiet() or not self._move(move):
                return

    def _move(self, move: Move) -> bool:
        source, target = self._directories[move.source], self._directories[move.target]
        if not target.fits(move.obj, move.obj.size_bytes):
            return False
        try:
            copied = copy(source, target, move.obj)
        except (NoRoom, CorruptObject):
            return False  # a damaged source is found, and mended, by whoever reads it next
        if not copied:
            return False
        source.let_go(move.obj.id.digest, "moved")  # refused where somebody has just begun to read: there are two then
        self._bus.emit(Moved(move.obj.subject, move.obj.size_bytes, move.source, move.target, move.why))
        return True


def copy(source: SsdTier, target: SsdTier, obj: RemoteObject) -> bool:
    """False when the source has it no more.  Raises NoRoom, DiskFailed, CorruptObject; then the target has nothing of it."""
    lease = source.lease(obj, use=False)
    if lease is None:
        return False
    with lease, open(lease.path, "rb") as file:
        record = lease.record
        partial = target.begin(obj, ObjectHead(record.size_bytes, record.etag, record.version_id))
        try:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as view:
                try:
                    partial.write_behind(view, Extent(0, record.size_bytes, record.crc64))
                    partial.commit(record.crc64, record.verified)
                except BaseException:
                    partial.abandon(keep=False)  # the writer lets go of the view
                    raise
        except BaseException:
            partial.abandon(keep=False)
            raise
    return True
