"""Is this answer the one that was asked for?  Pure checks of status and headers, and what follows from a no.

boto3 checks none of this for a range: a captive portal's page, a whole body at a part's place or the bytes of
another version come through it without an error (docs: the fault matrix).
"""

from __future__ import annotations

import email.utils
import enum
import re
from dataclasses import dataclass, replace
from typing import Protocol

from .checksum import from_header
from .errors import (
    BadAnswer,
    CredentialsExpired,
    ModelStreamError,
    ObjectArchived,
    ObjectChanged,
    OriginUnreachable,
    Throttled,
)
from .objects import ObjectHead
from .origin_errors import error_from_answer


class Fields(Protocol):
    """Response headers; names without case, as http.client gives them."""

    def get(self, name: str, /) -> str | None: ...
    def items(self) -> list[tuple[str, str]]: ...


class Then(enum.Enum):
    """What can be done about a refused answer."""

    RETRY = "ask again"
    THROTTLE = "ask again later, with fewer connections"
    LOOK = "look at the object again: it may have changed"
    SIGN = "sign again, with fresh credentials or in the headers"
    FAIL = "nothing"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an answer or an attempt is not taken.

    reason: one of a fixed set of short words (PartRetried.reason)
    error:  what to raise when it cannot be mended
    """

    reason: str
    then: Then
    error: ModelStreamError


class Refused(Exception):
    signature = 0
    """number of the signature that the request carried"""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.reason)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a GET asked for: bytes [start, end) of the version ``etag`` of ``size_bytes`` bytes."""

    start: int
    end: int
    size_bytes: int
    etag: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Range": f"bytes={self.start}-{self.end - 1}", "If-Match": f'"{self.etag}"'}


RANGE_IGNORED = "range ignored"
"""this reason is worth one repetition, not many: every such answer may bring a whole object's bytes with it"""

_NOT_S3 = "check that the endpoint is an S3 server and no proxy or portal answers in its place"
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9_.-]{1,80})\s*</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,400})</Message>")


def plain_etag(value: str | None) -> str:
    """Without quotes and without the mark of a weak one: an opaque version tag."""
    value = (value or "").strip()
    return value.removeprefix("W/").strip('"')


def check_part(asked: Asked, status: int, headers: Fields, subject: str) -> None:
    """Raises Refused unless the body that follows is exactly what was asked for."""
    if status not in (200, 206):
        raise Refused(_bad("status", f"the server answered {status}", subject))
    content_range = headers.get("Content-Range")
    page = _page_kind(headers)
    if content_range is None:
        _without_range(asked, status, headers, page, subject)
    else:
        _check_etag(asked, headers, subject)
        _check_range(asked, content_range, subject)
    length = headers.get("Content-Length")
    # A shorter body of the right version is taken and completed; a longer one is not of this request.
    if length is not None and not (length.strip().isdigit() and int(length) <= asked.end - asked.start):
        raise Refused(_bad("length", "the answer has another length than was asked for", subject))


def _without_range(asked: Asked, status: int, headers: Fields, page: str, subject: str) -> None:
    if page:
        raise Refused(_bad("page", f"{page} came in place of the object: not an S3 answer", subject))
    _check_etag(asked, headers, subject)
    whole = asked.start == 0 and asked.end == asked.size_bytes
    if status == 200 and whole and headers.get("Content-Length") in (None, str(asked.size_bytes)):
        return
    if status == 200:
        raise Refused(_bad(RANGE_IGNORED, "the server ignores Range: it answered 200 with the whole object for a part of it", subject))
    raise Refused(_bad("range", "the answer has no Content-Range", subject))


def _check_range(asked: Asked, content_range: str, subject: str) -> None:
    found = _CONTENT_RANGE.fullmatch(content_range.strip())
    if found is None:
        raise Refused(_bad("range", "the answer's Content-Range cannot be read", subject))
    start, last, total = (int(g) for g in found.groups())
    if total != asked.size_bytes or (start, last) != (asked.start, asked.end - 1):
        wanted = f"{asked.start}-{asked.end - 1}/{asked.size_bytes}"
        refusal = _bad("range", f"Content-Range is {start}-{last}/{total}, asked was {wanted}", subject)
        # Another total may mean another version behind a server that shows no ETag.
        raise Refused(Refusal("range", Then.LOOK, refusal.error) if total != asked.size_bytes else refusal)


def _check_etag(asked: Asked, headers: Fields, subject: str) -> None:
    etag = plain_etag(headers.get("ETag"))
    if etag and etag != asked.etag:
        error = ObjectChanged("the answer is of another version", subject=subject, cause="its ETag differs", next_step="load it again")
        raise Refused(Refusal("etag", Then.LOOK, error))


def _page_kind(headers: Fields) -> str:
    kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        return "a web page"
    return "an XML text" if kind in ("application/xml", "text/xml") else ""


def refusal_of(status: int, headers: Fields, body: bytes, subject: str, head: ObjectHead | None = None) -> Refusal:
    """What an answer with an error status means for the transfer.  head: what is known of the object, for the message."""
    code, message = error_code(body)
    known = {"x-amz-storage-class": head.storage_class, "x-amz-restore": head.restore or ""} if head else {}
    fields = {**known, **{name.lower(): value for name, value in headers.items()}}
    error = error_from_answer(status, code, message, fields, subject)
    if isinstance(error, Throttled):
        return Refusal("throttled", Then.THROTTLE, error)
    if isinstance(error, ObjectChanged):
        return Refusal("precondition", Then.LOOK, error)
    if isinstance(error, CredentialsExpired):
        return Refusal("expired", Then.SIGN, error)
    if isinstance(error, OriginUnreachable):
        return Refusal("status", Then.RETRY, error)
    if status == 416:
        return Refusal("range", Then.LOOK, error)
    if isinstance(error, BadAnswer) and not 300 <= status < 400:
        return Refusal("status", Then.RETRY, error)
    return Refusal("status", Then.FAIL, error)


def with_archive_state(refusal: Refusal, head: ObjectHead) -> Refusal:
    """The refused GET of an archived object says neither its class nor whether a restore is under way; HEAD does."""
    error = refusal.error
    if not isinstance(error, ObjectArchived):
        return refusal
    state = {"x-amz-storage-class": head.storage_class, "x-amz-restore": head.restore or ""}
    told = error_from_answer(403, "InvalidObjectState", "", state, error.subject)
    archived = ObjectArchived(told.problem, subject=error.subject, cause=error.cause, next_step=told.next_step)
    return replace(refusal, error=archived)


def short_body(subject: str, got: int, asked: int) -> Refusal:
    cause = f"{got} of {asked} bytes came"
    step = "try again; look at the network and at any proxy between here and the server"
    error = BadAnswer("truncated response: the body was too short", subject=subject, cause=cause, next_step=step)
    return Refusal("short", Then.RETRY, error)


def error_code(body: bytes) -> tuple[str, str]:
    """Code and message of an S3 error, read without an XML parser (and so without its attack surface); empty for anything else."""
    if b"<Error" not in body:
        return "", ""
    code, message = _CODE.search(body), _MESSAGE.search(body)
    return code.group(1).decode("ascii") if code else "", message.group(1).decode("utf-8", "replace") if message else ""


def read_head(status: int, headers: Fields, subject: str) -> ObjectHead:
    """The version that a HEAD answer (or a GET of one byte, by its Content-Range) describes.  Raises Refused."""
    etag = plain_etag(headers.get("ETag"))
    size = _size(status, headers)
    if not etag or size is None or _page_kind(headers) == "a web page":
        raise Refused(_bad("page", "the answer has no ETag or no length: not an S3 answer", subject))
    crc64nvme, note = _checksum(headers)
    version = headers.get("x-amz-version-id")
    return ObjectHead(
        size_bytes=size,
        etag=etag,
        version_id=version if version and version != "null" else None,
        modified_s=_modified_s(headers),
        storage_class=headers.get("x-amz-storage-class") or "STANDARD",
        restore=headers.get("x-amz-restore"),
        crc64nvme=crc64nvme,
        checksum_note=note,
    )


def _size(status: int, headers: Fields) -> int | None:
    content_range = headers.get("Content-Range")
    if content_range is not None:
        found = _CONTENT_RANGE.fullmatch(content_range.strip())
        return int(found.group(3)) if found else None
    length = (headers.get("Content-Length") or "").strip()
    return int(length) if status == 200 and length.isdigit() else None


def _checksum(headers: Fields) -> tuple[int | None, str]:
    composite = (headers.get("x-amz-checksum-type") or "").upper() == "COMPOSITE"
    value = headers.get("x-amz-checksum-crc64nvme")
    crc64nvme = from_header(value) if value and not composite else None
    if crc64nvme is not None:
        return crc64nvme, "full"
    others = [v for name, v in headers.items() if name.lower().startswith("x-amz-checksum-") and name.lower() != "x-amz-checksum-type"]
    return None, "composite" if composite or any("-" in v for v in others) else "none"


def _modified_s(headers: Fields) -> float:
    try:
        return email.utils.parsedate_to_datetime(headers.get("Last-Modified") or "").timestamp()
    except (TypeError, ValueError):
        return 0.0


def _bad(reason: str, cause: str, subject: str) -> Refusal:
    error = BadAnswer("the server gave an answer that does not fit", subject=subject, cause=cause, next_step=_NOT_S3)
    return Refusal(reason, Then.RETRY, error)
