"""Makes the compressed form of an object: read, encode, write beside it, read back and compare.

For the command line.  From bucket to bucket through one passing file on this machine (the form's size); what is uploaded was
decoded again before, and is looked at afterwards.  `estimate` reads a few samples only and says whether it would pay.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..storage.checksum import crc64, crc64_of
from ..storage.errors import CorruptObject
from ..storage.far_source import FarSource
from ..storage.frames import CHUNK_BYTES, PLANES_1, PLANES_2, PLANES_4, RAW, SUFFIX, Frame, Original, write_end
from ..storage.mirror_bucket import MirrorBucket
from ..storage.mirror_mark import Mark
from ..storage.mirror_upload import Upload
from ..storage.objects import Extent, RemoteObject
from ..storage.origin import Origin
from .planes import WORTH, decode, encode

AHEAD = 8
SAMPLES, SAMPLE_BYTES = 6, 1 << 20
METHOD_NAMES = {RAW: "as it is", PLANES_1: "bytes", PLANES_2: "16-bit numbers", PLANES_4: "32-bit numbers"}


@dataclass(frozen=True, slots=True)
class Estimate:
    """ratio: stored / original, from samples; read_bytes_per_s: how fast the samples came, over one connection"""

    obj: RemoteObject
    ratio: float
    methods: tuple[str, ...]
    read_bytes_per_s: float

    @property
    def stored_bytes(self) -> int:
        return int(self.obj.size_bytes * self.ratio)


@dataclass(frozen=True, slots=True)
class Compressed:
    """outcome: "compressed", or "pointless" (it does not shrink enough; nothing was written)"""

    obj: RemoteObject
    outcome: str
    stored_bytes: int
    seconds: float
    raw_frames: int
    frames: int

    @property
    def ratio(self) -> float:
        return self.stored_bytes / max(1, self.obj.size_bytes)


def estimate(origin: Origin, obj: RemoteObject, clock: Callable[[], float] = time.perf_counter) -> Estimate:
    """Reads `SAMPLES` pieces of 1 MiB.  Raises the errors of storage.errors."""
    source = FarSource(origin, obj)
    try:
        step = max(SAMPLE_BYTES, obj.size_bytes // SAMPLES)
        starts = list(range(0, obj.size_bytes, step))[:SAMPLES] or [0]
        began_s = clock()
        pieces = [source.read(start, SAMPLE_BYTES) for start in starts if start < obj.size_bytes]
        seconds = clock() - began_s
    finally:
        source.close()
    packed = [encode(piece) for piece in pieces if piece]
    total = sum(map(len, pieces))
    methods = tuple(dict.fromkeys(METHOD_NAMES[method] for method, _ in packed))
    ratio = sum(len(stored) for _, stored in packed) / total if total else 1.0
    return Estimate(obj, ratio, methods, total / seconds if seconds > 0 else 0.0)


class Compressor:
    """One object at a time.  folder: where the passing file may lie"""

    def __init__(self, origin: Origin, folder: Path, threads: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._origin = origin
        self._bucket = MirrorBucket(origin)
        self._folder = folder
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._clock = clock

    def compress(self, obj: RemoteObject, progress: Callable[[int], None], *, replaces: str = "", always: bool = False) -> Compressed:
        """replaces: ETag of an older form of it; always: also where it hardly shrinks.

        Raises CorruptObject where the bytes are not what the server's checksum says, ObjectChanged where the object or the form was
        overwritten meanwhile, and the errors of the network.
        """
        began_s = self._clock()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder) as file:
            source = FarSource(self._origin, obj)
            try:
                rows = self._write(file, source, obj, progress)
            finally:
                source.close()
            file.flush()
            size = file.tell()
            raw = sum(method == RAW for _, method, _ in rows)
            if size > WORTH * obj.size_bytes and not always:
                return Compressed(obj, "pointless", size, self._clock() - began_s, raw, len(rows))
            passing = _Passing(file.fileno(), size)
            mark = Mark.of(obj, crc64_of(passing.extents(), size))
            mark = Mark(mark.digest, mark.source, size, mark.crc64, mark.place, mark.version)
            Upload(self._bucket, obj.id.key + SUFFIX, mark, passing, replaces=replaces).run()
        return Compressed(obj, "compressed", size, self._clock() - began_s, raw, len(rows))

    # -- inside --------------------------------------------------------------------------------------------------------
    def _write(self, file: BinaryIO, source: FarSource, obj: RemoteObject, progress: Callable[[int], None]) -> list[tuple[int, int, int]]:
        """Frames in their order, then the table.  Each is decoded again before it is believed."""
        rows: list[tuple[int, int, int]] = []
        sha256, extents, done_bytes = hashlib.sha256(), [], 0
        for chunk, stored, method, crc in self._encoded(source):
            sha256.update(chunk)
            file.write(stored)
            rows.append((len(stored), method, crc))
            extents.append(Extent(done_bytes, len(chunk), crc))
            done_bytes += len(chunk)
            progress(done_bytes)
        total = crc64_of(extents, obj.size_bytes)
        if source.head.crc64nvme not in (None, total):
            step = "check the object in the bucket"
            raise CorruptObject("the bytes are not what the server's checksum says", subject=obj.subject, next_step=step)
        file.write(write_end(Original(obj.size_bytes, obj.id.version, total, sha256.digest()), CHUNK_BYTES, rows))
        return rows

    def _encoded(self, source: FarSource) -> Iterator[tuple[bytes, bytes, int, int]]:
        """(chunk, stored, method, CRC64NVME), read and encoded some ahead, in order."""

        def one(start: int) -> tuple[bytes, bytes, int, int]:
            chunk = source.read(start, min(CHUNK_BYTES, source.size_bytes - start))
            method, stored = encode(chunk)
            crc = crc64(chunk)
            decode(Frame(0, len(stored), start, len(chunk), method, crc), memoryview(stored), memoryview(bytearray(len(chunk))), "the form")
            return chunk, stored, method, crc

        running: deque[Future[tuple[bytes, bytes, int, int]]] = deque()
        with ThreadPoolExecutor(self._threads, "modelstream-compress") as pool:
            try:
                for start in range(0, source.size_bytes, CHUNK_BYTES):
                    running.append(pool.submit(one, start))
                    if len(running) >= AHEAD:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            finally:
                for future in running:
                    future.cancel()


class _Passing:
    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self.size_bytes = size_bytes

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def extents(self) -> Iterator[Extent]:
        for offset in range(0, self.size_bytes, CHUNK_BYTES):
            piece = self.read(offset, CHUNK_BYTES)
            yield Extent(offset, len(piece), crc64(piece))
