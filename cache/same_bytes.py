"""Content identity: the same bytes under two names or in two buckets are kept once.

Two objects are the same only when the server's own statement of one, its ETag, is the MD5 of the other's bytes as they lie
here (or the MD5 of the MD5s of its parts, as multipart uploads have it).  So an ETag is never believed to be an MD5: a
match proves it, and everything else (encrypted objects, servers with ETags of their own kind) is simply not the same.
Size and the full-object CRC64NVME are looked at first, because they cost nothing (where the server states none, 64 KiB
from the middle and from the end are read instead); alone they would not do: anybody can make a file with a given CRC, and put it where it
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
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Twin:
    """kept: the object under whose name the bytes of ``obj`` are kept"""

    obj: RemoteObject
    kept: RemoteObject


class SameBytes:
    def __init__(self, ram: RamTier, ssd: AnySsd, file: StateFile | None = None) -> None:
        self._ram = ram
        self._ssd = ssd
        self._file = file or StateFile(None)
        self._lock = threading.Lock()
        self._twins: OrderedDict[str, Twin] = OrderedDict((twin.obj.id.digest, twin) for twin in _rows(self._file.read()))

    # -- what is known -------------------------------------------------------------------------------------------------
    def of(self, obj: RemoteObject) -> RemoteObject:
        """The object under whose name a tier has these bytes: mostly ``obj`` itself, also where no tier has them."""
        twin = self._twins.get(obj.id.digest)
        return obj if twin is None or self.digest_of(obj.id.digest) == obj.id.digest else twin.kept

    def digest_of(self, digest: str) -> str:
        """Like `of`, by digest."""
        twin = self._twins.get(digest)
        return digest if twin is None or self._here(digest) or not self._here(twin.kept.id.digest) else twin.kept.id.digest

    def names_of(self, digest: str) -> tuple[str, ...]:
        """Under which digests its bytes may lie, now or later."""
        twin = self._twins.get(digest)
        return (digest,) if twin is None else (digest, twin.kept.id.digest)

    def other_names(self) -> tuple[Twin, ...]:
        """Of what is here now under another name."""
        return tuple(twin for twin in list(self._twins.values()) if self.digest_of(twin.obj.id.digest) != twin.obj.id.digest)

    def _here(self, digest: str) -> bool:
        return self._ram.holds(digest) or self._ssd.holds(digest)

    # -- finding out ---------------------------------------------------------------------------------------------------
    def alike(self, obj: RemoteObject, head: ObjectHead, sample: Callable[[int, int], bytes]) -> tuple[RemoteObject, ...]:
        """What is here and is most likely the same: equal in size, extension and checksum.

        sample: (offset, length) → bytes of ``obj`` from its bucket; asked, twice at most, where the server states no
        checksum and something of this size is here.  Raises what it raises.
        """
        if not _MD5.fullmatch(head.etag.lower()) or not head.size_bytes:
            return ()
        found: dict[str, RemoteObject] = {}
        for other in self._of_size(head):
            if other.id.digest != obj.id.digest and _extension(other) == _extension(obj):
                found.setdefault(other.id.digest, other)
        if not found or head.crc64nvme is not None:
            return tuple(found.values())
        for at in dict.fromkeys((head.size_bytes // 2, max(0, head.size_bytes - SAMPLE_BYTES))):
            if found:
                seen = sample(at, SAMPLE_BYTES)
                found = {digest: other for digest, other in found.items() if self._has(other, head.size_bytes, at, seen)}
        return tuple(found.values())

    def _of_size(self, head: ObjectHead) -> Iterator[RemoteObject]:
        """With the checksum of ``head``, where it has one."""
        for other, _ in self._ram.held():
            entry = self._ram.peek(other.id.digest) if other.size_bytes == head.size_bytes else None
            if entry is not None:
                with entry:
                    if _agree(head, entry.crc64):
                        yield other
        for brief in self._ssd.of_size(head.size_bytes):
            if _agree(head, brief.crc64):
                yield brief.obj

    def _has(self, other: RemoteObject, size_bytes: int, at: int, seen: bytes) -> bool:
        with self._reader(other, size_bytes) as read:
            return read is not None and bytes(read(at, len(seen))) == seen

    def proven(
        self, obj: RemoteObject, head: ObjectHead, candidates: Iterable[RemoteObject], should_stop: Callable[[], bool]
    ) -> RemoteObject | None:
        """The one of them that is the same; remembered from then on.  Reads its bytes.  Raises OSError."""
        for other in candidates:
            with self._reader(other, head.size_bytes) as read:
                if read is not None and has_etag(head.etag, head.size_bytes, read, should_stop):
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
            self._twins[obj.id.digest] = Twin(obj, kept)
            self._twins.move_to_end(obj.id.digest)
            while len(self._twins) > MAX_ROWS:
                self._twins.popitem(last=False)
            rows = [[_row(twin.obj), _row(twin.kept)] for twin in self._twins.values()]
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


def _row(obj: RemoteObject) -> list[object]:
    return [obj.origin, obj.id.endpoint, obj.id.bucket, obj.id.key, obj.id.version, obj.size_bytes]


def _object(row: object) -> RemoteObject | None:
    if not isinstance(row, list) or len(row) != 6 or not all(isinstance(text, str) for text in row[:5]) or type(row[5]) is not int:
        return None
    return RemoteObject(row[0], ObjectId(*row[1:5]), row[5], 0.0)


def _rows(content: object) -> list[Twin]:
    """What is not exactly as it was written is forgotten."""
    pairs = [row for row in content if isinstance(row, list) and len(row) == 2] if isinstance(content, list) else []
    found = [(_object(first), _object(second)) for first, second in pairs]
    return [Twin(obj, kept) for obj, kept in found if obj is not None and kept is not None][-MAX_ROWS:]
