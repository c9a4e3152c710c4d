"""Makes an upload's parts an object, under the condition that was agreed on, and finds out whether that worked."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .checksum import crc64_of
from .errors import ModelStreamError, NameTaken
from .objects import Extent
from .pacing import Backoff
from .publish_bucket import Said, Stated
from .publish_job import Job
from .publish_journal import Begun
from .publish_source import changed
from .publish_upload import Sent

COMPLETE_TRIES = 4


def ended(job: Job, begun: Begun, sent: Sent, condition: Mapping[str, str]) -> None:
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
                raise taken(job.subject, None, answer.error.cause) from None
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


def _looked_instead(job: Job, condition: Mapping[str, str]) -> dict[str, str]:
    """The server knows no conditions on writing: the next best is to look right before."""
    there = job.bucket.head(job.key)
    expected = condition.get("IfMatch")
    if (there is None) != (expected is None) or (there is not None and f'"{there.etag}"' != expected):
        raise taken(job.subject, there)
    return {}


def _is_ours(job: Job, begun: Begun) -> bool:
    try:
        there = job.bucket.head(job.key)
    except ModelStreamError:
        return False
    return there is not None and there.metadata.get("push-id") == begun.push_id


def taken(subject: str, there: Stated | None, cause: str = "") -> NameTaken:
    cause = cause or (f"an object of {there.size_bytes} bytes lies there" if there is not None else "somebody was quicker")
    step = "choose another name, or replace it with --overwrite"
    return NameTaken("the name is taken", subject=subject, cause=cause, next_step=step)
