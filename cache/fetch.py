"""One object on its way into the cache, shared by everybody who asks for it.

A `Fetch` is state and waiting only; `fetcher.Fetcher` moves the bytes.  Lock order: a fetch's condition is
innermost, nothing is called while it is held.
"""

from __future__ import annotations

import enum
import threading
import time
import traceback
from collections.abc import Callable

from ..storage.errors import ModelStreamError
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from ..storage.transfer import Transfer
from .near_visit import Visit
from .ram import RamEntry
from .watch import LoadProgress, Watch

POLL_S = 0.05
"""how often a waiter looks for an interrupt; ComfyUI's own granularity is one sampler step"""
SHOW_S = 0.1


class Goal(enum.Enum):
    MEMORY = "memory"
    DISK = "disk"


class Fetch:
    """Thread-safe.  Cancelled when the last waiter leaves before the goal is reached."""

    def __init__(self, obj: RemoteObject, goal: Goal) -> None:
        self.obj = obj
        self.goal = goal
        self.landed_obj = obj
        """the version that really came: a newer one if the object was overwritten meanwhile"""
        self.source = "bucket"
        self.wire_bytes = 0
        self.entry: RamEntry | None = None
        """leased by this fetch until it ends and the last waiter has left"""
        self.visit: Visit | None = None
        """what the near origin had to say, where there is one"""
        self.cancelled = False
        self._condition = threading.Condition()
        self._reached: set[Goal] = set()
        self._error: BaseException | None = None
        self._ended = False
        self._waiters: list[Priority] = []
        self._used = False
        self._transfer: Transfer | None = None
        self._disk_done_bytes = 0
        self.waiting: LoadProgress | None = None
        """what has to happen before the first byte, while it has not"""
        self._started_s = time.monotonic()

    # -- waiters ---------------------------------------------------------------------------------------------------
    def join(self, priority: Priority = Priority.FOREGROUND) -> bool:
        """Counts one more waiter; False when it is too late to join.  The fetch is as urgent as its most urgent waiter."""
        with self._condition:
            if self.cancelled or self._ended:
                return False
            self._waiters.append(priority)
            transfer = self._transfer
        self._be_as_urgent(transfer)
        return True

    def leave(self, priority: Priority = Priority.FOREGROUND) -> None:
        """The last one to leave an unfinished fetch cancels it; what is on the SSD by then can be resumed."""
        with self._condition:
            self._waiters.remove(priority)
            unwanted = not self._waiters and self.goal not in self._reached and not self._ended
            self.cancelled = self.cancelled or unwanted
            transfer = self._transfer
            entry = self._take_entry()
        if unwanted and transfer is not None:
            transfer.cancel()
        elif not unwanted:
            self._be_as_urgent(transfer)
        if entry is not None:
            entry.release()

    def cancel(self) -> None:
        """For shutting down: everybody who waits gets TransferCancelled."""
        with self._condition:
            self.cancelled = True
            transfer = self._transfer
        if transfer is not None:
            transfer.cancel()

    def wait(self, goal: Goal, watch: Watch) -> None:
        """Returns when the goal is reached or can no longer be; raises what the fetch or the watch raised."""
        shown_s = 0.0
        while not self._wait_once(goal):
            watch.check()
            now_s = time.monotonic()
            if now_s - shown_s >= SHOW_S:
                shown_s = now_s
                watch.progress(self.progress())
        error = self._error
        if error is not None and goal not in self._reached:
            raise _without_frames(error)
        watch.progress(LoadProgress(self.landed_obj.size_bytes, self.landed_obj.size_bytes, 0.0, 0.0, self.source))

    def wait_ended(self, watch: Watch) -> None:
        while not self._wait_for(lambda: self._ended):
            watch.check()

    def progress(self) -> LoadProgress:
        waiting = self.waiting
        if waiting is not None:
            return waiting
        transfer = self._transfer
        if transfer is not None:
            p = transfer.progress()
            return LoadProgress(p.size_bytes, p.landed_bytes, p.rate_bytes_per_s, p.eta_s, "bucket")
        size, done = self.obj.size_bytes, self._disk_done_bytes
        rate = done / max(time.monotonic() - self._started_s, 1e-3)
        return LoadProgress(size, done, rate, (size - done) / rate if rate > 0 else None, self.source)

    def _wait_once(self, goal: Goal) -> bool:
        return self._wait_for(lambda: goal in self._reached or self._ended)

    def _wait_for(self, predicate: Callable[[], bool]) -> bool:
        with self._condition:
            return self._condition.wait_for(predicate, POLL_S)

    @property
    def needed(self) -> bool:
        """Whether somebody waits for it who will use it: a load, or a prompt that is queued."""
        return self.priority <= Priority.QUEUED

    @property
    def loads(self) -> bool:
        """Whether a load waits for it."""
        return self.priority is Priority.FOREGROUND

    def first_use(self) -> bool:
        """True once."""
        with self._condition:
            first, self._used = not self._used, True
            return first

    @property
    def priority(self) -> Priority:
        with self._condition:
            return min(self._waiters, default=Priority.BACKGROUND)

    def _be_as_urgent(self, transfer: Transfer | None) -> None:
        """Until they agree: of two waiters who come and go at once neither may have the last word with an old answer."""
        while transfer is not None and transfer.priority is not (wanted := self.priority):
            transfer.set_priority(wanted)

    # -- the fetcher's side ------------------------------------------------------------------------------------------
    def attach(self, transfer: Transfer) -> None:
        """Lets waiters see the transfer; cancels it when everybody left before it started."""
        with self._condition:
            self._transfer = transfer
            cancelled = self.cancelled
        if cancelled:
            transfer.cancel()
        self._be_as_urgent(transfer)

    def waits_for(self, waiting: LoadProgress | None) -> None:
        """Before the first byte something else has to happen, which takes long; None: it has."""
        self.waiting = waiting

    def disk_progress(self, done_bytes: int) -> None:
        self._disk_done_bytes = done_bytes

    def reached(self, goal: Goal, obj: RemoteObject, *, entry: RamEntry | None = None) -> None:
        with self._condition:
            self.landed_obj = obj
            if entry is not None:
                self.entry = entry
            self._reached.add(goal)
            self._condition.notify_all()

    def ended(self, error: BaseException | None = None, *, unless_load: bool = False) -> bool:
        """unless_load: it does not end when a load has joined it meanwhile: then False, and the fetch has to go on."""
        with self._condition:
            if unless_load and Priority.FOREGROUND in self._waiters and not self.cancelled:
                return False
            self._error = None if error is None else _without_frames(error)
            self._ended = True
            self._condition.notify_all()
            entry = self._take_entry()
        if entry is not None:
            entry.release()
        return True

    def _take_entry(self) -> RamEntry | None:
        """The fetch's own lease, once nobody can need it any more.  Called with the condition held."""
        if self.entry is not None and self._ended and not self._waiters:
            entry, self.entry = self.entry, None
            return entry
        return None


def _without_frames(error: BaseException) -> BaseException:
    """The error as several waiters may raise it: the frames it came through hold the memory of a load that is over."""
    if isinstance(error, ModelStreamError):
        return error.about(error.subject)
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__
    return error
