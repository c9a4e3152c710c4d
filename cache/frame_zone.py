"""A landing zone for the compressed form of an object: frames are decoded as they land, into the place of their bytes.

The stored bytes go into passing memory, whose pages are given back frame by frame.  The lane that completes a frame decodes it:
lanes are threads already, the codec releases the GIL, and a machine that cannot keep up slows the network down by itself.
The zone behind sees checked extents of the original and nothing of the form.
"""

from __future__ import annotations

import bisect
import mmap
import threading
import time
from collections.abc import Sequence

from ..storage.checksum import crc64, crc64_of
from ..storage.errors import CorruptObject, ObjectChanged
from ..storage.frames import Frame, Table
from ..storage.landing import LandingZone
from ..storage.objects import Extent, ObjectHead
from ..storage.parts import Span, missing
from .planes import decode


class FrameZone:
    """table: checked; form: the HEAD that the table was read under; original: what the object's own HEAD says, with its checksum"""

    def __init__(self, zone: LandingZone, table: Table, form: ObjectHead, original: ObjectHead, subject: str) -> None:
        self._zone = zone
        self._table = table
        self._form = form
        self._original = original
        self._subject = subject
        self._offsets = [frame.offset for frame in table.frames]
        self._lock = threading.Lock()
        self._memory: mmap.mmap | None = None
        self._place: memoryview | None = None
        self._left: list[int] = []
        self._gaps: Sequence[Span] = ()
        self._held: Sequence[Extent] = ()
        self._done: list[Extent] = []
        self.decode_s = 0.0
        """of all threads together"""

    def prepare(self, head: ObjectHead) -> memoryview:
        if (head.etag, head.size_bytes) != (self._form.etag, self._form.size_bytes):
            raise ObjectChanged("the compressed form was replaced", subject=self._subject, next_step="nothing: the plain object is read")
        self._place = self._zone.prepare(self._original)
        self._held = tuple(self._zone.extents())
        self._gaps = missing(self._original.size_bytes, self._held)
        self._left = [frame.length for frame in self._table.frames]
        self._done = []
        self._memory = mmap.mmap(-1, head.size_bytes)
        return memoryview(self._memory)

    def extents(self) -> Sequence[Extent]:
        """The form is always read whole: what is there of the object is there decoded."""
        return ()

    def landed(self, extent: Extent) -> None:
        """Raises CorruptObject."""
        for number in self._touched(extent):
            frame = self._table.frames[number]
            came = min(extent.end, frame.end) - max(extent.offset, frame.offset)
            with self._lock:
                self._left[number] -= came
                whole = self._left[number] == 0
            if whole:
                self._decode(frame)

    def check(self) -> None:
        """After the transfer: the whole object's checksum, of what was decoded and what was there.  Raises CorruptObject."""
        try:
            right = crc64_of([*self._held, *self._done], self._original.size_bytes) == self._table.original.crc64
        except ValueError:
            right = False
        if not right:
            step = "nothing: the plain object is read; `modelstream compress` makes the form anew"
            raise CorruptObject("the compressed form does not decode to the object", subject=self._subject, next_step=step)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _touched(self, extent: Extent) -> range:
        first = max(0, bisect.bisect_right(self._offsets, extent.offset) - 1)
        last = bisect.bisect_left(self._offsets, extent.end)
        if first < last and self._table.frames[first].end <= extent.offset:
            first += 1
        return range(first, last)

    def _decode(self, frame: Frame) -> None:
        assert self._place is not None and self._memory is not None
        began_s = time.perf_counter()
        stored, end = memoryview(self._memory)[frame.offset : frame.end], frame.start + frame.size
        parts = [(max(gap.offset, frame.start), min(gap.end, end)) for gap in self._gaps if gap.offset < end and gap.end > frame.start]
        if parts == [(frame.start, end)]:
            decode(frame, stored, self._place[frame.start : end], self._subject)
            landed = [Extent(frame.start, frame.size, frame.crc64)]
        else:
            landed = self._decode_parts(frame, stored, parts)
        self._give_back(frame)
        with self._lock:
            self.decode_s += time.perf_counter() - began_s
            self._done += landed
        for extent in landed:
            self._zone.landed(extent)

    def _decode_parts(self, frame: Frame, stored: memoryview, parts: Sequence[tuple[int, int]]) -> list[Extent]:
        """Of a frame that is partly there (a resumed load) only what is missing is written."""
        assert self._place is not None
        if not parts:
            return []
        scratch = memoryview(bytearray(frame.size))
        decode(frame, stored, scratch, self._subject)
        landed = []
        for start, end in parts:
            piece = scratch[start - frame.start : end - frame.start]
            self._place[start:end] = piece
            landed.append(Extent(start, end - start, crc64(piece)))
        return landed

    def _give_back(self, frame: Frame) -> None:
        """Whole pages of the frame; the others go with the neighbour's, or at the end."""
        if self._memory is not None and hasattr(mmap, "MADV_DONTNEED"):
            start = -(-frame.offset // mmap.PAGESIZE) * mmap.PAGESIZE
            length = frame.end // mmap.PAGESIZE * mmap.PAGESIZE - start
            if length > 0:
                self._memory.madvise(mmap.MADV_DONTNEED, start, length)
