"""One copy in memory for several processes: an entry of the RAM tier whose memory is the SSD's file itself.

For an object that several processes want at the same moment.  Each maps the file, so whoever comes second finds its pages
there, and nobody fills gigabytes of his own while the others do the same.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from ..storage.errors import NoRoom
from .fetch import Fetch, Goal
from .mapped_file import map_private, read_in
from .memory_budget import read_memory_figures
from .ram import RamTier
from .ssd_lease import SsdLease
from .ssd_stack import AnySsd
from .tensors import parse_front
from .zones import SHARED_MIN_BYTES

LOCAL = frozenset(("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"))
"""file systems of this machine's own disks.  Of a file on another machine's, pages that the kernel gave back may be gone for
good when somebody there deletes it, and touching them would end the process"""


def can_share(path: Path) -> bool:
    """Whether files there may be mapped for long.  A few milliseconds."""
    if not sys.platform.startswith("linux"):
        return False  # elsewhere a mapped file cannot be deleted, or whether that is safe was never tried
    import psutil

    real, kind = os.path.realpath(path), ("", "")
    for mount in psutil.disk_partitions(all=True):  # of two at one place the later one is what is there
        if os.path.commonpath((real, mount.mountpoint)) == mount.mountpoint and len(mount.mountpoint) >= len(kind[0]):
            kind = (mount.mountpoint, mount.fstype)
    return kind[1] in LOCAL


def adopted(fetch: Fetch, lease: SsdLease, ram: RamTier, ssd: AnySsd) -> bool:
    """Ends the fetch with the file's own pages as its memory.  In the fetch's thread.

    False where it is small, on no disk of this machine, or memory is short: a page cache that is taken away again would have
    to be read again; or where RAM has no room.  Raises what checking the file raises, and TransferCancelled.
    """
    obj = replace(lease.obj, size_bytes=lease.record.size_bytes)
    if obj.size_bytes < SHARED_MIN_BYTES or read_memory_figures().least_available_bytes < 2 * obj.size_bytes:
        return False
    if not can_share(lease.path):
        return False

    def stopped() -> bool:
        return fetch.cancelled

    ssd.verify(lease, fetch.disk_progress, stopped)
    try:
        mapping = map_private(lease.path, obj.subject)
        if not read_in(mapping, fetch.disk_progress, stopped):
            return False
        header = parse_front(memoryview(mapping), obj.subject)
        entry = ram.adopt(obj, mapping, header, lease.record.crc64, ahead=not fetch.loads)
    except (NoRoom, OSError):
        return False  # said by the attempt that comes now
    fetch.source = source_of(fetch)
    fetch.reached(Goal.DISK, fetch.landed_obj)
    fetch.reached(Goal.MEMORY, fetch.landed_obj, entry=entry)
    return True


def source_of(fetch: Fetch) -> str:
    """Of what is read from the SSD now: it may have come there from the bucket for this very fetch."""
    return "bucket" if fetch.wire_bytes else "ssd"
