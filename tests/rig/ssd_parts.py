"""Objects, tiers and faults for the tests of the SSD tier.  Real files; only the system call that fails is pretended."""

from __future__ import annotations

import contextlib
import mmap
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from awscrt.checksums import crc64nvme

from modelstream.cache.disk import Disk
from modelstream.cache.owners import Owners
from modelstream.cache.partial import PartialFile
from modelstream.cache.ssd import SsdTier
from modelstream.cache.tier_choice import TierChoice
from modelstream.storage.events import Event, EventBus
from modelstream.storage.objects import Extent, ObjectHead, ObjectId, RemoteObject

CHUNK = 64 << 10
"""small chunks, so that small objects have many"""
OPEN_BYTES = 1 << 40


def remote(key: str = "loras/a.safetensors", size_bytes: int = 5 * CHUNK + 777, version: str = "v1") -> RemoteObject:
    return RemoteObject("here", ObjectId("http://127.0.0.1:1", "models", key, version), size_bytes, 1.0)


def content(obj: RemoteObject) -> bytes:
    return random.Random(obj.id.digest).randbytes(obj.size_bytes)


def head_of(obj: RemoteObject) -> ObjectHead:
    return ObjectHead(obj.size_bytes, obj.id.version)


def aligned(body: bytes) -> memoryview:
    """A page-aligned buffer with these bytes, as the arena gives them."""
    memory = mmap.mmap(-1, max(len(body), 1))
    view = memoryview(memory)[: len(body)]
    view[:] = body
    return view


def empty(size_bytes: int) -> memoryview:
    return memoryview(mmap.mmap(-1, max(size_bytes, 1)))[:size_bytes]


def extents(body: bytes, step: int = CHUNK // 2) -> list[Extent]:
    return [Extent(at, len(body[at : at + step]), crc64nvme(body[at : at + step])) for at in range(0, len(body), step)]


class Heard:
    """A bus and everything that was said on it."""

    def __init__(self) -> None:
        self.bus = EventBus()
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Mortal(Owners):
    """Owners of one pretended process, which a test can kill."""

    def __init__(self) -> None:
        self.tokens: set[str] = set()
        self.dead: set[str] = set()

    def mine(self) -> str:
        token = super().mine()
        self.tokens.add(token)
        return token

    def is_dead(self, token: str, quiet_s: float) -> bool:
        return token in self.dead or super().is_dead(token, quiet_s)

    def die(self) -> None:
        self.dead |= self.tokens


@contextlib.contextmanager
def tier(
    root: Path,
    heard: Heard | None = None,
    *,
    budget_bytes: int | None = OPEN_BYTES,
    free_floor_bytes: int = 0,
    disk: Disk | None = None,
    owners: Owners | None = None,
    clock: Callable[[], float] | None = None,
    chunk_bytes: int = CHUNK,
    policy: str = "lru",
) -> Iterator[SsdTier]:
    more: dict[str, Any] = {} if clock is None else {"clock": clock}
    bus = (heard or Heard()).bus
    more.setdefault("hold_s", 0.0)
    more["choice"] = TierChoice(policy=policy)
    it = SsdTier(root, budget_bytes, free_floor_bytes, bus, disk=disk, owners=owners, chunk_bytes=chunk_bytes, **more)
    it.start()
    try:
        yield it
    finally:
        it.close()


def fill(partial: PartialFile, body: bytes, done: list[Extent] | None = None, step: int = CHUNK // 2) -> None:
    """Everything that is not there yet, in a shuffled order."""
    have = [(e.offset, e.end) for e in done or []]
    view = aligned(body)
    todo = [e for e in extents(body, step) if not any(a <= e.offset and e.end <= b for a, b in have)]
    random.Random(len(body)).shuffle(todo)
    for extent in todo:
        partial.write_behind(view, extent)


def store(ssd: SsdTier, obj: RemoteObject) -> bytes:
    body = content(obj)
    partial = ssd.begin(obj, head_of(obj))
    fill(partial, body)
    partial.commit(crc64nvme(body))
    return body


def drop_dead(partial: PartialFile) -> None:
    """What a killed process leaves: closed descriptors and no cleaning."""
    partial._tools.writer.forget(partial)
    partial._tools.writer.wait(partial)
    partial._abandoned = partial._ended = True
    partial._close()


def shown(root: Path) -> list[Path]:
    return sorted(p for p in (root / "objects").rglob("*") if p.is_file() and p.name != "record.json")


class FailingDisk(Disk):
    """Lets the n-th call that changes something fail with the given error; counts them all."""

    CALLS = (
        "create",
        "open",
        "write",
        "pwrite",
        "truncate",
        "allocate",
        "fsync",
        "fsync_directory",
        "mkdir",
        "rename",
        "touch",
        "unlink",
        "rmdir",
    )

    def __init__(self, nth: int, number: int) -> None:
        self.calls = 0
        self.nth = nth
        self.number = number
        self.failed_at = ""

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name not in FailingDisk.CALLS:
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.nth:
                self.failed_at = name
                raise OSError(self.number, "pretended")
            return value(*args, **kwargs)

        return call
