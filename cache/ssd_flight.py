"""Single flight between processes: who fetches an object holds the lock of its digest, the others wait and find it.

    <root>/locks/<digest>         empty; held with flock (msvcrt on Windows), removed by who held it
    <root>/locks/<digest>.wait    empty; held by all who wait, so that who fetches can see that there are some

An optimisation only.  Some network file systems take every lock and keep none, others refuse: then two processes
fetch the same object side by side, each into a file of its own, and the first to finish gives it its name.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..storage.errors import TransferCancelled
from .disk import Disk
from .paths import Layout, is_digest

POLL_S = 0.02
STALL_S = 15.0
"""without a new chunk; a slow disk takes seconds for one, an fsync of a whole model ten"""
WAIT_SUFFIX = ".wait"
HELD_BY_ANOTHER = frozenset({errno.EAGAIN, errno.EACCES, errno.EDEADLK})

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _lock_shared(fd: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # a lock of one; then nobody is seen waiting
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _lock_shared(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


class Flight:
    """One process's right to fetch one object.  ``waited``: somebody else had it before.  Any thread.

    awaited: whether another process waits for it at this moment, as far as that can be told; a few system calls
    """

    def __init__(self, give_back: Callable[[], None], *, waited: bool = False, awaited: Callable[[], bool] = lambda: False) -> None:
        self._give_back = [give_back]
        self.waited = waited
        self.awaited = awaited

    def release(self) -> None:
        """Any number of times."""
        with contextlib.suppress(IndexError):
            self._give_back.pop()()


class FlightLocks:
    """Any thread.  Two threads of one process exclude each other like two processes."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk = disk
        self._layout = layout
        self._pause = threading.Event()

    def take(self, digest: str) -> Flight | None:
        """None while somebody else has it.  Where there are no locks at all everybody gets one."""
        path = self._layout.locks / digest
        while True:
            try:
                fd = self._disk.open(path, os.O_RDWR | os.O_CREAT)
            except OSError:
                return Flight(lambda: None)
            try:
                _lock(fd)
                if self._is(path, fd):
                    return Flight(functools.partial(self._drop, path, fd), awaited=functools.partial(self._awaited, digest))
            except OSError as error:
                self._disk.close(fd)
                return None if error.errno in HELD_BY_ANOTHER else Flight(lambda: None)
            self._disk.close(fd)  # its last holder has just removed it: the next one will be made anew

    def join(
        self,
        digest: str,
        far: Callable[[], int | None],
        progress: Callable[[int], None],
        should_stop: Callable[[], bool],
        arrived: Callable[[], bool] = lambda: False,
    ) -> Flight:
        """Waits while somebody else fetches the object; ``far`` says how far they are.  Asks ``should_stop`` at least every 50 ms.

        Ends as soon as it has ``arrived``, whoever holds the lock: those who waited together do not queue for it then.
        Gives up on somebody who gets no further (stopped, hanging, or without a place on this disk): the object is
        then fetched twice.  Raises TransferCancelled.
        """
        flight = self.take(digest)
        if flight is not None:
            return flight
        with self._waiting(digest) as show:
            seen, seen_s = far(), time.monotonic()
            while time.monotonic() - seen_s < STALL_S:
                if should_stop():
                    raise TransferCancelled("waiting for another process was stopped")
                self._pause.wait(POLL_S)
                if arrived():
                    break
                show()
                flight = self.take(digest)
                if flight is not None:
                    flight.waited = True
                    return flight
                now = far()
                if now != seen:
                    seen, seen_s = now, time.monotonic()
                    progress(now or 0)
        return Flight(lambda: None, waited=True)

    def sweep(self) -> None:
        """Removes the files of processes that died with a lock held."""
        for name in self._names():
            flight = self.take(name)
            if flight is not None:
                flight.release()
                self._forget_waiters(name)

    def _names(self) -> set[str]:
        names = (entry.name.removesuffix(WAIT_SUFFIX) for entry in self._disk.entries(self._layout.locks))
        return {name for name in names if is_digest(name)}

    # -- who waits -----------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _waiting(self, digest: str) -> Iterator[Callable[[], None]]:
        """Shows that somebody waits, to who asks `Flight.awaited`, for as long as it lasts.  Without locks nothing is shown.

        Yields what is to be called now and then: the one who asks holds the lock for a moment, and removes the file.
        """
        path, held = self._waiters(digest), -1

        def drop() -> None:
            nonlocal held
            fd, held = held, -1
            if fd >= 0:
                with contextlib.suppress(OSError):
                    self._disk.close(fd)

        def show() -> None:
            nonlocal held
            try:
                if held >= 0 and self._is(path, held):
                    return
                drop()
                held = self._disk.open(path, os.O_RDWR | os.O_CREAT)
                _lock_shared(held)
            except OSError:
                drop()

        show()
        try:
            yield show
        finally:
            drop()

    def _awaited(self, digest: str) -> bool:
        try:
            fd = self._disk.open(self._waiters(digest), os.O_RDWR)
        except OSError:
            return False
        try:
            _lock(fd)
        except OSError as error:
            return error.errno in HELD_BY_ANOTHER
        else:
            return False
        finally:
            with contextlib.suppress(OSError):
                self._disk.close(fd)

    def _forget_waiters(self, digest: str) -> None:
        with contextlib.suppress(OSError):
            self._disk.unlink(self._waiters(digest))

    def _waiters(self, digest: str) -> Path:
        return self._layout.locks / f"{digest}{WAIT_SUFFIX}"

    def _is(self, path: Path, fd: int) -> bool:
        try:
            found, held = self._disk.lstat(path), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (found.st_ino, found.st_dev) == (held.st_ino, held.st_dev)

    def _drop(self, path: Path, fd: int) -> None:
        """Removed first, unlocked then: whoever waits for this file sees that it is not the one any more."""
        self._forget_waiters(path.name)
        with contextlib.suppress(OSError):  # open elsewhere on Windows, or the disk is gone: an empty file stays
            self._disk.unlink(path)
        with contextlib.suppress(OSError):
            self._disk.close(fd)
