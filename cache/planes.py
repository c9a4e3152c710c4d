"""One frame of the compressed form: the bytes of its numbers sorted by their place, each plane by zstd or as it is.

Weights are noise in their low bytes and nearly all the same in the byte with the exponent: of bf16 that byte shrinks to a third, of
fp16 (where two bits of the mantissa share it) to two thirds, the rest not at all.  zstd finds no repetitions there, so it is told
not to look far (a small hash table: three times as fast, 7 % smaller) and works as an entropy coder.

zstandard and numpy are imported at the first frame; both release the GIL while they work.  Thread-safe.
"""

from __future__ import annotations

import functools
import importlib.util
import struct
import threading
from typing import Any

from ..storage.checksum import crc64
from ..storage.errors import CorruptObject
from ..storage.frames import PLANES_1, PLANES_2, PLANES_4, RAW, Frame

WORTH = 0.97
"""a frame, or a plane, that shrinks less than that is stored as it is"""
SAMPLE_BYTES = 64 << 10
_WINDOW_MAX = 8 << 20
_per_thread = threading.local()


@functools.cache
def available() -> bool:
    """Whether frames can be read and written here; imports nothing."""
    return importlib.util.find_spec("zstandard") is not None and importlib.util.find_spec("numpy") is not None


def encode(chunk: bytes | memoryview) -> tuple[int, bytes]:
    """(method, what is stored); RAW where nothing is gained."""
    view = memoryview(chunk).cast("B")
    method = _best_method(view)
    stored = b"" if method == RAW else _planes(view, method)
    return (method, stored) if stored and len(stored) <= WORTH * len(view) else (RAW, bytes(view))


def decode(frame: Frame, stored: memoryview, place: memoryview, subject: str) -> None:
    """Writes the frame's bytes into ``place`` (``frame.size`` of them) and checks them.  Raises CorruptObject."""
    if frame.method == RAW:
        place[:] = stored
    else:
        _unplane(frame, stored, place, subject)
    if crc64(place) != frame.crc64:
        raise _wrong(subject, frame, "its bytes do not have the checksum that the table says")


# -- writing -------------------------------------------------------------------------------------------------------------
def _best_method(view: memoryview) -> int:
    """From a sample in the middle: the width of the numbers is not known here, and need not be."""
    start = max(0, len(view) // 2 - SAMPLE_BYTES // 2) // 8 * 8
    sample = view[start : start + SAMPLE_BYTES]
    sizes = {method: len(_planes(sample, method)) for method in (PLANES_1, PLANES_2, PLANES_4)}
    best = min(sizes, key=sizes.__getitem__)
    return best if sizes[best] <= WORTH * len(sample) else RAW


def _planes(view: memoryview, width: int) -> bytes:
    """Lengths of the planes and of the rest, then those themselves; a plane as long as it was is one that did not shrink."""
    import numpy

    count = len(view) // width
    numbers = numpy.frombuffer(view[: count * width], numpy.uint8).reshape(count, width)
    parts: list[bytes] = []
    for place in range(width):
        plane = numpy.ascontiguousarray(numbers[:, place])
        packed = _compressor().compress(plane)
        parts.append(packed if len(packed) <= WORTH * count else plane.tobytes())
    return struct.pack(f"<{width}I", *map(len, parts)) + b"".join(parts) + bytes(view[count * width :])


# -- reading -------------------------------------------------------------------------------------------------------------
def _unplane(frame: Frame, stored: memoryview, place: memoryview, subject: str) -> None:
    import numpy

    width, count = frame.method, frame.size // frame.method
    rest = frame.size - count * width
    at = 4 * width
    if len(stored) < at:
        raise _wrong(subject, frame, "it is too short")
    lengths = struct.unpack_from(f"<{width}I", stored)
    if sum(lengths) + at + rest != len(stored) or any(length > count for length in lengths):
        raise _wrong(subject, frame, "its planes do not fill it")
    numbers = numpy.frombuffer(place[: count * width], numpy.uint8).reshape(count, width)
    for number, length in enumerate(lengths):
        plane = stored[at : at + length]
        numbers[:, number] = numpy.frombuffer(plane if length == count else _unpacked(plane, count, frame, subject), numpy.uint8)
        at += length
    place[count * width :] = stored[at:]


def _unpacked(packed: memoryview, size: int, frame: Frame, subject: str) -> bytes:
    """One zstd frame that says beforehand that it is exactly so long: no memory is taken for one that says otherwise."""
    import zstandard

    try:
        if zstandard.frame_content_size(packed) != size:
            raise _wrong(subject, frame, "a plane would expand to another size")
        found: bytes = _decompressor().decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError:
        raise _wrong(subject, frame, "a plane cannot be decompressed") from None
    if len(found) != size:
        raise _wrong(subject, frame, "a plane expands to another size")
    return found


def _compressor() -> Any:
    """One a thread: they are not thread-safe, and making one costs more than a small frame."""
    if not hasattr(_per_thread, "compressor"):
        import zstandard

        parameters = zstandard.ZstdCompressionParameters.from_level(1, min_match=7, hash_log=6, write_content_size=True)
        _per_thread.compressor = zstandard.ZstdCompressor(compression_params=parameters)
    return _per_thread.compressor


def _decompressor() -> Any:
    if not hasattr(_per_thread, "decompressor"):
        import zstandard

        _per_thread.decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)
    return _per_thread.decompressor


def _wrong(subject: str, frame: Frame, why: str) -> CorruptObject:
    step = "nothing: the plain object is read; `modelstream compress` makes the form anew"
    cause = f"frame at byte {frame.start}: {why}"
    return CorruptObject("the compressed form is damaged", subject=subject, cause=cause, next_step=step)
