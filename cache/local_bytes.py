"""An object's bytes as the tiers here have them, for who writes them somewhere else.

Nothing is fetched, and looking is no use of a tier.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from ..storage.mirror_upload import Source
from ..storage.objects import RemoteObject
from .ram import RamTier
from .same_bytes import SameBytes
from .ssd_stack import AnySsd


class LocalBytes:
    """What the tiers here have of an object, as the source of an upload."""

    def __init__(self, ram: RamTier, ssd: AnySsd, same: SameBytes) -> None:
        self._ram = ram
        self._ssd = ssd
        self._same = same

    @contextlib.contextmanager
    def open(self, obj: RemoteObject) -> Iterator[Source | None]:
        """Leased for as long as the block lasts; None where it went."""
        kept = self._same.of(obj)
        entry = self._ram.peek(kept.id.digest)
        if entry is not None:
            with entry:
                yield _View(entry.view)
            return
        lease = self._ssd.lease(kept, use=False)
        if lease is None:
            yield None
            return
        with lease, open(lease.path, "rb", buffering=0) as file:
            yield _File(file.fileno(), lease.record.size_bytes)


class _View:
    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.size_bytes = view.nbytes

    def read(self, offset: int, length: int) -> memoryview:
        return self._view[offset : offset + length]


class _File:
    def __init__(self, fd: int, size_bytes: int) -> None:
        self._fd = fd
        self.size_bytes = size_bytes

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)
