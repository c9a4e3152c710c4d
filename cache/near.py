"""Near origins as a fleet's cache: who is asked before the far origin, and who gets a copy afterwards.

A near origin (``mirror = true``) stands in front of the farther ones.  An object keeps the identity that it has in its far
origin; a copy of it is only another place to read the same bytes from, used when its mark says that it is this very version.  So
a copy that has become old is simply not used, and every failure on the near side leads to the far origin, with what has landed.

`Near` is asked by the fetcher, in the fetch's own thread; `Mirror` is one near origin.  Lock order: none is held while the
network is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..storage.config import TransferConfig
from ..storage.errors import (
    AccessDenied,
    BadAnswer,
    ClockSkewed,
    ConfigError,
    CorruptObject,
    CredentialsExpired,
    DeadlineExceeded,
    ModelStreamError,
    ObjectArchived,
    ObjectChanged,
    ObjectMissing,
    OriginUnreachable,
    Throttled,
    UntrustedServer,
)
from ..storage.events import EventBus
from ..storage.events_near import MirrorSkipped, NearCopyRefused, NearDown, NearFailover, NearUp, NearWaited
from ..storage.mirror_bucket import MirrorBucket
from ..storage.mirror_claim import EXPIRE_S, Claims, Held
from ..storage.mirror_health import Health
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from .mirroring import Mirroring
from .near_visit import Pause, Visit
from .policy import FROM_BUCKET

OF_THE_ORIGIN = (
    OriginUnreachable,
    UntrustedServer,
    AccessDenied,
    CredentialsExpired,
    ClockSkewed,
    BadAnswer,
    Throttled,
    DeadlineExceeded,
    ConfigError,
)
"""errors that say something of the near origin, not of one copy"""
FAULTS = (*OF_THE_ORIGIN, ObjectMissing, ObjectChanged, ObjectArchived, CorruptObject)
"""what the far origin can make good; everything else (no room, cancelled, a refused header) has nothing to do with the way"""

POLL_S = 0.3
REFUSED_MAX = 20
STUCK_S = 30.0
"""an owner of whom nothing new is heard is not waited for"""
LATE_S, LATE_FACTOR = 30.0, 3.0
"""nor one that will take so much longer than we would"""


def patience(settings: TransferConfig) -> TransferConfig:
    """With the far origin as the other way, a near one that stumbles is given up soon."""
    return replace(
        settings,
        retries=min(settings.retries, 2),
        no_progress_s=min(settings.no_progress_s, 8.0),
        stall_s=min(settings.stall_s, 3.0),
    )


class Mirror:
    """One near origin.  Any thread."""

    def __init__(
        self,
        origin: Origin,
        bus: EventBus,
        mirroring: Mirroring | None = None,
        reload_s: Callable[[int], float] = FROM_BUCKET.reload_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """mirroring: None for who pays no visits
        reload_s:  how long reading so many bytes from the far origin takes
        """
        self.bucket = MirrorBucket(origin)
        self.health = Health(clock)
        self.claims = Claims(self.bucket)
        self.budget_bytes = origin.config.mirror_budget_bytes
        self.far_prefixes: dict[str, str] = {}
        """of the origins that it stands in front of, by their names"""
        self._bus = bus
        self._copies = mirroring
        self._reload_s = reload_s
        self._clock = clock

    @property
    def _mirroring(self) -> Mirroring:
        assert self._copies is not None
        return self._copies

    # -- before the far origin is read -----------------------------------------------------------------------------------
    def visit(self, far: Origin, obj: RemoteObject, shows: Callable[[int], None], should_stop: Callable[[], bool]) -> Visit | None:
        """None: the near origin has nothing to do with this load.  Blocks while another worker fetches the object."""
        key = self.bucket.key_of(far, obj)
        if not key or self.health.is_known_miss(obj.id.digest) or not self.health.may_ask():
            return None
        visit = Visit(self, far, obj, key)
        try:
            self._look(visit)
            if visit.copy is None:
                self._claim(visit, shows, should_stop)
        except ModelStreamError as error:
            self.failed(error)
        if visit.copy is None and not visit.claimed:
            self.health.missed(obj.id.digest)
        return visit

    def _look(self, visit: Visit) -> None:
        found = self.bucket.look(visit.key)
        if self.health.answered():
            self._bus.emit(NearUp(self.bucket.name))
        visit.copy, visit.replaces, visit.own = None, "", False
        if found is None:
            return
        if found.mark is None or not found.mark.has_source(visit.obj):
            visit.own = True
            self._bus.emit(NearCopyRefused(self.bucket.name, visit.obj.subject, "own"))
        elif found.mark.is_of(visit.obj) and found.head.size_bytes == visit.obj.size_bytes:
            visit.copy = found
        else:
            visit.replaces = found.head.etag
            self._bus.emit(NearCopyRefused(self.bucket.name, visit.obj.subject, "stale"))

    # -- one worker fetches, the others wait -----------------------------------------------------------------------------
    def _claim(self, visit: Visit, shows: Callable[[int], None], should_stop: Callable[[], bool]) -> None:
        """Ends with the claim, with the copy that another worker made, or with neither."""
        visit.wanted = not visit.own and self.takes(visit.obj)
        if not visit.wanted:
            return
        pause, waiting = Pause(should_stop), Waiting(visit.obj.size_bytes, self._reload_s, self._clock)
        before: Held | None = None
        refused = 0
        while refused < REFUSED_MAX:
            if self._taken(visit, before):
                break
            held, before = self.claims.look(visit.digest), None
            if held is None:  # gone in this moment, or this server knows no conditions
                refused += 1
                self._look(visit)
                if visit.copy is not None or not pause.wait(POLL_S / 3):
                    break
            elif held.expired or waiting.is_silent(held):
                before = held
            elif waiting.is_too_slow(held):
                self._waited(visit, waiting, "slow")
                return
            else:
                shows(min(held.landed_bytes, visit.obj.size_bytes))
                if not pause.wait(POLL_S):
                    return
        self._waited(visit, waiting, "copied" if visit.copy else "gone")

    def _taken(self, visit: Visit, before: Held | None) -> bool:
        """The claim is ours; unless the copy was made between the look and this, and then it is given back."""
        try:
            if not self.claims.take(visit.digest, before):
                return False
        except AccessDenied:
            self._read_only(visit.obj)
            return True
        self._look(visit)
        if visit.copy is not None:
            self.claims.release(visit.digest)
            return True
        visit.claimed = True
        self._mirroring.watch_over(visit)
        return True

    def takes(self, obj: RemoteObject) -> bool:
        """Whether a copy of it may be made at all."""
        if self.budget_bytes is not None and obj.size_bytes > self.budget_bytes:
            self._bus.emit(MirrorSkipped(self.bucket.name, obj.subject, obj.size_bytes, "too_large"))
            return False
        return self.health.may_write()

    def _waited(self, visit: Visit, waiting: Waiting, outcome: str) -> None:
        if waiting.looks:
            self._bus.emit(NearWaited(self.bucket.name, visit.obj.subject, waiting.seconds, outcome))

    # -- afterwards ------------------------------------------------------------------------------------------------------
    def copy_failed(self, visit: Visit, error: Exception, landed_bytes: int) -> None:
        code = getattr(error, "code", type(error).__name__)
        self._bus.emit(NearFailover(self.bucket.name, visit.obj.subject, code, landed_bytes))
        if isinstance(error, CorruptObject) and visit.copy is not None:
            visit.replaces, visit.wanted = visit.copy.head.etag, self.takes(visit.obj)
            self._bus.emit(NearCopyRefused(self.bucket.name, visit.obj.subject, "damaged"))
        elif isinstance(error, OF_THE_ORIGIN):
            self.failed(error)
        visit.copy = None

    def visit_ended(self, visit: Visit) -> None:
        if visit.copy is not None:
            self._mirroring.touch(visit)
        elif visit.fetched is not None and visit.wanted and self.health.may_write() and not self.health.is_down:
            self._mirroring.copy(visit)
        elif visit.claimed:
            self._mirroring.give_up(visit)

    def failed(self, error: ModelStreamError) -> None:
        """Something of the near origin failed: it is left alone for a while."""
        if not isinstance(error, OF_THE_ORIGIN):
            return
        first = not self.health.is_down
        retry_s = self.health.failed()
        if first:
            self._bus.emit(NearDown(self.bucket.name, error.code, str(error), retry_s))

    def _read_only(self, obj: RemoteObject) -> None:
        if self.health.refused_write():
            self._bus.emit(MirrorSkipped(self.bucket.name, obj.subject, obj.size_bytes, "read_only"))


class Waiting:
    """How long somebody else's fetch is waited for."""

    def __init__(self, size_bytes: int, reload_s: Callable[[int], float], clock: Callable[[], float]) -> None:
        self._size_bytes = size_bytes
        self._reload_s = reload_s
        self._clock = clock
        self._began_s = self._moved_s = self._heard_s = clock()
        self._first_bytes = self._last_bytes = -1
        self._etag = ""
        self.looks = 0

    @property
    def seconds(self) -> float:
        return self._clock() - self._began_s

    def is_silent(self, held: Held) -> bool:
        """The marker was not renewed for so long by our own clock; where the server's stamps cannot be read."""
        now_s = self._clock()
        if held.etag != self._etag:
            self._etag, self._heard_s = held.etag, now_s
        return now_s - self._heard_s > EXPIRE_S

    def is_too_slow(self, held: Held) -> bool:
        now_s = self._clock()
        self.looks += 1
        if held.landed_bytes != self._last_bytes:
            self._last_bytes, self._moved_s = held.landed_bytes, now_s
        if self._first_bytes < 0:
            self._first_bytes = held.landed_bytes
        if now_s - self._moved_s > STUCK_S:
            return True
        waited_s, moved = now_s - self._began_s, held.landed_bytes - self._first_bytes
        if waited_s < LATE_S or moved <= 0:
            return waited_s > STUCK_S
        # its fetch and its upload are both counted by the marker
        left_s = (2 * self._size_bytes - held.landed_bytes) * waited_s / moved
        return left_s > LATE_FACTOR * self._reload_s(self._size_bytes) + LATE_S


def mirrors_of(origins: Sequence[Origin], make: Callable[[Origin], Mirror]) -> dict[str, Mirror]:
    """By the name of each far origin, the nearest mirror before it.  origins: near to far"""
    found: dict[str, Mirror] = {}
    for number, origin in enumerate(origins):
        if origin.config.mirror:
            mirror = make(origin)
            for far in origins[number + 1 :]:
                if not far.config.mirror and far.name not in found:
                    found[far.name] = mirror
                    mirror.far_prefixes[far.name] = far.prefix
    return found


class Near:
    """The near origins of a configuration, by the far origins that they stand in front of."""

    def __init__(self, origins: Sequence[Origin], bus: EventBus, mirroring: Mirroring, reload_s: Callable[[int], float]) -> None:
        """origins: near to far"""
        self.mirroring = mirroring
        self._far = {origin.name: origin for origin in origins}
        self._mirrors = mirrors_of(origins, lambda origin: Mirror(origin, bus, mirroring, reload_s))

    @property
    def mirrors(self) -> dict[str, Mirror]:
        """By the far origin's name."""
        return self._mirrors

    def visit(self, obj: RemoteObject, shows: Callable[[int], None], should_stop: Callable[[], bool]) -> Visit | None:
        mirror = self._mirrors.get(obj.origin)
        return None if mirror is None else mirror.visit(self._far[obj.origin], obj, shows, should_stop)

    def close(self) -> None:
        self.mirroring.close()
