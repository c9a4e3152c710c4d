"""What is to be published and in which parts: pure values.

Sizes of parts: S3 takes 10,000 parts of 5 MiB to 5 GiB.  All parts of an upload are equally long but the last (R2 insists
on that).  A part is what a broken connection costs and what a worker holds in memory, so it is about one second of the
rate that this origin had last time (four for each of four connections), between 8 and 64 MiB, and larger only where 10,000 would not do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from .publish_source import FileIdentity

MIB = 1 << 20
PARTS_MAX = 10_000
PART_BYTES_LEAST = 8 * MIB
PART_BYTES_USUAL = 16 * MIB
PART_BYTES_MOST = 64 * MIB
PART_SECONDS = 1.0
OBJECT_BYTES_MAX = 5 << 40
META_BYTES_MAX = 1950
"""S3 takes 2 KB of metadata, names and values together; the push-id comes on top"""
_META_VALUE_MAX = 512
_PRINTABLE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) not in "%\"'\\")


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    """from 1"""
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PartDone:
    number: int
    length: int
    etag: str
    crc64: int


@dataclass(frozen=True, slots=True)
class Labels:
    """What people want to know of a model later.  Empty ones are left out."""

    version: str = ""
    source_url: str = ""
    licence: str = ""
    architecture: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class PublishRequest:
    """One file and where it goes.

    key:       the whole object key
    overwrite: replace what is there; if_match: only this version (an ETag)
    same:      what to do when the bucket has these bytes under another name: "copy" there, "refuse", or "upload" all the same
    verify:    "head", or "full": read everything back
    """

    path: Path
    key: str
    labels: Labels = Labels()
    overwrite: bool = False
    if_match: str = ""
    allow_pickle: bool = False
    same: str = "copy"
    verify: str = "head"
    sha256: bool = True
    storage_class: str = ""


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a request.

    how:      "uploaded", "resumed", "copied" (inside the bucket, from ``copied_from``) or "unchanged" (it was there already)
    verified: what the read-back compared: "crc64nvme", "md5", "size", "full", or "" where the keys may not look
    """

    subject: str
    key: str
    how: str
    size_bytes: int
    etag: str
    sha256: str
    crc64: int
    verified: str
    wire_bytes: int = 0
    resumed_bytes: int = 0
    retries: int = 0
    rate_bytes_per_s: float = 0.0
    """of the sending alone"""
    seconds: float = 0.0
    copied_from: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


def part_bytes_for(size_bytes: int, rate_bytes_per_s: float, configured_bytes: int = 0) -> int:
    """Whole MiB."""
    least = math.ceil(size_bytes / PARTS_MAX / MIB) * MIB
    if configured_bytes:
        return max(configured_bytes, least)
    wanted = PART_BYTES_USUAL if not rate_bytes_per_s else int(rate_bytes_per_s * PART_SECONDS) // MIB * MIB
    return max(min(max(wanted, PART_BYTES_LEAST), PART_BYTES_MOST), least)


def plan(size_bytes: int, part_bytes: int) -> tuple[Part, ...]:
    return tuple(
        Part(number, offset, min(part_bytes, size_bytes - offset)) for number, offset in enumerate(range(0, size_bytes, part_bytes), 1)
    )


def still_good(parts: Iterable[Part], ours: Iterable[PartDone], theirs: Mapping[int, tuple[int, str]]) -> tuple[PartDone, ...]:
    """Of an interrupted upload: the parts that we noted and the server has just as we noted them.

    theirs: part number → (size, ETag without quotes) of ListParts
    """
    planned = {part.number: part.length for part in parts}
    noted = {done.number: done for done in ours}
    return tuple(
        done
        for number, done in sorted(noted.items())
        if planned.get(number) == done.length and theirs.get(number) == (done.length, done.etag)
    )


def metadata_of(labels: Labels, sha256: str, identity: FileIdentity) -> dict[str, str]:
    """The object's own metadata (x-amz-meta-…): ASCII, in order of importance, cut where S3's limit is."""
    wanted = {
        "sha256": sha256,
        "type": labels.folder,
        "architecture": labels.architecture,
        "version": labels.version,
        "licence": labels.licence,
        "source-url": labels.source_url,
        "mtime": f"{identity.modified_ns / 1e9:.6f}",
    }
    kept: dict[str, str] = {}
    left = META_BYTES_MAX
    for name, text in wanted.items():
        value = quote(text.strip(), safe=_PRINTABLE)[:_META_VALUE_MAX]
        if value and len(name) + len(value) <= left:
            kept[name] = value
            left -= len(name) + len(value)
    return kept
