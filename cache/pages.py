"""Memory and its pages: mapping it, faulting it in ahead of a transfer, giving pages back.

What a first touch costs depends on who backs the page.  Seen on a virtual machine with free-page reporting, 2 GiB in
fresh processes, MADV_POPULATE_WRITE in 32 MiB slices, milliseconds a slice:

    4 KiB pages  7 where the guest still had the page, 75-115 where the host had taken it back
    huge pages   4 where the guest still had it, 55-80 where not; the host takes huge blocks back first,
                 so right after a big free 2 GiB took 0.45 s in 4 KiB pages and 0.8-1.2 s in huge ones
    touching one byte a page (what a receive does) 12

No kind is best always, and a probe up front would delay the first byte.  So nothing is probed up front: `PageChoice`
learns from the slices that the populating thread does anyway, and tries the other kind in a small slice now and then.

Only MADV_POPULATE_WRITE (Linux 5.14) populates.  Touching pages from Python would be a read and a write of bytes that
a transfer may be landing at that moment; where the call is missing, the receiving threads fault the pages themselves.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from collections.abc import Callable

PAGE = mmap.PAGESIZE
HUGE = 2 << 20
"""the size of a huge page, and the granule in which populated memory is remembered"""

SMALL_PAGES, HUGE_PAGES = "4k", "huge"
SLICE_BYTES = 16 << 20
PROBE_BYTES = 4 << 20
PROBE_EVERY = 16
HUGE_HAS_TO_COST = 0.7
"""of what 4 KiB pages cost, to be chosen: the figures are noisy, and huge blocks run out first"""

ANONYMOUS, MEMFD = "anonymous", "memfd"
"""what stands behind a mapping, as [ram] memory says"""

_MADV_WILLNEED = 3
_MADV_DONTNEED = 4
_MADV_REMOVE = 9
_MADV_HUGEPAGE = 14
_MADV_NOHUGEPAGE = 15
_MADV_POPULATE_READ = 22
_MADV_POPULATE_WRITE = 23


def _libc_madvise() -> Callable[[int, int, int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    # through ctypes, which lets go of the GIL; mmap.madvise holds it for as long as the pages take
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    madvise.restype = ctypes.c_int
    return madvise  # type: ignore[no-any-return]


_madvise = _libc_madvise()
CAN_DISCARD = _madvise is not None


def round_up(size_bytes: int, unit: int) -> int:
    return -(-size_bytes // unit) * unit


def map_anonymous(size_bytes: int) -> mmap.mmap:
    """Private zeroed memory.  Raises OSError where the system refuses."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size_bytes)
    # Python's default is MAP_SHARED: shmem pages, which get no huge pages here and count as file memory in a cgroup
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def map_memfd(size_bytes: int) -> mmap.mmap:
    """Zeroed memory with a descriptor (the mapping's own): one host copy that several processes can map.

    Raises OSError where the system refuses, or has no such thing.
    """
    if not hasattr(os, "memfd_create"):
        raise OSError("this system has no memfd")
    descriptor = os.memfd_create("modelstream", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, size_bytes)
        return mmap.mmap(descriptor, size_bytes, flags=mmap.MAP_SHARED)
    finally:
        os.close(descriptor)


def discard(address: int, size_bytes: int, backing: str = ANONYMOUS) -> None:
    """Gives pages back to the system; the range reads as zeros afterwards.  Only where CAN_DISCARD."""
    assert _madvise is not None
    # a memfd's pages belong to the file: forgetting the mapping's would leave them there
    _madvise(address, size_bytes, _MADV_REMOVE if backing == MEMFD else _MADV_DONTNEED)


def populate(address: int, size_bytes: int, kind: str) -> bool:
    """Faults a range in without changing a byte of it.  False where the system cannot.  Lets go of the GIL."""
    if _madvise is None:
        return False
    # refused where the kernel has no huge pages at all: then every page is small and nothing is lost
    _madvise(address, size_bytes, _MADV_HUGEPAGE if kind == HUGE_PAGES else _MADV_NOHUGEPAGE)
    return _madvise(address, size_bytes, _MADV_POPULATE_WRITE) == 0


def read_ahead(address: int, size_bytes: int) -> None:
    """Has the system begin to read a range of a mapped file.  A hint.  Lets go of the GIL."""
    if _madvise is not None and size_bytes > 0:
        _madvise(address, size_bytes, _MADV_WILLNEED)


def read_in(address: int, size_bytes: int) -> bool:
    """Faults a range of a mapped file in for reading.  False when that failed for want of the bytes or of memory; where the
    system cannot do it at all nothing happens.  Lets go of the GIL."""
    if _madvise is None or _madvise(address, size_bytes, _MADV_POPULATE_READ) == 0:
        return True
    return ctypes.get_errno() in (errno.EINVAL, errno.EINTR)


class PageChoice:
    """Which kind of page the next slice gets, by what the slices before it cost.  Used by one thread at a time.

    The first two slices are small and try each kind.  Then 4 KiB pages serve unless huge ones are clearly cheaper;
    every `PROBE_EVERY`-th slice is a small one of the other kind, because what is cheap changes with what the system
    has at hand.
    """

    def __init__(self) -> None:
        self._seconds_per_byte: dict[str, float] = {}
        self._since_probe = 0

    def next(self) -> tuple[str, int]:
        """Kind and bytes of the next slice."""
        for kind in (SMALL_PAGES, HUGE_PAGES):
            if kind not in self._seconds_per_byte:
                return kind, PROBE_BYTES
        if self._since_probe >= PROBE_EVERY:
            return self._others(), PROBE_BYTES
        return self._best(), SLICE_BYTES

    def took(self, kind: str, size_bytes: int, seconds: float) -> None:
        """Reports what a slice cost.  Half the weight is the newest slice's."""
        cost = seconds / size_bytes
        before = self._seconds_per_byte.get(kind, cost)
        probing = kind != self._best() if len(self._seconds_per_byte) == 2 else True
        self._seconds_per_byte[kind] = (before + cost) / 2
        self._since_probe = 0 if probing else self._since_probe + 1

    def _best(self) -> str:
        cost = self._seconds_per_byte
        return HUGE_PAGES if cost[HUGE_PAGES] < HUGE_HAS_TO_COST * cost[SMALL_PAGES] else SMALL_PAGES

    def _others(self) -> str:
        return HUGE_PAGES if self._best() == SMALL_PAGES else SMALL_PAGES
