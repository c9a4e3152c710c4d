"""Copies many far objects to a near origin, from bucket to bucket: what is missing, and the copying of one.

For the command line.  Each copy is made like one after a load (`mirroring`): the same marker for the fleet, the same budget, mark
and checks; only the bytes come from the far origin in parts and touch no tier.  An upload that was stopped goes on where it was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..storage.errors import ModelStreamError, ObjectChanged
from ..storage.far_source import FarSource
from ..storage.mirror_bucket import MirrorBucket
from ..storage.mirror_claim import BEAT_S, Claims
from ..storage.mirror_mark import Mark
from ..storage.mirror_upload import Begun, Part, Upload
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from .mirror_budget import MirrorBudget, Tenant
from .state_file import StateFile

LOOKS_AT_ONCE = 8
THREADS = 6

MISSING, STALE, THERE, OWN, IMPOSSIBLE = "missing", "stale", "there", "own", "impossible"
COPIED, FETCHING, NO_ROOM, FAILED = "copied", "fetching", "no_room", "failed"


@dataclass(frozen=True, slots=True)
class Task:
    """state: "missing" or "stale" (to be copied), "there", "own" (something that is no copy of ours has the key) or
    "impossible" (the key would be too long); replaces: the stale copy's ETag
    """

    obj: RemoteObject
    key: str
    state: str
    replaces: str = ""

    @property
    def to_do(self) -> bool:
        return self.state in (MISSING, STALE)


@dataclass(frozen=True, slots=True)
class Copied:
    """outcome: "copied", "fetching" (another worker is at it), "no_room" (what would have to leave is worth more), "own",
    or "failed"
    """

    obj: RemoteObject
    outcome: str
    seconds: float = 0.0
    error: ModelStreamError | None = None


def look_at(bucket: MirrorBucket, far: Origin, objects: Iterable[RemoteObject]) -> Iterator[Task]:
    """In the objects' order.  One request an object, a few at once.  Raises ModelStreamError."""

    def one(obj: RemoteObject) -> Task:
        key = bucket.key_of(far, obj)
        if not key:
            return Task(obj, key, IMPOSSIBLE)
        copy = bucket.look(key)
        if copy is None:
            return Task(obj, key, MISSING)
        if copy.mark is None or not copy.mark.has_source(obj):
            return Task(obj, key, OWN)
        if copy.mark.is_of(obj) and copy.head.size_bytes == obj.size_bytes:
            return Task(obj, key, THERE)
        return Task(obj, key, STALE, copy.head.etag)

    with ThreadPoolExecutor(LOOKS_AT_ONCE, "modelstream-look") as pool:
        yield from pool.map(one, objects)


class Copier:
    """One object at a time.  far: where they come from"""

    def __init__(
        self, tenant: Tenant, far: Origin, budget: MirrorBudget, journal: StateFile, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tenant = tenant
        self._far = far
        self._budget = budget
        self._claims = Claims(tenant.bucket)
        self._journal = journal
        self._clock = clock

    def copy(self, task: Task, progress: Callable[[int], None], should_stop: Callable[[], bool] = lambda: False) -> Copied:
        """Never raises what concerns one object only: that is the outcome."""
        began_s, digest = self._clock(), task.obj.id.digest
        try:
            if not self._take(digest):
                return Copied(task.obj, FETCHING)
            try:
                if not self._budget.make_room(self._tenant, task.key, task.obj):
                    return Copied(task.obj, NO_ROOM)
                self._upload(task, progress, should_stop)
            finally:
                self._claims.release(digest)
        except ObjectChanged as error:
            return Copied(task.obj, FAILED, error=error)
        except ModelStreamError as error:
            if should_stop():
                raise
            return Copied(task.obj, FAILED, error=error)
        self._budget.came(self._tenant, task.key, task.obj)
        return Copied(task.obj, COPIED, self._clock() - began_s)

    def _take(self, digest: str) -> bool:
        if self._claims.take(digest):
            return True
        held = self._claims.look(digest)
        return self._claims.take(digest, held if held is not None and held.expired else None)

    def _upload(self, task: Task, progress: Callable[[int], None], should_stop: Callable[[], bool]) -> None:
        source = FarSource(self._far, task.obj)
        beat_s = [self._clock()]
        lock = threading.Lock()

        def beat(done_bytes: int) -> None:
            progress(done_bytes)
            with lock:
                if self._clock() - beat_s[0] < BEAT_S:
                    return
                beat_s[0] = self._clock()
            self._claims.beat(task.obj.id.digest, 2 * done_bytes)

        try:
            self._budget.records(self._tenant).used(task.key, 1)
            Upload(
                self._tenant.bucket,
                task.key,
                Mark.of(task.obj, source.head.crc64nvme),
                source,
                replaces=task.replaces,
                threads=lambda: THREADS,
                progress=beat,
                should_stop=should_stop,
                journal=JournalFile(self._journal, f"{self._tenant.bucket.name}:{task.obj.id.digest}"),
            ).run()
        finally:
            source.close()


class JournalFile:
    """Uploads under way, in one small file of the state folder.  Thread-safe."""

    _lock = threading.Lock()

    def __init__(self, file: StateFile, name: str) -> None:
        self._file = file
        self._name = name

    def begun(self) -> Begun | None:
        row: Any = self._all().get(self._name)
        try:
            parts = tuple(Part(int(n), str(etag), int(crc)) for n, etag, crc in row["parts"])
            found = Begun(str(row["upload_id"]), int(row["part_bytes"]), parts)
        except (KeyError, TypeError, ValueError):
            return None
        return found if found.part_bytes >= 1 << 20 else None

    def note(self, begun: Begun | None) -> None:
        with self._lock:
            rows = self._all()
            rows.pop(self._name, None)
            if begun is not None:
                parts = [[p.number, p.etag, p.crc64] for p in begun.parts]
                rows[self._name] = {"upload_id": begun.upload_id, "part_bytes": begun.part_bytes, "parts": parts}
            try:
                self._file.write(rows)
            except OSError:
                return  # then it cannot be resumed, and that is all

    def _all(self) -> dict[str, Any]:
        content = self._file.read()
        return content if isinstance(content, dict) else {}
