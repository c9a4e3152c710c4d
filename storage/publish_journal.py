"""What is known of an upload that has begun, in the state folder, so that a killed one goes on where it was.

    <state>/uploads/<digest of origin, key and path>.jsonl

The first line says which file (size, time, inode) goes where under which upload id; each further line is a part that the
server has taken.  Lines are only added, so a kill costs at most the last one; the server's own list of parts is asked
before any of it is believed.  A lock on the file keeps two processes from pushing the same file to the same place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import PublishRefused
from .origin import Origin
from .publish_plan import PartDone, PublishRequest
from .publish_source import FileIdentity, Hashes

FORM = 1
FILE_BYTES_MAX = 4 << 20
SUFFIX = ".jsonl"

if sys.platform == "win32":
    import msvcrt

    def _lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload as it was begun.  begun_s: wall time; push_id: in the object's metadata, so that a finished one is recognised."""

    origin: str
    endpoint: str
    bucket: str
    key: str
    path: str
    identity: FileIdentity
    hashes: Hashes
    push_id: str
    part_bytes: int = 0
    upload_id: str = ""
    """empty: a process was about to ask for one"""
    checksums: bool = True
    late: bool = False
    """the file is hashed while it is sent, and its SHA-256 written into the object's metadata afterwards"""
    begun_s: float = 0.0
    metadata: Mapping[str, str] = field(default_factory=dict)
    """of the object, the push-id left out"""

    @property
    def with_push_id(self) -> dict[str, str]:
        return {**self.metadata, "push-id": self.push_id}


@dataclass(frozen=True, slots=True)
class Kept:
    """A journal that somebody left.  busy: a process has it open now."""

    file: Path
    begun: Begun | None
    parts: tuple[PartDone, ...]
    busy: bool
    modified_s: float


class Journal:
    """Of one file on its way to one key.  Opened by one thread; ``part_done`` may be called from any.

    folder None: nothing is written, and an interrupted upload is given up.  Raises PublishRefused where another process has it.
    """

    def __init__(self, folder: Path | None, origin: str, bucket: str, key: str, path: Path) -> None:
        self._lock = threading.Lock()
        self._fd = -1
        self.file: Path | None = None
        if folder is not None:
            where = folder / "uploads"
            with contextlib.suppress(OSError):  # a folder that cannot be written to: as without one
                where.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.file = where / (_digest(origin, bucket, key, path) + SUFFIX)
                self._fd = _opened(self.file, path.name)
        self.keeps = self._fd >= 0
        """whether the next push can go on where this one is interrupted"""

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> tuple[Begun | None, tuple[PartDone, ...]]:
        """What an earlier process left; (None, ()) where that is nothing usable."""
        if self._fd < 0:
            return None, ()
        os.lseek(self._fd, 0, os.SEEK_SET)
        return _parsed(_all(self._fd))

    def begin(self, begun: Begun) -> None:
        """Forgets what was noted before.  Durable when it returns."""
        if self._fd >= 0:
            with self._lock:
                os.ftruncate(self._fd, 0)
                _write(self._fd, {"form": FORM, **asdict(begun)})
                os.fsync(self._fd)

    def part_done(self, done: PartDone) -> None:
        with self._lock:
            if self._fd >= 0:
                _write(self._fd, [done.number, done.length, done.etag, done.crc64])

    def forget(self) -> None:
        """The upload is over, either way.  The journal can be begun again."""
        with self._lock:
            if self._fd >= 0:
                os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """An empty journal goes with it."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            if self.file is not None and not os.fstat(fd).st_size:
                with contextlib.suppress(OSError):  # Windows does not remove what is open: an empty file stays until gc
                    self.file.unlink()
        finally:
            os.close(fd)


def kept_journals(folder: Path) -> Iterator[Kept]:
    """Every journal of the state folder."""
    where = folder / "uploads"
    for file in sorted(where.glob(f"*{SUFFIX}")) if where.is_dir() else ():
        with contextlib.suppress(OSError):
            fd = os.open(file, os.O_RDWR)
            try:
                busy = not _try_lock(fd)
                begun, parts = _parsed(_all(fd))
                yield Kept(file, begun, parts, busy, os.fstat(fd).st_mtime)
            finally:
                os.close(fd)


def new_begun(origin: Origin, request: PublishRequest, identity: FileIdentity, hashes: Hashes, metadata: Mapping[str, str]) -> Begun:
    """With a push-id of its own; nothing has been asked of the bucket yet."""
    push_id = hashlib.sha256(os.urandom(16)).hexdigest()[:24]
    place = (origin.name, origin.endpoint, origin.bucket, request.key, str(request.path.absolute()))
    return Begun(*place, identity, hashes, push_id, begun_s=time.time(), metadata=metadata)


def _opened(file: Path, name: str) -> int:
    while True:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o600)
        if not _try_lock(fd):
            os.close(fd)
            step = "wait for it, or stop it and push again"
            cause = "its journal is locked"
            raise PublishRefused("another process is pushing this file to this place", subject=name, cause=cause, next_step=step)
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(file), os.fstat(fd)):
                return fd
        os.close(fd)  # its last holder has just removed it


def _try_lock(fd: int) -> bool:
    try:
        _lock(fd)
    except OSError:
        return False
    return True


def _digest(origin: str, bucket: str, key: str, path: Path) -> str:
    text = "\0".join((origin, bucket, key, str(path.absolute())))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _write(fd: int, value: Any) -> None:
    os.write(fd, (json.dumps(value, separators=(",", ":")) + "\n").encode())


def _all(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, FILE_BYTES_MAX):
        pieces.append(piece)
        if sum(map(len, pieces)) > FILE_BYTES_MAX:
            return b""
    return b"".join(pieces)


def _parsed(raw: bytes) -> tuple[Begun | None, tuple[PartDone, ...]]:
    """Strictly: the first line has to be whole and of this form; of the others each that is one counts."""
    lines = raw.split(b"\n")
    try:
        table = json.loads(lines[0])
        if table.pop("form") != FORM:
            return None, ()
        identity, hashes = FileIdentity(**table.pop("identity")), Hashes(**table.pop("hashes"))
        begun = Begun(identity=identity, hashes=hashes, **table)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, ()
    texts = (begun.origin, begun.bucket, begun.key, begun.path, begun.upload_id, begun.push_id)
    numbers = (begun.part_bytes, identity.size_bytes, hashes.crc64)
    if not all(isinstance(t, str) for t in texts) or not all(type(n) is int for n in numbers) or not isinstance(begun.metadata, dict):
        return None, ()
    return begun, tuple(done for line in lines[1:-1] if (done := _part(line)) is not None)


def _part(line: bytes) -> PartDone | None:
    try:
        number, length, etag, crc = json.loads(line)
    except (ValueError, TypeError):
        return None
    whole = all(type(n) is int and 0 <= n < 1 << 64 for n in (number, length, crc))
    return PartDone(number, length, etag, crc) if whole and isinstance(etag, str) else None
