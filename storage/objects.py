"""Values that name an object in a bucket.  Frozen, hashable, safe in any thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class ObjectId:
    """One version of one object: two versions are two ids.

    version: the ETag as LIST gave it, without quotes.  An opaque tag: never taken for an MD5.
    """

    endpoint: str
    bucket: str
    key: str
    version: str

    @property
    def digest(self) -> str:
        """64 hex digits.  The only form in which an object's name reaches the file system or a route."""
        text = "\0".join(("modelstream-object-1", self.endpoint, self.bucket, self.key, self.version))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """What a listing says of one object."""

    origin: str
    """name of the origin in the configuration"""
    id: ObjectId
    size_bytes: int
    modified_s: float
    """seconds since the epoch, as the server says"""
    storage_class: str = "STANDARD"

    @property
    def subject(self) -> str:
        """The object as errors, logs and the panel name it."""
        return f"{self.origin}:{self.id.key}"

    @property
    def basename(self) -> str:
        return self.id.key.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """What HEAD says of the version that a transfer is pinned to."""

    size_bytes: int
    etag: str
    """without quotes"""
    version_id: str | None = None
    modified_s: float = 0.0
    storage_class: str = "STANDARD"
    restore: str | None = None
    """x-amz-restore as sent, e.g. 'ongoing-request="true"'"""
    crc64nvme: int | None = None
    """the FULL_OBJECT checksum where the server has one; a COMPOSITE one is never put here"""
    checksum_note: str = "none"
    """"full", "composite" or "none": what kind of checksum the server offered"""


def at_head(obj: RemoteObject, head: ObjectHead) -> RemoteObject:
    """The object that a HEAD answer describes: ``obj`` itself, or the newer version that took its place.

    Some servers give one version different ETags in LIST and HEAD (rclone).  Equal size and equal
    Last-Modified (to the second, all that HEAD has) are then taken for the same version: the bytes are pinned
    to HEAD's ETag either way, so at worst a new version is kept under the old id until the next listing.
    """
    same_bytes = head.size_bytes == obj.size_bytes
    if head.etag == obj.id.version and same_bytes:
        return obj
    if same_bytes and head.modified_s and abs(head.modified_s - obj.modified_s) < 1.0:
        return obj
    newer = replace(obj.id, version=head.etag)
    return replace(obj, id=newer, size_bytes=head.size_bytes, modified_s=head.modified_s, storage_class=head.storage_class)


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """Bytes [offset, offset + length) of an object, received and checked, with their own CRC64NVME."""

    offset: int
    length: int
    crc64: int = field(compare=False)

    @property
    def end(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """Everything a plain HTTP client needs to send one signed request.

    target:  path and query as sent on the request line
    headers: without Range and If-Match (these need no signature in a presigned URL; with per-request signing
             they are in here already)
    expires_s: on time.monotonic()

    Signature and headers are not in the repr: tracebacks and logs print those.
    """

    tls: bool
    host: str
    port: int
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expires_s: float
