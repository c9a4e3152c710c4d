"""What the RAM tier keeps of one object, and what it hands out: a leased entry, figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..storage.objects import RemoteObject
from ..storage.safetensors_header import SafetensorsHeader
from .lease import Lease

if TYPE_CHECKING:
    from .ram import RamTier


class RamRecord:
    """What the tier keeps of one object.  ``buffer``, ``leases`` and ``dropped`` change under the tier's lock only.

    ``buffer`` is the tier's one reference to the memory; None once the record is dropped and no longer leased.
    """

    def __init__(self, obj: RemoteObject, buffer: Any, header: SafetensorsHeader, crc64: int | None) -> None:
        self.obj = obj
        self.buffer = buffer
        self.header = header
        self.crc64 = crc64
        self.leases = 0
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True
        self.forget_if_unused()

    def forget_if_unused(self) -> None:
        """So that a handle somebody keeps after its release does not keep the memory."""
        if self.dropped and not self.leases:
            self.buffer = None


class RamEntry(Lease):
    """A leased object.  Its bytes may be read until `release`; tensors made from ``buffer`` stay valid after it."""

    def __init__(self, tier: RamTier, record: RamRecord) -> None:
        super().__init__(lambda: tier._unlease(record))
        self._tier = tier
        self._record = record

    def lease(self) -> RamEntry:
        """A second lease on the same object.  Only while this one is held."""
        return self._tier._lease(self._record)

    @property
    def obj(self) -> RemoteObject:
        return self._record.obj

    @property
    def header(self) -> SafetensorsHeader:
        return self._record.header

    @property
    def crc64(self) -> int | None:
        return self._record.crc64

    @property
    def buffer(self) -> Any:
        """The ctypes array that owns the bytes."""
        return self._record.buffer

    @property
    def view(self) -> memoryview:
        return memoryview(self._record.buffer).cast("B")

    def __enter__(self) -> RamEntry:
        return self


@dataclass(frozen=True, slots=True)
class RamEntryFigures:
    digest: str
    subject: str
    size_bytes: int
    leases: int


@dataclass(frozen=True, slots=True)
class RamSnapshot:
    """used_bytes: held by entries, running loads and tensors of evicted entries; entries: least recently used first."""

    budget_bytes: int
    used_bytes: int
    warm_free_bytes: int
    entries: tuple[RamEntryFigures, ...]
