"""What happens, as frozen values, and the bus that carries them.

Everything below ``telemetry`` only *emits*; logs, metrics and the panel subscribe.  ``emit`` calls the
subscribers in the caller's thread, so a subscriber must be quick and must not call back into the tiers.
A subscriber that raises is counted in ``EventBus.subscriber_errors`` and never harms the emitter.
Object keys are carried as text for logs and the panel; they never become metric labels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Event:
    """Base of all events.

    Their text and comparison are written once, here: made anew for each of fifty classes they cost ComfyUI's start 8 ms.
    """

    def __repr__(self) -> str:
        said = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return f"{type(self).__name__}({said})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(self))

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, f.name) for f in fields(self))))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CatalogRefreshed(Event):
    origin: str
    objects: int
    added: int
    removed: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CatalogRefreshFailed(Event):
    """The last good listing stays in use: an outage is not a deletion."""

    origin: str
    code: str
    cause: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CatalogTrimmed(Event):
    """Some of what an origin holds is not shown.  Emitted once for each set of numbers."""

    origin: str
    unsafe_names: int
    """keys that cannot be a safe file name"""
    cut: bool
    """the origin has more than max_objects"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TlsNotVerified(Event):
    """The owner switched certificate checks off for this origin.  Said at every start, so that nobody forgets it."""

    origin: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TransferStarted(Event):
    transfer_id: int
    subject: str
    size_bytes: int
    resumed_bytes: int
    priority: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PartRetried(Event):
    transfer_id: int
    subject: str
    offset: int
    missing_bytes: int
    attempt: int
    reason: str
    """a short word from a fixed set: reset, short, stall, slow, status, range, etag, checksum, throttled, ..."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PartHedged(Event):
    transfer_id: int
    subject: str
    offset: int
    missing_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ConnectionsChanged(Event):
    connections: int
    reason: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CredentialsRefreshed(Event):
    origin: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TransferFinished(Event):
    transfer_id: int
    subject: str
    size_bytes: int
    wire_bytes: int
    seconds: float
    requests: int
    retries: int
    verified: str
    """"crc64nvme", "parts" or "size_only" """


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TransferFailed(Event):
    transfer_id: int
    subject: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TransferStopped(Event):
    """Cancelled because nobody wanted it any more."""

    transfer_id: int
    subject: str
    landed_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CorruptionFound(Event):
    where: str
    """"wire", "ssd" or "ram" """
    subject: str
    detail: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Unverified(Event):
    """The server has no checksum to compare with: only size and ETag were checked."""

    origin: str
    subject: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TierHit(Event):
    tier: str
    subject: str
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TierMiss(Event):
    tier: str
    subject: str
    size_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Stored(Event):
    tier: str
    subject: str
    size_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Evicted(Event):
    tier: str
    subject: str
    size_bytes: int
    reason: str
    """a short word from a fixed set: room, asked, replaced, stale, budget, damaged, pressure, ..."""
    why: str = ""
    """for people: why this one and not another"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Moved(Event):
    """An entry of the SSD tier went from one of its directories to another; numbers in the configuration's order."""

    subject: str
    size_bytes: int
    source: int
    target: int
    why: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PassedBy(Event):
    """A tier did not keep an object that came by: what would have had to go is worth more."""

    tier: str
    subject: str
    size_bytes: int
    why: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SameBytesFound(Event):
    """An object is byte for byte what is here under another name, so it is not fetched and not kept twice."""

    subject: str
    kept_as: str
    size_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Converted(Event):
    """A model was written in fewer bits while it came in.

    seconds: from its header to its last tensor; layers: converted; stays: layers that stay in 16 bits although the recipe names them
    worst_error: of the layer ``worst``: RMS of the difference over the RMS of its weights
    """

    subject: str
    form: str
    source_bytes: int
    size_bytes: int
    seconds: float
    layers: int
    stays: int
    worst: str
    worst_error: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Pinned(Event):
    """The user wants it kept: no tier evicts it by itself any more."""

    subject: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Unpinned(Event):
    subject: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Verified(Event):
    """A tier's copy was read again because somebody asked."""

    tier: str
    subject: str
    size_bytes: int
    result: str
    """"right", "damaged" or "unknown" """
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WarmStarted(Event):
    """Objects are fetched ahead."""

    tier: str
    objects: int
    size_bytes: int
    priority: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WarmFinished(Event):
    tier: str
    objects: int
    failed: int
    cancelled: bool
    wire_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class BudgetChanged(Event):
    tier: str
    budget_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TierDegraded(Event):
    """A tier goes on with less than it should have (disk full, read-only, not enough memory)."""

    tier: str
    code: str
    cause: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MemoryYielded(Event):
    """Host memory was scarce, or the system stalled for want of it: what the extension keeps there was made smaller.

    reason:     "low" (little is available) or "stalls" (the kernel's pressure figures)
    ram_bytes:  given back to the system by the RAM tier; warm_bytes: of warm models that are let go
    limit_bytes: what the RAM tier may hold until memory is plenty again
    """

    reason: str
    available_bytes: int
    asked_bytes: int
    ram_bytes: int
    warm_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class MemoryRegained(Event):
    """Memory has been plenty for a while: the RAM tier may hold more again.  ``whole``: its whole budget."""

    available_bytes: int
    limit_bytes: int
    whole: bool


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class DeviceFull(Event):
    """A model did not fit on its device though ComfyUI had made room.  freed_bytes: of other models, for another attempt."""

    device: str
    needed_bytes: int
    freed_bytes: int
    again: bool
    """whether it is tried once more"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class HostMemoryPinned(Event):
    """An object's memory was pinned for the device, or, with a negative size, no longer is.  total_bytes: of all."""

    subject: str
    size_bytes: int
    total_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SeamChanged(Event):
    """A ComfyUI seam was put on, taken off, or found not to fit."""

    seam: str
    state: str
    """"on", "off" or "unfit" """
    reason: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ModelLoaded(Event):
    """A loader got its object."""

    folder: str
    name: str
    subject: str
    source: str
    """"bucket", "ssd" or "ram" """
    size_bytes: int
    wire_bytes: int
    seconds: float
    node: str
    prompt: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LoadFailed(Event):
    name: str
    subject: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PredictorTrained(Event):
    """A model of which files come next was trained at a quiet time and judged on the newest prompts, which it had not seen.

    accepted: it beat the counts, and is used as long as it goes on doing so; losses are mean log losses a prompt
    """

    accepted: bool
    prompts: int
    rows: int
    learned_loss: float
    counted_loss: float
    simple_loss: float
    seconds: float
    """of one core"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PrefetchDecided(Event):
    """What was decided about an object that will, or may, be wanted.  Emitted when the decision changes."""

    subject: str
    size_bytes: int
    action: str
    """"fetch", "skip", "cancel" or "failed" """
    tier: str
    """"ram" or "ssd"; empty for a skip"""
    source: str
    """"queue", "boot", "graph" or "learned" """
    reason: str
    p: float
    """1.0 for what is certain"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PrefetchScored(Event):
    """What a fetch ahead was good for, once that is known."""

    subject: str
    tier: str
    source: str
    outcome: str
    """"useful": it was there when it was asked for; "late": on its way; "wasted": nobody asked for it"""
    size_bytes: int
    wire_bytes: int
    """of this fetch"""
    seconds: float
    """of loading, saved by a useful or late one; spent fetching, by a wasted one"""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ModelsMissing(Event):
    """A prompt names models that are neither local nor in a bucket; told before it runs."""

    prompt: str
    names: tuple[str, ...]


Subscriber = Callable[[Event], None]


class EventBus:
    """Fan-out of events.  Thread-safe; subscribers are called without a lock held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscribers: tuple[Subscriber, ...] = ()
        self.subscriber_errors = 0

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Adds a subscriber; the returned callable takes it away again."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)

        return unsubscribe

    def emit(self, event: Event) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception:
                with self._lock:
                    self.subscriber_errors += 1
