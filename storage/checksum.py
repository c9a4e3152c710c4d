"""CRC64NVME: of bytes as they arrive, of parts put together, and as S3 writes it in headers.

awscrt computes about 20 GB/s on a core and releases the GIL while it does; combining two parts costs nothing that counts.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from awscrt import checksums as _crt

from .objects import Extent


def crc64(piece: bytes | bytearray | memoryview, before: int = 0) -> int:
    """The checksum of everything before, whose checksum is ``before``, followed by ``piece``.  No copy is made."""
    return _crt.crc64nvme(piece, before)  # type: ignore[arg-type]  # any buffer will do, its annotation knows only bytes


def joined(first: int, second: int, second_bytes: int) -> int:
    """The checksum of two neighbours from their own checksums."""
    return _crt.combine_crc64nvme(first, second, second_bytes)


def crc64_of(extents: Iterable[Extent], size_bytes: int) -> int:
    """The object's checksum from extents in any order.  Raises ValueError unless they cover the object exactly once."""
    total, at = 0, 0
    for extent in sorted(extents):
        if extent.offset != at or extent.length <= 0:
            raise ValueError(f"the extents do not meet at byte {at}")
        total = joined(total, extent.crc64, extent.length)
        at = extent.end
    if at != size_bytes:
        raise ValueError(f"the extents end at byte {at} of {size_bytes}")
    return total


def from_header(value: str) -> int | None:
    """The value of an ``x-amz-checksum-crc64nvme`` header; None for anything else, also for a COMPOSITE "…-N"."""
    try:
        raw = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(raw, "big") if len(raw) == 8 else None


def to_header(value: int) -> str:
    return base64.b64encode(value.to_bytes(8, "big")).decode("ascii")
