"""Publishes one file: look, hash, send what is missing, end the upload under a condition, look again.

Each step is a function below ``publish``, in the order of its lines.  Whatever fails leaves the bucket in one of two states:
an upload that the next push goes on with (the network, the server's load, expired credentials, Ctrl-C, a kill), or none of
its parts (a quota, missing rights, a file that changed, a name that is taken).  Knows no ComfyUI and no torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from .errors import AccessDenied, CorruptObject, ModelStreamError, NameTaken, ObjectMissing, PublishRefused, QuotaExceeded, SourceChanged
from .objects import RemoteObject
from .origin import Origin
from .publish_bucket import Bucket, Stated
from .publish_end import ended, taken
from .publish_job import Job, PublishSettings, Show, checked, key_for
from .publish_journal import Begun, Journal, new_begun
from .publish_late import LateHash, hashed, may_be_late, relabelled
from .publish_plan import Part, PartDone, Published, PublishRequest, metadata_of, part_bytes_for, plan, still_good
from .publish_same import Twin, find_twin
from .publish_source import Hashes, SourceFile
from .publish_upload import Sent, Upload
from .publish_verify import compare, read_back

__all__ = ["PublishSettings", "Show", "key_for", "publish"]

CONNECTIONS_MAX = 8
ASK_FIRST_BYTES = 256 << 20
"""hashing more takes long enough to find out first whether these keys may write at all"""
_HOPELESS = (QuotaExceeded, AccessDenied, SourceChanged, NameTaken, CorruptObject, PublishRefused)
"""after these nothing is kept for another time"""


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
        examined = checked(origin, source, request)
        with Journal(settings.state, origin.name, origin.bucket, request.key, request.path) as journal:
            job = Job(origin, bucket, request, settings, source, journal, examined, show, clock, subject)
            return replace(_publish(job, others), seconds=clock() - started_s)


def _publish(job: Job, others: Callable[[], Iterable[RemoteObject]]) -> Published:
    there, may_look = _look(job)
    condition = _condition(job, there, may_look)
    begun, parts = _left(job)
    if there is not None and begun is not None and there.metadata.get("push-id") == begun.push_id:
        return _after(job, there, begun, _outcome(begun, job, "resumed"))  # it was ended, and then we were killed
    if there is not None and "IfNoneMatch" in condition:
        _give_up(job, begun)  # somebody was quicker: the rest is needed only if that is something else, and then it is refused
        begun, parts = None, ()
        if there.size_bytes != job.source.size_bytes:
            raise taken(job.subject, there)
    if begun is None:
        candidates = _candidates(job, others)
        if there is None and may_look and may_be_late(job, candidates):
            begun = replace(_new(job, Hashes(0)), late=True)
        else:
            ready = _hashed_first(job, there, condition, candidates)
            if isinstance(ready, Published):
                return ready
            begun = ready
    published, begun = _uploaded(job, begun, parts, condition)
    if not may_look:
        job.journal.forget()
        return published
    there = job.bucket.head(job.key)
    if there is None:
        step = "list the bucket: the server may keep it under another name"
        raise CorruptObject("the object is not there after it was pushed", subject=job.subject, cause="HEAD finds none", next_step=step)
    return _after(job, there, begun, published)


def _hashed_first(job: Job, there: Stated | None, condition: Mapping[str, str], candidates: tuple[RemoteObject, ...]) -> Published | Begun:
    """What is already there under this name or another, or the upload that is to begin."""
    hashes = _hashes(job)
    begun = _new(job, hashes)
    if there is not None and _is_it(there, hashes):
        # not ours by its push-id, and yet the same bytes
        return _verified(job, there, replace(begun, push_id=""), _outcome(begun, job, "unchanged"))
    if there is not None and "IfNoneMatch" in condition:
        raise taken(job.subject, there)
    twin = _twin(job, hashes, candidates)
    return begun if twin is None else _copied(job, begun, twin)


# -- before ------------------------------------------------------------------------------------------------------------
def _look(job: Job) -> tuple[Stated | None, bool]:
    """(what is there, whether these keys may look at all)."""
    try:
        return job.bucket.head(job.key), True
    except AccessDenied:
        return None, False


def _condition(job: Job, there: Stated | None, may_look: bool) -> dict[str, str]:
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


def _left(job: Job) -> tuple[Begun | None, tuple[PartDone, ...]]:
    """What an earlier push of this very file to this place left and this one can go on with; everything else is given up."""
    begun, parts = job.journal.read()
    if begun is None:
        return None, ()
    wanted = metadata_of(job.labels, begun.hashes.sha256, job.source.identity)
    same = begun.identity == job.source.identity and begun.metadata == wanted
    same = same and (begun.late or bool(begun.hashes.sha256)) == job.request.sha256
    if same and begun.endpoint == job.origin.endpoint and (begun.upload_id or not parts):
        return begun, parts
    _give_up(job, begun)
    return None, ()


def _hashes(job: Job) -> Hashes:
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


def _candidates(job: Job, others: Callable[[], Iterable[RemoteObject]]) -> tuple[RemoteObject, ...]:
    """What may be the same bytes under another name."""
    if job.request.same == "upload":
        return ()
    return tuple(obj for obj in others() if obj.size_bytes == job.source.size_bytes)


def _twin(job: Job, hashes: Hashes, candidates: tuple[RemoteObject, ...]) -> Twin | None:
    """Another name to copy from; None: send it."""
    size = job.source.size_bytes
    twin = find_twin(job.bucket, job.key, job.source, hashes, candidates, lambda done: job.show("hash", done, size))
    if twin is not None and job.request.same == "refuse":
        cause = "proven by its ETag" if twin.proven else "by what the object says of itself"
        step = "use that one; or push with --same copy (inside the bucket) or --same upload"
        problem = f"these bytes are in the bucket already, as {ascii(twin.key)[1:-1]}"
        raise NameTaken(problem, subject=job.subject, cause=cause, next_step=step)
    return twin if twin is not None and twin.proven else None


# -- sending -----------------------------------------------------------------------------------------------------------
def _copied(job: Job, begun: Begun, twin: Twin) -> Published:
    job.bucket.copy((twin.bucket, twin.key), twin.stated, job.key, begun.with_push_id, job.request.storage_class)
    there = job.bucket.head(job.key)
    if there is None:
        raise CorruptObject("the object is not there after it was copied", subject=job.subject, next_step="push with --same upload")
    published = replace(_outcome(begun, job, "copied"), copied_from=job.origin.subject(twin.key))
    return _verified(job, there, begun, published)


def _uploaded(job: Job, begun: Begun, noted: tuple[PartDone, ...], condition: Mapping[str, str]) -> tuple[Published, Begun]:
    """(outcome, the upload that it was)."""
    late = LateHash(job.source) if begun.late else None
    try:
        begun, parts, done = _begun(job, begun, noted)
        sent = _sent(job, begun, parts, done)
        if late is not None:
            size = job.source.size_bytes
            begun = replace(begun, hashes=late.wait(lambda done: job.show("hash", done, size)))
        ended(job, begun, sent, condition)
    except BaseException as error:
        if late is not None:
            late.stop()
        if isinstance(error, _HOPELESS) or not job.journal.keeps:
            _give_up(job, begun)
        raise
    resumed = sum(d.length for d in done)
    published = replace(
        _outcome(begun, job, "resumed" if resumed else "uploaded"),
        wire_bytes=sent.wire_bytes,
        resumed_bytes=resumed,
        retries=sent.retries,
        rate_bytes_per_s=sent.rate_bytes_per_s,
    )
    return published, begun


def _begun(job: Job, begun: Begun, noted: tuple[PartDone, ...]) -> tuple[Begun, tuple[Part, ...], tuple[PartDone, ...]]:
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


def _sent(job: Job, begun: Begun, parts: tuple[Part, ...], done: tuple[PartDone, ...]) -> Sent:
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


def _give_up(job: Job, begun: Begun | None) -> None:
    """Removes what an upload has left; where even that fails ``modelstream gc`` finds it."""
    if begun is not None and begun.upload_id:
        try:
            job.bucket.abort(job.key, begun.upload_id)
        except ModelStreamError:
            return
    job.journal.forget()


# -- after -------------------------------------------------------------------------------------------------------------
def _after(job: Job, there: Stated, begun: Begun, published: Published) -> Published:
    """What is left to do once it is an object."""
    if begun.late:
        begun = begun if begun.hashes.sha256 else hashed(job, begun)
        there = relabelled(job, begun, there)
        published = replace(published, sha256=begun.hashes.sha256, crc64=begun.hashes.crc64)
    return _verified(job, there, begun, published)


def _verified(job: Job, there: Stated, begun: Begun, published: Published) -> Published:
    size, hashes = job.source.size_bytes, begun.hashes
    how = compare(job.subject, there, size, hashes, begun.push_id, md5=not begun.checksums)
    if job.request.verify == "full":
        read_back(job.origin, job.key, there, hashes, lambda done: job.show("read back", done, size))
        how = "full"
    job.journal.forget()
    return replace(published, etag=there.etag, verified=how, labels=dict(there.metadata))


def _outcome(begun: Begun, job: Job, how: str) -> Published:
    sha256, crc64 = begun.hashes.sha256, begun.hashes.crc64
    return Published(job.subject, job.key, how, job.source.size_bytes, "", sha256, crc64, "", labels=begun.metadata)


def _new(job: Job, hashes: Hashes) -> Begun:
    metadata = metadata_of(job.labels, hashes.sha256, job.source.identity)
    return new_begun(job.origin, job.request, job.source.identity, hashes, metadata)
