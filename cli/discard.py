"""A landing zone that keeps nothing: for reading an object to see how fast it comes, or whether it is right."""

from __future__ import annotations

from collections.abc import Sequence

from ..cache import pages
from ..cache.partial_buffer import PassingMemory
from ..storage.errors import NoRoom
from ..storage.objects import Extent, ObjectHead


class DiscardZone:
    """Addresses of the object's size, of which only what is on its way is memory.  Called by one transfer's threads."""

    def __init__(self) -> None:
        self._memory: PassingMemory | None = None
        self._plain: memoryview | None = None

    def prepare(self, head: ObjectHead) -> memoryview:
        self.close()
        try:
            if pages.CAN_DISCARD and head.size_bytes:
                self._memory = PassingMemory(head.size_bytes)
                return self._memory.view
            self._plain = memoryview(bytearray(head.size_bytes))
        except (OSError, MemoryError):
            raise NoRoom("there are no addresses for so large an object", next_step="raise the limit on virtual memory") from None
        return self._plain

    def extents(self) -> Sequence[Extent]:
        return ()

    def landed(self, extent: Extent) -> None:
        if self._memory is not None:
            self._memory.forget(extent.offset, extent.end)

    def close(self) -> None:
        memory, self._memory, self._plain = self._memory, None, None
        if memory is not None:
            memory.close()
