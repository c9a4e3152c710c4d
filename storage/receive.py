"""Receives one part: ask, check the answer, read the body to its place, checksum each piece while it is in the cache."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from .answers import Asked, Refusal, Refused, Then, check_part, refusal_of, short_body
from .checksum import crc64
from .errors import BadAnswer, DeadlineExceeded, ModelStreamError, UntrustedServer
from .objects import ObjectHead
from .origin_errors import error_from_exception
from .pacing import Clock, RateMeter, SpeedFloor, TokenBucket
from .pin import Signer
from .wire import Connection, ConnectionShut

SLICE_BYTES = 512 << 10
"""of one receive.  128 KiB to 1 MiB cost the same CPU (0.27 s/GB with the checksum); half a MiB stays in any second-level cache"""

WIRE_FAULTS = (OSError, http.client.HTTPException, ValueError)
"""what a connection may raise; ValueError is ssl's for a socket that was shut under it"""


class Sink:
    """A contiguous range of the object being filled front to back.  ``received`` and ``crc64`` always agree.

    Written by the one thread that receives into it; ``received`` may be read by any.
    """

    __slots__ = ("crc64", "offset", "received", "view")

    def __init__(self, offset: int, view: memoryview) -> None:
        self.offset = offset
        self.view = view
        self.received = 0
        self.crc64 = 0

    @property
    def full(self) -> bool:
        return self.received == len(self.view)

    def arrived(self, count: int) -> None:
        """``count`` bytes more are in place."""
        at = self.received
        self.crc64 = crc64(self.view[at : at + count], self.crc64)
        self.received = at + count

    def let_go(self) -> None:
        """Nobody receives into it any more: the memory is its owner's alone."""
        self.view = memoryview(b"")

    def take(self, other: Sink) -> None:
        """Copies what ``other``, a sink that ends where this one ends, has beyond this one."""
        at = self.offset + self.received - other.offset
        rest = other.view[at:]
        self.view[self.received :] = rest
        self.arrived(len(rest))


class Stop:
    """Tells the receiving thread of one attempt to stop, and why; wakes it wherever it waits."""

    def __init__(self) -> None:
        self.why = ""
        """ "", "ended" (the transfer is over), "yield" (a more urgent one needs the connection) or "lost" (the other request won)"""
        self._event = threading.Event()
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def attach(self, connection: Connection | None) -> None:
        with self._lock:
            self._connection = connection
            if connection is not None and self.why:
                connection.shut()

    def stop(self, why: str) -> None:
        with self._lock:
            self.why = self.why or why
            self._event.set()
            if self._connection is not None:
                self._connection.shut()

    def wait(self, seconds: float) -> None:
        """Raises ConnectionShut when told to stop."""
        if self._event.wait(seconds):
            raise ConnectionShut


@dataclass(frozen=True, slots=True)
class Watch:
    """What a receiving thread keeps to and reports to."""

    clock: Clock
    bucket: TokenBucket
    meter: RateMeter
    low_speed_bytes_per_s: float
    low_speed_s: float
    deadline_s: float
    """of the whole transfer, on ``clock``"""
    subject: str


def receive(connection: Connection, signer: Signer, sink: Sink, head: ObjectHead, stop: Stop, watch: Watch, *, patient: bool) -> None:
    """Asks for what ``sink`` still misses of the version ``head`` and fills it.

    patient: do not apply the low-speed rule (this part was slow too often already).
    Raises Refused (with ``signature`` set), ConnectionShut or one of WIRE_FAULTS; the sink keeps what has arrived.
    """
    asked = Asked(sink.offset + sink.received, sink.offset + len(sink.view), head.size_bytes, head.etag)
    signed, number = signer.get(asked)
    try:
        answer = connection.ask("GET", signed.target, signed.headers)
        if answer.status not in (200, 206):
            raise Refused(refusal_of(answer.status, answer.headers, connection.error_body(), watch.subject, head))
        check_part(asked, answer.status, answer.headers, watch.subject)
        floor = SpeedFloor(0.0 if patient else watch.low_speed_bytes_per_s, watch.low_speed_s, watch.clock())
        _body(connection, sink, stop, watch, floor)
    except Refused as refused:
        refused.signature = number
        raise
    finally:
        connection.finish()


def _body(connection: Connection, sink: Sink, stop: Stop, watch: Watch, floor: SpeedFloor) -> None:
    view, length = sink.view, len(sink.view)
    started, limited = sink.received, watch.bucket.rate_bytes_per_s > 0
    most = watch.bucket.slice_bytes(SLICE_BYTES)
    while sink.received < length:
        at = sink.received
        wanted = min(length - at, most)
        if limited:
            _pay(wanted, stop, watch, floor)
        count = connection.readinto(view[at : at + wanted])
        if stop.why:
            raise ConnectionShut
        if not count:
            raise Refused(short_body(watch.subject, at - started, length - started))
        sink.arrived(count)
        watch.meter.add(count)
        if count < wanted and limited:
            watch.bucket.give_back(wanted - count)
        _check_pace(count, sink, watch, floor)


def _pay(wanted: int, stop: Stop, watch: Watch, floor: SpeedFloor) -> None:
    wait_s = watch.bucket.take(wanted)
    if wait_s > 0:
        stop.wait(wait_s)
        floor.waited(wait_s)


def _check_pace(count: int, sink: Sink, watch: Watch, floor: SpeedFloor) -> None:
    now = watch.clock()
    if now > watch.deadline_s:
        raise Refused(Refusal("deadline", Then.FAIL, deadline_passed(watch.subject)))
    if floor.too_slow(count, now) and not sink.full:
        cause, step = "slower than low_speed_kib_s for low_speed_s", "look at the network between here and the server"
        error = BadAnswer("the download is too slow", subject=watch.subject, cause=cause, next_step=step)
        raise Refused(Refusal("slow", Then.RETRY, error))


def deadline_passed(subject: str, cause: str = "deadline_s has passed") -> DeadlineExceeded:
    step = "try again: what has arrived is kept where an SSD tier is configured; or raise deadline_s under [transfer]"
    return DeadlineExceeded("the download took too long", subject=subject, cause=cause, next_step=step)


def fault_of(error: BaseException, subject: str, *, now: Callable[[], float] = time.time) -> Refusal:
    """What a connection's exception means for the transfer."""
    if isinstance(error, Refused):
        return error.refusal
    if isinstance(error, ModelStreamError):
        return Refusal("refused", Then.FAIL, error)
    known = error_from_exception(error, subject, now=now)
    if isinstance(known, UntrustedServer):
        # A certificate does not get better; a TLS record cut in the middle of a body does.
        certificate = isinstance(error, ssl.SSLCertVerificationError) or "WRONG_VERSION" in str(error)
        cut = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        return Refusal("reset" if cut else "tls", Then.RETRY if cut and not certificate else Then.FAIL, known)
    return Refusal("stall" if isinstance(error, TimeoutError) else "reset", Then.RETRY, known)
