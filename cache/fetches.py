"""Which objects are on their way: one `Fetch` an object however many ask, one thread a fetch.

Lock order: ``Fetches._lock`` → a fetch's condition; neither is held while a tier is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..storage.errors import NoRoom
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from .fetch import Fetch, Goal
from .watch import Watch

Missed = Callable[[RemoteObject, bool], None]
"""told of a use that the RAM tier could not answer, before the fetch asks it for room; False: of a fetch under way"""


class Fetches:
    """Thread-safe.  ``run`` is the body of a fetch's thread."""

    def __init__(self, run: Callable[[Fetch], None], missed: Missed) -> None:
        self._run_fetch = run
        self._missed = missed
        self._lock = threading.Lock()
        self._fetches: dict[str, Fetch] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def subjects(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(fetch.obj.subject for fetch in self._fetches.values())

    def restoring(self) -> tuple[tuple[str, float | None], ...]:
        """Those that wait for an archive: (subject, seconds left at most, None: nobody can say)."""
        with self._lock:
            waiting = [(fetch.obj.subject, fetch.waiting) for fetch in self._fetches.values()]
        return tuple((subject, progress.eta_s) for subject, progress in waiting if progress is not None)

    def join(self, obj: RemoteObject, goal: Goal, watch: Watch, priority: Priority, *, use: bool) -> tuple[Fetch, bool]:
        """The fetch to wait on and whether it is ours.  Waits for a cancelled one to end: two would write one file.

        use: a use of the RAM tier
        """
        told = False
        while True:
            with self._lock:
                if self._closed:
                    raise NoRoom("the cache is closed", subject=obj.subject)
                fetch = self._fetches.get(obj.id.digest)
                if fetch is None and (told or not use):
                    return self._start(obj, goal, priority, used=told), True
            if fetch is None:
                self._missed(obj, True)
                told = True
            elif fetch.join(priority):
                if use and not told:
                    self._missed(obj, fetch.first_use())
                return fetch, False
            else:
                fetch.wait_ended(watch)

    def cancel(self) -> list[threading.Thread]:
        """Nothing starts any more and everybody who waits gets TransferCancelled; the threads to join."""
        with self._lock:
            self._closed = True
            fetches, threads = list(self._fetches.values()), list(self._threads)
        for fetch in fetches:
            fetch.cancel()
        return threads

    def _start(self, obj: RemoteObject, goal: Goal, priority: Priority, *, used: bool) -> Fetch:
        """With the lock held."""
        fetch = Fetch(obj, goal)
        fetch.join(priority)
        if used:
            fetch.first_use()
        self._fetches[obj.id.digest] = fetch
        thread = threading.Thread(target=self._run, args=(fetch, obj.id.digest), name="modelstream-fetch", daemon=True)
        self._threads.add(thread)
        thread.start()
        return fetch

    def _run(self, fetch: Fetch, digest: str) -> None:
        try:
            self._run_fetch(fetch)
        finally:
            with self._lock:
                if self._fetches.get(digest) is fetch:
                    del self._fetches[digest]
                self._threads.discard(threading.current_thread())


class Joined:
    """``with`` block during which a fetch is waited for; leaving it is what may cancel the fetch."""

    def __init__(
        self,
        fetches: Fetches,
        obj: RemoteObject,
        goal: Goal,
        watch: Watch,
        priority: Priority = Priority.FOREGROUND,
        *,
        use: bool = False,
    ) -> None:
        self._priority = priority
        self._fetch, self._mine = fetches.join(obj, goal, watch, priority, use=use)

    def __enter__(self) -> tuple[Fetch, bool]:
        return self._fetch, self._mine

    def __exit__(self, *_: object) -> None:
        self._fetch.leave(self._priority)
