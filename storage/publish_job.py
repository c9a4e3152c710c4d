"""One file on its way into one bucket: what is asked, with what, and whether it may be tried at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .config import TransferConfig
from .errors import PublishRefused
from .origin import Origin
from .publish_bucket import Bucket
from .publish_check import Examined, check_place, directory_for, examine, folder_of
from .publish_journal import Journal
from .publish_plan import OBJECT_BYTES_MAX, Labels, PublishRequest
from .publish_source import SourceFile

Show = Callable[[str, int, int], None]
"""(what is done: "hash", "send", "read back"; bytes done; bytes in all); called often, may raise to stop"""


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """state: folder for what an interrupted upload leaves; None: nothing is left.  connections_max 0: `CONNECTIONS_MAX`.

    rate_bytes_per_s: of earlier uploads to this origin, 0 where nothing is known
    """

    transfer: TransferConfig = TransferConfig()  # noqa: RUF009
    state: Path | None = None
    connections_max: int = 0
    part_bytes: int = 0
    rate_limit_bytes_per_s: float = 0.0
    rate_bytes_per_s: float = 0.0


def key_for(origin: Origin, path: str, file_name: str, folder: str = "") -> str:
    """The full key of ``path`` below the origin's prefix: "folder/name"; "folder/" and "" are completed with the file's name.

    folder: where it goes when ``path`` is empty, as ComfyUI calls it.  Raises PublishRefused.
    """
    rules = origin.config.folders
    if not path:
        if not folder:
            step = "say where it belongs: --to ORIGIN:FOLDER/NAME"
            cause = "its tensors have no names that are known"
            raise PublishRefused("what kind of model this is cannot be seen", subject=file_name, cause=cause, next_step=step)
        path = directory_for(folder, rules)
    if path.endswith("/"):
        path += file_name
    return origin.prefix + path


@dataclass(frozen=True, slots=True)
class Job:
    origin: Origin
    bucket: Bucket
    request: PublishRequest
    settings: PublishSettings
    source: SourceFile
    journal: Journal
    examined: Examined
    show: Show
    clock: Callable[[], float]
    subject: str

    @property
    def key(self) -> str:
        return self.request.key

    @property
    def labels(self) -> Labels:
        """What was said, else what the header says."""
        said, mine = dict(self.examined.said), self.request.labels
        folder = folder_of(self.key[len(self.origin.prefix) :], self.origin.config.folders)
        return replace(
            mine,
            folder=mine.folder or folder,
            architecture=mine.architecture or self.examined.kind.architecture,
            version=mine.version or said.get("version", ""),
            licence=mine.licence or said.get("licence", ""),
        )


def checked(origin: Origin, source: SourceFile, request: PublishRequest) -> Examined:
    if not 0 < source.size_bytes <= OBJECT_BYTES_MAX:
        cause = "it is empty" if not source.size_bytes else "it is larger than 5 TiB"
        raise PublishRefused("the file cannot be pushed", subject=source.name, cause=cause, next_step="write or download it again")
    if not request.key.startswith(origin.prefix):
        step = f"it has to begin with {origin.prefix}"
        raise PublishRefused("the key is not under the origin's prefix", subject=ascii(request.key)[:120], next_step=step)
    allow = request.allow_pickle or origin.config.allows_pickle(request.key)
    examined = examine(source, allow_pickle=allow)
    path = request.key[len(origin.prefix) :]
    check_place(path, examined.form, folder_of(path, origin.config.folders), prefix=origin.prefix)
    return examined
