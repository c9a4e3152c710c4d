"""One object on its way: its state, what may be done next for it, and what a failure means.

The state machine is LOOK (HEAD, then the zone prepares) → READ (parts) → VERIFY → FINISH → DONE; a change of the
object leads back from READ to LOOK, damage back from VERIFY to READ.  LOOK's preparing, VERIFY and FINISH begin only
when no attempt is *inside* (may touch the buffer) any more: so nothing ever writes into a buffer that was given back.

Locks: methods marked "lock held" are called with the engine's lock; below it only ``Stop`` and ``Connection`` have
locks.  The zone, the bus, the origin and callbacks are never called under it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .answers import Refusal, Then
from .config import TransferConfig
from .errors import ModelStreamError, ObjectChanged, TransferCancelled
from .events import ConnectionsChanged, Event, PartHedged, PartRetried
from .flow import OriginFlow
from .landing import LandingZone, Priority, Progress, RepairableZone, TransferResult
from .objects import Extent, ObjectHead, RemoteObject
from .pacing import PartTimes, RateMeter
from .patience import Patience, Tries, Verdict
from .phases import Do, Phase
from .pin import Signer
from .reading import Attempt, Reading
from .receive import Sink, Stop, Watch, deadline_passed
from .wire import Address

if TYPE_CHECKING:
    from .engine import TransferEngine
    from .origin import Origin

__all__ = ["LandingZone", "Priority", "Progress", "RepairableZone", "Transfer", "TransferResult"]

_numbers = itertools.count(1)


def cancelled(subject: str, cause: str) -> TransferCancelled:
    return TransferCancelled("the download was cancelled", subject=subject, cause=cause, next_step="load it again when it is needed")


@dataclass(frozen=True, slots=True)
class Step:
    """What a connection's thread does next for a transfer."""

    transfer: Transfer
    do: Do
    attempt: Attempt | None = None
    stop: Stop | None = None


class Transfer:
    """Made by ``TransferEngine.start``.  The public methods may be called from any thread."""

    def __init__(
        self,
        engine: TransferEngine,
        origin: Origin,
        obj: RemoteObject,
        zone: LandingZone,
        flow: OriginFlow,
        priority: Priority,
        settings: TransferConfig,
    ) -> None:
        self.id = next(_numbers)
        self.obj = obj
        self.zone = zone
        self.origin = origin
        self.flow = flow
        self.priority = priority
        self._engine = engine
        self._clock = engine.clock
        self._settings = settings
        now = self._clock()
        self.started_s = now
        self.signer = Signer(origin, obj, self._clock)
        self.watch = Watch(
            clock=self._clock,
            bucket=engine.bucket,
            meter=RateMeter(self._clock),
            low_speed_bytes_per_s=self._settings.low_speed_bytes_per_s,
            low_speed_s=self._settings.low_speed_s,
            deadline_s=now + self._settings.deadline_s if self._settings.deadline_s else float("inf"),
            subject=obj.subject,
        )
        self.phase = Phase.LOOK
        self.lanes = 0
        """connections working for it, those that only connect included"""
        self.inside = 0
        """attempts that may touch the buffer"""
        self.busy = False
        """one thread is preparing, verifying or finishing"""
        self.looking: Stop | None = None
        self.warming = 0
        self.address: Address | None = None
        self.head: ObjectHead | None = None
        self.view: memoryview | None = None
        self.reading: Reading | None = None
        self._landed_at_end = 0
        self.suspicion: Refusal | None = None
        """why the object is looked at again"""
        self.changes = 0
        self.rechecked = False
        self.resumed_bytes = 0
        self.requests = 0
        self.retries = 0
        self.error: ModelStreamError | None = None
        self.value: TransferResult | None = None
        self.look_tries = Tries()
        self.patience = Patience(settings)
        self._progress_at: tuple[float, int] = (now, 0)
        self._done = threading.Event()
        self._callbacks: list[Callable[[Transfer], None]] = []

    def __repr__(self) -> str:
        return f"Transfer({self.id}, {self.obj.subject!r}, {self.phase.value})"

    # -- public --------------------------------------------------------------------------------------------------------
    def progress(self) -> Progress:
        """Cheap, takes no lock of the engine."""
        reading, head = self.reading, self.head
        size = head.size_bytes if head else self.obj.size_bytes
        ended = self._done.is_set()
        if self.value is not None or (reading is not None and reading.checking):
            landed = size
        else:
            landed = reading.in_place_bytes() if reading is not None else self._landed_at_end
        rate = 0.0 if ended else self.watch.meter.rate_bytes_per_s()
        eta_s = 0.0 if self.value else ((size - landed) / rate if rate > 0 else None)
        return Progress(size, landed, self.watch.meter.total_bytes, rate, eta_s, 0 if ended else self.lanes, self._state())

    def wait(self, timeout_s: float | None = None) -> bool:
        """True when it has ended, either way."""
        return self._done.wait(timeout_s)

    def result(self) -> TransferResult:
        """After ``wait``.  Raises the error of a failed or cancelled transfer."""
        if self.error is not None and self._done.is_set():
            raise self.error.about(self.error.subject)  # a fresh one for everybody who asks: raising adds a traceback
        if self.value is None:
            raise RuntimeError("the transfer has not ended yet")
        return self.value

    def cancel(self) -> None:
        """Returns at once; threads stop within a second.  Nothing happens when it has ended."""
        self._engine.end(self, cancelled(self.obj.subject, "nobody needs it any more"))

    def set_priority(self, priority: Priority) -> None:
        self._engine.reprioritise(self, priority)

    def on_done(self, callback: Callable[[Transfer], None]) -> None:
        """``callback`` is called once, in a transfer thread, or at once in this one when the transfer has ended."""
        with self._engine.lock:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    @property
    def stall_s(self) -> float:
        return self._settings.stall_s

    def _state(self) -> str:
        if self.phase is Phase.DONE:
            return "done" if self.value else "cancelled" if isinstance(self.error, TransferCancelled) else "failed"
        if self.phase is Phase.LOOK and self.looking is None:
            return "waiting"
        return "checking" if self.phase is Phase.FINISH else self.phase.value

    # -- what to do next (lock held) -----------------------------------------------------------------------------------
    def next_step(self, now: float) -> Step | None:
        if self.busy:
            return None
        if self.phase in (Phase.VERIFY, Phase.FINISH):
            if self.inside:
                return None
            self.busy = True
            return Step(self, Do.VERIFY if self.phase is Phase.VERIFY else Do.FINISH)
        if self.phase is Phase.LOOK:
            return self._next_look(now)
        return self._next_read(now) if self.phase is Phase.READ else None

    def _next_look(self, now: float) -> Step | None:
        if self.looking is None and not self.inside and self.look_tries.not_before_s <= now:
            self.looking = Stop()
            return Step(self, Do.LOOK, stop=self.looking)
        if self.looking is not None and self.address and self.warming < min(self.flow.count.target, self._parts_likely()) - 1:
            self.warming += 1
            return Step(self, Do.WARM)
        return None

    def _parts_likely(self) -> int:
        return 1 + self.obj.size_bytes // (4 << 20)

    def _next_read(self, now: float) -> Step | None:
        assert self.reading is not None
        attempt = self.reading.next_part(now)
        if attempt is not None:
            return Step(self, Do.READ, attempt)
        slow = self.reading.next_hedge(now)
        if slow is None:
            return None
        scratch = Sink(slow.span.offset + slow.sink.received, memoryview(bytearray(slow.left_bytes)))
        slow.hedge = Attempt(slow, self.reading, now, scratch)
        return Step(self, Do.HEDGE, slow.hedge)

    def wants(self) -> int:
        """How many connections it could use now."""
        if self.phase is Phase.LOOK:
            return max(1, min(self.flow.count.target, self._parts_likely()) if self.address else 1)
        if self.phase is Phase.READ and self.reading is not None:
            return self.reading.waiting + len(self.reading.running) + (1 if not self.reading.waiting else 0)
        return 1

    def is_urgent(self) -> bool:
        """A step that frees things rather than uses them, and so waits for no allowance."""
        return self.phase in (Phase.VERIFY, Phase.FINISH) and not self.busy and not self.inside

    def next_event_s(self, now: float) -> float:
        """When something changes by itself: a pause ends, a part has become slow, a deadline passes."""
        times = [self.watch.deadline_s, self._progress_at[0] + self._settings.no_progress_s]
        if self.phase is Phase.LOOK and self.looking is None:
            times.append(self.look_tries.not_before_s)
        if self.phase is Phase.READ and self.reading is not None:
            times.append(self.reading.next_event_s())
        return min((t for t in times if t > now), default=float("inf"))

    def passed_over(self, now: float) -> None:
        """A more urgent transfer has the connections: waiting for them is no lack of progress."""
        if not self.lanes:
            self._progress_at = (now, self.watch.meter.total_bytes)

    def expire(self, now: float) -> None:
        """Ends it when a deadline has passed."""
        if self.phase not in (Phase.LOOK, Phase.READ) or self.busy:
            return
        received = self.watch.meter.total_bytes
        if received > self._progress_at[1]:
            self._progress_at = (now, received)
        if now >= self.watch.deadline_s:
            self.fail(deadline_passed(self.obj.subject))
        elif now - self._progress_at[0] >= self._settings.no_progress_s:
            self.fail(self.patience.stuck(self.obj.subject))

    # -- what happened (lock held) ---------------------------------------------------------------------------------------
    def fail(self, error: ModelStreamError) -> None:
        """The first error ends the transfer; everything still running for it is stopped."""
        if self.phase in (Phase.FINISH, Phase.DONE):
            return
        # A fresh one: a traceback would keep frames alive, and with them views of the zone's memory.
        self.error = error.about(error.subject or self.obj.subject)
        self.phase = Phase.FINISH
        if self.looking is not None:
            self.looking.stop("ended")
        if self.reading is not None:
            self.reading.stop_all("ended")

    def enter(self, attempt: Attempt) -> bool:
        """The attempt has a connection and may touch the buffer from now on, unless it is not wanted any more."""
        if self.phase is not Phase.READ or attempt.reading is not self.reading or attempt.stop.why:
            attempt.reading.leave(attempt)
            return False
        self.inside += 1
        return True

    def leave(self) -> None:
        self.inside -= 1
        if self.phase is Phase.READ and self.reading is not None and self.reading.complete and not self.inside:
            self.phase = Phase.VERIFY

    def landed(self, attempt: Attempt) -> Extent:
        """The attempt has made its part whole; the other attempt at it, if any, has lost."""
        part = attempt.part
        other = part.main if attempt.hedge else part.hedge
        if other is not None:
            other.stop.stop("lost")
        extent = attempt.reading.finished(attempt, self._clock())
        attempt.reading.leave(attempt)
        self.patience.part_landed()
        return extent

    def put_back(self, attempt: Attempt, refusal: Refusal | None) -> list[Event]:
        """The attempt has ended without its part being whole.  refusal: None when it was told to stop."""
        attempt.reading.leave(attempt)
        if refusal is None or self.phase not in (Phase.READ, Phase.LOOK) or attempt.reading is not self.reading:
            return []
        if attempt.hedge:  # its part is still being read; only the server's wish counts
            return self._slow_down() if refusal.then is Then.THROTTLE else []
        part = attempt.part
        events = self._judge(refusal, part.tries, progressed=attempt.progressed)
        return self._retried(events, part.tries, refusal, part.span.offset + part.sink.received, part.left_bytes)

    def look_failed(self, refusal: Refusal) -> list[Event]:
        events = self._judge(refusal, self.look_tries, looking=True)
        return self._retried(events, self.look_tries, refusal, 0, self.obj.size_bytes)

    def _retried(self, events: list[Event], tries: Tries, refusal: Refusal, offset: int, missing_bytes: int) -> list[Event]:
        if self.phase is Phase.FINISH:
            return events
        self.retries += 1
        return [*events, PartRetried(self.id, self.obj.subject, offset, missing_bytes, tries.number, refusal.reason)]

    def hedged(self, attempt: Attempt) -> Event:
        return PartHedged(self.id, self.obj.subject, attempt.sink.offset, len(attempt.sink.view))

    def _judge(self, refusal: Refusal, tries: Tries, *, progressed: bool = False, looking: bool = False) -> list[Event]:
        verdict = self.patience.judge(refusal, tries, self._clock(), progressed=progressed, looking=looking)
        if verdict is Verdict.GIVE_UP:
            self.fail(refusal.error)
        elif verdict is Verdict.SLOW_DOWN:
            return self._slow_down()
        elif verdict is Verdict.LOOK and self.phase is Phase.READ:
            self.suspicion = refusal
            self.phase = Phase.LOOK
        return []

    def _slow_down(self) -> list[Event]:
        if not self.flow.count.throttled():
            return []
        return [ConnectionsChanged(self.flow.count.target, "throttled")]

    # -- exclusive steps (lock held) -------------------------------------------------------------------------------------
    def is_same(self, head: ObjectHead) -> bool:
        return self.head is not None and (head.etag, head.size_bytes, head.version_id) == (
            self.head.etag,
            self.head.size_bytes,
            self.head.version_id,
        )

    def looked(self, head: ObjectHead) -> bool:
        """What HEAD said.  True: ``prepare`` has to follow, by the caller (``busy`` is set)."""
        self.looking = None
        if self.phase is not Phase.LOOK:
            return False
        suspicion, self.suspicion = self.suspicion, None
        if self.is_same(head):
            if suspicion is not None and suspicion.reason == "precondition":
                self.signer.if_match = False
            self.phase = Phase.READ
            return False
        if self.head is not None:
            self.changes += 1
            if self.changes > 1:
                cause = "it was overwritten twice while it was read"
                step = "load it again when nobody writes it any more"
                self.fail(ObjectChanged("the object keeps changing", subject=self.obj.subject, cause=cause, next_step=step))
                return False
        self.signer.if_match = True
        self.head, self.view, self.reading = head, None, None
        self.busy = True
        return True

    def prepared(self, view: memoryview, reading: Reading) -> None:
        self.busy = False
        if self.phase is Phase.LOOK:
            self.view, self.reading = view, reading
            self.phase = Phase.VERIFY if reading.complete else Phase.READ
            self._progress_at = (self._clock(), self.watch.meter.total_bytes)

    def recheck(self, reading: Reading) -> None:
        """Verification failed the first time: everything is read a second time and compared."""
        self.busy = False
        self.rechecked = True
        if self.phase is Phase.VERIFY:
            self.reading = reading
            # Of an object without bytes there is nothing to read a second time.
            self.phase = Phase.VERIFY if reading.complete else Phase.READ

    def verified(self, value: TransferResult) -> None:
        self.busy = False
        if self.phase is Phase.VERIFY:
            self.value = value
            self.phase = Phase.FINISH

    def times(self) -> PartTimes:
        return self.reading.times if self.reading is not None else PartTimes()

    def done(self) -> list[Callable[[Transfer], None]]:
        """Nothing runs for it any more.  Returns who wants to know."""
        self.busy = False
        self.phase = Phase.DONE
        self._landed_at_end = self.reading.in_place_bytes() if self.reading is not None else 0
        # Whoever keeps this transfer must not keep the zone's memory with it: not by a part, not by an error's frames.
        if self.reading is not None:
            self.reading.let_go()
        self.view = self.reading = None
        self.patience.let_go()
        self.zone = None  # type: ignore[assignment]
        self._done.set()
        callbacks, self._callbacks = self._callbacks, []
        return callbacks
