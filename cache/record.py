"""`record.json`: what is known of one complete entry.  Data only, parsed strictly; nothing in it is ever a path."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from awscrt.checksums import combine_crc64nvme

from ..storage.objects import ObjectId

RECORD_VERSION = 1
CHUNK_BYTES = 16 << 20
"""unit of journal, checksum, repair and resume; large enough for the full rate of one O_DIRECT request"""
RECORD_MAX_BYTES = 64 << 20
"""a record of the largest S3 object (50 TB) has 60 MB of checksums"""


class RecordUnreadable(ValueError):
    """Torn, not ours, or with a value that breaks a rule."""


class RecordFromNewer(ValueError):
    """Written by a later version of Model Stream: to be left alone."""


@dataclass(frozen=True, slots=True)
class Record:
    """One entry.

    version:      the object's version as the catalog names it (`ObjectId.version`)
    etag:         what the transfer was pinned to
    crc64:        CRC64NVME of the whole object
    verified:     how far it was compared with the server: "crc64nvme", "parts", "size_only", or "ram"
    chunk_crc64s: of each chunk of ``chunk_bytes`` bytes, the last one shorter
    created_s:    seconds since the epoch
    """

    origin: str
    endpoint: str
    bucket: str
    key: str
    version: str
    etag: str
    version_id: str | None
    size_bytes: int
    crc64: int
    verified: str
    chunk_bytes: int
    chunk_crc64s: tuple[int, ...]
    created_s: float

    @property
    def id(self) -> ObjectId:
        return ObjectId(self.endpoint, self.bucket, self.key, self.version)

    @property
    def subject(self) -> str:
        return f"{self.origin}:{self.key}"

    def to_json(self) -> bytes:
        fields = asdict(self)
        fields["crc64"] = f"{self.crc64:016x}"
        fields["chunk_crc64s"] = [f"{crc:016x}" for crc in self.chunk_crc64s]
        return json.dumps({"record": RECORD_VERSION, **fields}, indent=1).encode()


def chunk_length(index: int, size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    return min(chunk_bytes, size_bytes - index * chunk_bytes)


def chunk_count(size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    return -(-size_bytes // chunk_bytes)


def whole_crc64(chunk_crc64s: tuple[int, ...], size_bytes: int, chunk_bytes: int = CHUNK_BYTES) -> int:
    """The object's CRC64NVME from those of its chunks."""
    crc = 0
    for index, chunk_crc64 in enumerate(chunk_crc64s):
        crc = combine_crc64nvme(crc, chunk_crc64, chunk_length(index, size_bytes, chunk_bytes))
    return crc


def parse_record(content: bytes) -> Record:
    """Raises RecordUnreadable or RecordFromNewer."""
    try:
        fields = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RecordUnreadable("not JSON") from error
    if not isinstance(fields, dict):
        raise RecordUnreadable("not an object")
    version = _field(fields, "record", int)
    if version > RECORD_VERSION:
        raise RecordFromNewer(f"record version {version}")
    if version != RECORD_VERSION:
        raise RecordUnreadable(f"record version {version}")
    return _checked(fields)


def _checked(fields: dict[str, Any]) -> Record:
    texts = {name: _field(fields, name, str) for name in ("origin", "endpoint", "bucket", "key", "version", "etag", "verified")}
    size_bytes, chunk_bytes = _field(fields, "size_bytes", int), _field(fields, "chunk_bytes", int)
    crcs = tuple(_crc(text) for text in _field(fields, "chunk_crc64s", list))
    crc64 = _crc(fields.get("crc64"))
    if size_bytes < 0 or chunk_bytes <= 0 or len(crcs) != chunk_count(size_bytes, chunk_bytes):
        raise RecordUnreadable("sizes do not fit together")
    if whole_crc64(crcs, size_bytes, chunk_bytes) != crc64:
        raise RecordUnreadable("the checksums do not fit together")
    version_id = fields.get("version_id")
    if version_id is not None and not isinstance(version_id, str):
        raise RecordUnreadable("version_id")
    created_s = fields.get("created_s")
    if isinstance(created_s, bool) or not isinstance(created_s, (int, float)):
        raise RecordUnreadable("created_s")
    return Record(
        **texts,
        version_id=version_id,
        size_bytes=size_bytes,
        crc64=crc64,
        chunk_bytes=chunk_bytes,
        chunk_crc64s=crcs,
        created_s=float(created_s),
    )


def _field(fields: dict[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RecordUnreadable(name)
    return value


def _crc(text: object) -> int:
    if not isinstance(text, str) or len(text) != 16 or set(text) - set("0123456789abcdef"):
        raise RecordUnreadable("checksum")
    return int(text, 16)


def _refuse(constant: str) -> None:
    raise ValueError(constant)
