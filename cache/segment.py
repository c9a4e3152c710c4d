"""One mapping of the arena: which of its bytes are free, and which of them memory stands behind.

Not thread-safe: the arena calls it with its lock held.  The one exception is ``populated``, whose items the
populating thread sets for granules of a region in use.
"""

from __future__ import annotations

import bisect
import ctypes
import mmap
from typing import NamedTuple

from . import pages


class Region(NamedTuple):
    """Bytes [offset, offset + size) of a segment."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class Segment:
    """A mapping cut into regions.  Free blocks are disjoint, sorted and never adjacent.

    Memory is remembered in granules of 2 MiB.  ``_committed`` marks a granule that a region covered once: memory
    may stand behind it.  ``populated`` marks one that surely is faulted in, so nobody does it again.
    """

    def __init__(self, size_bytes: int, backing: str = pages.ANONYMOUS) -> None:
        self.size_bytes = size_bytes
        self.mapping, self.backing = _mapped(size_bytes, backing)
        self.address = ctypes.addressof((ctypes.c_ubyte * size_bytes).from_buffer(self.mapping))
        granules = -(-size_bytes // pages.HUGE)
        self.populated = bytearray(granules)
        self._committed = bytearray(granules)
        self._free = [Region(0, size_bytes)]
        self.committed_bytes = 0

    @property
    def in_use(self) -> bool:
        return self._free != [Region(0, self.size_bytes)]

    def fitting(self, size_bytes: int) -> int:
        """Size of the smallest free block that holds ``size_bytes``; 0 if none does."""
        return min((block.size for block in self._free if block.size >= size_bytes), default=0)

    def take(self, size_bytes: int) -> Region:
        """Cuts a region from the front of the smallest block that holds it; there has to be one."""
        block = min((block for block in self._free if block.size >= size_bytes), key=lambda block: block.size)
        region = Region(block.offset, size_bytes)
        index = self._free.index(block)
        self._free[index : index + 1] = [Region(region.end, block.end - region.end)] if block.end > region.end else []
        self._commit(region)
        return region

    def give_back(self, region: Region) -> None:
        index = bisect.bisect(self._free, region)
        offset, end = region.offset, region.end
        first, last = index, index
        if index and self._free[index - 1].end == offset:
            first, offset = index - 1, self._free[index - 1].offset
        if index < len(self._free) and self._free[index].offset == end:
            last, end = index + 1, self._free[index].end
        self._free[first:last] = [Region(offset, end - offset)]

    def shed(self, size_bytes: int) -> int:
        """Lets at least ``size_bytes`` of free memory go, from the end, if there is so much; returns how many went.

        Where single pages cannot be given back, only a wholly free segment goes, as one.
        """
        if not pages.CAN_DISCARD:
            return self._forget_all() if not self.in_use else 0
        gone = 0
        for block in reversed(self._free):
            first, end = -(-block.offset // pages.HUGE), block.end // pages.HUGE
            if block.end == self.size_bytes:
                end = len(self._committed)
            while end > first and gone < size_bytes:
                start = max(first, end - max(1, (size_bytes - gone) // pages.HUGE))
                gone += self._discard(start, end)
                end = start
        return gone

    def _commit(self, region: Region) -> None:
        for granule in range(region.offset // pages.HUGE, -(-region.end // pages.HUGE)):
            if not self._committed[granule]:
                self._committed[granule] = 1
                self.committed_bytes += self._granule_bytes(granule)

    def _discard(self, first: int, end: int) -> int:
        """Granules [first, end), all of them free."""
        went = sum(self._granule_bytes(granule) for granule in range(first, end) if self._committed[granule])
        if went:
            offset = first * pages.HUGE
            pages.discard(self.address + offset, min(end * pages.HUGE, self.size_bytes) - offset, self.backing)
            self._committed[first:end] = self.populated[first:end] = bytes(end - first)
            self.committed_bytes -= went
        return went

    def _forget_all(self) -> int:
        went, self.committed_bytes = self.committed_bytes, 0
        return went

    def _granule_bytes(self, granule: int) -> int:
        return min(pages.HUGE, self.size_bytes - granule * pages.HUGE)


class Borrowed:
    """Memory that is not the arena's own: one region that is in use from the start, and never used for anything else.

    Its bytes count like any other while they are held: a page cache that is mapped is not there for others.
    """

    def __init__(self, mapping: mmap.mmap) -> None:
        self.size_bytes = len(mapping)
        self.mapping = mapping
        self.region = Region(0, pages.round_up(self.size_bytes, pages.PAGE))
        self.address = ctypes.addressof(ctypes.c_ubyte.from_buffer(mapping))
        self.in_use = True
        self.committed_bytes = self.region.size

    def fitting(self, size_bytes: int) -> int:
        return 0

    def give_back(self, region: Region) -> None:
        self.in_use, self.committed_bytes = False, 0

    def shed(self, size_bytes: int) -> int:
        return 0


def _mapped(size_bytes: int, backing: str) -> tuple[mmap.mmap, str]:
    """Anonymous memory where a memfd is refused or unknown."""
    if backing == pages.MEMFD:
        try:
            return pages.map_memfd(size_bytes), pages.MEMFD
        except OSError:
            pass  # the same bytes, only not shareable
    return pages.map_anonymous(size_bytes), pages.ANONYMOUS
