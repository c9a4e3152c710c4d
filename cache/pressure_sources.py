"""Who tells that memory is scarce: the kernel's stall figures (PSI) where they can be waited for, a clock where not.

A PSI trigger is a file that a poll on it wakes from when tasks have stalled for want of memory for ``STALL_US`` of a window.  Two are
asked for: of our own cgroup (version 2) and of the machine.  Either may be missing: an old kernel, ``psi=0``, a container
with /proc or /sys read-only.  Where none is to be had, and on other systems, `Clock` looks every few seconds, and only while
somebody wants it to.

Both are waited on by one thread; ``nudge`` and ``close`` may be called from any.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from .memory_budget import memory_groups
from .pressure import Stall

STALL_US, WINDOW_US = 150_000, 2_000_000
"""150 ms of 2 s; without CAP_SYS_RESOURCE the kernel takes only windows of whole 2 s"""


class Source(Protocol):
    kind: str
    """"psi" or "clock", for the status"""

    def wait(self, timeout_s: float | None) -> Stall: ...
    def nudge(self) -> None: ...
    def close(self) -> None: ...


class Clock:
    """Wakes when nudged or after the time that is waited; knows of no stalls."""

    kind = "clock"

    def __init__(self) -> None:
        self._nudged = threading.Event()

    def wait(self, timeout_s: float | None) -> Stall:
        self._nudged.wait(timeout_s)
        self._nudged.clear()
        return Stall.NONE

    def nudge(self) -> None:
        self._nudged.set()

    def close(self) -> None:
        self.nudge()


class PsiTriggers:
    """Sleeps in the kernel until it tells of stalls, or until nudged."""

    kind = "psi"

    def __init__(self, triggers: Sequence[tuple[int, Stall]]) -> None:
        self._triggers = dict(triggers)
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        for descriptor in self._triggers:
            self._poll.register(descriptor, select.POLLPRI)
        self._lock = threading.Lock()
        self._open = True

    def wait(self, timeout_s: float | None) -> Stall:
        found = Stall.NONE
        for descriptor, events in self._poll.poll(None if timeout_s is None else timeout_s * 1e3):
            if descriptor == self._read:
                os.read(self._read, 4096)
            elif events & (select.POLLERR | select.POLLNVAL):
                self._poll.unregister(descriptor)  # the cgroup is gone
            elif found is not Stall.OWN:
                found = self._triggers[descriptor]
        return found

    def nudge(self) -> None:
        with self._lock:
            if self._open:
                try:
                    os.write(self._write, b"n")
                except BlockingIOError:
                    pass  # it is full of nudges

    def close(self) -> None:
        """After the waiting thread has ended."""
        with self._lock:
            if self._open:
                self._open = False
                for descriptor in (self._read, self._write, *self._triggers):
                    os.close(descriptor)


def open_source(root: Path = Path("/")) -> Source:
    """The best there is on this system.  Raises nothing."""
    triggers = _triggers(root) if sys.platform.startswith("linux") else []
    return PsiTriggers(triggers) if triggers else Clock()


def _triggers(root: Path) -> list[tuple[int, Stall]]:
    own = next((group.pressure_file for group in memory_groups(root) if group.version == 2 and _is_ours(group.directory)), None)
    wanted = [(root / "proc/pressure/memory", Stall.MACHINE), *([(own, Stall.OWN)] if own is not None else [])]
    return [(descriptor, stall) for path, stall in wanted if (descriptor := _trigger(path)) is not None]


def _is_ours(directory: Path) -> bool:
    """The root of all cgroups is the machine; a container's root is its own and has a limit file, which the machine's has not."""
    return (directory / "memory.max").exists() or (directory / "cgroup.events").exists()


def _trigger(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.write(descriptor, f"some {STALL_US} {WINDOW_US}\0".encode())
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
