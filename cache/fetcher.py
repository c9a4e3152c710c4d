"""Moves one object into RAM or onto the SSD: from the SSD if it is there, else from its bucket.

Runs in one short-lived thread a fetch.  The tiers do the work; this module says in which order, and what
happens when one of them has no room.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from ..storage.catalog import Catalog
from ..storage.checksum import crc64 as crc64_of_bytes
from ..storage.engine import TransferEngine
from ..storage.errors import (
    CorruptObject,
    DiskFailed,
    InvalidSafetensors,
    ModelStreamError,
    NoRoom,
    ObjectArchived,
    ObjectChanged,
    TransferCancelled,
)
from ..storage.events import EventBus, SameBytesFound, TierDegraded, TierMiss
from ..storage.front import PinnedReader
from ..storage.landing import TransferResult
from ..storage.objects import Extent, ObjectHead, RemoteObject
from ..storage.origin import Origin
from .converting import Conversions
from .fetch import Fetch, Goal
from .forms import Forms
from .near import Near
from .ram import RamEntry, RamTier
from .recipe import Recipe
from .restore_words import RestoreProgress, in_words
from .restores import Restores
from .same_bytes import SameBytes
from .sharing import adopted, can_share, source_of
from .speeds import Speeds
from .ssd_flight import Flight
from .ssd_lease import SsdLease
from .ssd_stack import AnySsd
from .tensors import parse_front
from .watch import LoadProgress
from .ways import Ways
from .zones import Alike, Awaited, FileZone, MemoryZone

NOT_RESUMABLE = (CorruptObject, InvalidSafetensors, ObjectChanged)
RESTORED_TIMES = 3
"""how often one load goes on after its object came back from an archive; a copy that expires faster is never read"""


class Fetcher:
    def __init__(
        self,
        origins: Mapping[str, Origin],
        catalog: Catalog,
        engine: TransferEngine,
        ram: RamTier,
        ssd: AnySsd,
        bus: EventBus,
        speeds: Speeds | None = None,
        same: SameBytes | None = None,
        restores: Restores | None = None,
        near: Near | None = None,
        forms: Forms | None = None,
    ) -> None:
        """speeds: told how long loads take; restores: what is done about archived objects, None: that is an error;
        near: where an origin with copies stands in front of others; forms: where compressed forms may be read
        """
        self._origins = origins
        self._catalog = catalog
        self._engine = engine
        self._ram = ram
        self._ssd = ssd
        self._bus = bus
        self.speeds = speeds or Speeds()
        self.same = same or SameBytes(ram, ssd)
        self._restores = restores
        self.conversions = Conversions(origins, catalog, engine, ram, ssd, bus)
        self.read_for_load: Callable[[RemoteObject], None] = lambda obj: None
        """told of what a load has read from its bucket; quick"""
        self.near = near
        self._ways = Ways(origins, engine, bus, near, forms)

    def run(self, fetch: Fetch) -> None:
        """The body of a fetch's thread.  Never raises: the error becomes the waiters' error."""
        while True:
            loads, error = fetch.loads, self._tried(fetch)
            # What is fetched ahead asks nothing back from an archive; a load that has joined it since may.
            if fetch.ended(error, unless_load=isinstance(error, ObjectArchived) and not loads):
                break
        if fetch.visit is not None:
            fetch.visit.ended()

    def _tried(self, fetch: Fetch) -> BaseException | None:
        try:
            if fetch.goal is Goal.MEMORY:
                self._into_memory(fetch)
            else:
                self._onto_disk(fetch)
        except BaseException as error:
            return error
        return None

    # -- into RAM ----------------------------------------------------------------------------------------------------
    def _into_memory(self, fetch: Fetch) -> None:
        if self._from_disk(fetch):
            return
        self._bus.emit(TierMiss("ssd", fetch.obj.subject, fetch.obj.size_bytes))
        if fetch.needed:
            self._ssd.missed(fetch.obj)
        self._though_archived(fetch, self._others_or_bucket_to_memory)

    def _others_or_bucket_to_memory(self, fetch: Fetch) -> None:
        with self._flight(fetch) as flight:
            if flight.waited and self._from_disk(fetch, shared=True):
                return None
            made_from = self.conversions.recipes.source_of(fetch.obj)
            if made_from is not None:
                return self._convert(fetch, *made_from)
            try:
                try:
                    self._bucket_to_memory(fetch, flight, share=can_share(self._ssd.path_for(fetch.obj)))
                except Alike as alike:
                    if not self._same_to_memory(fetch, alike):
                        self._bucket_to_memory(fetch, flight, compare=False)
                except Awaited:
                    if not self._bucket_to_shared(fetch):
                        self._bucket_to_memory(fetch, flight, compare=False)
            except NoRoom as error:
                self._bus.emit(TierDegraded("ram", error.code, str(error)))
                self._bucket_to_disk(fetch, compare=False)  # loaders then map the file

    def _convert(self, fetch: Fetch, source: RemoteObject, recipe: Recipe) -> None:
        """A derived object.  Its copy on the SSD is made while it is used; without one it is converted again some day."""
        entry = self.conversions.into_memory(fetch, source, recipe)
        with entry.lease() as kept:
            fetch.reached(Goal.MEMORY, entry.obj, entry=entry)
            try:
                self._memory_to_disk(fetch, kept, kept.obj)
            except (ModelStreamError, OSError) as error:
                code = error.code if isinstance(error, ModelStreamError) else type(error).__name__
                self._bus.emit(TierDegraded("ssd", code, str(error)))
                if fetch.goal is Goal.DISK:
                    raise

    def _from_disk(self, fetch: Fetch, obj: RemoteObject | None = None, *, shared: bool = False) -> bool:
        """False when the SSD has no copy, or a damaged one.

        obj:    under whose name it is kept
        shared: other processes want it now, so all of them have the file's own pages
        """
        lease = self._ssd.lease(obj or self.same.of(fetch.obj), use=fetch.needed and not fetch.wire_bytes)
        if lease is None:
            return False
        try:
            if not (shared and adopted(fetch, lease, self._ram, self._ssd)):
                self._disk_to_memory(fetch, lease)
        except (CorruptObject, DiskFailed):
            return False  # the tier has said so in an event, and set a damaged copy aside; the bucket has what is missing
        finally:
            lease.release()
        return True

    def _flight(self, fetch: Fetch) -> AbstractContextManager[Flight]:
        return self._ssd.flight(fetch.obj, fetch.disk_progress, lambda: fetch.cancelled)

    # -- the same bytes under another name -------------------------------------------------------------------------------
    def _same_to_memory(self, fetch: Fetch, alike: Alike) -> bool:
        """False when nothing here is the same after all, or it went meanwhile."""
        twin = self._proven(fetch, alike)
        if twin is None:
            return False
        entry = self._ram.peek(twin.id.digest)
        if entry is not None:
            fetch.source = "ram"
            fetch.reached(Goal.MEMORY, alike.obj, entry=entry)
            return True
        return self._from_disk(fetch, twin)

    def _same_to_disk(self, fetch: Fetch, alike: Alike) -> bool:
        twin = self._proven(fetch, alike)
        if twin is None:
            return False
        if self._ssd.lookup(twin) is not None:
            fetch.source = "ssd"
            fetch.reached(Goal.DISK, alike.obj)
            return True
        entry = self._ram.peek(twin.id.digest)
        if entry is None:
            return False
        fetch.source = "ram"
        with entry:
            self._memory_to_disk(fetch, entry, twin)
        return True

    def _alike(self, obj: RemoteObject, head: ObjectHead) -> tuple[RemoteObject, ...]:
        """In a transfer's thread, before its first byte."""

        def sample(offset: int, length: int) -> bytes:
            with PinnedReader(self._origins[obj.origin], obj) as reader:
                return reader.read(offset, length)

        try:
            return self.same.alike(obj, head, sample)
        except (ModelStreamError, OSError):
            return ()  # whatever it is, the transfer meets it too, and tells

    def _proven(self, fetch: Fetch, alike: Alike) -> RemoteObject | None:
        try:
            twin = self.same.proven(alike.obj, alike.head, alike.candidates, lambda: fetch.cancelled)
        except OSError:
            twin = None  # it went, or its disk does not answer; the fetch that comes now does without
        if fetch.cancelled:
            raise TransferCancelled("nobody wants the object any more", subject=fetch.obj.subject)
        if twin is not None:
            fetch.landed_obj = alike.obj
            self._bus.emit(SameBytesFound(alike.obj.subject, twin.subject, twin.size_bytes))
        return twin

    def _disk_to_memory(self, fetch: Fetch, lease: SsdLease) -> None:
        obj = replace(lease.obj, size_bytes=lease.record.size_bytes)  # of a derived object the size is known when it is made
        fetch.source = source_of(fetch)
        try:
            allocation = self._ram.reserve(obj, obj.size_bytes)
        except NoRoom as error:
            self._bus.emit(TierDegraded("ram", error.code, str(error)))
            return fetch.reached(Goal.DISK, fetch.landed_obj)
        if fetch.loads:
            allocation.populate_ahead()
        began_s = time.monotonic()
        try:
            self._ssd.read_into(lease, allocation.view, fetch.disk_progress, lambda: fetch.cancelled)
        except BaseException:
            allocation.stop_populating()
            fetch.source = "bucket"
            raise
        self.speeds.read_from_ssd(obj.size_bytes, time.monotonic() - began_s)
        header = parse_front(allocation.view, obj.subject)
        entry = self._ram.publish(obj, allocation, header, lease.record.crc64, ahead=not fetch.loads)
        landed = replace(fetch.landed_obj, size_bytes=obj.size_bytes)
        fetch.reached(Goal.DISK, landed)
        fetch.reached(Goal.MEMORY, landed, entry=entry)

    def _bucket_to_shared(self, fetch: Fetch) -> bool:
        """For an object that other processes wait for: into its file, which all of them map.

        So there is one copy of it in memory, however many processes have it, and nobody fills gigabytes of his own while the
        others do the same.  False when the SSD does not take it.
        """
        try:
            self._bucket_to_disk(fetch, compare=False, shared=True)
        except (NoRoom, DiskFailed):
            return False
        return self._from_disk(fetch, fetch.landed_obj, shared=True)

    def _bucket_to_memory(self, fetch: Fetch, flight: Flight, *, compare: bool = True, share: bool = False) -> None:
        """``flight`` ends at once when the SSD takes no copy: there is nothing to wait for then.

        Raises Alike when something here may have the same bytes; without ``compare`` nobody looks.
        Raises Awaited when other processes wait for it before it begins, with ``share``.
        """
        zone = MemoryZone(fetch.obj, self._ram, self._ssd, self._bus)
        if compare:
            zone.looks_alike = self._alike
        zone.awaited = flight.awaited
        zone.leaves = share
        zone.on_degraded = flight.release
        zone.in_haste = lambda: fetch.loads
        try:
            result = self._transfer(fetch, zone)
            assert zone.allocation is not None and zone.front is not None
            header = zone.front.header or parse_front(zone.allocation.view, zone.obj.subject)
        except BaseException as error:
            zone.drop(keep=not isinstance(error, NOT_RESUMABLE))
            raise
        entry = self._ram.publish(zone.obj, zone.allocation, header, result.crc64, ahead=not fetch.loads)
        fetch.reached(Goal.MEMORY, zone.obj, entry=entry)
        if zone.partial is not None:
            self._commit(fetch, zone, result)

    def _commit(self, fetch: Fetch, zone: MemoryZone | FileZone, result: TransferResult) -> None:
        """Makes the SSD copy final.  A disk that fails now costs the SSD copy, never the load."""
        assert zone.partial is not None
        try:
            zone.partial.commit(result.crc64, result.verified)
        except (ModelStreamError, OSError) as error:
            code = error.code if isinstance(error, ModelStreamError) else type(error).__name__
            self._bus.emit(TierDegraded("ssd", code, str(error)))
            if fetch.goal is Goal.DISK:
                raise
        else:
            fetch.reached(Goal.DISK, zone.obj)

    # -- onto the SSD --------------------------------------------------------------------------------------------------
    def _onto_disk(self, fetch: Fetch) -> None:
        if fetch.needed:
            self._ssd.missed(fetch.obj)
        kept = self.same.of(fetch.obj)
        entry = self._ram.peek(kept.id.digest)
        if entry is not None:
            fetch.source = "ram"
            with entry:
                return self._memory_to_disk(fetch, entry, kept)
        self._though_archived(fetch, self._others_or_bucket_to_disk)

    def _others_or_bucket_to_disk(self, fetch: Fetch) -> None:
        with self._flight(fetch) as flight:
            if flight.waited and self._ssd.lookup(fetch.obj) is not None:
                fetch.source = "ssd"
                return fetch.reached(Goal.DISK, fetch.obj)
            made_from = self.conversions.recipes.source_of(fetch.obj)
            if made_from is not None:
                return self._convert(fetch, *made_from)
            try:
                self._bucket_to_disk(fetch)
            except Alike as alike:
                if not self._same_to_disk(fetch, alike):
                    self._bucket_to_disk(fetch, compare=False)

    def _bucket_to_disk(self, fetch: Fetch, *, compare: bool = True, shared: bool = False) -> None:
        """shared: safetensors for several processes, where it is worth a place on the SSD"""
        zone = FileZone(fetch.obj, self._ssd, must=not shared, tensors=shared)
        if compare:
            zone.looks_alike = self._alike
        try:
            result = self._transfer(fetch, zone)
            self._commit(fetch, zone, result)
        except BaseException as error:
            zone.drop(keep=not isinstance(error, NOT_RESUMABLE))
            raise
        fetch.reached(Goal.DISK, zone.obj)

    def _memory_to_disk(self, fetch: Fetch, entry: RamEntry, obj: RemoteObject | None = None) -> None:
        """``obj``: under whose name it is kept, where that is another."""
        obj = obj or fetch.obj
        partial = self._ssd.begin(obj, ObjectHead(obj.size_bytes, obj.id.version, modified_s=obj.modified_s))
        try:
            crc64 = entry.crc64 if entry.crc64 is not None else crc64_of_bytes(entry.view)
            partial.write_behind(entry.view, Extent(0, obj.size_bytes, crc64))
            partial.commit(crc64)
        except BaseException:
            partial.abandon(keep=False)
            raise
        fetch.reached(Goal.DISK, fetch.landed_obj)

    # -- out of an archive -----------------------------------------------------------------------------------------------
    def _though_archived(self, fetch: Fetch, bring: Callable[[Fetch], None]) -> None:
        """``bring``, once the object can be read; again when its restored copy expired in the middle: what has landed stays.

        No lock between processes is held while it is waited for.  Raises ObjectArchived where the owner allows no wait.
        """
        restores = self._restores
        if restores is None:
            return bring(fetch)
        if self.conversions.recipes.source_of(fetch.obj) is None:  # what it is made from may lie here: then nothing is asked back
            self._until_restored(fetch, restores.before_reading)
        for number in range(1, RESTORED_TIMES + 1):
            try:
                return bring(fetch)
            except ObjectArchived:
                if number == RESTORED_TIMES:
                    raise
            self._until_restored(fetch, restores.readable)

    def _until_restored(self, fetch: Fetch, wait: Callable[..., None]) -> None:
        def show(progress: RestoreProgress) -> None:
            waits = in_words(progress)
            fetch.waits_for(LoadProgress(fetch.obj.size_bytes, 0, 0.0, progress.left_s, "bucket", waits))

        try:
            made_from = self.conversions.recipes.source_of(fetch.obj)
            wait(made_from[0] if made_from else fetch.obj, fetch.loads, lambda: fetch.cancelled, show)
        finally:
            fetch.waits_for(None)

    # -- the wire --------------------------------------------------------------------------------------------------------
    def _transfer(self, fetch: Fetch, zone: MemoryZone | FileZone) -> TransferResult:
        """Waits for the transfer; what it pinned may be a newer version than the one asked for."""
        result = self._ways.read(fetch, zone)
        if fetch.loads and not result.resumed_bytes:
            self.speeds.read_from_bucket(zone.obj.size_bytes, result.seconds)
        if fetch.loads:
            self.read_for_load(zone.obj)
        if zone.obj != fetch.obj:
            self._catalog.replace(fetch.obj, zone.obj)
        return result
