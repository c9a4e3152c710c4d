"""The compressed form of an object: frames one after another, their table at the end.  Format and strict validation; no codec.

    frame 0 | frame 1 | … | table | 8 bytes: length of the table | 8 bytes: its CRC64NVME | 8 bytes: "MSFRAMES"

Frame n decodes to bytes [n × chunk, (n + 1) × chunk) of the original and to nothing else: its place follows from its number, so no
table can name another one, let frames overlap or expand past the end.  The table says of which version of the original the frames
are (size, ETag, CRC64NVME, sha256) and of each frame its stored length, how it is stored and its own CRC64NVME once decoded.
All integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .checksum import crc64
from .errors import CorruptObject
from .layout import FORM

SUFFIX = FORM
"""the form of ``a.safetensors`` is ``a.safetensors.msframes``"""
MAGIC = b"MSFRAMES"
MIB = 1 << 20
CHUNK_BYTES = 4 * MIB
CHUNK_MAX = 64 * MIB
FRAMES_MAX = 1_000_000
END_BYTES = 24
RAW, PLANES_1, PLANES_2, PLANES_4 = 0, 1, 2, 4
"""stored as it is; or as so many byte planes, each compressed or, where that does not shrink it, as it is"""
METHODS = (RAW, PLANES_1, PLANES_2, PLANES_4)

_HEAD = struct.Struct("<HQIIQ32sH")
_ROW = struct.Struct("<IBQ")
_END = struct.Struct("<QQ8s")
_FORM = 1


@dataclass(frozen=True, slots=True)
class Original:
    """What the frames decode to.  version: the ETag in the listing; sha256: 32 bytes"""

    size_bytes: int
    version: str
    crc64: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """offset, length: in the stored form; start, size: of the bytes that it decodes to"""

    offset: int
    length: int
    start: int
    size: int
    method: int
    crc64: int

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Table:
    original: Original
    chunk_bytes: int
    frames: tuple[Frame, ...]

    @property
    def frames_bytes(self) -> int:
        return self.frames[-1].end if self.frames else 0


def write_end(original: Original, chunk_bytes: int, rows: Sequence[tuple[int, int, int]]) -> bytes:
    """Everything after the last frame.  rows: (stored length, method, CRC64NVME of the decoded bytes) of each"""
    version = original.version.encode()
    head = _HEAD.pack(_FORM, original.size_bytes, chunk_bytes, len(rows), original.crc64, original.sha256, len(version))
    table = head + version + b"".join(_ROW.pack(*row) for row in rows)
    return table + _END.pack(len(table), crc64(table), MAGIC)


def end_bytes(last: bytes, stored_bytes: int, subject: str) -> int:
    """How many bytes at the end of the stored form hold table and end mark, from its last 24 bytes.  Raises CorruptObject."""
    if len(last) != END_BYTES or stored_bytes < END_BYTES:
        raise _wrong(subject, "it is too short")
    length, _, magic = _END.unpack(last)
    if magic != MAGIC:
        raise _wrong(subject, "it does not end with the mark of one")
    if not _HEAD.size <= length <= min(stored_bytes - END_BYTES, _HEAD.size + 0xFFFF + FRAMES_MAX * _ROW.size):
        raise _wrong(subject, "its table has an impossible length")
    return int(length) + END_BYTES


def read_end(end: bytes, stored_bytes: int, subject: str) -> Table:
    """The table, when it is right in every respect: ``end`` is what `end_bytes` said.  Raises CorruptObject."""
    if len(end) != end_bytes(end[-END_BYTES:], stored_bytes, subject):
        raise _wrong(subject, "its table was cut")
    table, (_, expected, _) = end[:-END_BYTES], _END.unpack(end[-END_BYTES:])
    if crc64(table) != expected:
        raise _wrong(subject, "its table is damaged")
    form, size, chunk, count, crc, sha256, version_bytes = _HEAD.unpack_from(table)
    if form != _FORM:
        raise _wrong(subject, f"it is of form {form}, which this version does not know")
    if not 1 <= chunk <= CHUNK_MAX or count > FRAMES_MAX or count != -(-size // chunk):
        raise _wrong(subject, "number and size of its frames do not fit the object")
    if len(table) != _HEAD.size + version_bytes + count * _ROW.size:
        raise _wrong(subject, "its table has another length than it says")
    try:
        version = table[_HEAD.size : _HEAD.size + version_bytes].decode()
    except UnicodeDecodeError:
        raise _wrong(subject, "the version in its table is no text") from None
    frames = _frames(table[_HEAD.size + version_bytes :], size, chunk, subject)
    found = Table(Original(size, version, crc, sha256), chunk, frames)
    if found.frames_bytes + len(end) != stored_bytes:
        raise _wrong(subject, "its frames do not fill it")
    return found


def _frames(rows: bytes, size: int, chunk: int, subject: str) -> tuple[Frame, ...]:
    found: list[Frame] = []
    offset = start = 0
    for length, method, crc in _ROW.iter_unpack(rows):
        decoded = min(chunk, size - start)
        # a frame is never longer than what it decodes to, so that nobody can make us read more than the plain object
        if method not in METHODS or not 0 < length <= decoded or (method == RAW and length != decoded):
            raise _wrong(subject, f"its frame {len(found)} has an impossible length or method")
        found.append(Frame(offset, length, start, decoded, method, crc))
        offset, start = offset + length, start + decoded
    return tuple(found)


def _wrong(subject: str, why: str) -> CorruptObject:
    step = "nothing: the plain object is read; `modelstream compress` makes the form anew"
    return CorruptObject("the compressed form cannot be used", subject=subject, cause=why, next_step=step)
