"""Which tensors lie in the RAM tier's memory: what may be shared, and must never be written to.

A buffer is noted when its tensors are handed out and forgotten when it dies.  Buffers, not tensors, because ComfyUI makes
new tensors over the same memory all the time.  Any thread; the finalizers take no lock.
"""

from __future__ import annotations

import bisect
import ctypes
import threading
import weakref
from collections import deque
from typing import Any


class SharedMemory:
    """The address ranges of the buffers that are alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ranges: list[tuple[int, int]] = []  # (first address, end), sorted, disjoint
        self._counts: dict[tuple[int, int], int] = {}
        self._gone: deque[tuple[int, int]] = deque()

    def add(self, buffer: Any) -> None:
        """Notes one of the arena's buffers; anything else (a private mapping of a file) is not shared and is left out."""
        if not isinstance(buffer, ctypes.Array):
            return
        first = ctypes.addressof(buffer)
        found = (first, first + ctypes.sizeof(buffer))
        with self._lock:
            self._drain()
            self._counts[found] = self._counts.get(found, 0) + 1
            if self._counts[found] == 1:
                bisect.insort(self._ranges, found)
        weakref.finalize(buffer, self._gone.append, found).atexit = False

    def holds(self, tensor: Any) -> bool:
        """Whether the tensor's memory is one of ours."""
        if tensor.numel() == 0 or tensor.device.type != "cpu":
            return False
        return self.covers(tensor.data_ptr())

    def covers(self, address: int) -> bool:
        return self.buffer_at(address) is not None

    def buffer_at(self, address: int) -> int | None:
        """What names the buffer that this address lies in."""
        with self._lock:
            self._drain()
            index = bisect.bisect(self._ranges, (address, 1 << 64)) - 1
            return self._ranges[index][0] if index >= 0 and address < self._ranges[index][1] else None

    def buffer_of(self, tensor: Any) -> int | None:
        if tensor.numel() == 0 or tensor.device.type != "cpu":
            return None
        return self.buffer_at(tensor.data_ptr())

    def _drain(self) -> None:
        while self._gone:
            found = self._gone.popleft()
            self._counts[found] -= 1
            if not self._counts[found]:
                del self._counts[found]
                self._ranges.remove(found)
