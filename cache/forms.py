"""Compressed forms of objects: whether one is there and worth its decoding, and its table read and believed.

A form (``NAME.msframes``, see `storage/frames`) lies beside its object.  It is used when it is of the very version that is wanted and
when the link is so slow that fewer bytes gain more than their decoding costs; everything that is wrong with it means the plain object.

Any thread; `Forms.open` blocks for three requests.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace

from ..storage.catalog import Catalog
from ..storage.errors import ModelStreamError
from ..storage.events import EventBus
from ..storage.events_forms import FormRefused
from ..storage.frames import END_BYTES, Table, end_bytes, read_end
from ..storage.front import PinnedReader
from ..storage.objects import ObjectHead, RemoteObject, at_head
from ..storage.origin import Origin
from .planes import available
from .policy import FROM_BUCKET

LAST_READ_BYTES = 64 << 10
"""holds the table of 20 GB"""
ASKING_S = 0.05
"""the requests before the first byte that a plain load does not make"""
GAIN = 0.92
"""of the plain load's time, or it is not worth a more complicated way"""
DECODE_BYTES_PER_S = 1.0e9
"""of one core, until it is measured"""
LARGE_BYTES = 64 << 20
"""a load from this size on says all it can about the link"""
BUSY = 0.7
"""share of all cores' time in the codec, above which a load says nothing of the link"""


@dataclass(frozen=True, slots=True)
class Price:
    """What an object costs by either way, in seconds."""

    plain_s: float
    form_s: float

    @property
    def pays(self) -> bool:
        return self.form_s < GAIN * self.plain_s


def price(size_bytes: int, stored_bytes: int, link_bytes_per_s: float, decode_bytes_per_s: float) -> Price:
    """decode_bytes_per_s: of all cores together, counted in decoded bytes; reading and decoding overlap"""
    return Price(size_bytes / link_bytes_per_s, ASKING_S + max(stored_bytes / link_bytes_per_s, size_bytes / decode_bytes_per_s))


@dataclass(frozen=True, slots=True)
class Form:
    """A form that may be read.  head: of the form; original: of the object itself"""

    obj: RemoteObject
    table: Table
    head: ObjectHead
    original: ObjectHead


def read_table(origin: Origin, form: RemoteObject) -> tuple[Table, ObjectHead]:
    """Raises CorruptObject and the errors of the network."""
    with PinnedReader(origin, form) as reader:
        size = reader.size_bytes
        last = reader.read(max(0, size - LAST_READ_BYTES), LAST_READ_BYTES)
        needed = end_bytes(last[-END_BYTES:], size, form.subject)
        if needed > len(last):
            last = reader.read(size - needed, needed - len(last)) + last
        return read_end(last[-needed:], size, form.subject), reader.head


class Forms:
    def __init__(self, catalog: Catalog, bus: EventBus, setting: str = "auto", cores: int | None = None) -> None:
        """setting: "auto", "always" or "never" """
        self._catalog = catalog
        self._bus = bus
        self._setting = setting
        self._cores = cores or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._link_bytes_per_s = FROM_BUCKET.bytes_per_s
        self._decode_bytes_per_s = DECODE_BYTES_PER_S
        self._look_at_link = False
        self._told_missing = False

    @property
    def link_bytes_per_s(self) -> float:
        return self._link_bytes_per_s

    @property
    def decode_bytes_per_s(self) -> float:
        return self._decode_bytes_per_s * self._cores

    def open(self, origin: Origin, obj: RemoteObject) -> Form | None:
        """None: the plain object is read."""
        form = self._catalog.form_of(obj) if self._setting != "never" else None
        if form is None or not self._is_worth_it(obj, form):
            return None
        if not available():
            self._missing(obj)
            return None
        try:
            with PinnedReader(origin, obj) as reader:
                original = reader.head
            table, head = read_table(origin, form)
        except ModelStreamError as error:
            self.refused(obj, "failed" if error.code != "corrupt" else "damaged", str(error))
            return None
        wanted = (obj.id.version, obj.size_bytes)
        if at_head(obj, original) != obj:
            return None  # it was overwritten: the plain transfer finds out what it is now
        if (table.original.version, table.original.size_bytes) != wanted or original.crc64nvme not in (None, table.original.crc64):
            self.refused(obj, "stale", "it is of another version of the object")
            return None
        # in the words of the listing, as the plain transfer's result would be
        return Form(form, table, head, _as_listed(obj, original, table))

    def refused(self, obj: RemoteObject, reason: str, cause: str) -> None:
        self._bus.emit(FormRefused(obj.subject, reason, cause))

    # -- what was measured -----------------------------------------------------------------------------------------------
    def read_plain(self, size_bytes: int, seconds: float) -> None:
        """A plain load that nothing held up."""
        with self._lock:
            self._observe(size_bytes, seconds)
            self._look_at_link = False

    def read_form(self, size_bytes: int, stored_bytes: int, seconds: float, decode_s: float) -> None:
        """decode_s: of all threads together"""
        with self._lock:
            if decode_s > 0.0:
                self._decode_bytes_per_s += 0.25 * (size_bytes / decode_s - self._decode_bytes_per_s)
            if decode_s < BUSY * seconds * self._cores:
                self._observe(stored_bytes, seconds)
            else:
                self._look_at_link = True  # only a plain load can say how fast the link is now

    def _observe(self, size_bytes: int, seconds: float) -> None:
        """With the lock held.  A link changes with the place and the hour: the latest loads count most, small ones little."""
        if size_bytes > 0 and seconds > 0.0:
            weight = 0.5 * min(1.0, size_bytes / LARGE_BYTES)
            self._link_bytes_per_s = 1.0 / ((1.0 - weight) / self._link_bytes_per_s + weight * seconds / size_bytes)

    def _is_worth_it(self, obj: RemoteObject, form: RemoteObject) -> bool:
        if self._setting == "always":
            return True
        if self._look_at_link:
            return False
        return price(obj.size_bytes, form.size_bytes, self.link_bytes_per_s, self.decode_bytes_per_s).pays

    def _missing(self, obj: RemoteObject) -> None:
        first, self._told_missing = not self._told_missing, True
        if first:
            self.refused(obj, "missing", "the package zstandard is not installed")


def _as_listed(obj: RemoteObject, original: ObjectHead, table: Table) -> ObjectHead:
    return replace(original, etag=obj.id.version, modified_s=obj.modified_s, crc64nvme=table.original.crc64)
