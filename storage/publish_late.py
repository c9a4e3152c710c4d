"""Hashing beside the upload, where the server lets metadata be changed afterwards without copying the object.

S3 wants metadata before the first byte, so a SHA-256 in it means reading the file once before anything is sent.  On a fast
network that is a good part of the whole.  SeaweedFS and MinIO change an object's metadata in place: there the file is hashed
while its parts are on their way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from .errors import ModelStreamError
from .objects import RemoteObject
from .publish_bucket import Stated
from .publish_job import Job
from .publish_journal import Begun
from .publish_source import Hashes, SourceFile

LATE_BYTES_LEAST = 64 << 20
"""less is hashed in the time of the two more requests"""
WATCH_S = 0.1


def may_be_late(job: Job, candidates: Sequence[RemoteObject]) -> bool:
    """Not where a twin is looked for (that needs the hashes), nor where nobody wants the SHA-256."""
    large = job.source.size_bytes >= LATE_BYTES_LEAST
    return large and job.request.sha256 and not candidates and job.bucket.relabels_in_place


class LateHash:
    """A thread that hashes the file.  ``wait`` for it, or ``stop`` it; one of them is enough."""

    def __init__(self, source: SourceFile) -> None:
        self._source = source
        self._stopped = False
        self._done_bytes = 0
        self._found: Hashes | BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="modelstream-hash", daemon=True)
        self._thread.start()

    def wait(self, show: Callable[[int], None]) -> Hashes:
        """show: called with the bytes done while there is something to wait for.  Raises SourceChanged."""
        while self._thread.is_alive():
            show(self._done_bytes)
            self._thread.join(WATCH_S)
        if isinstance(self._found, Hashes):
            return self._found
        assert self._found is not None
        raise self._found

    def stop(self) -> None:
        self._stopped = True
        self._thread.join()

    def _run(self) -> None:
        try:
            self._found = self._source.hashes(progress=self._progress)
        except BaseException as error:  # told to who waits
            self._found = error

    def _progress(self, done_bytes: int) -> None:
        self._done_bytes = done_bytes
        if self._stopped:
            raise InterruptedError


def relabelled(job: Job, begun: Begun, there: Stated) -> Stated:
    """The object with its SHA-256 in its metadata; as it was where that is refused (the outcome then shows none)."""
    if there.metadata.get("push-id") != begun.push_id or not begun.hashes.sha256:
        return there
    try:
        job.bucket.relabel(job.key, there, {"sha256": begun.hashes.sha256, **begun.with_push_id})
        return job.bucket.head(job.key) or there
    except ModelStreamError:
        return there


def hashed(job: Job, begun: Begun) -> Begun:
    """After a kill between the upload's end and its label: the hashes once more."""
    size = job.source.size_bytes
    return replace(begun, hashes=job.source.hashes(progress=lambda done: job.show("hash", done, size)))
