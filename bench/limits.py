"""What no client can beat: bytes from a raw socket into warm memory, and a memory copy."""

from __future__ import annotations

import mmap
import queue
import socket
import threading
from urllib.parse import urlsplit

from .jobs import Client, Loaded, Target

PART_BYTES = 16 << 20
HEAD_BYTES = 65536


class RawSocket(Client):
    """``connections`` sockets, one ``recv_into(…, MSG_WAITALL)`` a part, presigned URLs, memory faulted in beforehand."""

    def __init__(self, job: object) -> None:
        super().__init__(job)  # type: ignore[arg-type]
        self._buffers = [warm_memory(target.size_bytes) for target in self.job.targets]

    def warm(self) -> None:
        return None

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        work: queue.SimpleQueue[tuple[Target, memoryview, int] | None] = queue.SimpleQueue()
        for target, buffer in zip(targets, self._buffers, strict=True):
            for offset in range(0, target.size_bytes, PART_BYTES):
                work.put((target, buffer, offset))
        connections = int(self.job.options["connections"])
        errors: list[BaseException] = []

        def serve() -> None:
            try:
                receive_parts(work, targets[0].url)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=serve) for _ in range(connections)]
        for thread in threads:
            work.put(None)
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return Loaded(buffers=self._buffers, wire_bytes=sum(t.size_bytes for t in targets))


def receive_parts(work: queue.SimpleQueue[tuple[Target, memoryview, int] | None], any_url: str) -> None:
    server = urlsplit(any_url)
    with socket.create_connection((server.hostname or "", server.port or 80)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = memoryview(bytearray(HEAD_BYTES))
        while (part := work.get()) is not None:
            target, buffer, offset = part
            end = min(offset + PART_BYTES, target.size_bytes)
            url = urlsplit(target.url)
            request = f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nRange: bytes={offset}-{end - 1}\r\n\r\n"
            connection.sendall(request.encode())
            got = receive_head(connection, head, buffer[offset:end])
            while offset + got < end:
                count = connection.recv_into(buffer[offset + got : end], 0, socket.MSG_WAITALL)
                if not count:
                    raise ConnectionError("the server closed the connection")
                got += count


def receive_head(connection: socket.socket, head: memoryview, body: memoryview) -> int:
    """Reads the answer's head; what came of the body behind it is copied.  Returns how much that was."""
    size = 0
    while True:
        count = connection.recv_into(head[size:])
        if not count:
            raise ConnectionError("the server closed the connection")
        size += count
        text = bytes(head[:size])
        end = text.find(b"\r\n\r\n")
        if end >= 0:
            break
    if not text.startswith(b"HTTP/1.1 206"):
        raise ConnectionError(text.split(b"\r\n", 1)[0].decode("latin-1"))
    rest = text[end + 4 :]
    body[: len(rest)] = rest
    return len(rest)


class MemoryCopy(Client):
    def __init__(self, job: object) -> None:
        super().__init__(job)  # type: ignore[arg-type]
        self._source = warm_memory(self.job.size_bytes)
        self._target = warm_memory(self.job.size_bytes)

    def warm(self) -> None:
        return None

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        import numpy

        numpy.copyto(numpy.frombuffer(self._target, numpy.uint8), numpy.frombuffer(self._source, numpy.uint8))
        return Loaded(buffers=[], wire_bytes=0)


def warm_memory(size_bytes: int) -> memoryview:
    """Private memory with every page there."""
    import numpy

    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    view = memoryview(memory)
    numpy.frombuffer(view, numpy.uint8)[:: mmap.PAGESIZE] = 1
    return view


CLIENTS: dict[str, type[Client]] = {"raw socket": RawSocket, "memcpy": MemoryCopy}
