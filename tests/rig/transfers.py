"""Origin and transfer engine behind the fault proxy: what a test of one fault needs, and the invariants after it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from modelstream.storage.config import Config, ProfileConfig
from modelstream.storage.engine import TransferEngine
from modelstream.storage.errors import ModelStreamError
from modelstream.storage.events import Event, EventBus, TransferFailed, TransferFinished
from modelstream.storage.objects import Extent, ObjectHead, ObjectId, RemoteObject
from modelstream.storage.origin import Origin
from modelstream.storage.transfer import Transfer, TransferResult

from .faultproxy import FaultProxy
from .invariants import NothingLeaks, eventually, explains_itself, holds_no_secret, is_one_version

MIB = 1 << 20
LIMIT_S = 20.0
"""no single case may take longer, whatever goes wrong in it"""

QUICK = """
[transfer]
connections_max = 3
part_size_mb = 1
deadline_s = 15
no_progress_s = 3
low_speed_kib_s = 256
low_speed_s = 0.6
stall_s = 0.5
retries = 3
"""
"""faults that take ten seconds in daily use take half a second here"""


def made_up(name: str, size_bytes: int) -> bytes:
    """Bytes that are the same in every run and different for every name."""
    return hashlib.shake_128(name.encode()).digest(size_bytes)


@dataclass
class BufferZone:
    """A landing zone in ordinary memory."""

    resumed: Sequence[Extent] = ()
    start: bytes = b""
    """what lies in the buffer before the first byte lands: the bytes of ``resumed``"""
    heads: list[ObjectHead] = field(default_factory=list)
    landed_extents: list[Extent] = field(default_factory=list)
    buffer: bytearray = field(default_factory=bytearray)

    def prepare(self, head: ObjectHead) -> memoryview:
        fresh = not self.heads
        self.heads.append(head)
        self.landed_extents = []
        self.buffer = bytearray(head.size_bytes)
        if fresh:
            self.buffer[: len(self.start)] = self.start
        else:
            self.resumed = ()
        return memoryview(self.buffer)

    def extents(self) -> Sequence[Extent]:
        return self.resumed

    def landed(self, extent: Extent) -> None:
        self.landed_extents.append(extent)

    def is_covered_once(self) -> bool:
        """Whether resumed and landed extents together are the object, without gap or overlap."""
        at = 0
        for extent in sorted([*self.resumed, *self.landed_extents]):
            if extent.offset != at:
                return False
            at = extent.end
        return at == len(self.buffer)


class TransferRig:
    """One origin behind one proxy, one engine, and every event that came.

    proxy:  in front of the server
    direct: a boto3 client that goes past the proxy
    """

    def __init__(self, seaweed: Any, proxy: FaultProxy, *, transfer: str = QUICK, profile: str = "", profile_extra: str = "") -> None:
        self.server = seaweed
        self.proxy = proxy
        self.direct = seaweed.client()
        self.secrets = [seaweed.secret_key]
        self.rotated_to: ProfileConfig | None = None
        """the profile as the configuration file would say it when it is read again"""
        self.config = Config.from_text(self._toml(transfer, profile, profile_extra))
        self.bus = EventBus()
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        self.origin = Origin(self.config.origins[0], reread=lambda: self.rotated_to)
        self.engine = TransferEngine(self.config.transfer, self.bus)

    def _toml(self, transfer: str, profile: str, extra: str) -> str:
        keys = f'access_key_id = "{self.server.access_key}"\nsecret_access_key = "{self.server.secret_key}"\n'
        quick = "connect_timeout_s = 1\nread_timeout_s = 1\nmax_attempts = 2\n"
        profile = profile or f'endpoint = "{self.proxy.url}"\n{keys}{quick}{extra}\n'
        return f'{transfer}\n[profiles.test]\n{profile}\n[[origins]]\nname = "rig"\nbucket = "{self.server.bucket}"\nprofile = "test"\n'

    # -- objects -----------------------------------------------------------------------------------------------------
    def put(self, key: str, body: bytes, **extra: Any) -> RemoteObject:
        """Uploads past the proxy, with the checksum that AWS would add."""
        if not extra:
            extra = {"ChecksumAlgorithm": "CRC64NVME"}
        self.direct.put_object(Bucket=self.server.bucket, Key=key, Body=body, **extra)
        return self.object(key)

    def delete(self, key: str) -> None:
        self.direct.delete_object(Bucket=self.server.bucket, Key=key)

    def object(self, key: str) -> RemoteObject:
        """As a listing would say it."""
        listed = self.direct.list_objects_v2(Bucket=self.server.bucket, Prefix=key)["Contents"]
        row = next(r for r in listed if r["Key"] == key)
        version = ObjectId(self.origin.endpoint, self.server.bucket, key, row["ETag"].strip('"'))
        return RemoteObject(self.origin.name, version, row["Size"], row["LastModified"].timestamp(), row.get("StorageClass", "STANDARD"))

    # -- transfers ----------------------------------------------------------------------------------------------------
    def start(self, obj: RemoteObject, zone: BufferZone | None = None) -> tuple[BufferZone, Transfer]:
        zone = zone or BufferZone()
        return zone, self.engine.start(self.origin, obj, zone)

    def load(self, obj: RemoteObject, *versions: bytes, zone: BufferZone | None = None) -> TransferResult:
        """Transfers to the end and checks what arrived (I1) and the accounting (I4)."""
        zone, transfer = self.start(obj, zone)
        result = finished(transfer)
        is_one_version(zone.buffer, *versions)
        assert zone.is_covered_once()
        progress = transfer.progress()
        assert progress.landed_bytes == progress.size_bytes == len(zone.buffer)
        return result

    def fails(
        self, obj: RemoteObject, kind: type[ModelStreamError] | tuple[type[ModelStreamError], ...], zone: BufferZone | None = None
    ) -> ModelStreamError:
        """Transfers, expects this error, and checks that it explains itself (I6)."""
        _, transfer = self.start(obj, zone)
        with pytest.raises(ModelStreamError) as caught:
            finished(transfer)
        error = caught.value
        assert isinstance(error, kind), f"expected {kind}, got {type(error).__name__}: {error}"
        explains_itself(error, obj.id.key, self.secrets)
        return error.with_traceback(None)  # its frames hold the origin and that one's sockets

    def listing_fails(self, kind: type[ModelStreamError] | tuple[type[ModelStreamError], ...]) -> ModelStreamError:
        """Lists, expects this error, and checks that it explains itself.  Its traceback, which holds sockets, is let go."""
        with pytest.raises(ModelStreamError) as caught:
            list(self.origin.list_pages())
        error = caught.value.with_traceback(None)
        assert isinstance(error, kind), f"expected {kind}, got {type(error).__name__}: {error}"
        explains_itself(error, self.origin.name, self.secrets)
        error.__context__ = None
        return error

    def fetched_bytes(self, obj: RemoteObject) -> int:
        """Body bytes that the proxy sent for the object."""
        return self.proxy.sent_bytes(obj.id.key)

    def events_of(self, kind: type[Event]) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]

    def check_and_close(self) -> None:
        """The invariants that every case shares."""
        assert eventually(lambda: not self.engine.active()), "a transfer is still counted as active"
        self.engine.close()
        del self.origin  # with its client and that one's sockets
        self.direct.close()
        holds_no_secret([repr(e) for e in self.events], self.secrets)
        for event in self.events_of(TransferFinished):
            assert event.size_bytes >= 0 and event.wire_bytes >= 0
        for failed in self.events_of(TransferFailed):
            assert failed.message and failed.code


def finished(transfer: Transfer) -> TransferResult:
    """The result, or the error; a transfer that hangs fails the test."""
    if not transfer.wait(LIMIT_S):
        transfer.cancel()
        raise AssertionError(f"the transfer hangs: {transfer.progress()}")
    return transfer.result()


@contextlib.contextmanager
def transfer_rig(seaweed: Any, *, tls: Any = None, **options: Any) -> Iterator[TransferRig]:
    """Everything opened and, with the invariants, closed again."""
    with NothingLeaks(), FaultProxy(seaweed.host, seaweed.port, tls=tls) as proxy:
        rig = TransferRig(seaweed, proxy, **options)
        try:
            yield rig
        finally:
            rig.engine.close()
        rig.check_and_close()
