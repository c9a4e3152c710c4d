"""Puts a few bytes into a bucket as one object, in one request: pictures, and everything else that fits into memory.

The same wire, checksum and conditions as for a model; repeated as a part is.  Blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from .answers import Refused, Then
from .checksum import crc64
from .config import TransferConfig
from .errors import ModelStreamError, NameTaken, ObjectChanged
from .origin import Origin
from .pacing import RateMeter, TokenBucket
from .patience import Patience, Tries, Verdict
from .publish_bucket import Bucket
from .publish_send import Body, Meters, Sender
from .receive import WIRE_FAULTS, Stop, fault_of


def put_bytes(
    origin: Origin,
    key: str,
    content: bytes | memoryview,
    *,
    content_type: str,
    metadata: Mapping[str, str],
    settings: TransferConfig,
    overwrite: bool = False,
    check: Callable[[], None] = lambda: None,
) -> str:
    """The ETag.  check: called before each try; may raise to stop.  Raises NameTaken, or another ModelStreamError."""
    clock, view = time.monotonic, memoryview(content)
    meters = Meters(TokenBucket(0.0, clock), RateMeter(clock), lambda count: None)
    stop = Stop()
    sender = Sender(origin, stop, meters, settings.stall_s)
    headers = {"Content-Type": content_type, **{f"x-amz-meta-{name}": value for name, value in metadata.items()}}
    if not overwrite:
        headers["If-None-Match"] = "*"
    body, tries, patience = Body(view, crc64(view), checksums=True), Tries(), Patience(settings)
    lost = renewed = False
    try:
        while True:
            check()
            try:
                return sender.put(key, {}, headers, body)
            except (Refused, ModelStreamError, *WIRE_FAULTS) as error:
                sender.drop()
                refusal = fault_of(error, origin.subject(key))
            if isinstance(refusal.error, ObjectChanged):
                ours = _is_ours(origin, key, body) if lost else ""
                if ours:
                    return ours
                step = "choose another name"
                raise NameTaken("the name is taken", subject=origin.subject(key), cause=refusal.error.cause, next_step=step)
            if body.checksums and refusal.reason == "status" and refusal.then is Then.RETRY and tries.fruitless:
                body = Body(view, body.crc64, checksums=False)  # servers that know no CRC64NVME may refuse its header
            lost = lost or refusal.reason in ("reset", "stall")
            if refusal.then is Then.SIGN and (renewed or not origin.refresh_credentials()):
                raise refusal.error
            renewed = renewed or refusal.then is Then.SIGN
            if patience.judge(refusal, tries, clock()) is Verdict.GIVE_UP:
                raise refusal.error
            stop.wait(max(0.0, tries.not_before_s - clock()))
    finally:
        sender.close()


def _is_ours(origin: Origin, key: str, body: Body) -> str:
    """An answer was lost and now the name is taken: by these very bytes?  Its ETag then, else empty."""
    there = Bucket(origin).head(key)
    if there is None or there.size_bytes != len(body.view) or there.crc64 != body.crc64:
        return ""
    return there.etag
