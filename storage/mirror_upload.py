"""Writes one object to a near origin in parts, from wherever its bytes can be read, and looks at what came of it.

Never over something else: a new copy is written with If-None-Match, one that replaces a copy of ours with If-Match on that
one's ETag.  Each part's CRC64NVME is folded into the object's; it must be what the far object had, and where the server
computes checksums it compares them too.  Nothing is left of an upload that failed (one that was stopped can go on where a
``Journal`` keeps its place).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from .checksum import crc64 as crc64_of_bytes
from .checksum import crc64_of, to_header
from .errors import BadAnswer, CorruptObject, ModelStreamError, ObjectMissing, TransferCancelled
from .mirror_bucket import Copy, MirrorBucket
from .mirror_mark import Mark
from .objects import Extent

MIB = 1 << 20
PART_BYTES = 16 * MIB
PARTS_MAX = 9_000
TRIES = 3


class Source(Protocol):
    """Bytes of one version of one object; ``read`` is called by several threads at once."""

    size_bytes: int

    def read(self, offset: int, length: int) -> bytes | memoryview: ...


@dataclass(frozen=True, slots=True)
class Part:
    number: int
    etag: str
    crc64: int


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that can go on."""

    upload_id: str
    part_bytes: int
    parts: tuple[Part, ...] = ()


class Journal(Protocol):
    """Remembers an upload that was stopped.  Any thread."""

    def begun(self) -> Begun | None: ...
    def note(self, begun: Begun | None) -> None: ...


@dataclass
class Upload:
    """One object's way into a near origin.  ``run`` once.

    replaces:    the ETag of our copy that this one takes the place of
    threads:     asked before each part: how many may be on their way at once
    progress:    told the bytes that are there so far, by any of the threads
    """

    bucket: MirrorBucket
    key: str
    mark: Mark
    source: Source
    replaces: str = ""
    threads: Callable[[], int] = lambda: 2
    progress: Callable[[int], None] = lambda done_bytes: None
    should_stop: Callable[[], bool] = lambda: False
    journal: Journal | None = None
    part_bytes: int = PART_BYTES
    checksums: bool = True
    """False: the server does not know them; the near copy is then checked by the mark's alone"""
    _done_bytes: int = 0
    _parts: dict[int, Part] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> Copy:
        """The copy, looked at.  Raises TransferCancelled when stopped, ObjectChanged when something else took the key."""
        size = self.source.size_bytes
        self.part_bytes = max(self.part_bytes, -(-size // PARTS_MAX // MIB) * MIB + (MIB if size > PARTS_MAX * self.part_bytes else 0))
        try:
            self._write()
        except BadAnswer:
            if not self.checksums or self._parts:
                raise
            self.checksums = False  # a server that does not know them; the mark has ours
            self._write()
        return self._looked_at()

    def _write(self) -> None:
        if self.source.size_bytes <= self.part_bytes:
            self._put()
        else:
            self._multipart()

    # -- one request ---------------------------------------------------------------------------------------------------
    def _put(self) -> None:
        body = bytes(self.source.read(0, self.source.size_bytes))
        self._check(crc64_of_bytes(body))
        self._call("put_object", Body=body, Metadata=self.mark.metadata(), **self._condition(), **self._whole(crc64_of_bytes(body)))
        self.progress(len(body))

    # -- in parts ------------------------------------------------------------------------------------------------------
    def _multipart(self) -> None:
        upload_id = self._resumed() or self._create()
        try:
            self._send(upload_id)
            total = crc64_of((Extent(*self._span(p.number), p.crc64) for p in self._parts.values()), self.source.size_bytes)
            self._check(total)
            self._complete(upload_id, total)
        except BaseException as error:
            if self.journal is None or not isinstance(error, (TransferCancelled, KeyboardInterrupt)):
                self._abort(upload_id)
            raise
        self._note(None)

    def _resumed(self) -> str:
        begun = self.journal.begun() if self.journal is not None else None
        if begun is None:
            return ""
        try:
            answer = self._call("list_parts", UploadId=begun.upload_id, MaxParts=10_000)
        except (ObjectMissing, BadAnswer):
            return ""
        there = {row["PartNumber"]: row["ETag"] for row in answer.get("Parts", ())}
        self.part_bytes = begun.part_bytes
        last = -(-self.source.size_bytes // self.part_bytes)
        self._parts = {p.number: p for p in begun.parts if there.get(p.number) == p.etag and 1 <= p.number <= last}
        self._done_bytes = sum(self._span(number)[1] for number in self._parts)
        self.progress(self._done_bytes)
        return begun.upload_id

    def _create(self) -> str:
        kind = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if self.checksums else {}
        answer = self._call("create_multipart_upload", Metadata=self.mark.metadata(), **kind)
        upload_id = str(answer["UploadId"])
        self._note(Begun(upload_id, self.part_bytes))
        return upload_id

    def _send(self, upload_id: str) -> None:
        """Few at a time, each with its own memory: a part is read when its turn comes."""
        todo: Iterator[int] = (n for n in range(1, -(-self.source.size_bytes // self.part_bytes) + 1) if n not in self._parts)
        running: set[Future[None]] = set()
        with ThreadPoolExecutor(8, "modelstream-mirror-part") as pool:
            try:
                while True:
                    while len(running) < max(1, self.threads()) and (number := next(todo, 0)):
                        running.add(pool.submit(self._one_part, upload_id, number))
                    if not running:
                        return
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        future.result()
            finally:
                for future in running:
                    future.cancel()

    def _one_part(self, upload_id: str, number: int) -> None:
        if self.should_stop():
            raise TransferCancelled("the copy is not made now", subject=self.bucket.origin.subject(self.key))
        offset, length = self._span(number)
        body = bytes(self.source.read(offset, length))
        crc = crc64_of_bytes(body)
        kind = {"ChecksumCRC64NVME": to_header(crc)} if self.checksums else {}
        answer = self._call("upload_part", UploadId=upload_id, PartNumber=number, Body=body, **kind)
        with self._lock:
            self._parts[number] = Part(number, str(answer["ETag"]), crc)
            self._done_bytes += length
            done_bytes, parts = self._done_bytes, tuple(self._parts.values())
        self._note(Begun(upload_id, self.part_bytes, parts))
        self.progress(done_bytes)

    def _complete(self, upload_id: str, total: int) -> None:
        rows = [self._row(part) for part in sorted(self._parts.values(), key=lambda p: p.number)]
        whole = {**self._whole(total), "ChecksumType": "FULL_OBJECT"} if self.checksums else {}
        self._call("complete_multipart_upload", UploadId=upload_id, MultipartUpload={"Parts": rows}, **self._condition(), **whole)

    def _row(self, part: Part) -> dict[str, Any]:
        row = {"PartNumber": part.number, "ETag": part.etag}
        return {**row, "ChecksumCRC64NVME": to_header(part.crc64)} if self.checksums else row

    def _abort(self, upload_id: str) -> None:
        self._note(None)
        try:
            self._call("abort_multipart_upload", UploadId=upload_id)
        except ModelStreamError:
            return  # the bucket's lifecycle rule takes it; what went wrong is on its way to the caller

    # -- afterwards ----------------------------------------------------------------------------------------------------
    def _looked_at(self) -> Copy:
        copy = self.bucket.look(self.key)
        right = (
            copy is not None
            and copy.mark is not None
            and copy.mark.digest == self.mark.digest
            and copy.head.size_bytes == self.source.size_bytes
            and (copy.head.crc64nvme is None or self.mark.crc64 in (None, copy.head.crc64nvme))
        )
        if copy is None or not right:
            subject = self.bucket.origin.subject(self.key)
            cause = "size, mark or checksum differ" if copy else "it is not there"
            step = "look at the server of the near origin"
            raise CorruptObject("the copy is not what was written", subject=subject, cause=cause, next_step=step)
        return copy

    # -- inside --------------------------------------------------------------------------------------------------------
    def _span(self, number: int) -> tuple[int, int]:
        offset = (number - 1) * self.part_bytes
        return offset, min(self.part_bytes, self.source.size_bytes - offset)

    def _condition(self) -> Mapping[str, str]:
        return {"IfMatch": f'"{self.replaces}"'} if self.replaces else {"IfNoneMatch": "*"}

    def _whole(self, crc: int) -> Mapping[str, str]:
        return {"ChecksumCRC64NVME": to_header(crc)} if self.checksums else {}

    def _check(self, total: int) -> None:
        if self.mark.crc64 is not None and total != self.mark.crc64:
            cause = "their CRC64NVME differs from the one they were received with"
            step = "verify the cache; the copy is made another time"
            raise CorruptObject("the bytes here are damaged", subject=self.bucket.origin.subject(self.key), cause=cause, next_step=step)

    def _note(self, begun: Begun | None) -> None:
        if self.journal is not None:
            self.journal.note(begun)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """boto3 repeats what failed on the way; a part is worth another attempt after that."""
        tries = TRIES if method == "upload_part" else 1
        while True:
            tries -= 1
            try:
                return self.bucket.call(method, self.key, **parameters)
            except (ObjectMissing, TransferCancelled):
                raise
            except ModelStreamError:
                if not tries or self.should_stop():
                    raise
                time.sleep(0.5)
