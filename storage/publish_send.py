"""Sends one body: a part of an upload, or a whole small object.  One connection, one thread, from memory into the kernel.

The body goes in pieces of 256 KiB straight from the caller's memory (one copy, the GIL released), so a stop, the rate limit
and the read timeout are looked at some thousand times a gigabyte and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from .answers import Fields, Refusal, Refused, Then, plain_etag, refusal_of
from .checksum import to_header
from .errors import BadAnswer
from .origin import USER_AGENT, Origin
from .pacing import RateMeter, TokenBucket
from .pin import address_of
from .publish_bucket import writing_error
from .receive import Stop
from .wire import Address, Connection, ConnectionShut

PIECE_BYTES = 256 << 10
"""each has stall_s to leave: 10 s for that is 26 KB/s"""
ANSWER_TIMEOUT_S = 60.0
"""for the answer to a part: the server may write it to several disks first"""


@dataclass(frozen=True, slots=True)
class Meters:
    """What every sender of one upload shares.  sent: called with each piece's bytes."""

    bucket: TokenBucket
    meter: RateMeter
    sent: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Body:
    """view: what is sent; crc64: its checksum, sent along where ``checksums``, else an MD5 is made and sent"""

    view: memoryview
    crc64: int
    checksums: bool


class Sender:
    """One worker's connection.  ``close`` it."""

    def __init__(self, origin: Origin, stop: Stop, meters: Meters, stall_s: float) -> None:
        self._origin = origin
        self._stop = stop
        self._meters = meters
        self._stall_s = stall_s
        self._connection: Connection | None = None
        self._tls: object = None

    def put(self, key: str, parameters: Mapping[str, str | None], headers: Mapping[str, str], body: Body) -> str:
        """Sends and returns the ETag.  Raises Refused, ModelStreamError (no credentials), ConnectionShut or what a wire raises."""
        subject = self._origin.subject(key)
        md5 = "" if body.checksums else _md5(body.view)
        sums = {"x-amz-checksum-crc64nvme": to_header(body.crc64)} if body.checksums else {"Content-MD5": md5}
        signed = self._origin.sign_upload(key, parameters, {**headers, **sums})
        sent = {"User-Agent": USER_AGENT, **signed.headers, "Content-Length": str(len(body.view))}
        connection = self._open_to(address_of(signed))
        self._stop.attach(connection)
        try:
            answer = connection.ask("PUT", signed.target, sent, lambda: self._pieces(body.view))
            text = connection.error_body()
            if answer.status != 200:
                raise Refused(refusal_of_put(answer.status, answer.headers, text, subject))
            etag = plain_etag(answer.header("ETag"))
            if not etag:
                step = "check that the endpoint is an S3 server and no proxy or portal answers in its place"
                error = BadAnswer("the answer to an upload has no ETag", subject=subject, cause="not an S3 answer", next_step=step)
                raise Refused(Refusal("page", Then.RETRY, error))
            if self._stop.why:
                raise ConnectionShut
            return etag
        finally:
            self._stop.attach(None)
            connection.finish()

    def drop(self) -> None:
        """After a failure the connection is in no known state."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    close = drop

    def _pieces(self, view: memoryview) -> Iterator[memoryview]:
        limited = self._meters.bucket.rate_bytes_per_s > 0
        most = self._meters.bucket.slice_bytes(PIECE_BYTES)
        for at in range(0, len(view), most):
            piece = view[at : at + most]
            if self._stop.why:
                raise ConnectionShut
            if limited and (wait_s := self._meters.bucket.take(len(piece))) > 0:
                self._stop.wait(wait_s)
            yield piece
            self._meters.meter.add(len(piece))
            self._meters.sent(len(piece))

    def _open_to(self, address: Address) -> Connection:
        tls = self._origin.tls_context() if address.tls else None
        kept = self._connection
        if kept is not None and kept.usable and kept.address == address and self._tls is tls:
            return kept
        self.drop()
        profile = self._origin.profile
        self._tls = tls
        self._connection = Connection(
            address,
            tls,
            connect_timeout_s=profile.connect_timeout_s,
            read_timeout_s=self._stall_s,
            answer_timeout_s=max(profile.read_timeout_s, ANSWER_TIMEOUT_S),
        )
        return self._connection


def refusal_of_put(status: int, headers: Fields, body: bytes, subject: str) -> Refusal:
    """What a refused upload means: like a refused read, but a precondition is final and a key that may not write is told so."""
    refusal = refusal_of(status, headers, body, subject)
    then = Then.FAIL if status in (404, 409, 412, 416) else refusal.then
    return Refusal(refusal.reason, then, writing_error(refusal.error))


def _md5(view: memoryview) -> str:
    import binascii

    digest = hashlib.md5(view, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False).decode("ascii")
