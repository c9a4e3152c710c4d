"""One multipart upload under way: a queue of parts, workers that each hold one part in memory, and who owns the state.

A worker reads a part once (its checksum is made while the bytes are in the cache), sends it, and sends it again from memory
when that fails.  How many workers are at work follows the goodput, and a 503 halves it (``pacing.ConnectionCount``); what a
failure means is judged as for reading (``patience``).  The caller's thread watches: progress, the file, standstill, Ctrl-C.

Locks: one, guarding everything mutable here; nothing blocking is done under it.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .answers import Refused, Then
from .config import TransferConfig
from .errors import ModelStreamError
from .origin import Origin
from .pacing import ConnectionCount, RateMeter, TokenBucket
from .patience import Patience, Tries, Verdict
from .publish_journal import Journal
from .publish_plan import Part, PartDone
from .publish_send import Body, Meters, Sender
from .publish_source import SourceFile
from .receive import WIRE_FAULTS, Stop, fault_of
from .wire import ConnectionShut

MEMORY_BYTES_MAX = 512 << 20
"""of all workers' parts together"""
WATCH_S = 0.1
LOOK_AT_FILE_S = 1.0
REFRESH_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """sent_bytes: of parts that the server has taken, and of those under way"""

    size_bytes: int
    sent_bytes: int
    rate_bytes_per_s: float
    connections: int


@dataclass(frozen=True, slots=True)
class Sent:
    """An upload whose parts are all there.  wire_bytes: sent now, repetitions included."""

    parts: tuple[PartDone, ...]
    wire_bytes: int
    retries: int
    rate_bytes_per_s: float


class _Worker:
    __slots__ = ("sent_now", "stop", "thread")

    def __init__(self) -> None:
        self.stop = Stop()
        self.sent_now = 0
        """bytes of the part under way"""
        self.thread: threading.Thread | None = None


class Upload:
    """``run`` it once.

    upload_id: of the multipart upload; done: parts that an earlier run brought there
    """

    def __init__(
        self,
        origin: Origin,
        key: str,
        upload_id: str,
        source: SourceFile,
        parts: Sequence[Part],
        done: Sequence[PartDone],
        journal: Journal,
        settings: TransferConfig,
        *,
        checksums: bool,
        connections_max: int,
        rate_limit_bytes_per_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._origin, self._key, self._upload_id, self._source = origin, key, upload_id, source
        self._journal, self._settings, self._checksums, self._clock = journal, settings, checksums, clock
        self._lock = threading.Condition()
        self._done = {d.number: d for d in done}
        self._queue = collections.deque(part for part in parts if part.number not in self._done)
        self._part_bytes = max((part.length for part in parts), default=0)
        self._meter = RateMeter(clock)
        self._bucket = TokenBucket(rate_limit_bytes_per_s, clock)
        room = max(2, MEMORY_BYTES_MAX // max(1, self._part_bytes))
        self._count = ConnectionCount(min(connections_max, room), clock)
        self._patience = Patience(settings)
        self._workers: list[_Worker] = []
        self._busy = 0
        self._retries = 0
        self._error: BaseException | None = None
        self._renewed_s = float("-inf")
        self._renewals = 0

    def run(self, show: Callable[[UploadProgress], None] = lambda progress: None) -> Sent:
        """Blocks until every part is there.  Raises ModelStreamError, what ``show`` raises, or KeyboardInterrupt; no thread is left."""
        started_s = self._clock()
        try:
            with self._lock:
                self._staff()
            looked_s = progressed_s = started_s
            most_bytes = -1
            while not self._finished():
                progress = self.progress()
                show(progress)
                now_s = self._clock()
                if progress.sent_bytes > most_bytes:  # what is sent a second time is no progress
                    most_bytes, progressed_s = progress.sent_bytes, now_s
                if now_s - progressed_s > self._settings.no_progress_s:
                    raise _standing(self._patience.stuck(self._origin.subject(self._key)))
                if now_s - looked_s > LOOK_AT_FILE_S:
                    self._source.check_unchanged()
                    looked_s = now_s
                with self._lock:
                    self._lock.wait(WATCH_S)
            self._source.check_unchanged()
            show(self.progress())
        except BaseException as error:
            self._end(error)
            raise
        finally:
            self._end(None)
        seconds = max(self._clock() - started_s, 1e-9)
        total = self._meter.total_bytes
        return Sent(tuple(d for _, d in sorted(self._done.items())), total, self._retries, total / seconds)

    def progress(self) -> UploadProgress:
        with self._lock:
            whole = sum(d.length for d in self._done.values())
            under_way = sum(w.sent_now for w in self._workers)
            sent = min(whole + under_way, self._source.size_bytes)
            return UploadProgress(self._source.size_bytes, sent, self._meter.rate_bytes_per_s(), self._busy)

    # -- who watches ---------------------------------------------------------------------------------------------------
    def _finished(self) -> bool:
        with self._lock:
            if self._error is not None:
                raise self._error
            changed = self._count.observe(self._meter.total_bytes, self._busy)
            if self._count.recover() or changed:
                self._staff()
            return not self._queue and not self._busy

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            self._error = self._error or error
            self._queue.clear()
            self._lock.notify_all()
            workers = list(self._workers)
        if error is not None:
            for worker in workers:
                worker.stop.stop("ended")
        for worker in workers:
            if worker.thread is not None:
                worker.thread.join()

    def _staff(self) -> None:
        """Under the lock: as many workers as the target says and there is work for."""
        self._workers = [w for w in self._workers if w.thread is not None and w.thread.is_alive()]
        while len(self._workers) < min(self._count.target, self._busy + len(self._queue)):
            worker = _Worker()
            worker.thread = threading.Thread(target=self._work, args=(worker,), name="modelstream-push", daemon=True)
            self._workers.append(worker)
            worker.thread.start()

    # -- the workers' threads ------------------------------------------------------------------------------------------
    def _work(self, worker: _Worker) -> None:
        meters = Meters(self._bucket, self._meter, lambda count: self._sent(worker, count))
        sender = Sender(self._origin, worker.stop, meters, self._settings.stall_s)
        buffer = memoryview(bytearray(0))
        try:
            while (part := self._claim(worker)) is not None:
                if len(buffer) < part.length:
                    buffer = memoryview(bytearray(self._part_bytes))
                try:
                    self._bring(worker, sender, part, buffer[: part.length])
                finally:
                    with self._lock:
                        self._busy -= 1
                        worker.sent_now = 0
                        self._lock.notify_all()
        except ConnectionShut:
            pass
        except BaseException as error:  # whoever waits for the upload must hear of it
            with self._lock:
                self._error = self._error or error
                self._lock.notify_all()
        finally:
            sender.close()

    def _claim(self, worker: _Worker) -> Part | None:
        """None: there is no work (for this worker) any more."""
        with self._lock:
            surplus = self._busy >= self._count.target
            if not self._queue or surplus or self._error is not None:
                self._workers = [w for w in self._workers if w is not worker] if surplus else self._workers
                return None
            self._busy += 1
            return self._queue.popleft()

    def _bring(self, worker: _Worker, sender: Sender, part: Part, view: memoryview) -> None:
        """Reads a part and sends it until the server has it.  Raises what ends the upload."""
        body = Body(view, self._source.read_into(part.offset, view), self._checksums)
        tries = Tries()
        parameters = {"partNumber": str(part.number), "uploadId": self._upload_id}
        while True:
            renewals = self._renewals
            try:
                etag = sender.put(self._key, parameters, {}, body)
            except ConnectionShut:
                raise
            except (Refused, ModelStreamError, *WIRE_FAULTS) as error:
                sender.drop()
                self._failed(worker, error, tries, renewals)
                continue
            done = PartDone(part.number, part.length, etag, body.crc64)
            self._journal.part_done(done)
            with self._lock:
                self._done[part.number] = done
                worker.sent_now = 0
                self._patience.part_landed()
            return

    def _failed(self, worker: _Worker, error: BaseException, tries: Tries, renewals: int) -> None:
        """Waits until the part may be sent again, or raises."""
        if worker.stop.why:
            raise ConnectionShut
        refusal = fault_of(error, self._origin.subject(self._key))
        if refusal.then is Then.SIGN and not self._renew(renewals):
            raise refusal.error
        with self._lock:
            self._retries += 1
            worker.sent_now = 0
            verdict = self._patience.judge(refusal, tries, self._clock())
            if verdict is Verdict.GIVE_UP:
                raise refusal.error
            if verdict is Verdict.SLOW_DOWN:
                self._count.throttled()
            wait_s = tries.not_before_s - self._clock()
        if wait_s > 0:
            worker.stop.wait(wait_s)

    def _renew(self, renewals: int) -> bool:
        """Credentials were refused as expired.  Each request is signed anew, so new ones are all it takes."""
        with self._lock:
            if renewals != self._renewals:
                return True  # another worker has just done it
            if self._clock() - self._renewed_s < REFRESH_AGAIN_S:
                return False
            self._renewed_s = self._clock()
        renewed = self._origin.refresh_credentials()
        with self._lock:
            self._renewals += renewed
        return renewed

    def _sent(self, worker: _Worker, count: int) -> None:
        with self._lock:
            worker.sent_now += count


def _standing(error: ModelStreamError) -> ModelStreamError:
    """Patience speaks of downloads."""
    problem = error.problem.replace("download", "upload")
    cause = error.cause.replace("nothing arrived", "nothing was taken")
    return type(error)(problem, subject=error.subject, cause=cause, next_step=f"{error.next_step}; push again: it goes on where it was")
