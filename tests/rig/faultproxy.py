"""A fault proxy in front of a real S3 server: HTTP/1.1 with keep-alive, in threads, standard library only.

A test signs for the proxy's ``host:port``; the proxy hands every request on with its ``Host`` unchanged, so that SigV4
signatures stay valid.  A ``Rule`` picks requests (method, path, range, the n-th one) and gives them to an ``Action``
of ``faults``.  Every request and the body bytes sent for it are recorded: a test can prove that only a missing suffix
was fetched again, that two loads made one transfer, or that nobody followed a redirect.

Threads: one accepts, one serves each client connection; each of these has its own connection to the server.
``rules`` and ``seen`` are guarded by one lock and may be used from any thread.  ``close`` ends every thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from .http1 import Answer, ClientGone, Connector, Headers, Stream, split_headers

SIOCOUTQ = 0x5411
"""Linux: how many sent bytes the peer has not acknowledged."""


class Closed(Exception):
    """An action closed the client's connection on purpose."""


@dataclass
class Seen:
    """One request as it arrived, and what was sent for it.  The last four fields change while it is served."""

    index: int
    connection: int
    method: str
    target: str
    headers: Mapping[str, str]
    """names in lower case"""
    fault: str = ""
    """the class name of the action that answered, empty when it was simply handed on"""
    status: int = 0
    sent_bytes: int = 0
    """bytes of body that were, or are just being, given to the client's socket"""
    done: bool = False

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def range(self) -> tuple[int, int] | None:
        """First and last byte asked for, or None; an open end is a very large number."""
        unit, _, spec = self.headers.get("range", "").partition("=")
        first, dash, last = spec.partition("-")
        if unit != "bytes" or not dash or not first.isdigit():
            return None
        return int(first), int(last) if last else 1 << 62


class Action(Protocol):
    """Answers one request; see ``faults``."""

    def __call__(self, exchange: Exchange) -> None: ...


@dataclass
class Rule:
    """Which requests an action takes.  Rules are asked in order; the first that matches wins.

    covers: only requests whose range holds this byte of the object
    skip:   let that many matching requests pass first
    times:  how many matching requests to take; None means all
    """

    action: Action
    method: str | None = "GET"
    path: str = ""
    """a part of the decoded path"""
    query: str = ""
    """a part of the raw query"""
    signed_by: str = ""
    """an access key id"""
    covers: int | None = None
    ranged: bool | None = None
    skip: int = 0
    times: int | None = 1
    hits: int = 0

    def takes(self, request: Seen) -> bool:
        if self.method not in (None, request.method) or self.path not in request.path:
            return False
        if self.query not in urlsplit(request.target).query:
            return False
        if self.signed_by and f"Credential={self.signed_by}" not in request.target + request.headers.get("authorization", ""):
            return False
        wanted = request.range
        if self.ranged is not None and self.ranged != (wanted is not None):
            return False
        if self.covers is not None and (wanted is None or not wanted[0] <= self.covers <= wanted[1]):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass
class Exchange:
    """One request and the ways to answer it.  Used by the one thread that serves the connection."""

    proxy: FaultProxy
    request: Seen
    client: Stream
    body: bytes
    raw_headers: Headers
    connect: Connector
    keep_alive: bool = True
    _upstream: Stream | None = field(default=None)

    def forward(self, *, without: tuple[str, ...] = (), target: str | None = None) -> Answer:
        """Sends the request on and reads the head of the answer.  ``without`` leaves headers out."""
        skip = {"connection", "expect", "transfer-encoding", *without}
        lines = [f"{self.request.method} {target or self.request.target} HTTP/1.1"]
        lines += [f"{k}: {v}" for k, v in self.raw_headers if k.lower() not in skip]
        if self.body and not any(k.lower() == "content-length" for k, _ in self.raw_headers):
            lines.append(f"Content-Length: {len(self.body)}")
        stream, head = self.connect.ask("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body)
        _, _, rest = head[0].partition(" ")
        code, _, reason = rest.partition(" ")
        answer = Answer(int(code), reason, split_headers(head[1:]), 0, stream)
        if "chunked" in (answer.get("Transfer-Encoding") or ""):
            stream._buffer = (whole := stream.read_chunked()) + stream._buffer
            answer.put("Transfer-Encoding", None)
            answer.put("Content-Length", str(len(whole)))
        if self.request.method != "HEAD" and answer.status not in (204, 304):
            answer.length = int(answer.get("Content-Length") or 0)
        return answer

    def send_head(self, status: int, reason: str, headers: Headers) -> None:
        self.request.status = status
        text = "".join(f"{k}: {v}\r\n" for k, v in headers)
        self._send(f"HTTP/1.1 {status} {reason}\r\n{text}\r\n".encode("latin-1"))

    def send_body(self, piece: bytes) -> None:
        self.request.sent_bytes += len(piece)  # first: a client that has the bytes must find them counted
        self._send(piece)

    def _send(self, piece: bytes) -> None:
        try:
            self.client.sock.sendall(piece)
        except OSError as error:
            raise ClientGone from error

    def relay(self, answer: Answer) -> None:
        """Head and whole body, unchanged."""
        self.send_head(answer.status, answer.reason, answer.headers)
        for piece in answer.chunks():
            self.send_body(piece)

    def reply(self, status: int, body: bytes, headers: Headers) -> None:
        """An answer of the proxy's own; the server hears nothing."""
        names = {name.lower() for name, _ in headers}
        own = [] if "content-length" in names else [("Content-Length", str(len(body)))]
        self.send_head(status, "Canned", [*headers, *own])
        if self.request.method != "HEAD":
            self.send_body(body)

    def abort(self, *, reset: bool) -> None:
        """Ends the connection with RST or FIN, after the client's kernel has everything sent so far."""
        sock = self.client.sock
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline and _unacknowledged(sock):
            time.sleep(0.001)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Closed

    def wait_for(self, event: threading.Event, timeout_s: float) -> bool:
        """Waits until ``event``; leaves with ClientGone when the client closes or the proxy is closed."""
        deadline = time.monotonic() + timeout_s
        while not event.wait(0.02):
            if self.proxy.closing.is_set() or _peer_closed(self.client.sock):
                raise ClientGone
            if time.monotonic() > deadline:
                return False
        return True


class FaultProxy:
    """``with FaultProxy("127.0.0.1", weed_port) as proxy:`` then sign for ``proxy.url``."""

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None, listen: str = "127.0.0.1") -> None:
        self.upstream = (host, port)
        self.closing = threading.Event()
        self.seen: list[Seen] = []
        self.connections = 0
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._tls = tls
        self._open: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((listen, 0), backlog=128)
        self.host, self.port = self._listener.getsockname()[:2]
        self._accepting = threading.Thread(target=self._accept, name="faultproxy-accept", daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    # -- control ----------------------------------------------------------------------------------------------------
    def on(self, action: Action, **match: object) -> Rule:
        """Adds a rule, see ``Rule`` for what can be matched.  By default it takes one GET."""
        rule = Rule(action, **match)  # type: ignore[arg-type]
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Takes all rules away and forgets what was seen; open connections stay."""
        with self._lock:
            self._rules.clear()
            self.seen = []

    def requests(self, method: str | None = "GET", path: str = "") -> list[Seen]:
        with self._lock:
            return [r for r in self.seen if method in (None, r.method) and path in r.path]

    def sent_bytes(self, path: str = "", method: str = "GET") -> int:
        """Body bytes given to clients for these requests so far."""
        return sum(r.sent_bytes for r in self.requests(method, path))

    def close(self) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            open_now = list(self._open.values())
            threads = list(self._threads)
        for sock in open_now:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in [self._accepting, *threads]:
            thread.join(5)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- serving ----------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                number = self.connections = self.connections + 1
                self._open[number] = sock
                self._threads = [t for t in self._threads if t.is_alive()]
                thread = threading.Thread(target=self._serve, args=(number, sock), name=f"faultproxy-{number}", daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, number: int, sock: socket.socket) -> None:
        upstream = Connector(*self.upstream)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                sock = self._tls.wrap_socket(sock, server_side=True)
                with self._lock:
                    self._open[number] = sock
            client = Stream(sock)
            while not self.closing.is_set() and self._exchange(number, client, upstream):
                pass
        except (ClientGone, Closed, OSError):
            pass  # the ordinary end of a connection; what was sent is in ``seen``
        finally:
            upstream.close()
            with self._lock:
                self._open.pop(number, None)
            sock.close()

    def _exchange(self, number: int, client: Stream, upstream: Connector) -> bool:
        lines = client.read_head()
        method, target, _ = lines[0].split(" ", 2)
        raw = split_headers(lines[1:])
        headers = {name.lower(): value for name, value in raw}
        if headers.get("expect", "").lower() == "100-continue":
            client.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in headers.get("transfer-encoding", ""):
            body = client.read_chunked()
        else:
            body = client.read_exactly(int(headers.get("content-length", "0")))
        with self._lock:
            request = Seen(len(self.seen), number, method, target, headers)
            self.seen.append(request)
            rule = next((r for r in self._rules if r.takes(request)), None)
        exchange = Exchange(self, request, client, body, raw, upstream, headers.get("connection", "").lower() != "close")
        try:
            if rule is None:
                exchange.relay(exchange.forward())
            else:
                request.fault = type(rule.action).__name__
                rule.action(exchange)
        finally:
            request.done = True
        return exchange.keep_alive


def _unacknowledged(sock: socket.socket) -> int:
    try:
        return struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQ, b"\0" * 4))[0]
    except OSError:
        return 0


def _peer_closed(sock: socket.socket) -> bool:
    if sock.fileno() < 0:
        return True
    readable, _, _ = select.select([sock], [], [], 0)
    if not readable:
        return False
    if isinstance(sock, ssl.SSLSocket):  # cannot peek through TLS: a client that waits for an answer sends nothing but an end
        return True
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True
