"""What a bucket states of an object's bytes, and whether bytes are so.

A checksum of the whole object decides: CRC64NVME, CRC32C, CRC32, SHA-256, SHA-1, or the SHA-256 that `modelstream push` wrote
into the metadata.  An ETag that is the bytes' MD5 shows that they are right; one that is not shows nothing (encryption, other servers).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from awscrt import checksums as crt

if TYPE_CHECKING:
    from ..storage.origin import Origin

RIGHT, DAMAGED, UNKNOWN = "right", "damaged", "unknown"
_MD5 = re.compile(r"[0-9a-f]{32}(-\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Stated:
    """whole: checksums of the whole object by their S3 name, as S3 writes them; part_bytes: of a multipart ETag, 0 where not known"""

    size_bytes: int
    etag: str
    whole: Mapping[str, str]
    sha256: str = ""
    part_bytes: int = 0


class Digest:
    """Of bytes in order.  One thread."""

    def __init__(self, stated: Stated) -> None:
        self._stated = stated
        self._crc, self._crc_of = 0, next((_CRCS[name] for name in _CRCS if name in stated.whole), None)
        self.size_bytes = 0
        wanted = {"SHA256"} if stated.sha256 else set()
        wanted |= {name for name in ("SHA256", "SHA1") if name in stated.whole and self._crc_of is None}
        self._hashes = {name: hashlib.new(name.lower(), usedforsecurity=False) for name in wanted}
        etag_alone = self._crc_of is None and not wanted and _MD5.fullmatch(stated.etag) is not None
        self._md5 = hashlib.md5(usedforsecurity=False) if etag_alone and (stated.part_bytes or "-" not in stated.etag) else None
        self._parts: list[bytes] = []

    def update(self, piece: bytes) -> None:
        self.size_bytes += len(piece)
        if self._crc_of is not None:
            self._crc = self._crc_of(piece, self._crc)
        for one in self._hashes.values():
            one.update(piece)
        if self._md5 is not None:
            self._update_md5(memoryview(piece))

    def _update_md5(self, view: memoryview) -> None:
        """In a multipart upload each part has its own."""
        size = self._stated.part_bytes
        while len(view) and self._md5 is not None:
            done = self.size_bytes - len(view)
            room = size - done % size if size else len(view)
            self._md5.update(view[:room])
            if size and room <= len(view):
                self._parts.append(self._md5.digest())
                self._md5 = hashlib.md5(usedforsecurity=False)
            view = view[room:]

    def verdict(self) -> tuple[str, str]:
        """(RIGHT, DAMAGED or UNKNOWN; by what)"""
        stated = self._stated
        if self.size_bytes != stated.size_bytes:
            return DAMAGED, "size"
        by, right = [], True
        for name, width in _WIDTHS.items():
            if name in stated.whole and self._crc_of is _CRCS[name]:
                by.append(name)
                right &= base64.b64encode(self._crc.to_bytes(width, "big")).decode() == stated.whole[name]
        for name, digest in self._hashes.items():
            by.append(name)
            right &= base64.b64encode(digest.digest()).decode() == stated.whole.get(name, base64.b64encode(digest.digest()).decode())
            if name == "SHA256" and stated.sha256:
                right &= digest.hexdigest() == stated.sha256
        if by:
            return (RIGHT if right else DAMAGED), ", ".join(by)
        return (RIGHT, "ETag") if self._md5 is not None and self._etag() == stated.etag else (UNKNOWN, "")

    def _etag(self) -> str:
        assert self._md5 is not None
        if not self._stated.part_bytes:
            return self._md5.hexdigest()
        tail = [self._md5.digest()] if self.size_bytes % self._stated.part_bytes else []
        parts = [*self._parts, *tail]
        return f"{hashlib.md5(b''.join(parts), usedforsecurity=False).hexdigest()}-{len(parts)}"


_CRCS: dict[str, Callable[[bytes, int], int]] = {"CRC64NVME": crt.crc64nvme, "CRC32C": crt.crc32c, "CRC32": crt.crc32}
_WIDTHS = {"CRC64NVME": 8, "CRC32C": 4, "CRC32": 4}


def stated_of(origin: Origin, key: str) -> Stated:
    """One HEAD, two for a multipart ETag.  Raises ModelStreamError."""
    client = origin.control()
    try:
        head: Mapping[str, Any] = client.head_object(Bucket=origin.bucket, Key=key, ChecksumMode="ENABLED")
        etag = str(head.get("ETag", "")).strip('"').lower()
        whole = {} if head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" else _whole(head)
        part_bytes = 0
        if not whole and "-" in etag and _MD5.fullmatch(etag):
            part_bytes = int(client.head_object(Bucket=origin.bucket, Key=key, PartNumber=1).get("ContentLength", 0))
    except Exception as error:
        raise origin.translate(error, origin.subject(key)) from None
    sha256 = str(head.get("Metadata", {}).get("sha256", "")).lower()
    return Stated(int(head["ContentLength"]), etag, whole, sha256 if re.fullmatch(r"[0-9a-f]{64}", sha256) else "", part_bytes)


def _whole(head: Mapping[str, Any]) -> dict[str, str]:
    names = ("CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1")
    values = {name: str(head.get(f"Checksum{name}") or "") for name in names}
    return {name: value for name, value in values.items() if value and "-" not in value}


def check(stated: Stated, pieces: Iterable[bytes]) -> tuple[str, str]:
    digest = Digest(stated)
    for piece in pieces:
        digest.update(piece)
    return digest.verdict()


def read_file(path: str, done: Callable[[int], None] = lambda done_bytes: None, block_bytes: int = 4 << 20) -> Iterable[bytes]:
    """Raises OSError."""
    at = 0
    with open(path, "rb") as file:
        while piece := file.read(block_bytes):
            at += len(piece)
            done(at)
            yield piece
