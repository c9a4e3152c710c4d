"""What must hold after every fault, whatever the fault was: I1-I7 of the fault matrix.

I1 the bytes are those of one version of the object; I2 nothing partial lies under a final name; I3 temporary files are
gone or resumable; I4 accounting is back; I5 other work goes on (asked by the tests that have other work); I6 the error
names object, cause and next step and no secret; I7 threads and file descriptors do not grow.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from modelstream.storage.errors import ModelStreamError

SETTLE_S = 3.0
"""threads that were told to stop get this long; the longest promise is one second"""

SIGNATURE_WORDS = ("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "Signature=", "AWS4-HMAC")
"""words that only a presigned URL or an Authorization header holds"""


def eventually(holds: Callable[[], bool], within_s: float = SETTLE_S) -> bool:
    """Whether it becomes true soon.  For what other threads finish by themselves, never to give a fault time to happen."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not holds():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True


def own_threads() -> list[str]:
    """Names of the threads in this process that are not the fault proxy's."""
    return sorted(t.name for t in threading.enumerate() if not t.name.startswith("faultproxy"))


def open_descriptors() -> dict[str, int]:
    """What the open descriptors point to, counted (sockets all under one name)."""
    counted: dict[str, int] = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # the descriptor of this very listing
        kind = target.partition(":[")[0]
        counted[kind] = counted.get(kind, 0) + 1
    return counted


def _grown(before: dict[str, int]) -> dict[str, int]:
    return {kind: n for kind, n in open_descriptors().items() if n > before.get(kind, 0)}


class NothingLeaks:
    """I7 around a block: everything the block started has to be closed inside it."""

    def __enter__(self) -> NothingLeaks:
        gc.collect(1)
        self._threads = own_threads()
        self._descriptors = open_descriptors()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.check()

    def check(self) -> None:
        if _grown(self._descriptors):
            gc.collect()  # botocore's sockets end with their client, which is part of a cycle
        assert eventually(lambda: len(own_threads()) <= len(self._threads)), f"threads grew: {own_threads()} after {self._threads}"
        assert eventually(lambda: not _grown(self._descriptors)), f"descriptors grew: {_grown(self._descriptors)}"


def is_one_version(received: bytes | memoryview, *versions: bytes) -> None:
    """I1.  Does not print megabytes when it fails."""
    if any(received == version for version in versions):
        return
    nearest = next((v for v in versions if len(v) == len(received)), versions[0])
    differing = next((i for i, (a, b) in enumerate(zip(received, nearest, strict=False)) if a != b), min(len(received), len(nearest)))
    raise AssertionError(f"{len(received)} bytes are no single version: first difference to the nearest at {differing}")


def shown_files(ssd: Path) -> list[Path]:
    """Every file under its final name in the SSD tier, records left out."""
    objects = ssd / "objects"
    return sorted(p for p in objects.rglob("*") if p.is_file() and p.name != "record.json") if objects.exists() else []


def nothing_partial_is_shown(ssd: Path, *versions: bytes) -> list[Path]:
    """I2: every file under a final name is whole.  Returns these files."""
    files = shown_files(ssd)
    for path in files:
        is_one_version(path.read_bytes(), *versions)
        assert (path.parent / "record.json").exists(), f"{path.name} has no record"
    return files


def no_temporary_files(ssd: Path) -> None:
    """I3, where nothing may be resumable: only whole entries and the tier's own bookkeeping remain."""
    data = {p for p in ssd.rglob("*") if p.is_file() and p.stat().st_size > 64 << 10} if ssd.exists() else set()
    assert data <= set(shown_files(ssd)), f"left over: {sorted(p.name for p in data - set(shown_files(ssd)))}"


def holds_no_secret(texts: Iterable[str], secrets: Sequence[str]) -> None:
    for text in texts:
        for word in (*SIGNATURE_WORDS, *secrets):
            assert word not in text, f"{word[:6]}… is shown in: {text[:80]!r}"


def explains_itself(error: BaseException, key: str, secrets: Sequence[str]) -> None:
    """I6: one of the family, names the object, has a cause and a next step, and shows nothing secret, also not in its chain."""
    assert isinstance(error, ModelStreamError), repr(error)
    assert key in error.subject, f"the object is not named: {error.subject!r}"
    assert error.cause, f"no cause: {error}"
    assert error.next_step, f"no next step: {error}"
    assert error.subject in str(error)
    texts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        texts += [str(link), repr(link)]
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    holds_no_secret(texts, secrets)
    assert str(Path.cwd()) not in str(error)
    assert str(Path.home()) + "/" not in str(error)
