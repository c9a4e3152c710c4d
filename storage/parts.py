"""Which bytes are missing, and in which parts to ask for them.  Pure functions over extents.

Part borders lie on multiples of the part size (itself whole MiB), counted from the object's start and not from
what happens to be missing, so that they fall on the borders of the SSD tier's 16 MiB chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .objects import Extent

MIB = 1 << 20

_SMALL_OBJECT_BYTES = 512 * MIB
_PART_BYTES_AT_RATE = ((2.5e9, 64 * MIB), (1.25e9, 32 * MIB), (0.0, 16 * MIB))
"""bytes a second that the origin has shown and the part that suits: from 10 Gbit/s on requests cost more than length does"""
_PARTS_MAX = 4096
"""of one object: keeps the bookkeeping of a 1 TB object small; parts grow instead"""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Bytes [offset, offset + length) of an object."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        return self.offset + self.length


def part_bytes_for(size_bytes: int, connections: int, configured_bytes: int = 0, rate_bytes_per_s: float = 0.0) -> int:
    """How long one part is.

    16 MiB, 8 MiB under 512 MB (measured best by the S3 guides and on loopback); 32 MiB where the origin has shown
    10 Gbit/s and 64 MiB at 20 Gbit/s; smaller where an object would not give every connection at least two parts, down
    to 1 MiB; larger where there would be thousands of them.
    """
    if configured_bytes:
        return max(MIB, configured_bytes // MIB * MIB)
    part = 8 * MIB if size_bytes < _SMALL_OBJECT_BYTES else next(part for rate, part in _PART_BYTES_AT_RATE if rate_bytes_per_s >= rate)
    while part > MIB and size_bytes < part * connections * 2:
        part //= 2
    while size_bytes > part * _PARTS_MAX:
        part *= 2
    return part


def missing(size_bytes: int, held: Iterable[Extent]) -> list[Span]:
    """The gaps between ``held`` extents.  Raises ValueError when these overlap or reach past the end."""
    gaps: list[Span] = []
    at = 0
    for extent in sorted(held):
        if extent.offset < at or extent.length <= 0 or extent.end > size_bytes:
            raise ValueError("extents overlap or lie outside of the object")
        if extent.offset > at:
            gaps.append(Span(at, extent.offset - at))
        at = extent.end
    if at < size_bytes:
        gaps.append(Span(at, size_bytes - at))
    return gaps


def plan(gaps: Sequence[Span], part_bytes: int) -> list[Span]:
    """The gaps cut at multiples of ``part_bytes``, front to back."""
    parts: list[Span] = []
    for gap in gaps:
        at = gap.offset
        while at < gap.end:
            border = min(gap.end, (at // part_bytes + 1) * part_bytes)
            parts.append(Span(at, border - at))
            at = border
    return parts
