"""Faulting in the memory of running transfers, in one thread that exists only while there is something to do."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from ..storage.events import EventBus, TierDegraded
from . import pages

HEAD_START_BYTES = 64 << 20
"""Left to the receivers, whose first parts land there at that moment; at most an eighth of the object.

Weak evidence: one batch of five fresh processes each, 2 GiB, four receivers on two busy cores.  Medians: 0.89 s with 64 MiB,
0.98 without a head start, 1.01 without populating, 1.2 with 128 or 256 MiB; single runs spread from 0.8 to 5 s.  In a batch
of six before that, when memory was scarcer: 1.51 s without populating, 1.18 with it and no head start."""


class PopulateTask:
    """One allocation's way through its pages, front to back.

    Holds the buffer weakly: a transfer that gives up frees its memory without asking anybody here.
    """

    def __init__(self, buffer: Any, address: int, size_bytes: int, populated: bytearray, first_granule: int) -> None:
        self.buffer = weakref.ref(buffer)
        self.stopped = False
        self._address = address
        self._size_bytes = size_bytes
        self._populated = populated
        self._first = first_granule
        self._next = min(HEAD_START_BYTES, size_bytes // 8) // pages.HUGE
        self._granules = -(-size_bytes // pages.HUGE)

    def step(self, choice: pages.PageChoice, clock: Callable[[], float]) -> bool:
        """Populates one slice.  False when there is nothing left to do."""
        kept_alive = self.buffer()
        if self.stopped or kept_alive is None:
            return False
        while self._next < self._granules and self._populated[self._first + self._next]:
            self._next += 1
        if self._next >= self._granules:
            return False
        kind, wanted_bytes = choice.next()
        count = min(wanted_bytes // pages.HUGE, self._granules - self._next)
        offset = self._next * pages.HUGE
        size_bytes = min(count * pages.HUGE, self._size_bytes - offset)
        started_s = clock()
        if not pages.populate(self._address + offset, size_bytes, kind):
            return False
        choice.took(kind, size_bytes, clock() - started_s)
        for granule in range(self._next, self._next + count):
            self._populated[self._first + granule] = 1
        self._next += count
        return True


class Populator:
    """The arena's thread.  Several allocations take turns, a slice each.  Thread-safe.

    Its lock guards the queue and whether the thread runs; no other lock is taken inside it.
    """

    def __init__(self, bus: EventBus, clock: Callable[[], float] = time.perf_counter) -> None:
        self._bus = bus
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[PopulateTask] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._choice = pages.PageChoice()

    def add(self, task: PopulateTask) -> None:
        with self._lock:
            if self._closed:
                return
            self._queue.append(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="modelstream-populate", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stops after the slice that is under way and waits for it."""
        with self._lock:
            self._closed = True
            self._queue.clear()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                task = self._queue.popleft()
            if self._step(task):
                with self._lock:
                    if not self._closed:
                        self._queue.append(task)

    def _step(self, task: PopulateTask) -> bool:
        try:
            return task.step(self._choice, self._clock)
        except Exception as error:  # the transfer goes on, faulting its own pages
            self._bus.emit(TierDegraded("ram", type(error).__name__, "memory could not be populated ahead of the transfer"))
            return False
