"""The parts of one object while they are read: who reads which, what is left, what went wrong how often.

Plain state with a clock, no threads and no sockets: every method is called with the engine's lock held.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from .objects import Extent
from .pacing import PartTimes
from .parts import Span
from .patience import Tries
from .receive import Sink, Stop


class Part:
    """A span of the object.  At most two attempts read it: the main one into place, a hedge into scratch memory."""

    __slots__ = ("expected", "hedge", "main", "sink", "span", "tries")

    def __init__(self, span: Span, view: memoryview | None, expected: int | None = None) -> None:
        """view: the whole object's buffer; None for a part that is read a second time, into scratch memory, to compare.
        expected: what its CRC64 was the first time, where that is known.
        """
        self.span = span
        self.expected = expected
        self.sink = Sink(span.offset, view[span.offset : span.end] if view is not None else memoryview(b""))
        self.tries = Tries()
        self.main: Attempt | None = None
        self.hedge: Attempt | None = None

    @property
    def left_bytes(self) -> int:
        return self.span.length - self.sink.received


class Attempt:
    """One request for a part, by one connection."""

    __slots__ = ("began_bytes", "began_s", "hedge", "part", "reading", "sink", "stop")

    def __init__(self, part: Part, reading: Reading, now_s: float, hedge_sink: Sink | None = None) -> None:
        self.part = part
        self.reading = reading
        self.hedge = hedge_sink is not None
        self.sink = hedge_sink or part.sink
        self.began_bytes = self.sink.received
        self.began_s = now_s
        self.stop = Stop()

    @property
    def progressed(self) -> bool:
        return self.sink.received > self.began_bytes


class Reading:
    """One pass over one version.  After the object changed, or to compare, another ``Reading`` takes its place:
    attempts of the former one then belong to nobody.
    """

    def __init__(self, parts: Sequence[Part], held: Sequence[Extent], times: PartTimes, *, checking: bool = False) -> None:
        self._waiting = list(parts)
        self.running: list[Part] = []
        self.done: list[Extent] = list(held)
        self.times = times
        self.checking = checking
        self.held_bytes = sum(e.length for e in held)
        self.landed_bytes = self.held_bytes

    @property
    def complete(self) -> bool:
        return not self._waiting and not self.running

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def in_place_bytes(self) -> int:
        """Without the lock, by anybody: at worst a part is counted a moment late."""
        return self.landed_bytes + sum(p.sink.received for p in (*self.running, *self._begun()))

    def _begun(self) -> list[Part]:
        return [p for p in tuple(self._waiting) if p.sink.received]

    def next_part(self, now_s: float) -> Attempt | None:
        """The front-most part that may be read now."""
        for index, part in enumerate(self._waiting):
            if part.tries.not_before_s <= now_s:
                del self._waiting[index]
                self.running.append(part)
                if self.checking and not part.sink.view:
                    part.sink = Sink(part.span.offset, memoryview(bytearray(part.span.length)))
                part.main = Attempt(part, self, now_s)
                return part.main
        return None

    def next_hedge(self, now_s: float) -> Part | None:
        """With nothing else to read: the part that has taken far longer than the others and that nobody helps yet."""
        if self._waiting or self.checking:
            return None
        slow = [p for p in self.running if self._hedge_at_s(p) <= now_s]
        return max(slow, key=lambda p: p.left_bytes, default=None)

    def next_event_s(self) -> float:
        """When ``next_part`` or ``next_hedge`` may have more to give, seen from now."""
        times = [p.tries.not_before_s for p in self._waiting]
        if not self._waiting and not self.checking:
            times += [self._hedge_at_s(p) for p in self.running]
        return min(times, default=float("inf"))

    def _hedge_at_s(self, part: Part) -> float:
        if part.main is None or part.hedge is not None:
            return float("inf")
        return part.main.began_s + self.times.slow_after_s(part.span.length)

    def leave(self, attempt: Attempt) -> None:
        """The attempt has ended, well or not.  Its part goes back into the queue when it is not whole and nobody reads it."""
        part = attempt.part
        if attempt.hedge:
            part.hedge = None
        else:
            part.main = None
        if part.main is None and part.hedge is None and part in self.running and not part.sink.full:
            self.running.remove(part)
            bisect.insort(self._waiting, part, key=lambda p: p.span.offset)

    def finished(self, attempt: Attempt, now_s: float) -> Extent:
        """The part is whole."""
        part = attempt.part
        self.running.remove(part)
        extent = Extent(part.span.offset, part.span.length, part.sink.crc64)
        self.done.append(extent)
        self.landed_bytes += extent.length
        if not attempt.hedge:
            self.times.add(part.span.length - attempt.began_bytes, now_s - attempt.began_s)
        return extent

    def let_go(self) -> None:
        """The transfer is over: only the count of what landed stays, no view of the zone's memory."""
        self.landed_bytes = self.in_place_bytes()
        for part in (*self._waiting, *self.running):
            part.sink.let_go()
        self._waiting, self.running = [], []

    def stop_all(self, why: str) -> None:
        for part in self.running:
            for attempt in (part.main, part.hedge):
                if attempt is not None:
                    attempt.stop.stop(why)
