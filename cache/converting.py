"""The fetch of a derived object: its source is read from the nearest tier that has it, converted, and only that is kept.

Runs in the thread of the fetch, like `cache.fetcher`, which calls it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO

from ..storage.catalog import Catalog
from ..storage.checksum import crc64
from ..storage.engine import TransferEngine
from ..storage.errors import CorruptObject, TransferCancelled
from ..storage.events import Converted as ConvertedEvent
from ..storage.events import EventBus
from ..storage.front import PinnedReader
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from ..storage.safetensors_header import SafetensorsHeader, TensorInfo
from .arena import Allocation
from .converter import Converter, ImageFull, room_bytes
from .fetch import Fetch
from .headers import read_header
from .precision import plan
from .ram import RamEntry, RamTier
from .recipe import Recipe, Recipes
from .source_stream import Reader, SourceChanged, SourceDamaged, SourceStream
from .ssd_lease import SsdLease
from .ssd_stack import AnySsd
from .tensors import parse_front

TRIES = 3
"""the source may be overwritten, found damaged, or its transfer be cancelled by another conversion's end"""

Tensors = Iterator[tuple[str, memoryview]]
"""of a source, in the order of its file; a view is good until the next is asked for"""


class Conversions:
    """Thread-safe; one an application, beside the fetcher."""

    def __init__(
        self, origins: Mapping[str, Origin], catalog: Catalog, engine: TransferEngine, ram: RamTier, ssd: AnySsd, bus: EventBus
    ) -> None:
        self.recipes = Recipes()
        self._origins = origins
        self._catalog = catalog
        self._engine = engine
        self._ram = ram
        self._ssd = ssd
        self._bus = bus
        self._lock = threading.Lock()
        self._streams: dict[str, SourceStream] = {}

    def derive(self, source: RemoteObject, recipe: Recipe) -> RemoteObject:
        """The object that the recipe makes of it, resolvable by its digest from now on.  Raises ConfigError."""
        obj = self.recipes.derive(source, recipe)
        self._catalog.remember(obj)
        return obj

    def into_memory(self, fetch: Fetch, source: RemoteObject, recipe: Recipe) -> RamEntry:
        """Converts into the RAM tier; returns the entry leased.  Raises the errors of storage.errors."""
        for attempt in range(TRIES):
            try:
                return self._once(fetch, source, recipe)
            except SourceChanged as changed:
                self._catalog.replace(source, changed.obj)
                source = changed.obj
            except SourceDamaged:
                continue
            except TransferCancelled:
                if fetch.cancelled or attempt == TRIES - 1:
                    raise
        raise CorruptObject("the object changed or was damaged each time it was converted", subject=source.subject)

    # -- where the source comes from -----------------------------------------------------------------------------------
    def _once(self, fetch: Fetch, source: RemoteObject, recipe: Recipe) -> RamEntry:
        entry = self._ram.peek(source.id.digest)
        if entry is not None:
            fetch.source = "ram"
            with entry:
                view = entry.view
                tensors = ((name, view[info.start : info.end]) for name, info in in_file_order(entry.header))
                return self._make(fetch, source, recipe, entry.header, tensors, lambda: None)
        lease = self._ssd.lease(source, use=False)
        if lease is not None:
            with lease:
                try:
                    return self._from_file(fetch, source, recipe, lease)
                except CorruptObject:
                    pass  # said in an event; the bucket has what is damaged
        return self._from_bucket(fetch, source, recipe)

    def _from_file(self, fetch: Fetch, source: RemoteObject, recipe: Recipe, lease: SsdLease) -> RamEntry:
        fetch.source = "ssd"
        self._ssd.verify(lease, fetch.disk_progress, lambda: fetch.cancelled)
        with open(lease.path, "rb", buffering=0) as file:
            header = read_header(file, lease.record.size_bytes, source)

            def tensors() -> Tensors:
                largest = max((info.end - info.start for info in header.tensors.values()), default=0)
                buffer = memoryview(bytearray(largest))
                for name, info in in_file_order(header):
                    raw = buffer[: info.end - info.start]
                    _read_at(file, raw, info.start)
                    yield name, raw

            return self._make(fetch, source, recipe, header, tensors(), lambda: None)

    def _from_bucket(self, fetch: Fetch, source: RemoteObject, recipe: Recipe) -> RamEntry:
        with self._stream(fetch, source) as (stream, finish), stream.reader() as reader:
            if reader is None:
                raise TransferCancelled("another conversion's transfer has just ended", subject=source.subject)
            header = reader.header(lambda: _check(fetch))
            if header is None:
                finish()
                raise TransferCancelled("the transfer ended before its header came", subject=source.subject)

            def tensors() -> Tensors:
                yield from self._gone(source, header, reader)
                while True:
                    with reader.take(lambda: _check(fetch)) as taken:
                        if taken is None:
                            break
                        yield taken

            return self._make(fetch, source, recipe, header, tensors(), finish)

    def _gone(self, source: RemoteObject, header: SafetensorsHeader, reader: Reader) -> Tensors:
        """Tensors that had passed before this conversion joined the transfer."""
        missing = reader.gone_before()
        if not missing:
            return
        with PinnedReader(self._origins[source.origin], source) as ranges:
            for name, expected in missing:
                info = header.tensors[name]
                raw = memoryview(bytearray(ranges.read(info.start, info.end - info.start)))
                if crc64(raw) != expected:
                    raise SourceDamaged
                yield name, raw

    @contextmanager
    def _stream(self, fetch: Fetch, source: RemoteObject) -> Iterator[tuple[SourceStream, Callable[[], None]]]:
        """The stream of the one transfer of ``source``, and what waits for its end and raises its error."""
        digest = source.id.digest
        with self._lock:
            stream = self._streams.get(digest)
            mine = stream is None
            if stream is None:
                stream = self._streams[digest] = SourceStream(source)
            stream.users += 1
        try:
            if mine:
                with self._transfer(fetch, source, stream):
                    yield stream, lambda: self._finish(fetch, source, stream, mine=True)
            else:
                yield stream, lambda: self._finish(fetch, source, stream, mine=False)
        finally:
            with self._lock:
                if mine:
                    del self._streams[digest]
                stream.users -= 1
                last = not stream.users
            if last:
                stream.close()

    @contextmanager
    def _transfer(self, fetch: Fetch, source: RemoteObject, stream: SourceStream) -> Iterator[None]:
        """Who starts the transfer ends it too: an error of his own cancels it, and others begin anew."""
        try:
            transfer = self._engine.start(self._origins[source.origin], source, stream, priority=fetch.priority)
        except BaseException:
            stream.ended()
            raise
        stream.transfer = transfer
        stream.stopped = lambda: transfer.error is not None
        transfer.on_done(lambda _: stream.ended())
        fetch.attach(transfer)
        try:
            yield
        except BaseException:
            transfer.cancel()
            raise
        finally:
            transfer.wait()

    def _finish(self, fetch: Fetch, source: RemoteObject, stream: SourceStream, *, mine: bool) -> None:
        """Nothing is published before the whole source was verified."""
        stream.wait_ended(lambda: _check(fetch))
        if stream.transfer is None:
            raise TransferCancelled("the transfer could not be started", subject=source.subject)
        result = stream.transfer.result()
        if mine:
            fetch.wire_bytes = result.wire_bytes

    # -- making it -----------------------------------------------------------------------------------------------------
    def _make(
        self,
        fetch: Fetch,
        source: RemoteObject,
        recipe: Recipe,
        header: SafetensorsHeader,
        tensors: Tensors,
        finish: Callable[[], None],
    ) -> RamEntry:
        began_s = time.monotonic()
        planned = plan(header, recipe, source.subject)
        target = self.derive(source, recipe)
        allocation = self._ram.reserve(target, room_bytes(planned, header))
        allocation.populate_ahead()
        converter = Converter(planned, header, allocation.view, source.subject)
        try:
            for name, raw in tensors:
                _check(fetch)
                try:
                    converter.add(name, raw)
                except ImageFull as full:
                    converter, allocation = self._larger(converter, allocation, target, full)
                    converter.add(name, raw)
            finish()
            size_bytes, report = converter.finish()
        except BaseException:
            allocation.stop_populating()
            raise
        finally:
            converter.into = memoryview(b"")
        target = replace(target, size_bytes=size_bytes)
        allocation.shorten(size_bytes)
        image = allocation.view
        made = self._ram.publish(target, allocation, parse_front(image, target.subject), crc64(image), ahead=not fetch.loads)
        worst, error = report.worst
        seconds = time.monotonic() - began_s
        self._bus.emit(
            ConvertedEvent(
                target.subject, recipe.form, report.source_bytes, size_bytes, seconds, len(report.errors), len(report.stays), worst, error
            )
        )
        return made

    def _larger(self, converter: Converter, allocation: Allocation, target: RemoteObject, full: ImageFull) -> tuple[Converter, Allocation]:
        """More layers stay as they are than expected: what is there moves into a region that is always large enough."""
        allocation.stop_populating()
        larger = self._ram.reserve(target, full.needed_bytes)
        converter.move_to(larger.view)
        return converter, larger


def in_file_order(header: SafetensorsHeader) -> list[tuple[str, TensorInfo]]:
    return sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end, item[0]))


def _check(fetch: Fetch) -> None:
    if fetch.cancelled:
        raise TransferCancelled("nobody wants the object any more", subject=fetch.obj.subject)


def _read_at(file: FileIO, into: memoryview, offset: int) -> None:
    done = 0
    file.seek(offset)
    while done < len(into):
        count = file.readinto(into[done:])
        if not count:
            raise CorruptObject("the file on the SSD is shorter than it was", cause="it was cut while it was read")
        done += count
