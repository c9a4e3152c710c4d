"""Long-lived memory for whole objects.

The arena maps segments and keeps them: memory that was faulted in once is the fastest place to receive into, so a
freed region stays warm for the next object and goes back to the system only when the budget needs it or `trim` asks.

A region is handed out as one ctypes array over its segment.  Tensors, memoryviews and the allocation all hold
that array; when the last of them is gone the array dies and its region becomes free.  Nothing else frees a
region, so none is reused while a tensor lives.

Memory that somebody else filled (a file that several processes map) can be borrowed (`borrow`): it counts, and is never reused.

Threads: every method may be called from any thread.  ``Arena._lock`` guards segments and figures and is innermost:
nothing is called back with it held.  ``_settling`` comes before it.  The array's finalizer runs in whatever thread
dropped the last reference, perhaps inside the garbage collector: it only appends to a deque, which the next call drains
under the lock.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..storage.errors import NoRoom
from ..storage.events import EventBus
from . import pages
from .populate import PopulateTask, Populator
from .segment import Borrowed, Region, Segment

SHARED_SEGMENT_BYTES = 64 << 20
"""objects below half of this share segments; a larger one gets a segment of its own size"""
FRESH_BYTES = 32 << 20
"""less new memory than this is not worth a word"""
RAISE_BUDGET = "raise ram.budget_gb in the configuration, or free models"


@dataclass(frozen=True, slots=True)
class ArenaFigures:
    """used_bytes: regions somebody holds; warm_free_bytes: free, but backed by memory."""

    budget_bytes: int
    used_bytes: int
    warm_free_bytes: int


class _Place:
    """Where a buffer's region lies, and that it comes back when the buffer dies."""

    def __init__(
        self, returned: deque[tuple[Segment | Borrowed, Region]], segment: Segment | Borrowed, region: Region, buffer: Any
    ) -> None:
        self._returned = returned
        self._segment = segment
        self._watch(buffer, region)

    def cut(self, buffer: Any, size_bytes: int) -> None:
        """The region ends after ``size_bytes``; the rest comes back now."""
        region = self._region
        if size_bytes < region.size and self._finalizer.detach() is not None:
            self._watch(buffer, Region(region.offset, size_bytes))
            self._returned.append((self._segment, Region(region.offset + size_bytes, region.size - size_bytes)))

    def _watch(self, buffer: Any, region: Region) -> None:
        self._region = region
        self._finalizer = weakref.finalize(buffer, self._returned.append, (self._segment, region))
        self._finalizer.atexit = False


class Allocation:
    """One region.  ``buffer`` is the owner of the memory: whoever needs the bytes holds it, not this object."""

    def __init__(self, buffer: Any, size_bytes: int, task: PopulateTask, populator: Populator, place: _Place) -> None:
        self.buffer = buffer
        self.size_bytes = size_bytes
        self._place = place
        self._task = task
        self._populator = populator
        self._populating = False

    @property
    def view(self) -> memoryview:
        """Writable, format "B".  Holds the buffer."""
        return memoryview(self.buffer).cast("B")

    def shorten(self, size_bytes: int) -> None:
        """Only the front is needed after all: ``buffer`` becomes that, and the pages behind it are free at once.  The caller is
        the only one who has the buffer, and nobody writes behind the front any more."""
        self.stop_populating()
        self._place.cut(self.buffer, pages.round_up(max(size_bytes, 1), pages.PAGE))
        self.buffer = (ctypes.c_ubyte * size_bytes).from_buffer(self.buffer)
        self.size_bytes = size_bytes

    def populate_ahead(self) -> None:
        """Faults the pages in front to back, in the arena's thread.  Pages that are there already cost nothing.

        Call it when the bytes begin to flow; a second call does nothing.
        """
        if not self._populating:
            self._populating = True
            self._populator.add(self._task)

    def stop_populating(self) -> None:
        """Returns at once; at most the slice under way is still finished."""
        self._task.stopped = True


class Arena:
    """Regions of memory under one byte budget."""

    def __init__(self, budget_bytes: int, bus: EventBus, backing: str = pages.ANONYMOUS) -> None:
        self.backing = backing
        self._asked_bytes = budget_bytes
        self._ceiling_bytes: int | None = None
        self._lock = threading.Lock()
        self._segments: list[Segment | Borrowed] = []  # least recently used first
        self._returned: deque[tuple[Segment | Borrowed, Region]] = deque()
        self._used_bytes = 0
        self._closed = False
        self._last_figures = ArenaFigures(budget_bytes, 0, 0)
        self._populator = Populator(bus)
        self.on_fresh: Callable[[int], object] = lambda size_bytes: None
        """called, with no lock held, when so many bytes are about to be used that no memory stood behind before"""
        self.before_reuse: Callable[[int, int], object] | None = None
        """(address, size): called with ``_settling`` held alone, before a region that came back may be used or given away"""
        self._settling = threading.Lock()
        self._ready: deque[tuple[Segment | Borrowed, Region]] = deque()

    # -- the budget --------------------------------------------------------------------------------------------------
    @property
    def budget_bytes(self) -> int:
        """What may be in use: what was asked for, or less while memory is scarce."""
        ceiling = self._ceiling_bytes
        return self._asked_bytes if ceiling is None else min(self._asked_bytes, ceiling)

    @property
    def asked_bytes(self) -> int:
        """The budget when memory is plenty."""
        return self._asked_bytes

    def set_budget(self, budget_bytes: int) -> None:
        """From now on.  Regions in use stay; free memory above it goes back to the system."""
        self._settle()
        with self._lock:
            self._asked_bytes = budget_bytes
            self._drain()
            self._shed(self._committed() - self.budget_bytes)

    def set_ceiling(self, ceiling_bytes: int | None) -> None:
        """A limit below the budget for as long as memory is scarce; None lifts it."""
        self._settle()
        with self._lock:
            self._ceiling_bytes = ceiling_bytes
            self._drain()
            self._shed(self._committed() - self.budget_bytes)

    # -- regions -----------------------------------------------------------------------------------------------------
    def allocate(self, size_bytes: int) -> Allocation:
        """A page-aligned, contiguous region; its bytes are whatever was there.  Raises NoRoom."""
        rounded = pages.round_up(max(size_bytes, 1), pages.PAGE)
        self._settle()
        with self._lock:
            self._drain()
            if self._closed or self._used_bytes + rounded > self.budget_bytes:
                raise self._no_room(size_bytes)
            before = self._committed()
            segment, region = self._take(rounded)
            fresh = self._committed() - before
            self._segments.remove(segment)
            self._segments.append(segment)
            self._used_bytes += rounded
            self._shed(self._committed() - self.budget_bytes)
            buffer = (ctypes.c_ubyte * size_bytes).from_buffer(segment.mapping, region.offset)
            place = _Place(self._returned, segment, region, buffer)
        if fresh >= FRESH_BYTES:
            self.on_fresh(fresh)
        first = region.offset // pages.HUGE
        task = PopulateTask(buffer, segment.address + first * pages.HUGE, region.end - first * pages.HUGE, segment.populated, first)
        return Allocation(buffer, size_bytes, task, self._populator, place)

    def borrow(self, mapping: mmap.mmap) -> Any:
        """Takes memory that somebody else filled under the budget, whole; its owner is returned, as of `Allocation.buffer`.

        It is unmapped when that is gone.  Raises NoRoom.
        """
        segment = Borrowed(mapping)
        self._settle()
        with self._lock:
            self._drain()
            if self._closed or self._used_bytes + segment.committed_bytes > self.budget_bytes:
                raise self._no_room(segment.size_bytes)
            self._segments.append(segment)
            self._used_bytes += segment.region.size
            self._shed(self._committed() - self.budget_bytes)
            buffer = (ctypes.c_ubyte * segment.size_bytes).from_buffer(mapping)
            _Place(self._returned, segment, segment.region, buffer)
        return buffer

    def is_borrowed(self, buffer: Any) -> bool:
        """Of a buffer that is alive."""
        if not isinstance(buffer, ctypes.Array):
            return False
        address = ctypes.addressof(buffer)
        return any(isinstance(segment, Borrowed) and segment.address == address for segment in tuple(self._segments))

    def trim(self, size_bytes: int) -> int:
        """Gives up to ``size_bytes`` of free memory back to the system; returns how many went."""
        self._settle()
        with self._lock:
            self._drain()
            return self._shed(size_bytes)

    def figures(self) -> ArenaFigures:
        """Never waits: while another thread maps or sheds memory, the figures from before are given."""
        if self._lock.acquire(blocking=False):
            try:
                self._drain()
                used_bytes = self._used_bytes - self._unsettled_bytes()
                self._last_figures = ArenaFigures(self.budget_bytes, used_bytes, max(0, self._committed() - used_bytes))
            finally:
                self._lock.release()
        return self._last_figures

    @property
    def used_bytes(self) -> int:
        return self.figures().used_bytes

    @property
    def warm_free_bytes(self) -> int:
        return self.figures().warm_free_bytes

    def close(self) -> None:
        """No further allocation.  Regions in use stay valid until their tensors are gone."""
        self._populator.close()
        self._settle()
        with self._lock:
            self._closed = True
            self._drain()
            self._shed(self._committed())
            self._segments = [segment for segment in self._segments if segment.in_use]

    def _settle(self) -> None:
        """Regions that came back become free: whoever has a say in it (memory that is pinned) is asked first.

        Waits for another thread that is at it, so that nobody evicts for want of what is just coming back.
        """
        if self.before_reuse is None:
            return
        with self._settling:
            while self._returned:
                segment, region = self._returned[0]
                self.before_reuse(segment.address + region.offset, region.size)
                self._ready.append(self._returned.popleft())

    # -- with the lock held ------------------------------------------------------------------------------------------
    def _drain(self) -> None:
        returned = self._returned if self.before_reuse is None else self._ready
        while returned:
            segment, region = returned.popleft()
            segment.give_back(region)
            self._used_bytes -= region.size
            if isinstance(segment, Borrowed):
                self._segments.remove(segment)

    def _unsettled_bytes(self) -> int:
        """Of regions that came back and were not asked about yet.  A finalizer may add one at any moment."""
        if self.before_reuse is None:
            return 0
        for _ in range(10):
            try:
                return sum(region.size for _, region in (*self._returned, *self._ready))
            except RuntimeError:  # it grew while it was looked at
                continue
        return 0

    def _take(self, size_bytes: int) -> tuple[Segment, Region]:
        """Warm memory that fits closely, then a new segment, then any free block that is large enough."""
        closest = self._closest(size_bytes, most_bytes=max(2 * size_bytes, SHARED_SEGMENT_BYTES))
        if closest is None and self._committed() + size_bytes <= self.budget_bytes:
            closest = self._new_segment(size_bytes)
        if closest is None:
            closest = self._closest(size_bytes, most_bytes=self.budget_bytes) or self._new_segment(size_bytes)
        return closest, closest.take(size_bytes)

    def _closest(self, size_bytes: int, most_bytes: int) -> Segment | None:
        """The segment with the smallest free block that holds ``size_bytes`` and has at most ``most_bytes``."""
        own = [segment for segment in self._segments if isinstance(segment, Segment)]
        fitting = [(block, index) for index, s in enumerate(own) if (block := s.fitting(size_bytes)) and block <= most_bytes]
        return own[min(fitting)[1]] if fitting else None

    def _new_segment(self, size_bytes: int) -> Segment:
        shared = size_bytes < SHARED_SEGMENT_BYTES // 2 and SHARED_SEGMENT_BYTES <= self.budget_bytes
        mapped = SHARED_SEGMENT_BYTES if shared else pages.round_up(size_bytes, pages.HUGE)
        try:
            segment = Segment(mapped, self.backing)
        except (OSError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or "out of memory"
            raise self._no_room(size_bytes, f"the system refused the memory: {reason}") from error
        self._segments.append(segment)
        return segment

    def _committed(self) -> int:
        return sum(segment.committed_bytes for segment in self._segments)

    def _shed(self, size_bytes: int) -> int:
        """Lets free memory go: unused segments first, the least recently used first."""
        gone = 0
        for segment in sorted(self._segments, key=lambda segment: segment.in_use):
            if gone >= size_bytes:
                break
            gone += segment.shed(size_bytes - gone)
            if not segment.in_use and segment.committed_bytes == 0:
                self._segments.remove(segment)  # unmapped when the last reference to the mapping is gone
        return gone

    def _no_room(self, size_bytes: int, cause: str = "") -> NoRoom:
        figures = f"asked for {size_bytes} bytes, {self._used_bytes} of {self.budget_bytes} bytes are in use"
        return NoRoom("the RAM tier has no room", cause=cause or figures, next_step=RAISE_BUDGET)
