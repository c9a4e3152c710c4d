"""One version of one object and how to ask for it: HEAD, the signature that serves every part, and renewing it.

Thread-safe; the lock here may be held while credentials are renewed, and no other lock is taken under it
except those inside ``Origin``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from .answers import Asked, Refused, read_head, refusal_of
from .objects import ObjectHead, RemoteObject, SignedRequest
from .origin import USER_AGENT, Origin
from .pacing import Clock
from .wire import Address, Answer, Connection

RENEW_BEFORE_S = 30.0
REFRESH_AGAIN_S = 60.0
"""credentials that expire again sooner than this after a refresh were not renewed in truth"""

OpenTo = Callable[[Address], Connection]


def address_of(signed: SignedRequest) -> Address:
    return Address(signed.tls, signed.host, signed.port)


class Signer:
    """Signs the requests of one transfer.

    A signature has a number, so that of many connections refused with the same one only the first renews it.
    """

    def __init__(self, origin: Origin, obj: RemoteObject, clock: Clock) -> None:
        self.origin = origin
        self.key = obj.id.key
        self.listed = obj
        self.version_id: str | None = None
        self.if_match = True
        """False where the server answers 412 although HEAD names the same version; the ETag of every answer is checked anyway"""
        self._clock = clock
        self._lock = threading.Lock()
        self._signed: SignedRequest | None = None
        self._number = 0
        self._refreshed_s = float("-inf")
        self._tried_headers = False

    @property
    def number(self) -> int:
        """of the present signature"""
        return self._number

    def head(self) -> SignedRequest:
        return _with(self.origin.sign("HEAD", self.key), {})

    def get(self, asked: Asked) -> tuple[SignedRequest, int]:
        """A request for a range, and the number of its signature.  Raises ModelStreamError without credentials."""
        headers = asked.headers
        if not self.if_match:
            del headers["If-Match"]
        with self._lock:
            if self.origin.signs_each_request:
                return _with(self.origin.sign("GET", self.key, version_id=self.version_id, headers=headers), {}), self._number
            if self._signed is None or self._signed.expires_s - self._clock() < RENEW_BEFORE_S:
                self._signed = self.origin.sign("GET", self.key, version_id=self.version_id)
            return _with(self._signed, headers), self._number

    def pin(self, head: ObjectHead) -> None:
        with self._lock:
            if head.version_id != self.version_id:
                self.version_id = head.version_id
                self._signed = None

    def renewed(self, number: int) -> str | None:
        """The signature ``number`` was refused as expired.  None: it was not renewed, give up; "again": sign and ask
        again; "refreshed": the same, and this call has got new credentials.
        """
        with self._lock:
            if number != self._number:
                return "again"
            now = self._clock()
            if now - self._refreshed_s < REFRESH_AGAIN_S:
                return None
            self._refreshed_s = now
            # A presigned URL of the same credentials may simply have been too old.
            stale = self._signed is not None and self._signed.expires_s < now
            refreshed = self.origin.refresh_credentials()
            if not refreshed and not stale:
                return None
            self._number += 1
            self._signed = None
            return "refreshed" if refreshed else "again"

    def sign_in_headers(self, number: int) -> bool:
        """A presigned GET was denied though a HEAD signed in its headers was not (a policy on s3:authType, say).

        True: ask again, each request is now signed by itself.  False when that was not it.
        """
        with self._lock:
            if number != self._number:
                return True
            if self._tried_headers:
                self.origin.signs_each_request = False
                return False
            if self.origin.signs_each_request:
                return False
            self._tried_headers = self.origin.signs_each_request = True
            self._number += 1
            return True


def look(signer: Signer, open_to: OpenTo, subject: str, count: Callable[[], None]) -> ObjectHead:
    """What the object is now.  Raises Refused, OSError or HTTPException.

    HEAD's refusals have no body that would say why; then one byte is asked for by GET, which tells, or works.
    """
    signed = signer.head()
    connection = open_to(address_of(signed))
    count()
    answer = connection.ask("HEAD", signed.target, signed.headers)
    connection.finish()
    if answer.status in (400, 401, 403, 404, 405):
        return _ask_one_byte(signer, connection, subject, count)
    if answer.status != 200:
        raise Refused(refusal_of(answer.status, answer.headers, b"", subject))
    head = read_head(answer.status, answer.headers, subject)
    listed = signer.listed
    if head.etag == listed.id.version and head.size_bytes != listed.size_bytes:
        # One version has one size.  Some gateways answer HEAD with Content-Length 0; a range says what is true.
        told = _ask_one_byte(signer, connection, subject, count)
        if told.etag == head.etag:
            head = replace(head, size_bytes=told.size_bytes)
    return head


def _ask_one_byte(signer: Signer, connection: Connection, subject: str, count: Callable[[], None]) -> ObjectHead:
    signed = _with(signer.origin.sign("GET", signer.key, headers={"Range": "bytes=0-0"}), {"Range": "bytes=0-0"})
    count()
    answer: Answer = connection.ask("GET", signed.target, signed.headers)
    if answer.status not in (200, 206):
        body = connection.error_body()
        connection.finish()
        raise Refused(refusal_of(answer.status, answer.headers, body, subject))
    connection.finish()
    return read_head(answer.status, answer.headers, subject)


def _with(signed: SignedRequest, headers: dict[str, str]) -> SignedRequest:
    return replace(signed, headers={"User-Agent": USER_AGENT, **signed.headers, **headers})
