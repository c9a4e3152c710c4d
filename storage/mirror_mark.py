"""The mark that a copy in a near origin carries: of which version of which far object it is one.

It lies in the copy's own metadata, so that it is written with the bytes, in one request, and can never be another's.
An object without a (readable) mark is its owner's own: never taken for a copy, never replaced, never deleted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from .checksum import from_header, to_header
from .objects import ObjectId, RemoteObject

PREFIX = "x-amz-meta-"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN_MAX = 700
"""S3 takes 2 KB of metadata in all"""


@dataclass(frozen=True, slots=True)
class Mark:
    """digest: ``ObjectId.digest`` of the far version; source: of the far object, whatever its version
    crc64:  of the far bytes as they were received and checked; None where they were not read by us
    place, version: the same for people, percent-encoded; never read back
    """

    digest: str
    source: str
    size_bytes: int
    crc64: int | None
    place: str = ""
    version: str = ""

    @classmethod
    def of(cls, obj: RemoteObject, crc64: int | None) -> Mark:
        place = quote(f"{obj.id.endpoint}/{obj.id.bucket}/{obj.id.key}".encode("utf-8", "surrogatepass"), safe="/:")
        return cls(obj.id.digest, source_of(obj.id), obj.size_bytes, crc64, place[:_SHOWN_MAX], quote(obj.id.version)[:200])

    def metadata(self) -> dict[str, str]:
        """As boto3's ``Metadata`` takes it."""
        named = {
            "modelstream-copy": self.digest,
            "modelstream-source": self.source,
            "modelstream-size": str(self.size_bytes),
            "modelstream-of": self.place,
            "modelstream-version": self.version,
        }
        return named if self.crc64 is None else {**named, "modelstream-crc64nvme": to_header(self.crc64)}

    def is_of(self, obj: RemoteObject) -> bool:
        """Whether the copy is this very version."""
        return self.digest == obj.id.digest and self.size_bytes == obj.size_bytes

    def has_source(self, obj: RemoteObject) -> bool:
        """Whether it is a copy of this object in some version."""
        return self.source == source_of(obj.id)


def source_of(object_id: ObjectId) -> str:
    text = "\0".join(("modelstream-source-1", object_id.endpoint, object_id.bucket, object_id.key))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def mark_from(headers: Mapping[str, str]) -> Mark | None:
    """Of a HEAD answer's headers, names in lower case.  None for anything that is not exactly a mark of ours."""
    digest, source, size = (headers.get(f"{PREFIX}modelstream-{name}", "") for name in ("copy", "source", "size"))
    if not _DIGEST.fullmatch(digest) or not _DIGEST.fullmatch(source) or not size.isdigit() or len(size) > 15:
        return None
    crc = headers.get(f"{PREFIX}modelstream-crc64nvme")
    crc64 = from_header(crc) if crc is not None else None
    if crc is not None and crc64 is None:
        return None
    return Mark(digest, source, int(size), crc64)
