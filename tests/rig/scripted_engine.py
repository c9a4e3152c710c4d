"""A bucket in memory and an engine that reads it: what `storage.engine` promises its zones, without network or threads.

For machines that try thousands of orders of events; what a real server does is in the fault tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from awscrt.checksums import crc64nvme

from modelstream.storage.errors import ModelStreamError, ObjectMissing, OriginUnreachable, TransferCancelled
from modelstream.storage.landing import Progress, TransferResult
from modelstream.storage.objects import Extent, ObjectHead, ObjectId, RemoteObject, at_head

from .tiny_models import safetensors_bytes

STEP = 3 * 4096
"""of one part: no multiple of the tiers' chunks"""


class Bucket:
    """Keys and their versions.  ``body`` knows every version there ever was."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes
        self.versions = dict.fromkeys(sizes, 1)

    def overwrite(self, key: str) -> None:
        self.versions[key] += 1

    def object(self, key: str) -> RemoteObject:
        return self.version(key, self.versions[key])

    def version(self, key: str, number: int) -> RemoteObject:
        id = ObjectId("http://127.0.0.1", "models", key, f"v{number}")
        return RemoteObject("here", id, len(self._body(key, number)), 100.0 * number)

    def body(self, obj: RemoteObject) -> bytes:
        return self._body(obj.id.key, int(obj.id.version[1:]))

    def _body(self, key: str, number: int) -> bytes:
        return safetensors_bytes(f"{key} {number}", self._sizes[key] + 8 * number)


class ScriptedTransfer:
    """Over when it is made."""

    def __init__(self, obj: RemoteObject, priority: Any) -> None:
        self.obj = obj
        self.priority = priority
        self.error: ModelStreamError | None = None
        self.value: TransferResult | None = None

    def wait(self, timeout_s: float | None = None) -> bool:
        return True

    def result(self) -> TransferResult:
        if self.error is not None:
            raise self.error.about(self.error.subject)
        assert self.value is not None
        return self.value

    def cancel(self) -> None:
        self.error = self.error or TransferCancelled("stopped", subject=self.obj.subject)

    def set_priority(self, priority: Any) -> None:
        self.priority = priority

    def progress(self) -> Progress:
        return Progress(self.obj.size_bytes, self.obj.size_bytes, 0, 0.0, None, 0, "done")


class ScriptedEngine:
    """started: every object that was asked for; fails_after: bytes of the next transfer before its origin is gone"""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.started: list[RemoteObject] = []
        self.fails_after: int | None = None
        self.fetching: Callable[[], None] = lambda: None
        """called when half of an object has landed"""

    def start(self, origin: Any, obj: RemoteObject, zone: Any, *, priority: Any = None, settings: Any = None) -> ScriptedTransfer:
        self.started.append(obj)
        transfer = ScriptedTransfer(obj, priority)
        try:
            transfer.value = self._read(obj, zone)
        except ModelStreamError as error:
            transfer.error = error.about(obj.subject)
        return transfer

    def _read(self, obj: RemoteObject, zone: Any) -> TransferResult:
        if obj.id.key not in self.bucket.versions:
            raise ObjectMissing("there is no such object", subject=obj.subject)
        began_s = time.monotonic()
        found = self.bucket.object(obj.id.key)
        body = self.bucket.body(found)
        head = ObjectHead(len(body), found.id.version, modified_s=found.modified_s, crc64nvme=crc64nvme(body), checksum_note="full")
        view = zone.prepare(head)
        assert view.nbytes == len(body)
        done = {at for e in zone.extents() for at in range(e.offset, e.end, 4096)}
        resumed_bytes, wire_bytes = sum(e.length for e in zone.extents()), 0
        limit, self.fails_after = self.fails_after, None
        for offset in range(0, len(body), STEP):
            part = body[offset : offset + STEP]
            if limit is not None and wire_bytes >= limit:
                raise OriginUnreachable("the origin is gone", subject=obj.subject, cause="scripted", next_step="wait")
            if all(at in done for at in range(offset, offset + len(part), 4096)):
                continue
            view[offset : offset + len(part)] = part
            wire_bytes += len(part)
            zone.landed(Extent(offset, len(part), crc64nvme(part)))
            if 2 * offset <= len(body) < 2 * (offset + STEP):
                self.fetching()
        landed = at_head(obj, head)
        return TransferResult(
            landed, head, crc64nvme(body), "crc64nvme", landed != obj, time.monotonic() - began_s, wire_bytes, resumed_bytes, 1, 0
        )

    def active(self) -> tuple[Any, ...]:
        return ()

    def close(self) -> None: ...
