"""What can go wrong with one answer: the actions of ``faultproxy``, each a small value.

An action is called with the exchange, in the thread of the connection.  ``after_bytes`` counts bytes of the body.
Those that ask the server first take a 2xx answer for granted and hand anything else on unchanged.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate

from .faultproxy import Action, Exchange
from .http1 import CHUNK_BYTES, Answer, Headers


def _send_first(exchange: Exchange, answer: Answer, count: int) -> None:
    """Sends ``count`` bytes of the body and leaves the rest unread."""
    for piece in answer.chunks():
        exchange.send_body(piece[:count])
        count -= len(piece)
        if count <= 0:
            return


@dataclass(frozen=True)
class CutBefore:
    """The connection ends before a single byte of the answer."""

    reset: bool = True

    def __call__(self, exchange: Exchange) -> None:
        exchange.abort(reset=self.reset)


@dataclass(frozen=True)
class CutMid:
    """The connection ends in the middle of the body, by RST or by FIN."""

    after_bytes: int
    reset: bool = True

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send_head(answer.status, answer.reason, answer.headers)
        _send_first(exchange, answer, self.after_bytes)
        exchange.abort(reset=self.reset)


@dataclass(frozen=True)
class ShortLength:
    """A self-consistent answer that is too short: Content-Length says what is sent, and the connection lives on."""

    keep_bytes: int

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        body = b"".join(answer.chunks())[: self.keep_bytes]
        answer.put("Content-Length", str(len(body)))
        exchange.send_head(answer.status, answer.reason, answer.headers)
        exchange.send_body(body)


@dataclass(frozen=True)
class NoLength:
    """No Content-Length; the body ends early with the connection."""

    after_bytes: int

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        answer.put("Content-Length", None)
        answer.put("Connection", "close")
        exchange.send_head(answer.status, answer.reason, answer.headers)
        _send_first(exchange, answer, self.after_bytes)
        exchange.abort(reset=False)


@dataclass(frozen=True)
class Gate:
    """Stops until ``release`` is set (a stall, when nobody sets it): before the answer, or inside the body.

    ``reached`` is set when a request stands at the gate, so that a test can act in that very moment.
    """

    after_bytes: int | None = None
    """None: before the head"""
    limit_s: float = 60.0
    reached: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def __call__(self, exchange: Exchange) -> None:
        if self.after_bytes is None:
            self._stand(exchange)
            exchange.relay(exchange.forward())
            return
        answer = exchange.forward()
        exchange.send_head(answer.status, answer.reason, answer.headers)
        left: int = self.after_bytes
        for piece in answer.chunks():
            if 0 <= left < len(piece):
                exchange.send_body(piece[:left])
                self._stand(exchange)
                exchange.send_body(piece[left:])
            else:
                exchange.send_body(piece)
            left -= len(piece)

    def _stand(self, exchange: Exchange) -> None:
        self.reached.set()
        if not exchange.wait_for(self.release, self.limit_s):
            exchange.abort(reset=True)


@dataclass(frozen=True)
class Drip:
    """The body arrives at a fixed rate."""

    rate_bytes_per_s: int

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send_head(answer.status, answer.reason, answer.headers)
        start, sent, step = time.monotonic(), 0, max(1, min(CHUNK_BYTES, self.rate_bytes_per_s // 20))
        never = threading.Event()
        for piece in answer.chunks():
            for at in range(0, len(piece), step):
                ahead_s = sent / self.rate_bytes_per_s - (time.monotonic() - start)
                if ahead_s > 0:
                    exchange.wait_for(never, ahead_s)
                exchange.send_body(piece[at : at + step])
                sent += len(piece[at : at + step])


@dataclass(frozen=True)
class Status:
    """An S3 error answer; the request never reaches the server."""

    status: int
    code: str
    message: str = "made by the fault proxy"
    headers: tuple[tuple[str, str], ...] = ()
    date_s: float | None = None
    """what the Date header says; None means now"""

    def __call__(self, exchange: Exchange) -> None:
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{self.code}</Code><Message>{self.message}</Message>"
            f"<Resource>{exchange.request.path}</Resource><RequestId>REQ{exchange.request.index}</RequestId></Error>"
        ).encode()
        headers: Headers = [("Content-Type", "application/xml"), ("x-amz-request-id", f"REQ{exchange.request.index}")]
        headers += [("Date", formatdate(self.date_s, usegmt=True)), *self.headers]
        exchange.reply(self.status, body, headers)


@dataclass(frozen=True)
class Canned:
    """Any answer, word for word."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()

    def __call__(self, exchange: Exchange) -> None:
        exchange.reply(self.status, self.body, list(self.headers))


def html_page() -> Canned:
    """A captive portal."""
    return Canned(200, b"<html><body>Please log in to the wireless network</body></html>", (("Content-Type", "text/html"),))


def xml_error_with_status_200() -> Canned:
    return Canned(
        200,
        b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>We encountered an error</Message></Error>",
        (("Content-Type", "application/xml"),),
    )


@dataclass(frozen=True)
class Without:
    """The server never sees these request headers: ``range`` (it answers 200 with everything) or ``if-match``."""

    names: tuple[str, ...]

    def __call__(self, exchange: Exchange) -> None:
        exchange.relay(exchange.forward(without=self.names))


@dataclass(frozen=True)
class Edit:
    """The answer's head is changed by a function, its body is not."""

    change: Callable[[Answer], None]

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        if answer.status < 300:
            self.change(answer)
        exchange.relay(answer)


def wrong_content_range(*, start: int = 0, end: int = 0, total: int = 0) -> Edit:
    """Shifts the three numbers of Content-Range."""

    def change(answer: Answer) -> None:
        span, _, size = (answer.get("Content-Range") or "bytes 0-0/0").partition(" ")[2].partition("/")
        first, _, last = span.partition("-")
        answer.put("Content-Range", f"bytes {int(first) + start}-{int(last) + end}/{int(size) + total}")

    return Edit(change)


def with_header(name: str, value: str | None) -> Edit:
    return Edit(lambda answer: answer.put(name, value))


@dataclass(frozen=True)
class Corrupt:
    """One bit of the body is flipped; the length stays right."""

    offset: int
    bit: int = 0

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send_head(answer.status, answer.reason, answer.headers)
        at = 0
        for piece in answer.chunks():
            if at <= self.offset < at + len(piece):
                changed = bytearray(piece)
                changed[self.offset - at] ^= 1 << self.bit
                exchange.send_body(bytes(changed))
            else:
                exchange.send_body(piece)
            at += len(piece)


@dataclass(frozen=True)
class Zeros:
    """The right length, every byte zero."""

    def __call__(self, exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send_head(answer.status, answer.reason, answer.headers)
        for piece in answer.chunks():
            exchange.send_body(bytes(len(piece)))


@dataclass(frozen=True)
class CloseAfter:
    """A perfect answer, after which the connection is closed without a word about it."""

    def __call__(self, exchange: Exchange) -> None:
        exchange.relay(exchange.forward())
        exchange.keep_alive = False


@dataclass(frozen=True)
class First:
    """Does something (delete or overwrite the object, say), then hands the request to another action or on."""

    before: Callable[[], object]
    then: Action | None = None

    def __call__(self, exchange: Exchange) -> None:
        self.before()
        if self.then is None:
            exchange.relay(exchange.forward())
        else:
            self.then(exchange)


class Storm:
    """Any fault at any request, drawn from a seed: ``share`` of the requests are hit, ``limit`` at most.

    Which request gets which fault depends on the order in which they arrive, so a seed makes a kind of storm and not an
    exact one; what has to hold holds in all of them.
    """

    def __init__(self, seed: int, *, share: float = 0.4, limit: int = 40, versions: Callable[[], object] | None = None) -> None:
        """versions: overwrites the object; drawn now and then, too."""
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._share = share
        self._left = limit
        self._versions = versions

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            action = self._draw() if self._left and self._chance.random() < self._share else None
            self._left -= action is not None
        if action is None:
            exchange.relay(exchange.forward())
        else:
            exchange.request.fault = f"Storm {type(action).__name__}"
            action(exchange)

    def _draw(self) -> Action:
        at = self._chance.randrange(1 << 20)
        faults: list[Action] = [
            CutBefore(reset=bool(at % 2)),
            CutMid(at, reset=bool(at % 2)),
            ShortLength(at // 2),
            NoLength(at // 2),
            Status(self._chance.choice((500, 502, 504)), "InternalError"),
            Status(503, "SlowDown"),
            Status(416, "InvalidRange"),
            Status(412, "PreconditionFailed"),
            wrong_content_range(start=at % 3, end=at % 2, total=at % 5),
            html_page(),
            xml_error_with_status_200(),
            CloseAfter(),
            with_header("Content-Encoding", "gzip"),
            Without(("range",)),
            Without(("if-match",)),
        ]
        if self._versions is not None and self._chance.random() < 0.2:
            return First(self._versions, then=self._chance.choice([faults[-1], None]))
        return self._chance.choice(faults)
