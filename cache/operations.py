"""What the cache's operations answer: frozen values, for the panel, routes, nodes and look-ahead.  No behaviour here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RAM = "ram"
SSD = "ssd"
TIERS = (RAM, SSD)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One object that at least one tier has.

    name:        its last path segment, for people
    tiers:       "ram", "ssd", nearest first
    uses:        loads answered since the count began; being fetched ahead is no use
    last_used_s: seconds since the epoch; None: not used since it is known
    saved_s:     seconds of loading that having it here saved, against its bucket
    leased:      somebody reads it at this moment
    kept_as:     for one of its other names: the subject under which its bytes are kept; only listed when asked for
    """

    digest: str
    origin: str
    subject: str
    name: str
    size_bytes: int
    tiers: tuple[str, ...]
    uses: int
    last_used_s: float | None
    saved_s: float
    leased: bool
    pinned: bool
    kept_as: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """By name, not by version: a newer version of the object is pinned too."""

    origin: str
    key: str


@dataclass(frozen=True, slots=True)
class EvictOutcome:
    """freed_bytes: by tier; refused: by tier, why it stays: "leased", "pinned", "loaded" (a model that is loaded holds
    its memory), "busy" (the file cannot be moved), "newer" (another version of Model Stream keeps it).  A tier that
    does not have the object is in neither."""

    subject: str
    freed_bytes: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def total_bytes(self) -> int:
        return sum(self.freed_bytes.values())


@dataclass(frozen=True, slots=True)
class VerifyOutcome:
    """results: by tier: "right", "damaged" (it is out of the tier now), or "unknown" (nothing to compare with).
    A tier that does not have the object is not in it."""

    subject: str
    size_bytes: int
    results: Mapping[str, str]
    seconds: float

    @property
    def damaged(self) -> bool:
        return "damaged" in self.results.values()


@dataclass(frozen=True, slots=True)
class WarmFailure:
    subject: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class WarmProgress:
    """done_bytes: of what is there or has landed; current: subjects that are on their way"""

    objects: int
    done: int
    size_bytes: int
    done_bytes: int
    current: tuple[str, ...]
    failures: tuple[WarmFailure, ...]
    cancelled: bool
    finished: bool


@dataclass(frozen=True, slots=True)
class TierSaved:
    """What a tier's choices were worth.

    saved_s:        seconds of loading, against least recently used, over the days asked for, also of earlier processes;
                    negative: lost.  None: the policy is a fixed one, which has no shadows to compare itself with
    recent_uses:    the latest uses, of this process, that the next two are about; at most 10,000
    recent_lost_s:  seconds that loading into the tier took in them, as the tier's speed says
    recent_least_s: what nobody could have gone below, knowing the future; None: not asked for, or too little to say
    """

    tier: str
    policy: str
    ranking: str
    saved_s: float | None
    recent_uses: int
    recent_lost_s: float
    recent_least_s: float | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """seconds: of all tiers together, against least recently used.  Of several SSD directories only the first counts
    in it: a use that none of them could answer is told to all."""

    days: int
    seconds: float
    tiers: tuple[TierSaved, ...]
