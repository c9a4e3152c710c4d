"""Publishes one file: look, hash, send what is missing, end the upload under a condition, look again.

Each step is a function below ``publish``, in the order of its lines.  Whatever fails leaves the bucket in one of two states:
an upload that the next push goes on with (the network, the server's load, expired credentials, Ctrl-C, a kill), or none of
its parts (a quota, missing rights, a file that changed, a name that is taken).  Knows no ComfyUI and no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .checksum import crc64_of
from .config import TransferConfig
from .errors import AccessDenied, CorruptObject, ModelStreamError, NameTaken, ObjectMissing, PublishRefused, QuotaExceeded, SourceChanged
from .objects import Extent, RemoteObject
from .origin import Origin
from .pacing import Backoff
from .publish_bucket import Bucket, Said, Stated
from .publish_check import Examined, check_place, directory_for, examine, folder_of
from .publish_journal import Begun, Journal, new_begun
from .publish_plan import (
    OBJECT_BYTES_MAX,
    Labels,
    Part,
    PartDone,
    Published,
    PublishRequest,
    metadata_of,
    part_bytes_for,
    plan,
    still_good,
)
from .publish_same import Twin, find_twin
from .publish_source import Hashes, SourceFile, changed
from .publish_upload import Sent, Upload
from .publish_verify import compare, read_back

COMPLETE_TRIES = 4
CONNECTIONS_MAX = 8
ASK_FIRST_BYTES = 256 << 20
"""hashing more takes long enough to find out first whether these keys may write at all"""
_HOPELESS = (QuotaExceeded, AccessDenied, SourceChanged, NameTaken, CorruptObject, PublishRefused)
"""after these nothing is kept for another time"""

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


def publish(
    origin: Origin,
    request: PublishRequest,
    settings: PublishSettings,
    *,
    others: Callable[[], Iterable[RemoteObject]] = tuple,
    show: Show = lambda what, done, total: None,
    clock: Callable[[], float] = time.monotonic,
) -> Published:
    """Blocks.  Raises ModelStreamError, or what ``show`` raises.

    others: what is listed in this bucket, asked for only when there may be the same bytes under another name
    """
    started_s = clock()
    bucket = Bucket(origin)
    subject = origin.subject(request.key)
    with SourceFile(request.path) as source:
        examined = _checked(origin, source, request)
        with Journal(settings.state, origin.name, origin.bucket, request.key, request.path) as journal:
            job = _Job(origin, bucket, request, settings, source, journal, examined, show, clock, subject)
            return replace(_publish(job, others), seconds=clock() - started_s)


@dataclass(frozen=True, slots=True)
class _Job:
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


def _checked(origin: Origin, source: SourceFile, request: PublishRequest) -> Examined:
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


def _publish(job: _Job, others: Callable[[], Iterable[RemoteObject]]) -> Published:
    there, may_look = _look(job)
    condition = _condition(job, there, may_look)
    begun, parts = _left(job)
    if there is not None and begun is not None and there.metadata.get("push-id") == begun.push_id:
        return _verified(job, there, begun, _outcome(begun, job, "resumed"))  # it was ended, and then we were killed
    if there is not None and "IfNoneMatch" in condition and there.size_bytes != job.source.size_bytes:
        raise _taken(job.subject, there)
    hash_s = job.clock()
    hashes = begun.hashes if begun is not None else _hashes(job)
    hash_s = job.clock() - hash_s
    if there is not None and _is_it(there, hashes):
        _give_up(job, begun)
        same = new_begun(job.origin, job.request, job.source.identity, hashes, {})
        published = replace(_outcome(same, job, "unchanged"), labels=dict(there.metadata), hash_s=hash_s)
        return _verified(job, there, replace(same, push_id=""), published)
    if there is not None and "IfNoneMatch" in condition:
        raise _taken(job.subject, there)
    if begun is None:
        begun = new_begun(job.origin, job.request, job.source.identity, hashes, metadata_of(job.labels, hashes.sha256, job.source.identity))
        twin = _twin(job, hashes, others)
        if twin is not None:
            return replace(_copied(job, begun, twin), hash_s=hash_s)
    published, begun = _uploaded(job, begun, parts, condition)
    if not may_look:
        return replace(published, hash_s=hash_s)
    there = job.bucket.head(job.key)
    if there is None:
        step = "list the bucket: the server may keep it under another name"
        raise CorruptObject("the object is not there after it was pushed", subject=job.subject, cause="HEAD finds none", next_step=step)
    return replace(_verified(job, there, begun, published), hash_s=hash_s)


# -- before ------------------------------------------------------------------------------------------------------------
def _look(job: _Job) -> tuple[Stated | None, bool]:
    """(what is there, whether these keys may look at all)."""
    try:
        return job.bucket.head(job.key), True
    except AccessDenied:
        return None, False


def _condition(job: _Job, there: Stated | None, may_look: bool) -> dict[str, str]:
    """Under which the upload may become the object: nothing is there, or still the version that may be replaced."""
    wanted = job.request.if_match.strip('"')
    if wanted and may_look and (there is None or there.etag != wanted):
        found = "nothing is there" if there is None else f"it is {there.etag}"
        step = "look at what is there now, and name that version"
        raise NameTaken("another version than the expected one is there", subject=job.subject, cause=found, next_step=step)
    if wanted:
        return {"IfMatch": f'"{wanted}"'}
    if not job.request.overwrite:
        return {"IfNoneMatch": "*"}
    if there is not None:
        return {"IfMatch": f'"{there.etag}"'}
    return {"IfNoneMatch": "*"} if may_look else {}


def _left(job: _Job) -> tuple[Begun | None, tuple[PartDone, ...]]:
    """What an earlier push of this very file to this place left and this one can go on with; everything else is given up."""
    begun, parts = job.journal.read()
    if begun is None:
        return None, ()
    wanted = metadata_of(job.labels, begun.hashes.sha256, job.source.identity)
    same = begun.identity == job.source.identity and begun.metadata == wanted and bool(begun.hashes.sha256) == job.request.sha256
    if same and begun.endpoint == job.origin.endpoint and (begun.upload_id or not parts):
        return begun, parts
    _give_up(job, begun)
    return None, ()


def _hashes(job: _Job) -> Hashes:
    size = job.source.size_bytes
    if size > ASK_FIRST_BYTES:
        job.bucket.try_writing(job.key)
    hashes = job.source.hashes(sha256=job.request.sha256, progress=lambda done: job.show("hash", done, size))
    job.source.check_unchanged()
    return hashes


def _is_it(there: Stated, hashes: Hashes) -> bool:
    """Whether the object under our very name has our bytes, as far as both sides can say."""
    theirs = there.metadata.get("sha256", "").lower()
    agree = [theirs == hashes.sha256] if theirs and hashes.sha256 else []
    agree += [there.crc64 == hashes.crc64] if there.crc64 is not None else []
    return bool(agree) and all(agree)


def _twin(job: _Job, hashes: Hashes, others: Callable[[], Iterable[RemoteObject]]) -> Twin | None:
    """Another name to copy from; None: send it."""
    if job.request.same == "upload":
        return None
    size = job.source.size_bytes
    twin = find_twin(job.bucket, job.key, job.source, hashes, others(), lambda done: job.show("hash", done, size))
    if twin is not None and job.request.same == "refuse":
        cause = "proven by its ETag" if twin.proven else "by what the object says of itself"
        step = "use that one; or push with --same copy (inside the bucket) or --same upload"
        problem = f"these bytes are in the bucket already, as {ascii(twin.key)[1:-1]}"
        raise NameTaken(problem, subject=job.subject, cause=cause, next_step=step)
    return twin if twin is not None and twin.proven else None


# -- sending -----------------------------------------------------------------------------------------------------------
def _copied(job: _Job, begun: Begun, twin: Twin) -> Published:
    job.bucket.copy((twin.bucket, twin.key), twin.stated, job.key, begun.with_push_id, job.request.storage_class)
    there = job.bucket.head(job.key)
    if there is None:
        raise CorruptObject("the object is not there after it was copied", subject=job.subject, next_step="push with --same upload")
    published = replace(_outcome(begun, job, "copied"), copied_from=job.origin.subject(twin.key))
    return _verified(job, there, begun, published)


def _uploaded(job: _Job, begun: Begun, noted: tuple[PartDone, ...], condition: Mapping[str, str]) -> tuple[Published, Begun]:
    """(outcome, the upload that it was)."""
    try:
        begun, parts, done = _begun(job, begun, noted)
        sent = _sent(job, begun, parts, done)
        _ended(job, begun, sent, condition)
    except BaseException as error:
        if isinstance(error, _HOPELESS) or job.settings.state is None:
            _give_up(job, begun)
        raise
    job.journal.forget()
    resumed = sum(d.length for d in done)
    published = replace(
        _outcome(begun, job, "resumed" if resumed else "uploaded"),
        wire_bytes=sent.wire_bytes,
        resumed_bytes=resumed,
        retries=sent.retries,
        rate_bytes_per_s=sent.rate_bytes_per_s,
    )
    return published, begun


def _begun(job: _Job, begun: Begun, noted: tuple[PartDone, ...]) -> tuple[Begun, tuple[Part, ...], tuple[PartDone, ...]]:
    """The upload to go on with, or a new one.  The journal says what is about to happen before it does."""
    if begun.upload_id and begun.part_bytes > 0:
        theirs = job.bucket.parts(job.key, begun.upload_id)
        if theirs is not None:
            parts = plan(job.source.size_bytes, begun.part_bytes)
            return begun, parts, still_good(parts, noted, theirs)
    part_bytes = part_bytes_for(job.source.size_bytes, job.settings.rate_bytes_per_s, job.settings.part_bytes)
    begun = replace(begun, upload_id="", part_bytes=part_bytes, begun_s=time.time())
    job.journal.begin(begun)
    upload_id, checksums = job.bucket.create(job.key, begun.with_push_id, job.request.storage_class)
    begun = replace(begun, upload_id=upload_id, checksums=checksums)
    try:
        job.journal.begin(begun)
    except BaseException:
        job.bucket.abort(job.key, upload_id)
        raise
    return begun, plan(job.source.size_bytes, part_bytes), ()


def _sent(job: _Job, begun: Begun, parts: tuple[Part, ...], done: tuple[PartDone, ...]) -> Sent:
    upload = Upload(
        job.origin,
        job.key,
        begun.upload_id,
        job.source,
        parts,
        done,
        job.journal,
        job.settings.transfer,
        checksums=begun.checksums,
        connections_max=job.settings.connections_max or CONNECTIONS_MAX,
        rate_limit_bytes_per_s=job.settings.rate_limit_bytes_per_s,
    )
    try:
        return upload.run(lambda now: job.show("send", now.sent_bytes, now.size_bytes))
    except ObjectMissing as error:
        if job.bucket.parts(job.key, begun.upload_id) is not None:
            raise
        step = "push again; look for a lifecycle rule or a person that gives up unfinished uploads"
        raise PublishRefused("the upload was given up by somebody else", subject=job.subject, cause=error.cause, next_step=step) from None


def _ended(job: _Job, begun: Begun, sent: Sent, condition: Mapping[str, str]) -> None:
    """Makes the parts an object, under the condition.  Whether that worked is asked of the bucket when the answer is lost."""
    at, extents = 0, []
    for part in sent.parts:
        extents.append(Extent(at, part.length, part.crc64))
        at += part.length
    if crc64_of(extents, job.source.size_bytes) != begun.hashes.crc64:
        raise changed(job.source.name, "the bytes that were sent are not those that were hashed before")
    backoff, condition = Backoff(), dict(condition)
    for attempt in range(1, COMPLETE_TRIES + 1):
        try:
            job.bucket.complete(job.key, begun.upload_id, sent.parts, begun.hashes.crc64 if begun.checksums else None, condition)
            return
        except Said as answer:
            if _is_ours(job, begun):
                return
            if answer.status in (409, 412):
                raise _taken(job.subject, None, answer.error.cause) from None
            if answer.status == 501 and condition:
                condition = _looked_instead(job, condition)
                continue
            if answer.status < 500 or attempt == COMPLETE_TRIES:
                raise answer.error from None
        except ModelStreamError:
            if _is_ours(job, begun):
                return
            if attempt == COMPLETE_TRIES:
                raise
        time.sleep(backoff.wait_s(attempt))


def _looked_instead(job: _Job, condition: Mapping[str, str]) -> dict[str, str]:
    """The server knows no conditions on writing: the next best is to look right before."""
    there = job.bucket.head(job.key)
    expected = condition.get("IfMatch")
    if (there is None) != (expected is None) or (there is not None and f'"{there.etag}"' != expected):
        raise _taken(job.subject, there)
    return {}


def _is_ours(job: _Job, begun: Begun) -> bool:
    try:
        there = job.bucket.head(job.key)
    except ModelStreamError:
        return False
    return there is not None and there.metadata.get("push-id") == begun.push_id


def _give_up(job: _Job, begun: Begun | None) -> None:
    """Removes what an upload has left; where even that fails ``modelstream gc`` finds it."""
    if begun is not None and begun.upload_id:
        try:
            job.bucket.abort(job.key, begun.upload_id)
        except ModelStreamError:
            return
    job.journal.forget()


# -- after -------------------------------------------------------------------------------------------------------------
def _verified(job: _Job, there: Stated, begun: Begun, published: Published) -> Published:
    size, hashes = job.source.size_bytes, begun.hashes
    how = compare(job.subject, there, size, hashes, begun.push_id, md5=not begun.checksums)
    if job.request.verify == "full":
        read_back(job.origin, job.key, there, hashes, lambda done: job.show("read back", done, size))
        how = "full"
    job.journal.forget()
    return replace(published, etag=there.etag, verified=how)


def _outcome(begun: Begun, job: _Job, how: str) -> Published:
    sha256, crc64 = begun.hashes.sha256, begun.hashes.crc64
    return Published(job.subject, job.key, how, job.source.size_bytes, "", sha256, crc64, "", labels=begun.metadata)


def _taken(subject: str, there: Stated | None, cause: str = "") -> NameTaken:
    cause = cause or (f"an object of {there.size_bytes} bytes lies there" if there is not None else "somebody was quicker")
    step = "choose another name, or replace it with --overwrite"
    return NameTaken("the name is taken", subject=subject, cause=cause, next_step=step)
