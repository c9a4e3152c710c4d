"""Copies to a near origin, made in the background: one upload at a time, and word to the fleet of what is on its way.

Threads: one for uploads while there is one to make, one that renews our markers while we have any.  Neither runs otherwise.
The bytes come from RAM or from the SSD, never from the far origin a second time.  Whatever fails costs the copy, never a load.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from ..storage.engine import TransferEngine
from ..storage.errors import AccessDenied, ModelStreamError, ObjectChanged, TransferCancelled
from ..storage.events import EventBus
from ..storage.events_near import Mirrored, MirrorFailed, MirrorSkipped
from ..storage.landing import Priority
from ..storage.mirror_claim import BEAT_S
from ..storage.mirror_mark import Mark
from ..storage.mirror_upload import Source, Upload
from ..storage.objects import RemoteObject
from .local_bytes import LocalBytes
from .mirror_budget import MirrorBudget
from .near_visit import Visit

TOUCH_S = 3600.0
"""a use of a copy is written down at most so often by one process"""
QUIET_THREADS = 3


class Mirroring:
    """Thread-safe."""

    def __init__(
        self, local: LocalBytes, engine: TransferEngine, budget: MirrorBudget, bus: EventBus, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._local = local
        self._engine = engine
        self._budget = budget
        self._bus = bus
        self._clock = clock
        self._lock = threading.Condition()
        self._jobs: deque[tuple[Callable[[Visit], None], Visit]] = deque()
        self._working: threading.Thread | None = None
        self._beating: threading.Thread | None = None
        self._claimed: dict[str, Visit] = {}
        self._uploaded: dict[str, int] = {}
        self._touched: dict[str, float] = {}
        self._closed = False

    # -- what the visits ask for -----------------------------------------------------------------------------------------
    def watch_over(self, visit: Visit) -> None:
        """Our marker is renewed until the copy is made or given up."""
        with self._lock:
            self._claimed[visit.digest] = visit
            if self._beating is None and not self._closed:
                self._beating = threading.Thread(target=self._beat, name="modelstream-mirror-beat", daemon=True)
                self._beating.start()

    def copy(self, visit: Visit) -> None:
        self._queue(self._copy, visit)

    def touch(self, visit: Visit) -> None:
        now_s = self._clock()
        with self._lock:
            if now_s - self._touched.get(visit.key, -TOUCH_S) < TOUCH_S:
                return
            self._touched[visit.key] = now_s
        self._queue(self._note_use, visit)

    def give_up(self, visit: Visit) -> None:
        """The others need not wait for us."""
        self._queue(self._release, visit)

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """True when everything asked for so far is done."""
        with self._lock:
            return self._lock.wait_for(lambda: self._working is None and not self._jobs, timeout_s)

    def close(self) -> None:
        """An upload stops after its part; markers are taken away as far as that is quick."""
        with self._lock:
            self._closed = True
            self._jobs.clear()
            threads = [t for t in (self._working, self._beating) if t is not None]
            claimed = list(self._claimed.values())
            self._lock.notify_all()
        for thread in threads:
            thread.join(2.0)
        for visit in claimed:
            if not visit.mirror.health.is_down:
                self._release(visit)

    # -- the thread that works -------------------------------------------------------------------------------------------
    def _queue(self, job: Callable[[Visit], None], visit: Visit) -> None:
        with self._lock:
            if self._closed:
                return
            self._jobs.append((job, visit))
            if self._working is None:
                self._working = threading.Thread(target=self._work, name="modelstream-mirror", daemon=True)
                self._working.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs or self._closed:
                    self._working = None
                    self._lock.notify_all()
                    return
                job, visit = self._jobs.popleft()
            try:
                job(visit)
            except ModelStreamError as error:
                self._failed(visit, error)
            except Exception as error:  # whatever it is, the next copy is still made
                self._failed(visit, ModelStreamError("the copy failed in an unforeseen way", cause=type(error).__name__))

    def _copy(self, visit: Visit) -> None:
        assert visit.fetched is not None
        obj, crc64 = visit.fetched
        name, began_s = visit.mirror.bucket.name, self._clock()
        try:
            with self._local.open(obj) as source:
                if source is None or source.size_bytes != obj.size_bytes:
                    return self._skipped(visit, obj, "gone")
                if not self._budget.make_room(visit.mirror, visit.key, obj):
                    return self._skipped(visit, obj, "not_worth_it")
                self._budget.records(visit.mirror).used(visit.key, 1)
                self._upload(visit, obj, crc64, source)
        except ObjectChanged:
            return self._skipped(visit, obj, "there")
        finally:
            self._release(visit)
        visit.mirror.health.is_there(obj.id.digest)
        self._budget.came(visit.mirror, visit.key, obj)
        self._bus.emit(Mirrored(name, obj.subject, obj.size_bytes, self._clock() - began_s))

    def _upload(self, visit: Visit, obj: RemoteObject, crc64: int, source: Source) -> None:
        def progress(done_bytes: int) -> None:
            self._uploaded[visit.digest] = done_bytes

        Upload(
            visit.mirror.bucket,
            visit.key,
            Mark.of(obj, crc64),
            source,
            replaces=visit.replaces,
            threads=self._threads,
            progress=progress,
            should_stop=lambda: self._closed,
        ).run()

    def _threads(self) -> int:
        """A load that somebody waits for has the machine to itself, nearly."""
        return 1 if any(t.priority is Priority.FOREGROUND for t in self._engine.active()) else QUIET_THREADS

    def _note_use(self, visit: Visit) -> None:
        records, bucket = self._budget.records(visit.mirror), visit.mirror.bucket
        if visit.mirror.health.may_write():
            before = bucket.look(bucket.record_key(visit.key))
            records.used(visit.key, 1 + (before.head.size_bytes if before is not None else 0))

    def _release(self, visit: Visit) -> None:
        with self._lock:
            mine = self._claimed.pop(visit.digest, None)
            self._uploaded.pop(visit.digest, None)
            self._lock.notify_all()
        if mine is not None:
            with contextlib.suppress(ModelStreamError):  # it expires by itself
                visit.mirror.claims.release(visit.digest)

    def _skipped(self, visit: Visit, obj: RemoteObject, reason: str) -> None:
        self._bus.emit(MirrorSkipped(visit.mirror.bucket.name, obj.subject, obj.size_bytes, reason))

    def _failed(self, visit: Visit, error: ModelStreamError) -> None:
        if isinstance(error, TransferCancelled):
            return
        if isinstance(error, AccessDenied):
            visit.mirror.health.refused_write()
        else:
            visit.mirror.failed(error)
        self._bus.emit(MirrorFailed(visit.mirror.bucket.name, visit.obj.subject, error.code, str(error)))

    # -- the thread that says that we are at it --------------------------------------------------------------------------
    def _beat(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._closed or not self._claimed, BEAT_S)
                if self._closed or not self._claimed:
                    self._beating = None
                    return
                claimed = list(self._claimed.values())
            for visit in claimed:
                if visit.digest in self._claimed:
                    with contextlib.suppress(ModelStreamError):  # then it expires, and somebody else fetches it too
                        visit.mirror.claims.beat(visit.digest, self._done_bytes(visit))

    def _done_bytes(self, visit: Visit) -> int:
        if visit.fetched is not None:
            return visit.obj.size_bytes + self._uploaded.get(visit.digest, 0)
        return min(visit.landed_bytes(), visit.obj.size_bytes)
