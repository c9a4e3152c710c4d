"""Events about near origins: copies of far objects in a bucket that stands in front (``mirror = true``).

``origin`` is the near origin's name from the configuration, so it may be a label; ``subject`` is the far object's.
"""

from __future__ import annotations

from dataclasses import dataclass

from .events import Event


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NearDown(Event):
    """The near origin failed; loads go to the far one, and it is asked again after ``retry_s``."""

    origin: str
    code: str
    cause: str
    retry_s: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NearUp(Event):
    origin: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NearFailover(Event):
    """A transfer from the near origin failed; the far one goes on from ``landed_bytes``."""

    origin: str
    subject: str
    code: str
    landed_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NearCopyRefused(Event):
    """What the near origin has under the object's key is not used.

    reason: "stale" (a copy of another version), "own" (no copy of ours), "damaged"
    """

    origin: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class NearWaited(Event):
    """Another worker was fetching the same object from the far origin.

    outcome: "copied" (its copy was there in the end), "gone" (it gave up or died) or "slow" (it took too long)
    """

    origin: str
    subject: str
    seconds: float
    outcome: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Mirrored(Event):
    """A far object was copied to the near origin and looked at there."""

    origin: str
    subject: str
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MirrorSkipped(Event):
    """reason: "there" (another worker was faster), "own" (something that is no copy of ours has the key), "too_large",
    "not_worth_it", "gone" (no tier here has the bytes any more) or "read_only"
    """

    origin: str
    subject: str
    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MirrorFailed(Event):
    origin: str
    subject: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MirrorEvicted(Event):
    """A copy of ours left the near origin to make room, or because the far object is gone."""

    origin: str
    key: str
    size_bytes: int
    why: str
