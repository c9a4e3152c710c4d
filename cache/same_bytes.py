"""Content identity: the same bytes under two names or in two buckets are kept once.

Two objects are the same only when the server's own statement of one, its ETag, is the MD5 of the other's bytes as they lie
here (or the MD5 of the MD5s of its parts, as multipart uploads have it).  So an ETag is never believed to be an MD5: a
match proves it, and everything else (encrypted objects, servers with ETags of their own kind) is simply not the same.
Size and the full-object CRC64NVME are looked at first, because they cost nothing (where the server states none, 64 KiB
from the middle are read instead); alone they would not do: anybody can make a file with a given CRC, and put it where it
is loaded before the right one.  MD5 lets its author make two files that
agree, but nobody can make a second file to a given first, and that is what an attacker would need here.

Only files with the same extension are taken for each other, since loaders go by it.  What is found is remembered over
restarts: a version of an object never changes.

Threads: any.  `proven` reads the bytes (some 0.6 GB/s a core) and blocks; everything else works from memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..storage.objects import ObjectHead, ObjectId, RemoteObject
from .ram import RamTier
from .ssd_stack import AnySsd
from .state_file import StateFile

MIB = 1 << 20
MAX_ROWS = 2_000
BLOCK_BYTES = 4 * MIB
SAMPLE_BYTES = 64 << 10
PART_SIZES = tuple(n * MIB for n in (5, 8, 10, 15, 16, 20, 25, 32, 50, 64, 100, 128, 200, 256, 500, 512, 1000, 1024))
"""what clients upload in: rclone 5, AWS and boto3 8, Cyberduck 10, mc 16, s5cmd 50, ..."""
TRIES = 3
"""part sizes that fit the number of parts; each costs reading the object once"""
_MD5 = re.compile(r"([0-9a-f]{32})(?:-(\d{1,5}))?")

Read = Callable[[int, int], bytes | memoryview]
"""(offset, length) → bytes"""


class SameBytes:
    def __init__(self, ram: RamTier, ssd: AnySsd, file: StateFile | None = None) -> None:
        self._ram = ram
        self._ssd = ssd
        self._file = file or StateFile(None)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, RemoteObject] = OrderedDict(_rows(self._file.read()))

    # -- what is known -------------------------------------------------------------------------------------------------
    def of(self, obj: RemoteObject) -> RemoteObject:
        """The object under whose name a tier has these bytes: mostly ``obj`` itself, also where no tier has them."""
        kept = self._kept.get(obj.id.digest)
        return obj if kept is None or self.digest_of(obj.id.digest) == obj.id.digest else kept

    def digest_of(self, digest: str) -> str:
        """Like `of`, by digest."""
        kept = self._kept.get(digest)
        return digest if kept is None or self._here(digest) or not self._here(kept.id.digest) else kept.id.digest

    def also(self) -> dict[str, int]:
        """By digest of what is kept: how many other names it answers to."""
        counts: dict[str, int] = {}
        for kept in list(self._kept.values()):
            counts[kept.id.digest] = counts.get(kept.id.digest, 0) + 1
        return counts

    def _here(self, digest: str) -> bool:
        return self._ram.holds(digest) or self._ssd.holds(digest)

    # -- finding out ---------------------------------------------------------------------------------------------------
    def alike(self, obj: RemoteObject, head: ObjectHead) -> tuple[RemoteObject, ...]:
        """What is here and may be the same: equal in size, extension and checksum.  From memory and small files."""
        if not _MD5.fullmatch(head.etag.lower()) or not head.size_bytes:
            return ()
        found: dict[str, RemoteObject] = {}
        for other, _ in self._ram.held():
            if other.size_bytes == head.size_bytes:
                entry = self._ram.peek(other.id.digest)
                if entry is not None:
                    with entry:
                        if _agree(head, entry.crc64):
                            found[other.id.digest] = other
        for brief in self._ssd.of_size(head.size_bytes):
            if _agree(head, brief.crc64):
                found.setdefault(brief.id.digest, brief.obj)
        found.pop(obj.id.digest, None)
        return tuple(other for other in found.values() if _extension(other) == _extension(obj))

    def proven(
        self,
        obj: RemoteObject,
        head: ObjectHead,
        candidates: Iterable[RemoteObject],
        sample: Callable[[int, int], bytes],
        should_stop: Callable[[], bool],
    ) -> RemoteObject | None:
        """The one of them that is the same; remembered from then on.  Reads its bytes.

        sample: (offset, length) → bytes of ``obj`` itself, from its bucket; asked once where there is no checksum
        """
        seen: bytes | None = None
        for other in candidates:
            with self._reader(other, head.size_bytes) as read:
                if read is None:
                    continue
                at = head.size_bytes // 2
                if head.crc64nvme is None:
                    seen = sample(at, SAMPLE_BYTES) if seen is None else seen
                    if bytes(read(at, len(seen))) != seen:
                        continue
                if has_etag(head.etag, head.size_bytes, read, should_stop):
                    self._remember(obj, other)
                    return other
        return None

    @contextlib.contextmanager
    def _reader(self, other: RemoteObject, size_bytes: int) -> Iterator[Read | None]:
        """Its bytes, leased for as long as the block lasts; None where it went."""
        entry = self._ram.peek(other.id.digest)
        if entry is not None:
            with entry:
                view = entry.view
                yield lambda at, length: view[at : at + length]
            return
        lease = self._ssd.lease(other, use=False)
        if lease is None:
            yield None
            return
        with lease, open(lease.path, "rb", buffering=0) as file:
            reading = threading.Lock()

            def read(at: int, length: int) -> bytes:
                with reading:
                    file.seek(at)
                    return file.read(length)

            yield read if os.fstat(file.fileno()).st_size == size_bytes else None

    def _remember(self, obj: RemoteObject, kept: RemoteObject) -> None:
        """A state folder that cannot be written to costs the proof at the next start, nothing else."""
        with self._lock:
            self._kept[obj.id.digest] = kept
            self._kept.move_to_end(obj.id.digest)
            while len(self._kept) > MAX_ROWS:
                self._kept.popitem(last=False)
            rows = [[digest, k.origin, *_id(k), k.size_bytes, k.modified_s] for digest, k in self._kept.items()]
        try:
            self._file.write(rows)
        except OSError:
            return


def has_etag(etag: str, size_bytes: int, read: Read, should_stop: Callable[[], bool] = lambda: False) -> bool:
    """Whether bytes have this ETag: their MD5, or that of the MD5s of parts of a usual size."""
    found = _MD5.fullmatch(etag.lower())
    if found is None or not size_bytes:
        return False
    digest, count = found.group(1), found.group(2)
    if count is None:
        return _md5(read, 0, size_bytes, should_stop).hex() == digest
    for part_bytes in _part_sizes(size_bytes, int(count)):
        spans = [(at, min(part_bytes, size_bytes - at)) for at in range(0, size_bytes, part_bytes)]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "modelstream-md5") as pool:
            parts = b"".join(pool.map(lambda span: _md5(read, span[0], span[1], should_stop), spans))
        if hashlib.md5(parts, usedforsecurity=False).hexdigest() == digest:
            return True
    return False


def _part_sizes(size_bytes: int, count: int) -> Sequence[int]:
    if count < 1:
        return ()
    return [part for part in PART_SIZES if -(-size_bytes // part) == count][:TRIES]


def _md5(read: Read, at: int, length: int, should_stop: Callable[[], bool]) -> bytes:
    """Empty, which no ETag has, once it should stop."""
    md5 = hashlib.md5(usedforsecurity=False)
    for offset in range(at, at + length, BLOCK_BYTES):
        if should_stop():
            return b""
        md5.update(read(offset, min(BLOCK_BYTES, at + length - offset)))
    return md5.digest()


def _agree(head: ObjectHead, crc64: int | None) -> bool:
    return head.crc64nvme is None or crc64 == head.crc64nvme


def _extension(obj: RemoteObject) -> str:
    return os.path.splitext(obj.basename)[1].lower()


def _id(obj: RemoteObject) -> tuple[str, str, str, str]:
    return obj.id.endpoint, obj.id.bucket, obj.id.key, obj.id.version


def _rows(content: object) -> list[tuple[str, RemoteObject]]:
    """What is not exactly as it was written is forgotten."""
    found = []
    for row in content if isinstance(content, list) else ():
        if isinstance(row, list) and len(row) == 8 and all(isinstance(text, str) for text in row[:6]):
            digest, origin, endpoint, bucket, key, version, size_bytes, modified_s = row
            if type(size_bytes) is int and isinstance(modified_s, (int, float)):
                kept = RemoteObject(origin, ObjectId(endpoint, bucket, key, version), size_bytes, float(modified_s))
                found.append((digest, kept))
    return found[-MAX_ROWS:]
