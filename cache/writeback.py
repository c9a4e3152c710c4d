"""Writing behind: one thread a process takes chunks to the disk while the transfer goes on in memory.

`WriteBehind` is the queue and its thread; `ChunkFile` writes one file without filling the page cache, because
the bytes are in the arena already and dirty pages would stall the very process that is loading.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from .disk import ALIGN_BYTES, O_DIRECT, Disk, address_of

Job = Callable[[], None]


class WriteBehind:
    """Runs jobs in one thread, which starts on demand and ends when there is nothing left to do.

    A job may be held back for a while, so that a load which is over in that time does not share the machine with its
    own copy; what a kill costs is bounded by it.  Somebody who waits for an owner's jobs ends their holding.  The
    jobs of one owner run in the order of their submission.

    Any thread may call.  A job must not raise.  Lock order: the condition is innermost; no job runs under it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._queue: deque[tuple[object, Job, float]] = deque()
        """owner, job and when it is due; never later for an earlier job of the same owner"""
        self._running: object | None = None
        self._alive = False

    def submit(self, owner: object, job: Job, hold_s: float = 0.0) -> None:
        """Queues a job; never blocks on the disk.  Without ``hold_s`` the owner's earlier jobs are not held any more."""
        with self._condition:
            if hold_s <= 0:
                self._release(owner)
            self._queue.append((owner, job, self._clock() + hold_s))
            self._condition.notify_all()
            if not self._alive:
                self._alive = True
                threading.Thread(target=self._run, name="modelstream-ssd-write", daemon=True).start()

    def forget(self, owner: object) -> None:
        """Drops the owner's queued jobs; one that is running goes on."""
        with self._condition:
            self._queue = deque(item for item in self._queue if item[0] is not owner)
            self._condition.notify_all()

    def wait(self, owner: object, timeout_s: float | None = None) -> bool:
        """Until no job of the owner is queued or running; False on timeout."""
        with self._condition:
            self._release(owner)
            return self._condition.wait_for(lambda: not self._busy_with(owner), timeout_s)

    def queued_jobs(self) -> int:
        with self._condition:
            return len(self._queue)

    def _release(self, owner: object) -> None:
        self._queue = deque((o, job, 0.0 if o is owner else due_s) for o, job, due_s in self._queue)
        self._condition.notify_all()

    def _busy_with(self, owner: object) -> bool:
        return self._running is owner or any(item[0] is owner for item in self._queue)

    def _run(self) -> None:
        while True:
            job = self._next_job()
            if job is None:
                return
            job()
            del job  # it holds the arena's memory

    def _next_job(self) -> Job | None:
        """The first that is due; waits for it.  None: nothing is left, and the thread ends."""
        with self._condition:
            self._running = None
            self._condition.notify_all()
            while self._queue:
                now_s = self._clock()
                for index, (owner, job, due_s) in enumerate(self._queue):
                    if due_s <= now_s:
                        del self._queue[index]
                        self._running = owner
                        return job
                self._condition.wait(min(due_s for _, _, due_s in self._queue) - now_s)
            self._alive = False
            return None


class ChunkFile:
    """One data file of known size, open for writing in any order.  Used by one thread at a time."""

    def __init__(self, disk: Disk, path: Path, *, create: bool, size_bytes: int) -> None:
        self._disk = disk
        self.path = path
        self.fd = disk.create(path) if create else disk.open(path, os.O_RDWR)
        self._direct_fd: int | None = None
        try:
            if create:
                disk.truncate(self.fd, size_bytes)
            self._direct_fd = self._open_direct()
        except BaseException:
            self.close()
            raise

    def write(self, view: memoryview, offset: int) -> None:
        """All of ``view``: past the page cache where offset, address and length allow, the rest buffered."""
        done = 0
        address = address_of(view) if self._direct_fd is not None else None
        if self._direct_fd is not None and address is not None and (address | offset) % ALIGN_BYTES == 0:
            done = self._write_direct(view[: len(view) - len(view) % ALIGN_BYTES], offset)
        if done == len(view):
            return
        start = done
        while done < len(view):
            wrote = self._disk.pwrite(self.fd, view[done:], offset + done)
            if wrote <= 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += wrote
        self._disk.drop_cached(self.fd, offset + start, done - start)

    def read(self, offset: int, length: int) -> bytearray:
        """What the file has there; OSError where it has less."""
        content = bytearray(length)
        done = 0
        while done < length:
            got = self._disk.pread(self.fd, memoryview(content)[done:], offset + done)
            if got <= 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += got
        return content

    def _write_direct(self, view: memoryview, offset: int) -> int:
        """Bytes written; fewer than asked where the file system stops taking direct writes."""
        assert self._direct_fd is not None
        done = 0
        while done < len(view):
            try:
                wrote = self._disk.pwrite(self._direct_fd, view[done:], offset + done)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._disk.close(self._direct_fd)  # wants another alignment: buffered from now on
                self._direct_fd = None
                return done
            done += wrote - wrote % ALIGN_BYTES
            if wrote <= 0 or wrote % ALIGN_BYTES:
                return done
        return done

    def _open_direct(self) -> int | None:
        if not O_DIRECT:
            return None
        try:
            return self._disk.open(self.path, os.O_WRONLY | O_DIRECT)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
                return None
            raise

    def close(self) -> None:
        """Any number of times; raises the error that the last close reported."""
        fds, self.fd, self._direct_fd = (self._direct_fd, self.fd), -1, None
        for fd in fds:
            if fd is not None and fd >= 0:
                self._disk.close(fd)
