"""Where an object lands that goes to the SSD without passing through the RAM tier.

`PassingMemory` is memory of the object's size of which only little is real: what was written to the file is given
back to the system.  `FileMapping` is the file itself, for systems where single pages cannot be given back.  Measured
with two lanes and one writer, 2 GiB on ext4, two runs of each on a busy machine: file mapping 2.3 and 6.4 s (each
4 KiB page of the file is a fault of its own), passing memory 2.0 and 4.5 s, with huge pages 1.0 and 2.4 s.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from typing import Protocol

from . import pages
from .disk import Disk

UNWRITTEN_MAX_BYTES = 256 << 20
"""landed and not yet written: how far a disk may fall behind the network before the receivers wait for it"""

_MAP_NORESERVE = 0x4000
"""asm-generic/mman.h; Python names it from 3.13 on"""


class LandingBuffer(Protocol):
    view: memoryview
    in_file: bool
    """what lands in it is in the file already"""

    def forget(self, start: int, end: int) -> None:
        """Bytes that are in the file and that nobody reads here again."""

    def close(self) -> None: ...


class PassingMemory:
    """Raises OSError where the system refuses so much.  `forget` and writers touch different bytes at any moment.

    The lock keeps `forget` from addresses that are somebody else's after `close`.
    """

    in_file = False

    def __init__(self, size_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        self._mapping = mmap.mmap(-1, size_bytes + pages.HUGE, flags=flags)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        shift = -base % pages.HUGE
        self._address = base + shift
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        self._closed = False
        self.view = memoryview(self._mapping)[shift : shift + size_bytes]
        with contextlib.suppress(OSError, AttributeError):  # a kernel without huge pages: small ones serve
            self._mapping.madvise(mmap.MADV_HUGEPAGE)

    def forget(self, start: int, end: int) -> None:
        """Whole pages only; the last page of the object counts as whole."""
        first = pages.round_up(start, pages.PAGE)
        last = pages.round_up(end, pages.PAGE) if end == self._size_bytes else end // pages.PAGE * pages.PAGE
        with self._lock:
            if last > first and not self._closed:
                pages.discard(self._address + first, last - first)

    def close(self) -> None:
        """The memory goes at once, the addresses when the last view of them is gone."""
        self.forget(0, self._size_bytes)
        with self._lock, contextlib.suppress(BufferError):
            self._closed = True
            self.view.release()
            self._mapping.close()


class FileMapping:
    """All blocks are allocated before, so that a full disk is an OSError here and never a SIGBUS later."""

    in_file = True

    def __init__(self, disk: Disk, fd: int, size_bytes: int) -> None:
        disk.allocate(fd, size_bytes)
        self._mapping = mmap.mmap(fd, size_bytes)
        self.view = memoryview(self._mapping)

    def forget(self, start: int, end: int) -> None:
        return None

    def close(self) -> None:
        with contextlib.suppress(BufferError):  # somebody still reads it; the pages stay until they let go
            self.view.release()
            self._mapping.close()


def landing_buffer(disk: Disk, fd: int, size_bytes: int) -> LandingBuffer:
    """Raises OSError."""
    if pages.CAN_DISCARD:
        with contextlib.suppress(OSError):  # a system that does not promise more memory than it has
            return PassingMemory(size_bytes)
    return FileMapping(disk, fd, size_bytes)
