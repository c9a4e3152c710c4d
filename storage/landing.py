"""What a caller gives to a transfer and gets from it: plain values and one protocol."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .objects import Extent, ObjectHead, RemoteObject


class LandingZone(Protocol):
    """Where one object's bytes go; given by a tier.  Called by the transfer's own threads only, never with a lock held."""

    def prepare(self, head: ObjectHead) -> memoryview:
        """Once before the first byte, and again after the object changed (everything landed so far is then void).

        Returns a writable, contiguous memoryview of ``head.size_bytes`` bytes (format "B").  May raise NoRoom.
        No other call runs meanwhile, and nothing writes into the former view any more.
        """

    def extents(self) -> Sequence[Extent]:
        """After ``prepare``: what is there already and checked (resume), in the buffer or behind it.  Sorted, disjoint."""

    def landed(self, extent: Extent) -> None:
        """A part passed all its checks.  May be called by several threads at once.

        Blocks only while the zone's disk is far behind, and no longer than 50 ms once the transfer has ended.  What
        it raises ends the transfer.
        """


class RepairableZone(LandingZone, Protocol):
    """A zone that keeps copies of what landed and can mend them.  Without this method its own checksums have to find them."""

    def replaced(self, extent: Extent) -> None:
        """An extent that had landed was damaged on the wire; its bytes in the buffer have just been replaced."""


class Priority(enum.IntEnum):
    FOREGROUND = 0
    QUEUED = 1
    BACKGROUND = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """landed_bytes counts what is in its place, resumed bytes and unfinished parts included."""

    size_bytes: int
    landed_bytes: int
    wire_bytes: int
    rate_bytes_per_s: float
    eta_s: float | None
    connections: int
    state: str
    """"waiting", "looking", "reading", "checking", "done", "failed" or "cancelled" """


@dataclass(frozen=True, slots=True)
class TransferResult:
    obj: RemoteObject
    """the version that was read: not the one asked for when ``changed``"""
    head: ObjectHead
    crc64: int
    verified: str
    """"crc64nvme" or "size_only" """
    changed: bool
    """a newer version than the one asked for: the catalog's entry has to be replaced"""
    seconds: float
    wire_bytes: int
    resumed_bytes: int
    requests: int
    retries: int
