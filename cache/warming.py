"""Fetching ahead: lists of objects into a tier, a few at a time, the most urgent first.

Threads: some short-lived ones of its own, none while there is nothing to do.  At most `AT_ONCE` objects of one urgency
and above are on their way at once, so that a long list in the background never holds up one that is needed now.  Who
asks for an object that is being fetched joins it, and it becomes as urgent as its most urgent waiter.
Lock order: ``Warmer._lock`` → ``Warming._condition``; neither is held while an object is fetched or an event emitted.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

from ..storage.errors import ModelStreamError, TransferCancelled
from ..storage.events import EventBus, WarmFinished, WarmStarted
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from .operations import TIERS, WarmFailure, WarmProgress
from .watch import LoadProgress, Watch

AT_ONCE = 2
CLOSE_S = 5.0

Bring = Callable[[RemoteObject, str, Priority, Watch], int]
"""gets one object into a tier, blocks; returns the bytes that crossed the network; raises ModelStreamError"""


class Warming:
    """One list on its way.  Thread-safe; made by `Warmer.start`."""

    def __init__(self, objs: tuple[RemoteObject, ...], tier: str, priority: Priority) -> None:
        self.tier = tier
        self.priority = priority
        self.size_bytes = sum(obj.size_bytes for obj in objs)
        self._objs = objs
        self._todo = list(reversed(objs))
        self._condition = threading.Condition()
        self._current: dict[RemoteObject, int] = {}
        self._done: list[RemoteObject] = []
        self._failures: list[WarmFailure] = []
        self._wire_bytes = 0
        self._cancelled = False
        self._started_s = time.monotonic()

    def progress(self) -> WarmProgress:
        """Never waits."""
        with self._condition:
            done_bytes = sum(obj.size_bytes for obj in self._done) + sum(self._current.values())
            return WarmProgress(
                len(self._objs),
                len(self._done),
                self.size_bytes,
                done_bytes,
                tuple(obj.subject for obj in self._current),
                tuple(self._failures),
                self._cancelled,
                self._finished,
            )

    def wait(self, timeout_s: float | None = None) -> bool:
        """True when nothing of it is on its way any more, well or badly (see `progress`)."""
        with self._condition:
            return self._condition.wait_for(lambda: self._finished, timeout_s)

    def cancel(self) -> None:
        """Returns at once.  What others wait for as well goes on for them; what has landed on the SSD can be resumed."""
        with self._condition:
            self._cancelled = True
            self._todo.clear()
            self._condition.notify_all()

    @property
    def wire_bytes(self) -> int:
        """That crossed the network for it so far; what others had started already is not counted."""
        return self._wire_bytes

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def _finished(self) -> bool:
        return not self._todo and not self._current

    # -- the warmer's side ---------------------------------------------------------------------------------------------
    def _take(self) -> RemoteObject | None:
        with self._condition:
            if not self._todo:
                return None
            obj = self._todo.pop()
            self._current[obj] = 0
            return obj

    def _has_more(self) -> bool:
        return bool(self._todo)

    def _shows(self, obj: RemoteObject, done_bytes: int) -> None:
        with self._condition:
            self._current[obj] = done_bytes

    def _ended(self, obj: RemoteObject, wire_bytes: int, failure: WarmFailure | None) -> WarmFinished | None:
        """The event, where that was the last one."""
        with self._condition:
            del self._current[obj]
            self._wire_bytes += wire_bytes
            if failure is None:
                self._done.append(obj)
            elif not self._cancelled:
                self._failures.append(failure)
            if not self._finished:
                return None
            self._condition.notify_all()
            seconds = time.monotonic() - self._started_s
            return WarmFinished(self.tier, len(self._done), len(self._failures), self._cancelled, self._wire_bytes, seconds)


class _WarmWatch:
    """What one object's wait looks at."""

    def __init__(self, warming: Warming, obj: RemoteObject, closed: threading.Event) -> None:
        self._warming = warming
        self._obj = obj
        self._closed = closed

    def progress(self, progress: LoadProgress) -> None:
        self._warming._shows(self._obj, min(progress.done_bytes, self._obj.size_bytes))

    def check(self) -> None:
        if self._warming.cancelled or self._closed.is_set():
            raise TransferCancelled("fetching ahead was stopped", subject=self._obj.subject)


class Warmer:
    """Thread-safe."""

    def __init__(self, bring: Bring, bus: EventBus) -> None:
        self._bring = bring
        self._bus = bus
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: list[tuple[Priority, int, Warming]] = []
        self._running: Counter[Priority] = Counter()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()

    def start(self, objs: Iterable[RemoteObject], tier: str, priority: Priority) -> Warming:
        """Returns at once.  An object named twice is fetched once."""
        if tier not in TIERS:
            raise ValueError(f"no tier is called {tier!r}; there are {', '.join(TIERS)}")
        warming = Warming(tuple(dict.fromkeys(objs)), tier, priority)
        objects = len(warming._objs)
        self._bus.emit(WarmStarted(tier, objects, warming.size_bytes, priority.name.lower()))
        if not objects or self._closed.is_set():
            warming.cancel()
            self._bus.emit(WarmFinished(tier, 0, 0, warming.cancelled, 0, 0.0))
            return warming
        with self._lock:
            self._waiting.append((priority, next(self._numbers), warming))
            self._waiting.sort(key=lambda one: one[:2])
            self._staff()
        return warming

    def close(self) -> None:
        """Stops everything and joins the threads."""
        self._closed.set()
        with self._lock:
            for _, _, warming in self._waiting:
                warming.cancel()
            threads = list(self._threads)
        for thread in threads:
            thread.join(CLOSE_S)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _staff(self) -> None:
        """With the lock held: a thread for everything that may start now."""
        for priority, _, warming in list(self._waiting):
            while warming._has_more() and sum(n for p, n in self._running.items() if p <= priority) < AT_ONCE:
                obj = warming._take()
                if obj is None:
                    break
                self._running[priority] += 1
                thread = threading.Thread(target=self._run, args=(warming, obj, priority), name="modelstream-warm", daemon=True)
                self._threads.add(thread)
                thread.start()
        self._waiting = [one for one in self._waiting if one[2]._has_more()]

    def _run(self, warming: Warming, obj: RemoteObject, priority: Priority) -> None:
        wire_bytes, failure = 0, None
        try:
            watch = _WarmWatch(warming, obj, self._closed)
            watch.check()
            wire_bytes = self._bring(obj, warming.tier, priority, watch)
        except ModelStreamError as error:
            failure = WarmFailure(obj.subject, error.code, str(error))
        except Exception as error:  # told like the others: nobody waits in this thread
            failure = WarmFailure(obj.subject, type(error).__name__, f"{obj.subject}: fetching ahead failed.")
        finished = warming._ended(obj, wire_bytes, failure)
        with self._lock:
            self._running[priority] -= 1
            self._threads.discard(threading.current_thread())
            if not self._closed.is_set():
                self._staff()
        if finished is not None:
            self._bus.emit(finished)
