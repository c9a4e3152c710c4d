"""What is true at one moment, as values: read from the tiers only while somebody looks or something happens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TierFigures:
    """level: "vram", "ram" or "ssd".  None: not known; a budget of None is what the device leaves.

    leased and pinned are parts of used; reserved: on its way
    """

    level: str
    used_bytes: int
    budget_bytes: int | None = None
    leased_bytes: int = 0
    pinned_bytes: int = 0
    reserved_bytes: int = 0
    entries: int = 0
    writable: bool = True
    adjustable: bool = False
    more: tuple[tuple[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class OriginFigures:
    """listed_s: wall time of the last complete listing; down_s: for how long no listing has worked; error: its code"""

    name: str
    objects: int
    listed_s: float | None
    error: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class DeviceObservation:
    """memory: bytes by what they are, from a fixed set; models: (component, dtype) → bytes"""

    device: str
    memory: tuple[tuple[str, int], ...]
    models: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """disk_spare_bytes: free on the SSD tier's disk above the floor; ram_used: share of what the machine or container has"""

    tiers: tuple[TierFigures, ...] = ()
    origins: tuple[OriginFigures, ...] = ()
    transfers: int = 0
    rate_bytes_per_s: float = 0.0
    connections: int = 0
    disk_spare_bytes: int | None = None
    ram_used: float | None = None
    devices: tuple[DeviceObservation, ...] = ()

    def tier(self, level: str) -> TierFigures | None:
        return next((tier for tier in self.tiers if tier.level == level), None)
