"""Are these bytes in the bucket already, under another name?

Candidates are objects of the same service, size and extension.  What they say of themselves (our sha256 in their metadata, a
full-object CRC64NVME) makes them likely; anybody who can write there could have forged either, so it never decides what is
handed on under a new name.  That takes the proof of ``cache/same_bytes``: the server's ETag *is* the MD5 of our file, or the
MD5 of its parts' MD5s.  Where ETags are something else (encryption with KMS), likely ones stay just likely.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import ModelStreamError
from .objects import RemoteObject
from .publish_bucket import Bucket, Stated
from .publish_source import BLOCK_BYTES, Hashes, Progress, SourceFile

MIB = 1 << 20
LOOKED_AT_MAX = 8
PART_SIZES = tuple(n * MIB for n in (8, 16, 5, 10, 12, 20, 24, 32, 48, 50, 64, 100, 128, 256, 512, 1024))
_MD5 = re.compile(r"([0-9a-f]{32})(?:-(\d{1,5}))?")
_MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class Twin:
    """bucket, key: where it lies; proven: by its ETag, else only by what it says of itself"""

    bucket: str
    key: str
    stated: Stated
    proven: bool


def find_twin(
    bucket: Bucket, key: str, source: SourceFile, hashes: Hashes, candidates: Iterable[RemoteObject], progress: Progress = lambda done: None
) -> Twin | None:
    """The first that is proven, else one that says it is the same.  Reads the file once more for each proof."""
    likely: Twin | None = None
    for obj in _worth_a_look(bucket, key, source.size_bytes, candidates):
        try:
            stated = bucket.head(obj.id.key)
        except ModelStreamError:
            continue  # what cannot be looked at cannot be copied either
        if stated is None or stated.size_bytes != source.size_bytes or not _says_the_same(stated, hashes):
            continue
        twin = Twin(obj.id.bucket, obj.id.key, stated, etag_proves(stated.etag, source, progress))
        if twin.proven:
            return twin
        likely = likely or twin
    return likely


def etag_proves(etag: str, source: SourceFile, progress: Progress = lambda done: None) -> bool:
    """Whether the ETag is the MD5 of the file, or of its parts at one of the usual part sizes."""
    found = _MD5.fullmatch(etag)
    if found is None:
        return False
    if found.group(2) is None:
        return _md5_of_parts(source, max(1, source.size_bytes), progress)[0] == etag
    count = int(found.group(2))
    sizes = [size for size in PART_SIZES if size * (count - 1) < source.size_bytes <= size * count]
    # what we choose ourselves for very large files or slow links: the least whole MiB that gives so many parts
    least = -(-source.size_bytes // count)
    sizes += [size for size in {-(-least // MIB) * MIB} if size not in sizes]
    return any(_md5_of_parts(source, size, progress)[1] == etag for size in sizes[:_MOST_TRIES])


def _worth_a_look(bucket: Bucket, key: str, size_bytes: int, candidates: Iterable[RemoteObject]) -> list[RemoteObject]:
    origin = bucket.origin
    suffix = key.rpartition(".")[2].lower()
    found = [
        obj
        for obj in candidates
        if obj.size_bytes == size_bytes
        and obj.id.endpoint == origin.endpoint
        and obj.id.bucket == origin.bucket
        and obj.id.key != key
        and obj.id.key.rpartition(".")[2].lower() == suffix
    ]
    return found[:LOOKED_AT_MAX]


def _says_the_same(stated: Stated, hashes: Hashes) -> bool:
    theirs = stated.metadata.get("sha256", "").lower()
    if theirs and hashes.sha256:
        return theirs == hashes.sha256
    # nothing but the size to go by: the ETag has to prove it alone
    return stated.crc64 in (hashes.crc64, None)


def _md5_of_parts(source: SourceFile, part_bytes: int, progress: Progress) -> tuple[str, str]:
    """(MD5 of the only part, S3's ETag of all parts)"""
    buffer, digests = memoryview(bytearray(min(BLOCK_BYTES, part_bytes))), []
    for start in range(0, source.size_bytes, part_bytes) or (0,):
        digest = hashlib.md5(usedforsecurity=False)
        for at in range(start, min(start + part_bytes, source.size_bytes), len(buffer)):
            piece = buffer[: min(len(buffer), start + part_bytes - at, source.size_bytes - at)]
            source.read_into(at, piece)
            digest.update(piece)
            progress(at + len(piece))
        digests.append(digest.digest())
    whole = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return digests[0].hex(), f"{whole}-{len(digests)}"
