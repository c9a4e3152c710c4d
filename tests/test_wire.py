"""One connection, one exchange at a time: what has arrived is known to the byte, and anybody may shut it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from modelstream.storage.errors import TransferCancelled
from modelstream.storage.wire import ERROR_BODY_MAX, Address, Connection, ConnectionShut
from rig.transfers import BufferZone, made_up, transfer_rig

Script = Callable[[socket.socket, int], None]
"""(accepted socket, number of the connection)"""


class ScriptedServer:
    """Accepts connections and runs a script for each, one after the other."""

    def __init__(self, script: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.accepted = 0
        self._script = script
        self._thread = threading.Thread(target=self._serve, name="scripted-server", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            with client:
                client.settimeout(10)
                self._script(client, self.accepted)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def serve() -> Iterator[Callable[[Script], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(script: Script) -> ScriptedServer:
        servers.append(ScriptedServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Connection]]:
    made: list[Connection] = []

    def make(port: int, host: str = "127.0.0.1", read_timeout_s: float = 5.0) -> Connection:
        made.append(Connection(Address(False, host, port), None, connect_timeout_s=5.0, read_timeout_s=read_timeout_s))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


def request_of(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(4096)
        if not piece:
            return b""
        head += piece
    return head


def answer(body: bytes, length: int | None = None, status: str = "206 Partial Content", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n{extra}\r\n".encode() + body


def read_all(connection: Connection, view: memoryview) -> int:
    at = 0
    while at < len(view):
        count = connection.readinto(view[at:])
        if not count:
            break
        at += count
    return at


def test_a_connection_is_used_again_after_a_body_was_read_to_its_end(serve, connect):
    def script(client: socket.socket, number: int) -> None:
        while request_of(client):
            client.sendall(answer(b"x" * 100_000))

    server = serve(script)
    connection, buffer = connect(server.port), bytearray(100_000)
    for _ in range(3):
        assert connection.ask("GET", "/k", {}).status == 206
        assert read_all(connection, memoryview(buffer)) == 100_000
        connection.finish()
    assert server.accepted == 1


def test_a_body_that_was_not_read_to_its_end_costs_the_connection(serve, connect):
    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        client.sendall(answer(b"x" * 1000))

    server = serve(script)
    connection = connect(server.port)
    for _ in range(2):
        connection.ask("GET", "/k", {})
        connection.readinto(memoryview(bytearray(10)))
        connection.finish()
    assert server.accepted == 2


@pytest.mark.parametrize("reset", [True, False])
def test_every_byte_before_a_cut_is_counted(serve, connect, reset):
    sent = made_up("cut", 777_777)
    may_end = threading.Event()

    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        client.sendall(answer(sent, length=2_000_000))
        may_end.wait(10)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    connection, buffer = connect(serve(script).port), bytearray(2_000_000)
    connection.ask("GET", "/k", {})
    at = 0
    while at < len(sent):
        at += connection.readinto(memoryview(buffer)[at:])
    may_end.set()
    try:
        assert connection.readinto(memoryview(buffer)[at:]) == 0
    except ConnectionResetError:
        assert reset
    assert at == len(sent) and buffer[:at] == sent


def test_a_keep_alive_connection_that_died_is_replaced_once_without_a_word(serve, connect):
    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        client.sendall(answer(b"%d" % number))  # and closes, though it never said so

    server = serve(script)
    connection, buffer = connect(server.port), bytearray(1)
    for expected in (b"1", b"2"):
        connection.ask("GET", "/k", {})
        read_all(connection, memoryview(buffer))
        connection.finish()
        assert buffer == expected


def test_a_new_connection_that_dies_is_an_error(serve, connect):
    server = serve(lambda client, number: None)
    with pytest.raises(ConnectionError):
        connect(server.port).ask("GET", "/k", {})
    assert server.accepted == 1


def test_silence_ends_in_a_timeout(serve, connect):
    over = threading.Event()

    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        client.sendall(answer(b"x" * 10, length=1000))
        over.wait(10)

    connection = connect(serve(script).port, read_timeout_s=0.1)
    connection.ask("GET", "/k", {})
    buffer = memoryview(bytearray(1000))
    assert connection.readinto(buffer) == 10
    with pytest.raises(TimeoutError):
        connection.readinto(buffer[10:])
    over.set()


@pytest.mark.parametrize("waits_for", ["head", "body"])
def test_another_thread_can_shut_a_connection_that_waits(serve, connect, waits_for):
    asked, over = threading.Event(), threading.Event()

    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        if waits_for == "body":
            client.sendall(answer(b"", length=1000))
        asked.set()
        over.wait(10)

    connection = connect(serve(script).port, read_timeout_s=30)
    shutter = threading.Thread(target=lambda: (asked.wait(10), connection.shut()))
    shutter.start()
    with pytest.raises(ConnectionShut):
        connection.ask("GET", "/k", {})
        connection.readinto(memoryview(bytearray(1000)))
    shutter.join()
    over.set()
    assert not connection.usable


def test_a_shut_connection_connects_to_nobody(serve, connect):
    server = serve(lambda client, number: None)
    connection = connect(server.port)
    connection.shut()
    with pytest.raises(ConnectionShut):
        connection.open()


def test_an_endless_error_text_is_cut_off(serve, connect):
    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        try:
            client.sendall(answer(b"e" * 1_000_000, status="500 Oops"))
        except OSError:
            pass  # the reader has gone, as it should

    connection = connect(serve(script).port)
    assert connection.ask("GET", "/k", {}).status == 500
    assert len(connection.error_body()) == ERROR_BODY_MAX
    connection.finish()
    assert not connection.reused


def test_a_chunked_body_is_read_without_its_frames(serve, connect):
    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        client.sendall(b"HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")

    connection, buffer = connect(serve(script).port), bytearray(7)
    connection.ask("GET", "/k", {})
    assert read_all(connection, memoryview(buffer)) == 7
    assert buffer == b"abcdefg"


def test_a_redirect_is_an_answer_and_never_followed(serve, connect):
    elsewhere = serve(lambda client, number: None)

    def script(client: socket.socket, number: int) -> None:
        request_of(client)
        client.sendall(answer(b"", status="307 Temporary Redirect", extra=f"Location: http://127.0.0.1:{elsewhere.port}/\r\n"))

    assert connect(serve(script).port).ask("GET", "/k", {}).status == 307
    assert elsewhere.accepted == 0


def test_a_forward_proxy_from_the_environment_is_tunnelled_through(serve, connect, monkeypatch):
    heads: list[bytes] = []

    def script(client: socket.socket, number: int) -> None:
        heads.append(request_of(client))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        heads.append(request_of(client))
        client.sendall(answer(b"ok"))

    proxy = serve(script)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    connection, buffer = connect(8333, host="bucket.example"), bytearray(2)
    connection.ask("GET", "/k?signature", {})
    assert read_all(connection, memoryview(buffer)) == 2 and buffer == b"ok"
    assert heads[0].startswith(b"CONNECT bucket.example:8333 ")
    assert heads[1].startswith(b"GET /k?signature ") and b"Host: bucket.example:8333\r\n" in heads[1]


def test_a_transfer_can_be_cancelled_while_it_still_connects(seaweed):
    """The kernel lets nobody in: connecting hangs until its timeout, the transfer does not."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            profile = (
                f'endpoint = "http://127.0.0.1:{port}"\naccess_key_id = "{seaweed.access_key}"\n'
                f'secret_access_key = "{seaweed.secret_key}"\nconnect_timeout_s = 1.5\n'
            )
            with transfer_rig(seaweed, profile=profile) as rig:
                obj = rig.put("wire/connecting", b"x")
                _, transfer = rig.start(obj, BufferZone())
                transfer.cancel()
                assert transfer.wait(1.0)
                with pytest.raises(TransferCancelled):
                    transfer.result()
        finally:
            for filler in fillers:
                filler.close()
