"""The ways by which an object's bytes can come over the network, nearest and cheapest first, and from one to the next.

A copy in a near origin, else the compressed form, else the object itself.  A way that fails hands over to the next with what
has landed; only the last one's failure is the load's.  Runs in the thread of the fetch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..storage.config import TransferConfig
from ..storage.engine import TransferEngine
from ..storage.errors import CorruptObject, TransferCancelled
from ..storage.events import EventBus
from ..storage.events_forms import FormRead
from ..storage.landing import LandingZone, TransferResult
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from .fetch import Fetch
from .forms import Form, Forms
from .frame_zone import FrameZone
from .near import FAULTS, Near, patience
from .near_visit import Visit
from .relay import Relay, as_it_is
from .zones import Awaited, FileZone, MemoryZone


class Ways:
    """near, forms: None where there are none, and then there is one way"""

    def __init__(
        self, origins: Mapping[str, Origin], engine: TransferEngine, bus: EventBus, near: Near | None = None, forms: Forms | None = None
    ) -> None:
        self._origins = origins
        self._engine = engine
        self._bus = bus
        self._near = near
        self._forms = forms

    def read(self, fetch: Fetch, zone: MemoryZone | FileZone) -> TransferResult:
        """What landed in ``zone`` may be a newer version than the one asked for.  Raises as the last transfer did."""
        origin = self._origins[fetch.obj.origin]
        if self._near is not None and fetch.visit is None:
            fetch.visit = self._near.visit(fetch.obj, fetch.disk_progress, lambda: fetch.cancelled)
        visit = fetch.visit
        form = None if self._forms is None or (visit is not None and visit.copy is not None) else self._forms.open(origin, fetch.obj)
        if visit is None and form is None:
            return self._plain(fetch, zone, zone, origin)
        relay = Relay(zone)
        try:
            return self._by_turns(fetch, zone, relay, origin, form)
        finally:
            relay.let_go()

    def _by_turns(
        self, fetch: Fetch, zone: MemoryZone | FileZone, relay: Relay, origin: Origin, form: Form | None
    ) -> TransferResult:
        visit, result = fetch.visit, None
        if visit is not None and visit.copy is not None:
            result = self._copy(fetch, zone, relay, visit)
            if result is not None:
                return result
        if visit is not None:
            visit.landed_bytes = lambda: fetch.progress().done_bytes
        if form is not None:
            result = self._form(fetch, zone, relay, origin, form)
        if result is None:
            result = self._plain(fetch, zone, relay, origin)
        if visit is not None:
            visit.fetched = (zone.obj, result.crc64)
        return result

    # -- one way each ----------------------------------------------------------------------------------------------------
    def _copy(self, fetch: Fetch, zone: MemoryZone | FileZone, relay: Relay, visit: Visit) -> TransferResult | None:
        """None: the near origin failed, and the far one goes on with what has landed."""
        relay.head_of = visit.head_of
        try:
            settings = patience(self._engine.settings)
            return visit.checked(self._transfer(fetch, zone, relay, visit.mirror.bucket.origin, visit.near_object, settings))
        except FAULTS as error:
            if fetch.cancelled:
                raise
            visit.failed(error, relay.landed_bytes)
            if isinstance(error, CorruptObject):
                relay.void()
            return None
        finally:
            relay.head_of = as_it_is

    def _form(self, fetch: Fetch, zone: MemoryZone | FileZone, relay: Relay, origin: Origin, form: Form) -> TransferResult | None:
        """None: it failed, and the plain object is read, from where good frames end if the form was not damaged."""
        assert self._forms is not None
        frames = FrameZone(relay, form.table, form.head, form.original, fetch.obj.subject)
        try:
            result = self._transfer(fetch, zone, frames, origin, form.obj)
            frames.check()
        except FAULTS as error:
            if fetch.cancelled:
                raise
            if isinstance(error, CorruptObject):
                relay.void()
            self._forms.refused(fetch.obj, "damaged" if isinstance(error, CorruptObject) else "failed", str(error))
            return None
        size, stored = fetch.obj.size_bytes, form.obj.size_bytes
        if fetch.loads:
            self._forms.read_form(size, stored, result.seconds, frames.decode_s)
        self._bus.emit(FormRead(fetch.obj.subject, size, stored, result.seconds))
        original = form.table.original
        return replace(result, obj=fetch.obj, head=form.original, crc64=original.crc64, verified="crc64nvme", changed=False)

    def _plain(self, fetch: Fetch, zone: MemoryZone | FileZone, through: LandingZone, origin: Origin) -> TransferResult:
        result = self._transfer(fetch, zone, through, origin, fetch.obj)
        if self._forms is not None and fetch.loads and not result.resumed_bytes:
            self._forms.read_plain(zone.obj.size_bytes, result.seconds)
        return result

    # -- the wire --------------------------------------------------------------------------------------------------------
    def _transfer(
        self,
        fetch: Fetch,
        zone: MemoryZone | FileZone,
        through: LandingZone,
        origin: Origin,
        obj: RemoteObject,
        settings: TransferConfig | None = None,
    ) -> TransferResult:
        """One transfer into ``zone``, by way of ``through``."""
        transfer = self._engine.start(origin, obj, through, priority=fetch.priority, settings=settings)
        zone.on_refused = transfer.cancel
        if zone.refused is not None:
            transfer.cancel()
        if isinstance(zone, FileZone):
            zone.stopped = lambda: transfer.error is not None
        fetch.attach(transfer)
        transfer.wait()
        fetch.wire_bytes += transfer.progress().wire_bytes
        try:
            return transfer.result()
        except TransferCancelled:
            if zone.alike is not None:
                raise zone.alike from None
            if isinstance(zone, MemoryZone) and zone.left:
                raise Awaited from None
            if zone.refused is not None:
                raise zone.refused.about(fetch.obj.subject) from None
            raise
