"""Many transfers under one budget of connections and one rate limit.

Who gets a connection next: more urgent transfers first; among equals the one with the fewest.  While a more urgent
transfer is there, all less urgent ones together keep one connection (none where ``connections_max`` is 1); the others
are taken from them at once, in the middle of a part, whose received bytes are kept.

A gentle engine uses few connections; that ends with ``hurry``, or by itself when somebody waits for a transfer.

Locks: ``lock`` (a condition) guards everything here and in ``Transfer``, ``Reading`` and ``OriginFlow``.  Below it only
``Stop`` and ``Connection`` have locks.  Nothing outside of this room is called while it is held.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable

from .config import TransferConfig
from .errors import ModelStreamError
from .events import ConnectionsChanged, EventBus
from .flow import OriginFlow
from .gentle import CONNECTIONS as GENTLE_CONNECTIONS
from .landing import LandingZone, Priority
from .lane import Lane
from .objects import RemoteObject
from .origin import Origin
from .pacing import Clock, TokenBucket
from .phases import Do, Phase
from .transfer import Step, Transfer, cancelled

LINGER_S = 4.0
"""a lane without work keeps its connection so long; servers close idle ones after 5 s and more"""

CLOSE_S = 1.0


def connections_for_machine() -> int:
    """More than 8 connections cost a small machine more than they bring; 32 fill 25 Gbit/s at S3's 90 MB/s each."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 8 if count <= 4 else 32


class TransferEngine:
    """One per process.  Every public method may be called from any thread."""

    def __init__(self, settings: TransferConfig, bus: EventBus, clock: Clock = time.monotonic, *, gentle: bool = False) -> None:
        self.gentle = gentle
        self.settings = settings
        self.bus = bus
        self.clock = clock
        self.bucket = TokenBucket(settings.rate_limit_bytes_per_s, clock)
        self.connections_max = settings.connections_max or connections_for_machine()
        self.lock = threading.Condition()
        self._transfers: list[Transfer] = []
        self._flows: dict[str, OriginFlow] = {}
        self._lanes: set[Lane] = set()
        self._idle = 0
        self._numbers = itertools.count(1)
        self._closed = False

    # -- public --------------------------------------------------------------------------------------------------------
    def start(
        self,
        origin: Origin,
        obj: RemoteObject,
        zone: LandingZone,
        *,
        priority: Priority = Priority.FOREGROUND,
        settings: TransferConfig | None = None,
    ) -> Transfer:
        """Returns at once; everything happens in the engine's threads.  Joining transfers of one object is the caller's.

        settings: this transfer's patience (retries, stalls, deadlines), where another way is there if this one fails
        """
        with self.lock:
            if self._closed:
                raise RuntimeError("the transfer engine is closed")
            if priority is Priority.FOREGROUND:
                self._hurry()
            flow = self._flows.setdefault(origin.name, OriginFlow(self._most(), self.clock))
            transfer = Transfer(self, origin, obj, zone, flow, priority, settings or self.settings)
            self._transfers.append(transfer)
            self._preempt()
            self.staff()
        return transfer

    def hurry(self) -> None:
        """Nothing has to be spared any more."""
        with self.lock:
            self._hurry()

    def active(self) -> tuple[Transfer, ...]:
        with self.lock:
            return tuple(self._transfers)

    def close(self) -> None:
        """Cancels everything and joins the threads, within a second; one that still connects ends by itself when that times out."""
        with self.lock:
            self._closed = True
            for transfer in self._transfers:
                transfer.fail(cancelled(transfer.obj.subject, "Model Stream is stopping"))
            self._spare_lane()
            self.staff()
            lanes = list(self._lanes)
        deadline_s = self.clock() + CLOSE_S
        for lane in lanes:
            if lane.thread is not threading.current_thread():
                lane.thread.join(max(0.0, deadline_s - self.clock()))

    # -- for transfers -------------------------------------------------------------------------------------------------
    def end(self, transfer: Transfer, error: ModelStreamError) -> None:
        with self.lock:
            transfer.fail(error)
            self._spare_lane()
            self.staff()

    def reprioritise(self, transfer: Transfer, priority: Priority) -> None:
        with self.lock:
            transfer.priority = priority
            if priority is Priority.FOREGROUND:
                self._hurry()
            self._preempt()
            self.staff()

    # -- for lanes -----------------------------------------------------------------------------------------------------
    def claim(self, lane: Lane) -> Step | None:
        """The next step; blocks while there is none.  None: the lane's time is over."""
        with self.lock:
            until_s = self.clock() + LINGER_S
            while True:
                now = self.clock()
                step, wake_s = self._choose(now, only_ends=lane.spare)
                if step is not None:
                    step.transfer.lanes += 1
                    step.transfer.flow.lanes += 1
                    return step
                # While there are transfers one lane stays, to see their pauses and deadlines end.
                if lane.spare or ((self._closed or now >= until_s) and (not self._transfers or self._idle)):
                    self._lanes.discard(lane)
                    return None
                wake_s = min(wake_s, until_s) if now < until_s else wake_s
                self._idle += 1
                try:
                    self.lock.wait(max(0.01, wake_s - now) if wake_s < float("inf") else None)
                finally:
                    self._idle -= 1

    def stepped(self, step: Step) -> None:
        """The lane has done its step."""
        transfer, flow = step.transfer, step.transfer.flow
        with self.lock:
            reason = None
            if step.do in (Do.READ, Do.HEDGE):
                reason = flow.count.observe(self._received(flow), flow.lanes)
                if flow.count.recover():
                    reason = "recovering"
            transfer.lanes -= 1
            flow.lanes -= 1
            connections = flow.count.target
            self.staff()
        if reason is not None:
            self.bus.emit(ConnectionsChanged(connections, reason))

    def finished(self, transfer: Transfer) -> list[Callable[[Transfer], None]]:
        """Takes the transfer out; returns who wants to know."""
        with self.lock:
            if transfer in self._transfers:
                self._transfers.remove(transfer)
                transfer.flow.finished_bytes += transfer.watch.meter.total_bytes
            callbacks = transfer.done()
            self.staff()
        return callbacks

    def staff(self) -> None:
        """Lock held.  Wakes the lanes, and makes new ones when there is more to do than lanes to do it."""
        wanted = min(self.connections_max, sum(min(t.wants(), t.flow.count.target) for t in self._transfers))
        for _ in range(wanted - sum(not lane.spare for lane in self._lanes)):
            self._new_lane()
        self.lock.notify_all()

    # -- inside (lock held) --------------------------------------------------------------------------------------------
    def _most(self) -> int:
        return min(self.connections_max, GENTLE_CONNECTIONS) if self.gentle else self.connections_max

    def _hurry(self) -> None:
        if self.gentle:
            self.gentle = False
            for flow in self._flows.values():
                flow.count.allow(self.connections_max)
            self.staff()

    def _new_lane(self, *, spare: bool = False) -> None:
        lane = Lane(self, next(self._numbers), spare=spare)
        self._lanes.add(lane)
        lane.thread.start()

    def _spare_lane(self) -> None:
        """A transfer was ended from outside.  When every lane is at work (connecting, say) its end must not wait for one."""
        if not self._idle and any(t.is_urgent() for t in self._transfers):
            self._new_lane(spare=True)

    def _choose(self, now: float, *, only_ends: bool) -> tuple[Step | None, float]:
        """A step, or when to ask again."""
        for transfer in self._transfers:
            transfer.expire(now)
        for transfer in self._transfers:
            if transfer.is_urgent():
                return transfer.next_step(now), now
        wake_s = float("inf")
        if only_ends:
            return None, wake_s
        for transfer in sorted(self._transfers, key=lambda t: (t.priority, t.lanes, t.id)):
            if self._may_have_another(transfer):
                step = transfer.next_step(now)
                if step is not None:
                    return step, now
            else:
                transfer.passed_over(now)
            wake_s = min(wake_s, transfer.next_event_s(now))
        return None, wake_s

    def _may_have_another(self, transfer: Transfer) -> bool:
        others = self._transfers
        if any(t.priority < transfer.priority for t in others):
            top = min(t.priority for t in others)
            below = sum(t.lanes for t in others if t.priority > top)
            if below >= self._kept_below():
                return False
        used = sum(t.lanes for t in others if t.flow is transfer.flow and t.priority <= transfer.priority)
        return used < transfer.flow.count.target

    def _kept_below(self) -> int:
        return 1 if self.connections_max > 1 else 0

    def _preempt(self) -> None:
        """Takes connections from less urgent transfers at once, not at the end of their parts."""
        if not self._transfers:
            return
        top = min(t.priority for t in self._transfers)
        kept = self._kept_below()
        for transfer in self._transfers:
            if transfer.priority == top or transfer.reading is None or transfer.phase is not Phase.READ:
                continue
            for part in transfer.reading.running:
                for attempt in (part.main, part.hedge):
                    if attempt is not None and kept > 0:
                        kept -= 1
                    elif attempt is not None:
                        attempt.stop.stop("yield")

    def _received(self, flow: OriginFlow) -> int:
        return flow.finished_bytes + sum(t.watch.meter.total_bytes for t in self._transfers if t.flow is flow)
