"""Reading a file of the SSD tier into memory: a few threads, past the page cache, every chunk checked.

A thread reads into a block of its own and copies from there.  That costs 0.1 CPU-s/GB and is faster all the same: a
block is a few huge pages, so a request of 4 MiB stays one request, where one into scattered 4 KiB pages of the
destination is cut after 254 of them (1 MiB); pages of the destination that are not there yet are faulted in by the
copy, not with the disk waiting; and memory that is used again and again is nearer.  2 GB from a virtual disk, medians
of five: into 4 KiB pages directly 1.32 s, into huge pages 1.19 s, through blocks 1.00 s whatever the destination's pages.
A file that is in the page cache already is read from there, straight to its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import queue
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from awscrt.checksums import crc64nvme

from . import pages
from .disk import ALIGN_BYTES, O_DIRECT, Disk, address_of

THREADS = 6
"""Four keep the disk busy, two more are at a checksum or a copy meanwhile."""
BLOCK_BYTES = 8 << 20
"""Of one request.  Each gives the interpreter's lock away three times: 2 GB beside a thread that never lets go of it by
itself took 2.0 s in blocks of 4 MiB and 1.6 s in blocks of 8; alone 0.72 and 0.74 s.  Below 1 MiB the disk gets slower."""
TICK_S = 0.05
HOT_FRACTION = 0.95


@dataclass(frozen=True, slots=True)
class Chunk:
    index: int
    offset: int
    length: int
    crc64: int


@dataclass(frozen=True, slots=True)
class ChunkRead:
    """error: None when the bytes arrived and have their checksum; EOFError, ChecksumError or an OSError else."""

    chunk: Chunk
    error: Exception | None


class ChecksumError(Exception):
    """The chunk does not have the checksum that was recorded for it."""


def read_chunks(
    disk: Disk, path: Path, chunks: Sequence[Chunk], view: memoryview | None, *, direct: bool
) -> Generator[ChunkRead | None, None, None]:
    """Reads chunks to their place in ``view`` (None: only checks them), in no order.

    Yields each chunk as it is done, and None every 50 ms while none is, so that the caller can look for an
    interrupt.  Closing the iterator stops the threads after the chunk they are at; it returns when they ended.
    """
    todo = iter(chunks)
    lock = threading.Lock()
    stop = threading.Event()
    results: queue.SimpleQueue[ChunkRead] = queue.SimpleQueue()

    def take() -> Chunk | None:
        with lock:
            return None if stop.is_set() else next(todo, None)

    def work() -> None:
        with _Reader(disk, path, view, direct=direct) as reader:
            while (chunk := take()) is not None:
                results.put(ChunkRead(chunk, reader.read_checked(chunk)))

    threads = [threading.Thread(target=work, name="modelstream-ssd-read", daemon=True) for _ in range(min(THREADS, len(chunks)))]
    for thread in threads:
        thread.start()
    try:
        missing = len(chunks)
        while missing:
            try:
                result = results.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            missing -= 1
            yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class _Reader:
    """File descriptors and the block of one reading thread.  An error of opening is the error of every chunk.

    view: the destination of the whole file; None: nothing is kept
    """

    def __init__(self, disk: Disk, path: Path, view: memoryview | None, *, direct: bool) -> None:
        self._disk = disk
        self._path = path
        self._view = view
        self._address = None if view is None else address_of(view)
        self._direct = direct and bool(O_DIRECT)
        self._fd = -1
        self._direct_fd = -1
        self._memory: memoryview | None = None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self._fd, self._direct_fd):
            if fd >= 0:
                with contextlib.suppress(OSError):  # what was read has its checksum
                    self._disk.close(fd)

    def read_checked(self, chunk: Chunk) -> Exception | None:
        try:
            crc, end = 0, chunk.offset + chunk.length
            for offset in range(chunk.offset, end, BLOCK_BYTES):
                crc = crc64nvme(self._read(offset, min(BLOCK_BYTES, end - offset)), crc)
            return None if crc == chunk.crc64 else ChecksumError()
        except Exception as error:  # whatever it is, the reader's caller has to hear of it
            return error.with_traceback(None)  # its frames hold the caller's memory

    def _read(self, offset: int, length: int) -> memoryview:
        """The bytes, which are in the destination by then.  Raises EOFError or OSError."""
        if self._direct and not offset % ALIGN_BYTES:
            block = self._block(length)
            done = self._read_direct(block, offset)
            self._read_buffered(block[done:length], offset + done)
            self._copy(block[:length], offset)
            return block[:length]
        target = self._block(length)[:length] if self._view is None else self._view[offset : offset + length]
        self._read_buffered(target, offset)
        return target

    def _read_buffered(self, target: memoryview, offset: int) -> None:
        done = 0
        while done < len(target):
            if self._fd < 0:
                self._fd = self._disk.open(self._path, os.O_RDONLY)
            got = self._disk.pread(self._fd, target[done:], offset + done)
            if got <= 0:
                raise EOFError
            done += got

    def _read_direct(self, block: memoryview, offset: int) -> int:
        """Bytes read; fewer than asked at the end of the file, or where the file system stops reading past the cache."""
        try:
            if self._direct_fd < 0:
                self._direct_fd = self._disk.open(self._path, os.O_RDONLY | O_DIRECT)
            done = 0
            while done < len(block):
                got = self._disk.pread(self._direct_fd, block[done:], offset + done)
                done += max(got, 0)
                if got <= 0 or got % ALIGN_BYTES:
                    break
            return done
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._direct = False
            return 0

    def _copy(self, block: memoryview, offset: int) -> None:
        if self._view is None:
            return
        source = address_of(block)
        if self._address is None or source is None:
            self._view[offset : offset + len(block)] = block
        else:
            ctypes.memmove(self._address + offset, source, len(block))  # unlike a slice, it lets go of the interpreter's lock

    def _block(self, length: int) -> memoryview:
        """At least ``length`` bytes, whole pages, the same memory each time."""
        needed = pages.round_up(length, ALIGN_BYTES)
        if self._memory is None or len(self._memory) < needed:
            self._memory = _block_memory(needed)
        return self._memory[:needed]


def _block_memory(size_bytes: int) -> memoryview:
    """In huge pages where the system has them: a request into it is then one piece."""
    mapping = pages.map_anonymous(size_bytes + pages.HUGE)
    whole = memoryview(mapping)
    shift = -(address_of(whole) or 0) % pages.HUGE
    with contextlib.suppress(OSError, AttributeError):  # a kernel without huge pages: small ones serve
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return whole[shift : shift + size_bytes]


def is_hot(path: Path, size_bytes: int) -> bool:
    """Whether nearly all of the file is in the page cache.  False where that cannot be told.

    mincore answers "no" under some cgroups; then the read goes past the cache, which is slower but right.
    """
    if not sys.platform.startswith("linux") or size_bytes == 0:
        return False
    try:
        with open(path, "rb") as file:
            mapping = mmap.mmap(file.fileno(), size_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except (OSError, ValueError):
        return False  # gone, shorter than it should be, or larger than the kernel lets us map: the read itself will say
    with mapping:
        pages = -(-size_bytes // mmap.PAGESIZE)
        resident = ctypes.create_string_buffer(pages)
        first = ctypes.c_char.from_buffer(mapping)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size_bytes), resident)
        finally:
            del first
    return not failed and resident.raw.count(1) >= HOT_FRACTION * pages
