"""A few bytes of an object, without a transfer: headers for previews and estimates.

The same checks as a part's (status, Content-Range, ETag, length); no retry: the caller shows the error or asks again.
"""

from __future__ import annotations

import time
from types import TracebackType

from .answers import Asked, Refused, check_part, refusal_of, short_body
from .objects import ObjectHead, RemoteObject
from .origin import Origin
from .pin import Signer, address_of, look
from .receive import WIRE_FAULTS, fault_of
from .wire import Address, Connection


class PinnedReader:
    """Reads ranges of the one version that it found first, over one connection.  Blocks; one thread; close it.

    Raises the errors of storage.errors.
    """

    def __init__(self, origin: Origin, obj: RemoteObject) -> None:
        self._origin = origin
        self._subject = obj.subject
        self._signer = Signer(origin, obj, time.monotonic)
        self._connection: Connection | None = None
        self._head: ObjectHead | None = None

    def __enter__(self) -> PinnedReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._connection is not None:
            self._connection.close()

    @property
    def head(self) -> ObjectHead:
        return self._pinned()

    @property
    def size_bytes(self) -> int:
        return self._pinned().size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes: fewer only at the object's end."""
        head = self._pinned()
        length = min(length, head.size_bytes - offset)
        if length <= 0:
            return b""
        try:
            return self._exchange(Asked(offset, offset + length, head.size_bytes, head.etag))
        except Refused as refused:
            raise refused.refusal.error from None
        except WIRE_FAULTS as fault:
            raise fault_of(fault, self._subject).error from fault

    def _pinned(self) -> ObjectHead:
        if self._head is None:
            try:
                self._head = look(self._signer, self._open_to, self._subject, lambda: None)
            except Refused as refused:
                raise refused.refusal.error from None
            except WIRE_FAULTS as fault:
                raise fault_of(fault, self._subject).error from fault
            self._signer.pin(self._head)
        return self._head

    def _exchange(self, asked: Asked) -> bytes:
        signed, _ = self._signer.get(asked)
        connection = self._open_to(address_of(signed))
        answer = connection.ask("GET", signed.target, signed.headers)
        try:
            if answer.status not in (200, 206):
                raise Refused(refusal_of(answer.status, answer.headers, connection.error_body(), self._subject))
            check_part(asked, answer.status, answer.headers, self._subject)
            buffer = bytearray(asked.end - asked.start)
            view, at = memoryview(buffer), 0
            while at < len(buffer):
                count = connection.readinto(view[at:])
                if not count:
                    raise Refused(short_body(self._subject, at, len(buffer)))
                at += count
            return bytes(buffer)
        finally:
            connection.finish()

    def _open_to(self, address: Address) -> Connection:
        if self._connection is None or self._connection.address != address:
            if self._connection is not None:
                self._connection.close()
            profile = self._origin.profile
            tls = self._origin.tls_context() if address.tls else None
            self._connection = Connection(address, tls, connect_timeout_s=profile.connect_timeout_s, read_timeout_s=profile.read_timeout_s)
        return self._connection
