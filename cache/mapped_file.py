"""A file of the SSD tier as memory, without a copy: its pages in the page cache, which all processes that map it share.

Private: a page that somebody writes to becomes his own, so nobody can write into the cache.  The file is never truncated or
written to once it has its name, only unlinked, so the bytes stay what they are for as long as they are mapped.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path

from ..storage.errors import NoRoom, TransferCancelled
from . import pages

SLICE_BYTES = 32 << 20
"""read in at once, and as much again ahead of it"""


def map_private(path: Path, subject: str) -> mmap.mmap:
    """The whole file, writable.  Raises OSError, and NoRoom for an empty one."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise NoRoom("an empty file cannot be mapped", subject=subject)
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def read_in(mapping: mmap.mmap, progress: Callable[[int], None], should_stop: Callable[[], bool]) -> bool:
    """Has the page cache read all of a file, front to back, without a copy; what is there already costs next to nothing.

    Several processes that do it at once go along together: each page is read once.  False when the disk failed.  Where the
    system cannot do it (Linux 5.14 can), pages come as they are touched.  Raises TransferCancelled.
    """
    size_bytes = len(mapping)
    address = ctypes.addressof(ctypes.c_ubyte.from_buffer(mapping))
    for offset in range(0, size_bytes, SLICE_BYTES):
        ahead = min(offset + SLICE_BYTES, size_bytes)
        pages.read_ahead(address + ahead, min(SLICE_BYTES, size_bytes - ahead))
        if not pages.read_in(address + offset, min(SLICE_BYTES, size_bytes - offset)):
            return False
        progress(ahead)
        if should_stop():
            raise TransferCancelled("reading from the SSD was stopped")
    return True
