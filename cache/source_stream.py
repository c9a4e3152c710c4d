"""One transfer of a model that is converted as it lands: read once, however many forms are made of it at the same time.

The bytes land in passing memory. Tensors are handed to every reader in the order of the file, whatever order they land in:
so what is made of a source is the same bytes on every machine. When the last reader has taken one, its pages go back to the
system. A reader that joins late gets the tensors that are gone by ranged reads of the same version, and compares their
checksums with what landed.

Locks: ``SourceStream._condition`` is innermost; nothing is called with it held.  Zone methods are called by the transfer's
threads, `Reader.take` by one thread a reader.
"""

from __future__ import annotations

import bisect
import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..storage.checksum import crc64
from ..storage.errors import InvalidSafetensors, TransferCancelled
from ..storage.objects import Extent, ObjectHead, RemoteObject, at_head
from ..storage.safetensors_header import SafetensorsHeader
from ..storage.transfer import Transfer
from . import pages
from .partial_buffer import PassingMemory
from .zones import FrontCheck

WAITING_MAX_BYTES = 192 << 20
"""complete and not yet converted: how far conversion may fall behind the network before the receivers wait for it"""
FORGET_BYTES = 8 << 20
POLL_S = 0.05


class SourceChanged(Exception):
    """The object was overwritten meanwhile; ``obj`` is what it is now."""

    def __init__(self, obj: RemoteObject) -> None:
        super().__init__(obj.subject)
        self.obj = obj


class SourceDamaged(Exception):
    """Bytes that were handed out turned out to be wrong; the transfer has replaced them since."""


class SourceStream:
    """A landing zone.  See the module's text."""

    def __init__(self, obj: RemoteObject) -> None:
        self.obj = obj
        self.header: SafetensorsHeader | None = None
        self.refused: InvalidSafetensors | None = None
        self.users = 0
        """conversions that have it; counted by whoever keeps the streams"""
        self.transfer: Transfer | None = None
        """set by whoever started it"""
        self.stopped: Callable[[], bool] = lambda: False
        """whether it was ended, so that nobody waits for the converters any more; set by the same"""
        self._condition = threading.Condition()
        self._memory: PassingMemory | None = None
        self._view: memoryview | None = None
        self._front: FrontCheck | None = None
        self._early: list[Extent] = []
        self._order: list[tuple[int, int, str]] = []
        self._left: list[int] = []
        self._complete = bytearray()
        self._released = 0
        self._forgotten_bytes = 0
        self._waiting_bytes = 0
        self._crcs: dict[str, int] = {}
        self._readers: list[Reader] = []
        self._ended = False
        self._changed: RemoteObject | None = None
        self._damaged = False

    # -- the landing zone ----------------------------------------------------------------------------------------------
    def prepare(self, head: ObjectHead) -> memoryview:
        obj = at_head(self.obj, head)
        if obj != self.obj:
            with self._condition:
                self._changed = obj
            raise TransferCancelled("the object was overwritten before it could be converted", subject=obj.subject)
        if pages.CAN_DISCARD:
            self._memory = PassingMemory(head.size_bytes)
            self._view = self._memory.view
        else:
            self._view = memoryview(mmap.mmap(-1, max(1, head.size_bytes)))[: head.size_bytes]
        self._front = FrontCheck(self._view)
        return self._view

    def extents(self) -> Sequence[Extent]:
        return ()

    def landed(self, extent: Extent) -> None:
        """Waits while conversion is far behind, until the transfer ends."""
        assert self._front is not None
        try:
            self._front.landed(extent)
        except InvalidSafetensors as error:
            with self._condition:
                self.refused = error.with_traceback(None)  # its frames hold the buffer
            if self.transfer is not None:
                self.transfer.cancel()
            return
        with self._condition:
            if self.header is None and self._front.header is not None:
                self._lay_out(self._front.header)
            if self.header is None:
                self._early.append(extent)
            else:
                for one in (*self._early, extent):
                    self._count(one)
                self._early = []
                self._condition.notify_all()
            while self._waiting_bytes > WAITING_MAX_BYTES and self._converters_have_work() and not self.stopped():
                self._condition.wait(POLL_S)

    def replaced(self, extent: Extent) -> None:
        with self._condition:
            self._damaged = True

    def ended(self) -> None:
        """The transfer is over, well or not."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def wait_ended(self, check: Callable[[], None]) -> None:
        """Until the transfer is over.  Raises what speaks against using what it brought, and what ``check`` raises."""
        while True:
            check()
            with self._condition:
                self._raise_if_over()
                if self._ended:
                    return
                self._condition.wait(POLL_S)

    def close(self) -> None:
        """Nobody lands or reads any more."""
        with self._condition:
            memory, self._memory, self._view, self._front = self._memory, None, None, None
            self._ended = True
        if memory is not None:
            memory.close()

    # -- readers -------------------------------------------------------------------------------------------------------
    @contextmanager
    def reader(self) -> Iterator[Reader | None]:
        """None: it is too late to join."""
        with self._condition:
            reader = None if self._ended else Reader(self, self._released)
            if reader is not None:
                self._readers.append(reader)
        try:
            yield reader
        finally:
            if reader is not None:
                with self._condition:
                    self._readers.remove(reader)
                    gone = self._release()
                self._forget(gone)

    def _raise_if_over(self) -> None:
        """Condition held."""
        if self._changed is not None:
            raise SourceChanged(self._changed)
        if self.refused is not None:
            raise self.refused.about(self.obj.subject)
        if self._damaged:
            raise SourceDamaged

    # -- inside (condition held) -----------------------------------------------------------------------------------------
    def _lay_out(self, header: SafetensorsHeader) -> None:
        self.header = header
        self._order = sorted((info.start, info.end, name) for name, info in header.tensors.items())
        self._left = [end - start for start, end, _ in self._order]
        self._complete = bytearray(not left for left in self._left)

    def _converters_have_work(self) -> bool:
        """Else waiting for them would be waiting for oneself."""
        return any(reader.position < len(self._order) and self._complete[reader.position] for reader in self._readers)

    def _count(self, extent: Extent) -> None:
        index = max(0, bisect.bisect_right(self._order, (extent.offset, 1 << 63, "")) - 1)
        while index < len(self._order) and self._order[index][0] < extent.end:
            start, end, _ = self._order[index]
            overlap = min(end, extent.end) - max(start, extent.offset)
            if overlap > 0:
                self._left[index] -= overlap
                if not self._left[index]:
                    self._complete[index] = 1
                    self._waiting_bytes += end - start
            index += 1

    def _release(self) -> Extent | None:
        """What nobody will take any more, in whole blocks: huge pages that are given back whole cost least."""
        upto = min((reader.position for reader in self._readers), default=self._released)
        self._waiting_bytes -= sum(end - start for start, end, _ in self._order[self._released : upto])
        self._released = max(self._released, upto)
        self._condition.notify_all()
        at_end = self._released == len(self._order)
        first = self._forgotten_bytes
        last = len(self._view or b"") if at_end else self._order[self._released][0] // FORGET_BYTES * FORGET_BYTES
        self._forgotten_bytes = max(first, last)
        return Extent(first, last - first, 0) if last > first else None

    def _forget(self, gone: Extent | None) -> None:
        """Without the condition: the system takes a moment for it."""
        memory = self._memory
        if memory is not None and gone is not None:
            memory.forget(gone.offset, gone.end)


class Reader:
    """One conversion's place in the stream."""

    def __init__(self, stream: SourceStream, position: int) -> None:
        self._stream = stream
        self.position = position
        self.missed = position
        """so many tensors were gone when it joined"""

    def header(self, check: Callable[[], None]) -> SafetensorsHeader | None:
        """Waits for it; None: the transfer ended before.  ``check`` is called now and then and may raise."""
        stream = self._stream
        while True:
            check()
            with stream._condition:
                stream._raise_if_over()
                if stream.header is not None or stream._ended:
                    return stream.header
                stream._condition.wait(POLL_S)

    @contextmanager
    def take(self, check: Callable[[], None]) -> Iterator[tuple[str, memoryview] | None]:
        """The next complete tensor, while the block runs.  None: there are no more."""
        stream = self._stream
        while True:
            check()
            with stream._condition:
                stream._raise_if_over()
                at_end = stream.header is not None and self.position == len(stream._order)
                if not at_end and self.position < len(stream._order) and stream._complete[self.position]:
                    start, end, name = stream._order[self.position]
                    view = stream._view
                    break
                if at_end or stream._ended:
                    yield None
                    return
                stream._condition.wait(POLL_S)
        assert view is not None
        raw = view[start:end]
        if name not in stream._crcs:
            stream._crcs[name] = crc64(raw)
        try:
            yield name, raw
        finally:
            del raw, view
            with stream._condition:
                self.position += 1
                gone = stream._release()
            stream._forget(gone)

    def gone_before(self) -> list[tuple[str, int]]:
        """Tensors that were gone when it joined, with their CRC64s."""
        stream = self._stream
        with stream._condition:
            names = [name for _, _, name in stream._order[: self.missed]]
            return [(name, stream._crcs.get(name, 0)) for name in names]
