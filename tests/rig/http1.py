"""HTTP/1.1 as the fault proxy needs it: heads and bodies read from sockets, no more.

Nothing here checks what a server or client should have said; a test decides what is wrong on purpose.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_BYTES = 256 << 10

Headers = list[tuple[str, str]]


class ClientGone(Exception):
    """The client closed its end: this exchange is over."""


@dataclass
class Answer:
    """A response of the server whose body is still to be read."""

    status: int
    reason: str
    headers: Headers
    length: int
    """bytes of body that follow"""
    stream: Stream

    def get(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def put(self, name: str, value: str | None) -> None:
        """Replaces, adds (or with None takes away) one header."""
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))

    def chunks(self) -> Iterator[bytes]:
        while self.length:
            piece = self.stream.read_some(min(self.length, CHUNK_BYTES))
            self.length -= len(piece)
            yield piece


class Stream:
    """A socket with a read buffer, for HTTP heads and bodies."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def read_head(self) -> list[str]:
        """The lines of one head; raises ClientGone at the end of the stream."""
        while b"\r\n\r\n" not in self._buffer:
            piece = self.sock.recv(64 << 10)
            if not piece:
                raise ClientGone
            self._buffer += piece
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head.decode("latin-1").split("\r\n")

    def read_some(self, most: int) -> bytes:
        if self._buffer:
            piece, self._buffer = self._buffer[:most], self._buffer[most:]
            return piece
        piece = self.sock.recv(most)
        if not piece:
            raise ClientGone
        return piece

    def read_exactly(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            pieces.append(self.read_some(count))
            count -= len(pieces[-1])
        return b"".join(pieces)

    def read_chunked(self) -> bytes:
        """A whole chunked body, decoded."""
        body = b""
        while True:
            line = b""
            while not line.endswith(b"\r\n"):
                line += self.read_exactly(1)
            size = int(line.split(b";")[0], 16)
            body += self.read_exactly(size)
            if size == 0:
                while self.read_exactly(2) != b"\r\n":  # trailers
                    while self.read_exactly(1) != b"\n":
                        pass
                return body
            self.read_exactly(2)


def split_headers(lines: list[str]) -> Headers:
    return [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]


class Connector:
    """The connection to the server that belongs to one client connection; reopened when the server closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._stream: Stream | None = None

    def ask(self, request: bytes) -> tuple[Stream, list[str]]:
        for fresh in (False, True):
            stream = self._open(fresh)
            try:
                stream.sock.sendall(request)
                return stream, stream.read_head()
            except (OSError, ClientGone):
                if fresh:
                    raise
        raise AssertionError("unreachable")

    def _open(self, fresh: bool) -> Stream:
        if fresh:
            self.close()
        if self._stream is None:
            sock = socket.create_connection(self._address, timeout=30)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._stream = Stream(sock)
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.sock.close()
            self._stream = None
