"""Safetensors headers without their weights: for previews and estimates."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import IO

from ..storage.errors import InvalidSafetensors
from ..storage.front import PinnedReader
from ..storage.gguf_header import parse_gguf
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from ..storage.safetensors_header import SafetensorsHeader, header_bytes, parse_header
from .ram import RamTier
from .ssd_stack import AnySsd

KEPT = 256
"""parsed headers kept in memory; one is a few hundred KB at most"""
FIRST_READ_BYTES = 256 << 10
"""covers the header of most checkpoints (SD1.5: 130 KB), so that one request is enough"""

ReadAt = Callable[[int, int], bytes]


class HeaderReader:
    """Reads headers from RAM, SSD or bucket, nearest first, and keeps the last few.  Thread-safe; blocks."""

    def __init__(self, origins: Mapping[str, Origin], ram: RamTier, ssd: AnySsd) -> None:
        self._origins = origins
        self._ram = ram
        self._ssd = ssd
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, SafetensorsHeader] = OrderedDict()

    def header(self, obj: RemoteObject) -> SafetensorsHeader:
        digest = obj.id.digest
        with self._lock:
            kept = self._kept.get(digest)
            if kept is not None:
                self._kept.move_to_end(digest)
                return kept
        header = self._read(obj)
        with self._lock:
            self._kept[digest] = header
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return header

    def _read(self, obj: RemoteObject) -> SafetensorsHeader:
        entry = self._ram.peek(obj.id.digest)
        if entry is not None:
            with entry:
                return entry.header
        lease = self._ssd.lease(obj, use=False)
        if lease is not None:
            with lease, open(lease.path, "rb") as file:
                return read_header(file, lease.record.size_bytes, obj)
        with PinnedReader(self._origins[obj.origin], obj) as reader:
            return _parse(reader.read, reader.size_bytes, obj)


def read_header(file: IO[bytes], size_bytes: int, obj: RemoteObject) -> SafetensorsHeader:
    """Raises InvalidSafetensors, which names the object."""

    def read_file(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    return _parse(read_file, size_bytes, obj)


def _parse(read_at: ReadAt, size_bytes: int, obj: RemoteObject) -> SafetensorsHeader:
    try:
        if obj.id.key.lower().endswith(".gguf"):
            return parse_gguf(read_at, size_bytes)
        front = read_at(0, FIRST_READ_BYTES)
        needed = header_bytes(front[:8], size_bytes)
        if needed > len(front):
            front += read_at(len(front), needed - len(front))
        return parse_header(front[:needed], size_bytes)
    except InvalidSafetensors as error:
        raise error.about(obj.subject) from None
