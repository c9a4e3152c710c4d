"""The thread that watches host memory while the RAM tier or the warm pool hold something.

It sleeps in its source (`pressure_sources`) and does not tick where the kernel tells of stalls; beside that it looks when much
memory is about to be used (``expect``) or may have been (``nudge``: a prompt has ended, a model is in the pool).  Only while the
tier is limited, or where the kernel tells nothing, it looks every few seconds.  It holds no lock while it calls anybody.

Shrinking: first free memory of the arena, then idle objects of the RAM tier by its own policy, then warm models, which
the holder lets go in the thread that runs prompts (``Holder.let_go`` only asks for it).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from ..storage.events import EventBus, MemoryRegained, MemoryYielded, TierDegraded
from .pressure import LOOK_S, Governor, Levels, Look, Regain, Stall, Yield
from .pressure_sources import Source, open_source


class Tier(Protocol):
    """What the watch needs of the RAM tier."""

    @property
    def asked_bytes(self) -> int: ...  # its budget when memory is plenty
    def held_bytes(self) -> int: ...  # memory that stands behind it, in use or free
    def give_back(self, size_bytes: int, reason: str) -> int: ...  # to the system, idle objects if need be; what went
    def set_ceiling(self, ceiling_bytes: int | None) -> None: ...


class Holder(Protocol):
    """What the watch needs of the warm pool."""

    def held_bytes(self) -> int: ...
    def let_go(self, size_bytes: int) -> int: ...  # asks for it; the bytes that will go


class MemoryWatch:
    def __init__(
        self,
        levels: Levels,
        tier: Tier,
        bus: EventBus,
        available_bytes: Callable[[], int],
        *,
        holder: Holder | None = None,
        open_source: Callable[[], Source] = open_source,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tier = tier
        self._holder = holder
        self._bus = bus
        self._available_bytes = available_bytes
        self._open_source = open_source
        self._clock = clock
        self.governor = Governor(levels, tier.asked_bytes)
        self._lock = threading.Lock()  # guards thread, source, closed and what is expected
        self._thread: threading.Thread | None = None
        self._source: Source | None = None
        self._closed = False
        self._expected_bytes = 0

    @property
    def kind(self) -> str:
        """ "psi" or "clock"; "idle" before it was needed."""
        source = self._source
        return source.kind if source is not None else "idle"

    @property
    def limit_bytes(self) -> int | None:
        return self.governor.limit_bytes

    def close(self) -> None:
        with self._lock:
            self._closed = True
            thread, source = self._thread, self._source
        if source is not None:
            source.nudge()
        if thread is not None:
            thread.join()
        if source is not None:
            source.close()

    # -- waking --------------------------------------------------------------------------------------------------------
    def expect(self, size_bytes: int) -> None:
        """So much memory is about to be used that was not there before: what others hold goes now, not when it hurts."""
        with self._lock:
            self._expected_bytes += size_bytes
        self.nudge()

    def nudge(self) -> None:
        """Look soon.  The first one while something is held starts the thread.  Quick."""
        with self._lock:
            if self._closed or (self._thread is None and not self._holds()):
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="modelstream-memory", daemon=True)
                self._thread.start()
            source = self._source
        if source is not None:
            source.nudge()

    def _run(self) -> None:
        source = self._open_source()
        with self._lock:
            self._source = source
        pause_s: float | None = 0.0
        while True:
            stall = source.wait(pause_s)
            if self._closed:
                return
            try:
                self._look(self._figures(stall))
            except Exception as error:  # the next look may do better; until then memory is what its budget says
                self._bus.emit(TierDegraded("ram", type(error).__name__, "memory pressure could not be answered"))
            pause_s = self._pause_s(source)

    def _pause_s(self, source: Source) -> float | None:
        """None: until the kernel or somebody here says something."""
        if self.governor.limit_bytes is not None:
            return LOOK_S
        return LOOK_S if source.kind == "clock" and self._holds() else None

    def _holds(self) -> bool:
        return self._expected_bytes > 0 or self._tier.held_bytes() > 0 or (self._holder is not None and self._holder.held_bytes() > 0)

    # -- one look ------------------------------------------------------------------------------------------------------
    def _figures(self, stall: Stall) -> Look:
        with self._lock:
            expected, self._expected_bytes = self._expected_bytes, 0
        return Look(self._clock(), self._available_bytes() - expected, self._tier.held_bytes(), stall)

    def _look(self, look: Look) -> None:
        self.governor.budget_bytes = self._tier.asked_bytes
        decision = self.governor.decide(look)
        if isinstance(decision, Yield):
            self._yield(look, decision)
        if isinstance(decision, Regain):
            self._tier.set_ceiling(decision.limit_bytes)
            limit = decision.limit_bytes
            self._bus.emit(MemoryRegained(look.available_bytes, self._tier.asked_bytes if limit is None else limit, limit is None))

    def _yield(self, look: Look, asked: Yield) -> None:
        limited = self.governor.limit_bytes is not None
        ram_bytes = self._tier.give_back(asked.size_bytes, "pressure")
        missing = asked.size_bytes - ram_bytes
        warm_bytes = self._holder.let_go(missing) if missing > 0 and self._holder is not None else 0
        self.governor.yielded(self._tier.held_bytes())
        self._tier.set_ceiling(self.governor.limit_bytes)
        if ram_bytes or warm_bytes or not limited:
            limit = self.governor.limit_bytes or 0
            self._bus.emit(MemoryYielded(asked.reason, look.available_bytes, asked.size_bytes, ram_bytes, warm_bytes, limit))
