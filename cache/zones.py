"""Landing zones: where the bytes of one transfer go.

`MemoryZone` lands in the RAM arena and lets the SSD tier write behind; `FileZone` lands in passing memory on its
way to a file of the SSD tier (objects that skip RAM).  Both are used by the threads of one
transfer, then by the one thread of the fetch that owns them; never by both at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..storage.errors import DiskFailed, InvalidSafetensors, ModelStreamError, NoRoom, TransferCancelled
from ..storage.events import EventBus, PassedBy, TierDegraded
from ..storage.objects import Extent, ObjectHead, RemoteObject, at_head
from ..storage.safetensors_header import SafetensorsHeader, header_bytes, parse_header
from .arena import Allocation
from .partial import PartialFile
from .ram import RamTier
from .space_values import NotWorthIt
from .ssd_stack import AnySsd

SHARED_MIN_BYTES = 32 << 20
"""smaller objects are not worth a mapping of their own: every process has a copy"""


class FrontCheck:
    """Validates the safetensors header as soon as the front of the object has landed.

    A file that breaks the format is refused after its first part, not after its last.  Parts land in any
    order and from several threads; the lock keeps the two small fields below consistent.
    """

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._lock = threading.Lock()
        self._front = 0
        self._ahead: dict[int, int] = {}
        self.header: SafetensorsHeader | None = None

    def landed(self, extent: Extent) -> None:
        """Raises InvalidSafetensors once enough has landed to know."""
        with self._lock:
            if self.header is not None:
                return
            self._ahead[extent.offset] = extent.end
            while self._front in self._ahead:
                self._front = self._ahead.pop(self._front)
            size = len(self._view)
            if self._front < 8 and self._front < size:
                return
            needed = header_bytes(bytes(self._view[:8]), size)
            if self._front >= needed:
                self.header = parse_header(self._view[:needed], size)


class Alike(Exception):
    """Something that is here may be the same; whoever owns the zone finds out.  The transfer has not begun."""

    def __init__(self, obj: RemoteObject, head: ObjectHead, candidates: tuple[RemoteObject, ...]) -> None:
        super().__init__(obj.subject)
        self.obj = obj
        self.head = head
        self.candidates = candidates


class Awaited(Exception):
    """Other processes wait for the object: it should land where all of them have it.  The transfer has not begun."""


class _Compares:
    """What both zones do first: stop where something here may have the same bytes."""

    obj: RemoteObject
    looks_alike: Callable[[RemoteObject, ObjectHead], tuple[RemoteObject, ...]] = staticmethod(lambda obj, head: ())
    alike: Alike | None = None

    def _compare(self, head: ObjectHead) -> None:
        """Raises TransferCancelled, which ends the transfer quietly."""
        candidates = self.looks_alike(self.obj, head)
        if candidates:
            self.alike = Alike(self.obj, head, candidates)
            raise TransferCancelled("something with the same bytes may be here")


class MemoryZone(_Compares):
    """RAM first, SSD behind it.  Without room on the SSD the object still lands in RAM, and an event says so.

    awaited: whether other processes wait for the object; then its file is written at once
    leaves:  and when they do so before its first byte, nothing lands here (``left`` is True then)
    """

    def __init__(self, obj: RemoteObject, ram: RamTier, ssd: AnySsd, bus: EventBus) -> None:
        self.obj = obj
        self._ram = ram
        self._ssd = ssd
        self._bus = bus
        self.allocation: Allocation | None = None
        self.partial: PartialFile | None = None
        self.front: FrontCheck | None = None
        self.refused: InvalidSafetensors | None = None
        self.on_refused: Callable[[], None] = lambda: None
        self.on_degraded: Callable[[], None] = lambda: None
        self.awaited: Callable[[], bool] = lambda: False
        self.leaves = self.left = False
        self.in_haste: Callable[[], bool] = lambda: True
        """whether a load waits.  If not, the pages come as the bytes arrive: populating ahead of them holds the lock on the
        process's memory map, and whoever maps or allocates meanwhile waits (imports: 0.3 s of 5)"""
        self._extents: list[Extent] = []

    def prepare(self, head: ObjectHead) -> memoryview:
        self.drop(keep=False)
        self.obj = at_head(self.obj, head)
        self._compare(head)
        if self.leaves and head.size_bytes >= SHARED_MIN_BYTES and self.awaited():
            self.left = True
            raise TransferCancelled("other processes wait for it too")
        self.allocation = self._ram.reserve(self.obj, head.size_bytes)
        if self.in_haste():
            self.allocation.populate_ahead()
        view = self.allocation.view
        self.front = FrontCheck(view)
        self._extents = []
        try:
            self.partial = self._ssd.begin(self.obj, head, must=False)
            self._extents = self.partial.resume_into(view)
        except NotWorthIt as error:
            self.on_degraded()
            self._bus.emit(PassedBy("ssd", self.obj.subject, head.size_bytes, error.cause))
        except (NoRoom, DiskFailed, OSError) as error:
            self._degraded(error)
        for extent in self._extents:
            self._check_front(extent)
        return view

    def extents(self) -> Sequence[Extent]:
        return self._extents

    def landed(self, extent: Extent) -> None:
        assert self.allocation is not None
        self._check_front(extent)
        if self.partial is not None and self.refused is None:
            if len(self.allocation.view) >= SHARED_MIN_BYTES and self.awaited():
                self.partial.hurry()
            self.partial.write_behind(self.allocation.view, extent)

    def replaced(self, extent: Extent) -> None:
        if self.front is not None:
            self.front.header = None  # it may have been read from the wrong bytes
        if self.partial is not None and self.allocation is not None:
            self.partial.replaced(extent, self.allocation.view)

    def drop(self, *, keep: bool) -> None:
        """Lets go of memory and partial file; with ``keep`` what reached the SSD can be resumed."""
        if self.partial is not None:
            self.partial.abandon(keep=keep)
            self.partial = None
        if self.allocation is not None:
            self.allocation.stop_populating()
            self.allocation = None
        self.front = None

    def _check_front(self, extent: Extent) -> None:
        """A refused header stops the transfer; the owner of the zone raises ``refused``."""
        assert self.front is not None
        try:
            self.front.landed(extent)
        except InvalidSafetensors as error:
            self.refused = error.with_traceback(None)  # its frames hold the buffer
            self.on_refused()

    def _degraded(self, error: Exception) -> None:
        if self.partial is not None:  # it was begun: its room goes back
            self.partial.abandon(keep=False)
            self.partial = None
        self.on_degraded()
        code = error.code if isinstance(error, ModelStreamError) else type(error).__name__
        self._bus.emit(TierDegraded("ssd", code, str(error)))


class FileZone(_Compares):
    """Lands on the SSD, with little memory in between: `landed` waits for a disk that is slower than the network.

    must:    see `SsdTier.begin`
    tensors: whether the object has to be a safetensors file
    stopped: whether the transfer was ended, so that nobody waits for the disk any more; set by the zone's owner
    """

    def __init__(self, obj: RemoteObject, ssd: AnySsd, *, must: bool = True, tensors: bool = False) -> None:
        self.obj = obj
        self._ssd = ssd
        self._must = must
        self._tensors = tensors
        self.refused: InvalidSafetensors | None = None
        self.on_refused: Callable[[], None] = lambda: None
        self.stopped: Callable[[], bool] = lambda: False
        self.partial: PartialFile | None = None
        self._view: memoryview | None = None
        self._extents: list[Extent] = []

    def prepare(self, head: ObjectHead) -> memoryview:
        self.drop(keep=False)
        self.obj = at_head(self.obj, head)
        self._compare(head)
        self.partial = self._ssd.begin(self.obj, head, must=self._must)
        view = self._view = self.partial.landing()
        self._extents = self.partial.resume_into(view)
        return view

    def extents(self) -> Sequence[Extent]:
        return self._extents

    def landed(self, extent: Extent) -> None:
        assert self.partial is not None
        if self._tensors and extent.offset == 0:
            self._check_front(extent)
        self.partial.landed(extent, lambda: self.stopped())

    def _check_front(self, extent: Extent) -> None:
        """While it is in memory still.  Where more than the first part is needed, who opens the file finds out."""
        assert self._view is not None
        try:
            needed = header_bytes(bytes(self._view[:8]), len(self._view))
            if needed <= extent.length:
                parse_header(self._view[:needed], len(self._view))
        except InvalidSafetensors as error:
            self.refused = error.with_traceback(None)  # its frames hold the buffer
            self.on_refused()

    def replaced(self, extent: Extent) -> None:
        if self.partial is not None:
            self.partial.replaced(extent, stopped=lambda: self.stopped())

    def drop(self, *, keep: bool) -> None:
        self._view = None
        if self.partial is not None:
            self.partial.abandon(keep=keep)
            self.partial = None
