"""The only module that opens connections for objects' bytes: one keep-alive connection, one exchange at a time.

``http.client`` does the protocol.  The body goes by ``readinto1`` from the kernel straight into the caller's memory:
one copy, the GIL released, nothing allocated, and known to the byte when a connection dies.  boto3's bodies make a
second copy, ``HTTPResponse.readinto`` forgets what came before an error, and ``MSG_WAITALL`` saves no CPU (measured).

Redirects are never followed.  A connection belongs to one thread; only ``shut`` may be called from another.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from . import environment
from .config_endpoint import is_loopback

ERROR_BODY_MAX = 64 << 10
GATHER_S = 0.05
"""how long TLS records are gathered into one receive"""

Headers = http.client.HTTPMessage
Pieces = Callable[[], Iterable[memoryview]]
"""a long body: called for every time that it is sent, gives it in pieces; the headers say its Content-Length"""


class ConnectionShut(Exception):
    """Another thread has shut the connection: nobody wants the rest."""


@dataclass(frozen=True, slots=True)
class Address:
    tls: bool
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of an answer.  Header names are compared without case."""

    status: int
    headers: Headers

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


class Connection:
    """Opened lazily by ``ask`` or ahead by ``open``.

    connect_timeout_s: for name resolution's result, TCP and TLS each; read_timeout_s: for one receive (or one piece sent) without a byte;
    answer_timeout_s: for the answer to a long body, when that may take longer.
    Raises OSError (TimeoutError, ConnectionError, ssl.SSLError among them), http.client.HTTPException and ConnectionShut.
    """

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        answer_timeout_s: float | None = None,
    ) -> None:
        self.address = address
        self._tls = tls
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._answer_timeout_s = answer_timeout_s or read_timeout_s
        self._http: http.client.HTTPConnection | None = None
        self._response: http.client.HTTPResponse | None = None
        self._left: int | None = None
        """bytes of the body still to come; None when the answer does not say"""
        self._exchanges = 0
        self._late_error: Exception | None = None
        self._lock = threading.Lock()  # guards the two fields below; innermost of all locks
        self._socket: socket.socket | None = None
        self._shut = False

    @property
    def reused(self) -> bool:
        """The next exchange runs on a connection that has served one before."""
        return self._http is not None and self._exchanges > 0

    @property
    def usable(self) -> bool:
        return not self._shut

    def open(self) -> None:
        """Connects; does nothing when connected."""
        if self._http is None:
            self._http = self._connected()
            self._exchanges = 0

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Pieces | None = None) -> Answer:
        """Sends a request and reads the answer's head.

        Pieces go from the caller's memory into the kernel, each within the read timeout.  What iterating over them raises comes out.
        A keep-alive connection that the server has closed meanwhile is replaced once, without a word.
        """
        while True:
            reused = self.reused
            self.open()
            try:
                return self._exchange(method, target, headers, body)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError):
                self.close()
                if not reused or self._shut:
                    raise

    def readinto(self, view: memoryview) -> int:
        """One receive of at most ``len(view)`` bytes of the body; 0 at its end (whether it came too early the caller counts)."""
        response = self._response
        if response is None or response.fp is None or self._left == 0:
            return 0
        if response.chunked:
            return response.readinto(view)
        if self._left is not None and len(view) > self._left:
            view = view[: self._left]
        count = self._records(response, view) if self._tls is not None else response.fp.readinto1(view)
        if self._shut:
            raise ConnectionShut
        if self._left is not None:
            self._left -= count
        return count

    def _records(self, response: http.client.HTTPResponse, view: memoryview) -> int:
        """TLS hands over records of at most 16 KiB: several make one receive, so that accounting costs little.

        An error after the first record is kept for the next call: what has arrived counts.
        """
        if self._late_error is not None:
            error, self._late_error = self._late_error, None
            raise error
        at, until_s = 0, time.monotonic() + GATHER_S
        while at < len(view):
            try:
                count = response.fp.readinto1(view[at:])
            except (OSError, ValueError) as error:
                if not at:
                    raise
                self._late_error = error
                break
            at += count
            if not count or self._shut or time.monotonic() > until_s:
                break
        return at

    def error_body(self) -> bytes:
        """The rest of a small answer; what is longer than 64 KiB is cut off and the connection closed."""
        buffer = bytearray(ERROR_BODY_MAX)
        view, at = memoryview(buffer), 0
        while at < len(buffer):
            count = self.readinto(view[at:])
            if not count:
                break
            at += count
        return bytes(view[:at])

    def finish(self) -> None:
        """Ends the exchange.  The connection is kept only when the body was read to its end."""
        response, self._response = self._response, None
        self._late_error = None
        if response is None:
            return
        whole = self._left == 0 or (response.chunked and response.isclosed())
        if response.will_close or not whole:
            self.close()
        response.close()

    def shut(self) -> None:
        """From any thread: whoever waits on this connection wakes up at once with an error.  It is useless afterwards."""
        with self._lock:
            self._shut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it may be closed or never have been connected
                    # Not SSLSocket.shutdown: that one takes TLS off, and a reader could see ciphertext.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        self._response, response = None, self._response
        self._http, connection = None, self._http
        with self._lock:
            self._socket = None
        if response is not None:
            response.close()
        if connection is not None:
            connection.close()

    # -- inside ------------------------------------------------------------------------------------------------------
    def _exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes | Pieces | None) -> Answer:
        connection = self._http
        assert connection is not None
        self.finish()
        try:
            if callable(body):
                self._request_in_pieces(connection, method, target, headers, body)
            else:
                connection.request(method, target, body, dict(headers))
            self._known(connection)  # behind a proxy it has been opened just now
            response = connection.getresponse()
        except Exception:
            if self._shut:
                raise ConnectionShut from None
            raise
        self._exchanges += 1
        self._response = response
        self._left = response.length
        return Answer(response.status, response.headers)

    def _request_in_pieces(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Pieces
    ) -> None:
        """A server that refuses in the middle of a body closes its ear, and its answer, which says why, may be readable still."""
        sending = False

        def pieces() -> Iterable[memoryview]:
            nonlocal sending
            sending = True
            yield from body()

        try:
            if connection.sock is not None:
                connection.sock.settimeout(self._read_timeout_s)
            connection.request(method, target, pieces(), dict(headers))
        except (BrokenPipeError, ConnectionResetError):
            if not sending:
                raise
        if connection.sock is not None:
            connection.sock.settimeout(self._answer_timeout_s)

    def _connected(self) -> http.client.HTTPConnection:
        host = self.address.host
        proxy = "" if is_loopback(host) else environment.proxy_for(host, tls=self.address.tls)
        connection = self._through(proxy) if proxy else self._direct()
        self._known(connection)
        if connection.sock is not None:
            connection.sock.settimeout(self._read_timeout_s)
        return connection

    def _known(self, connection: http.client.HTTPConnection) -> None:
        """Lets ``shut`` find the socket."""
        with self._lock:
            self._socket = connection.sock
            shut = self._shut
        if shut:
            connection.close()
            raise ConnectionShut

    def _direct(self) -> http.client.HTTPConnection:
        a = self.address
        sock: socket.socket = socket.create_connection((a.host, a.port), timeout=self._connect_timeout_s)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=a.host)
        except BaseException:
            sock.close()
            raise
        # Made for its protocol only, also under TLS: the socket is ours, and HTTPSConnection would read all CAs again.
        connection = http.client.HTTPConnection(a.host, a.port)
        connection.default_port = http.client.HTTPS_PORT if a.tls else http.client.HTTP_PORT
        connection.sock = sock
        return connection

    def _through(self, proxy: str) -> http.client.HTTPConnection:
        """A tunnel (CONNECT) through a forward proxy, for plain endpoints too; the request itself opens it."""
        url = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = url.hostname or "", url.port or 3128
        if self._tls is not None:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self._read_timeout_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self._read_timeout_s)
        connection.set_tunnel(self.address.host, self.address.port)
        return connection
