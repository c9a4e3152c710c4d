"""Which chunks of an object are complete.  Pure bookkeeping: no file, no lock, no clock."""

from __future__ import annotations

from collections.abc import Iterator

from awscrt.checksums import combine_crc64nvme

from ..storage.objects import Extent
from .record import CHUNK_BYTES, chunk_count, chunk_length


class ChunkTally:
    """Takes extents in any order and says which chunks they complete.

    A chunk is reported once.  Its CRC64NVME comes with it where extents tile it exactly (combining theirs costs
    nothing); None where an extent crosses its edge or two overlap, then the bytes have to be read.
    """

    def __init__(self, size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.size_bytes = size_bytes
        self.chunk_bytes = chunk_bytes
        self.count = chunk_count(size_bytes, chunk_bytes)
        self._done: set[int] = set()
        self._pieces: dict[int, list[tuple[int, int, int | None]]] = {}

    def bounds(self, index: int) -> tuple[int, int]:
        """Start and end of a chunk in the object."""
        start = index * self.chunk_bytes
        return start, start + chunk_length(index, self.size_bytes, self.chunk_bytes)

    @property
    def complete(self) -> bool:
        return len(self._done) == self.count

    def mark(self, index: int) -> None:
        """The chunk is complete already; it is not reported any more."""
        self._done.add(index)
        self._pieces.pop(index, None)

    def add(self, extent: Extent) -> list[tuple[int, int | None]]:
        """Chunks (index, CRC64NVME) that this extent completes."""
        if extent.offset < 0 or extent.length < 0 or extent.end > self.size_bytes:
            raise ValueError("extent outside of the object")
        completed = []
        for index in self._touched(extent):
            start, end = self.bounds(index)
            inside = start <= extent.offset and extent.end <= end
            piece = (max(start, extent.offset), min(end, extent.end), extent.crc64 if inside else None)
            pieces = self._pieces.setdefault(index, [])
            pieces.append(piece)
            if sum(p[1] - p[0] for p in pieces) >= end - start and _covers(pieces, start, end):
                completed.append((index, _combined(pieces, start, end)))
                self.mark(index)
        return completed

    def chunks_of(self, extent: Extent) -> range:
        """Indexes of the chunks that an extent touches."""
        if not extent.length:
            return range(0)
        return range(extent.offset // self.chunk_bytes, (extent.end - 1) // self.chunk_bytes + 1)

    def _touched(self, extent: Extent) -> Iterator[int]:
        return (i for i in self.chunks_of(extent) if i not in self._done)


def _covers(pieces: list[tuple[int, int, int | None]], start: int, end: int) -> bool:
    reached = start
    for piece_start, piece_end, _ in sorted(pieces, key=lambda p: p[:2]):
        if piece_start > reached:
            return False
        reached = max(reached, piece_end)
    return reached >= end


def _combined(pieces: list[tuple[int, int, int | None]], start: int, end: int) -> int | None:
    reached, whole = start, 0
    for piece_start, piece_end, crc64 in sorted(pieces, key=lambda p: p[:2]):
        if crc64 is None or piece_start != reached:
            return None
        whole = combine_crc64nvme(whole, crc64, piece_end - piece_start)
        reached = piece_end
    return whole if reached == end else None
