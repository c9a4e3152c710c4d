"""Local models on their way into the bucket because somebody asked for it in the panel: one after another, in one thread.

Only files that lie in ComfyUI's own folders under the name that its lists show; only where the owner allows it.  An
interrupted one goes on where it was when it is asked for again.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import folder_paths

from ..storage.errors import ModelStreamError, NoRoom, PublishRefused, TransferCancelled
from ..storage.layout import is_safe_name
from ..storage.publish_plan import Labels, Published
from .publish_allowed import refused_because
from .publishing import publish_model
from .runtime import Runtime

WAITING_MAX = 16
KEPT = 50


@dataclass(frozen=True, slots=True)
class PublishJob:
    """state: "waiting", "hash", "send", "done", "failed" or "cancelled"; message: what went wrong, or how it was verified"""

    number: int
    folder: str
    name: str
    size_bytes: int
    state: str = "waiting"
    done_bytes: int = 0
    message: str = ""

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


class PublishJobs:
    """Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, PublishJob] = OrderedDict()
        self._files: dict[int, Path] = {}
        self._cancelled: set[int] = set()
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None

    def jobs(self) -> tuple[PublishJob, ...]:
        """Oldest first."""
        with self._lock:
            return tuple(self._jobs.values())

    def start(self, folder: str, name: str) -> PublishJob:
        """Raises PublishRefused, or NoRoom where too many wait."""
        because = refused_because(self._runtime.config, folder)
        if because:
            raise PublishRefused(because.rstrip("."))
        path = local_file(folder, name)
        with self._lock:
            if sum(not job.over for job in self._jobs.values()) >= WAITING_MAX:
                raise NoRoom("too many models wait to be put into the bucket", next_step="try again when some of them are there")
            job = PublishJob(next(self._numbers), folder, name, path.stat().st_size)
            self._jobs[job.number], self._files[job.number] = job, path
            while len(self._jobs) > KEPT and next(iter(self._jobs.values())).over:
                self._jobs.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="modelstream-publish", daemon=True)
                self._thread.start()
        return job

    def cancel(self, number: int) -> bool:
        """False: there is no such job, or it is over."""
        with self._lock:
            job = self._jobs.get(number)
            if job is None or job.over:
                return False
            self._cancelled.add(number)
            if job.state == "waiting":
                self._jobs[number] = replace(job, state="cancelled")
            return True

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._end(job.number, "done", self._publish(job).verified)
            except TransferCancelled:
                self._end(job.number, "cancelled", "")
            except ModelStreamError as error:
                self._end(job.number, "failed", str(error))
            except Exception as error:  # the others that wait must have their turn
                self._end(job.number, "failed", f"an unforeseen error: {type(error).__name__}")

    def _publish(self, job: PublishJob) -> Published:
        def show(what: str, count: int, total: int) -> None:
            self._show(job.number, what, count)

        name, state = job.name.replace("\\", "/"), self._runtime.places.state
        return publish_model(self._runtime, self._files[job.number], job.folder, name, Labels(), show, state=state)

    def _next(self) -> PublishJob | None:
        with self._lock:
            job = next((job for job in self._jobs.values() if job.state == "waiting"), None)
            if job is None:
                self._thread = None
            return job

    def _show(self, number: int, what: str, count: int) -> None:
        with self._lock:
            if number in self._cancelled:
                raise TransferCancelled("nobody wants it in the bucket any more")
            self._jobs[number] = replace(self._jobs[number], state=what, done_bytes=count)

    def _end(self, number: int, state: str, message: str) -> None:
        with self._lock:
            self._cancelled.discard(number)
            self._files.pop(number, None)
            self._jobs[number] = replace(self._jobs[number], state=state, message=message)


def local_file(folder: str, name: str) -> Path:
    """The file of this machine that ComfyUI's list shows under this name.  Raises PublishRefused."""
    if folder in folder_paths.folder_names_and_paths and is_safe_name(name.replace("\\", "/"), windows=True):
        for root in folder_paths.get_folder_paths(folder):
            path = Path(root) / name.replace("\\", "/")
            if path.is_file():
                return path
    step = "choose one that lies on this machine"
    raise PublishRefused("there is no such local model", subject=ascii(name)[1:-1][:120], cause=f"not in {folder[:40]}", next_step=step)
