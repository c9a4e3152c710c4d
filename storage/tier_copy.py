"""Moving one object into another storage class: a copy onto itself inside the bucket; no byte of it comes here.

Only the version that was planned is touched (CopySourceIfMatch, and If-Match at the end of a multipart copy where the server
keeps it).  Metadata, tags, encryption and checksums stay.  An object that was uploaded in parts is copied in the same parts, so
that its ETag stays too, and with it every copy that caches hold.  A multipart copy that was cut off is taken up again.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .errors import ConfigError, CorruptObject, ObjectArchived, ObjectChanged, TransferCancelled
from .provider_table import provider_of
from .restore import state_of

if TYPE_CHECKING:
    from .origin import Origin

ONE_COPY_MAX_BYTES = 5 << 30
"""S3's own limit of one copy"""
PART_BYTES, PARTS_MAX = 256 << 20, 10_000
AT_ONCE = 4
_CHECKSUMS = ("CRC64NVME", "CRC32C", "CRC32", "SHA256", "SHA1")
_IN_PARTS = re.compile(r"^[0-9a-f]{32}-([1-9]\d{0,4})$")
"""the ETag of an object that was uploaded in so many parts"""
_KEPT = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "WebsiteRedirectLocation")

Done = Callable[[int], None]
"""bytes that are copied by now"""


@dataclass(frozen=True, slots=True)
class Moved:
    """What HEAD says afterwards.  already: nothing had to be done"""

    etag: str
    storage_class: str
    already: bool = False


class Mover:
    """Of one origin.  Any thread; each call blocks.

    remember: called with (key, upload id) when a multipart copy begins and (key, "") when it has ended; left: what an earlier
    process told ``remember`` and did not take back
    stopped:  asked between parts
    """

    def __init__(
        self,
        origin: Origin,
        *,
        remember: Callable[[str, str], None] = lambda key, upload_id: None,
        left: Mapping[str, str] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        one_copy_max_bytes: int = ONE_COPY_MAX_BYTES,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._origin = origin
        self._client: Any = None
        self._remember = remember
        self._left = dict(left or {})
        self._stopped = stopped
        self._one_copy_max_bytes = one_copy_max_bytes
        self._part_bytes = part_bytes

    def move(self, key: str, etag: str, to_class: str, done: Done = lambda count: None) -> Moved:
        """Raises ObjectChanged (another version is there), ObjectArchived, and the other errors of the family."""
        subject = self._origin.subject(key)
        try:
            head = self._head(key)
            found = _etag(head)
            if found != etag:
                raise ObjectChanged("the object was overwritten since the plan was made", subject=subject, next_step="make a new plan")
            state = state_of(head)
            if state.storage_class == to_class:
                return Moved(found, to_class, already=True)
            if not state.can_be_read:
                step = f'restore it first: modelstream restore "{key}"'
                raise ObjectArchived(f"the object is in {state.storage_class}", subject=subject, next_step=step)
            if head.get("SSECustomerAlgorithm"):
                step = "move it with a tool that has its key"
                raise ConfigError("the object is encrypted with a key of its own", subject=subject, next_step=step)
            large = state.size_bytes > self._one_copy_max_bytes
            in_parts = provider_of(self._origin.profile.preset).multipart_copy
            if large and not in_parts:
                step = "move it with the provider's own tool"
                raise ConfigError("the object is too large to be copied at once", subject=subject, next_step=step)
            if in_parts and (large or _IN_PARTS.search(found)):
                self._copy_parts(key, head, to_class, done)
            else:
                self._copy(key, head, to_class)
            done(state.size_bytes)
            return self._checked(key, head, to_class)
        except Exception as error:
            raise self._origin.translate(error, subject) from None

    # -- in one piece --------------------------------------------------------------------------------------------------
    def _copy(self, key: str, head: Mapping[str, Any], to_class: str) -> None:
        asked: dict[str, Any] = {
            "Bucket": self._origin.bucket,
            "Key": key,
            "CopySource": {"Bucket": self._origin.bucket, "Key": key},
            "CopySourceIfMatch": f'"{_etag(head)}"',
            "StorageClass": to_class,
            **_encryption(head),
        }
        try:
            self._s3().copy_object(MetadataDirective="COPY", **asked)
        except Exception as error:
            if getattr(error, "response", {}).get("Error", {}).get("Code") != "InvalidRequest":
                raise
            # SeaweedFS takes another class for no change; it copies when the same metadata is given anew
            self._s3().copy_object(MetadataDirective="REPLACE", **_metadata(head), **asked)

    # -- in parts ------------------------------------------------------------------------------------------------------
    def _copy_parts(self, key: str, head: Mapping[str, Any], to_class: str, done: Done) -> None:
        size, checksum = int(head["ContentLength"]), _checksum(head)
        part_bytes = self._part_size(key, head)
        upload_id, parts = self._resumed(key, part_bytes, size)
        if not upload_id:
            upload_id, parts = self._begin(key, head, to_class, checksum), {}
            self._remember(key, upload_id)
        lock, copied = threading.Lock(), [sum(_length(n, part_bytes, size) for n in parts)]

        def one(number: int) -> None:
            if self._stopped():
                raise TransferCancelled("the move was stopped", subject=self._origin.subject(key))
            parts[number] = self._copy_part(key, head, upload_id, number, part_bytes, size)
            with lock:
                copied[0] += _length(number, part_bytes, size)
                done(copied[0])

        missing = [n for n in range(1, math.ceil(size / part_bytes) + 1) if n not in parts]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(one, missing):
                pass
        self._complete(key, head, upload_id, parts, checksum)
        self._remember(key, "")

    def _part_size(self, key: str, head: Mapping[str, Any]) -> int:
        """The original's, where it can be told: then the ETag stays."""
        size, found = int(head["ContentLength"]), _IN_PARTS.search(_etag(head))
        if found is not None:
            first = int(self._s3().head_object(Bucket=self._origin.bucket, Key=key, PartNumber=1)["ContentLength"])
            if first and math.ceil(size / first) == int(found.group(1)):
                return first
        return max(self._part_bytes, math.ceil(size / PARTS_MAX))

    def _resumed(self, key: str, part_bytes: int, size: int) -> tuple[str, dict[int, dict[str, Any]]]:
        """What an earlier process left of it; ("", {}) where there is nothing of use."""
        upload_id = self._left.get(key, "")
        if not upload_id:
            return "", {}
        parts: dict[int, dict[str, Any]] = {}
        try:
            for page in self._s3().get_paginator("list_parts").paginate(Bucket=self._origin.bucket, Key=key, UploadId=upload_id):
                for part in page.get("Parts", ()):
                    if int(part["Size"]) == _length(int(part["PartNumber"]), part_bytes, size):
                        parts[int(part["PartNumber"])] = _part_of(part)
        except Exception as error:
            if self._origin.translate(error).code in ("missing", "bad_answer"):
                return "", {}  # it was completed, aborted, or the bucket's rules removed it
            raise
        return upload_id, parts

    def _begin(self, key: str, head: Mapping[str, Any], to_class: str, checksum: tuple[str, str, str] | None) -> str:
        given = _metadata(head)
        tags = self._tags(key, head)
        if tags:
            given["Tagging"] = tags
        if checksum is not None:
            given["ChecksumAlgorithm"], given["ChecksumType"] = checksum[0], checksum[2]
        answer = self._s3().create_multipart_upload(
            Bucket=self._origin.bucket, Key=key, StorageClass=to_class, **given, **_encryption(head)
        )
        return str(answer["UploadId"])

    def _tags(self, key: str, head: Mapping[str, Any]) -> str:
        if head.get("TagCount") == 0:
            return ""
        try:
            rows = self._s3().get_object_tagging(Bucket=self._origin.bucket, Key=key)["TagSet"]
        except Exception as error:
            if "TagCount" not in head and self._origin.translate(error).code in ("missing", "bad_answer", "unreachable"):
                return ""  # a server without tags
            raise
        return urlencode([(row["Key"], row["Value"]) for row in rows])

    def _copy_part(self, key: str, head: Mapping[str, Any], upload_id: str, number: int, part_bytes: int, size: int) -> dict[str, Any]:
        start = (number - 1) * part_bytes
        answer = self._s3().upload_part_copy(
            Bucket=self._origin.bucket,
            Key=key,
            UploadId=upload_id,
            PartNumber=number,
            CopySource={"Bucket": self._origin.bucket, "Key": key},
            CopySourceIfMatch=f'"{_etag(head)}"',
            CopySourceRange=f"bytes={start}-{start + _length(number, part_bytes, size) - 1}",
        )
        return _part_of({"PartNumber": number, **answer["CopyPartResult"]})

    def _complete(
        self, key: str, head: Mapping[str, Any], upload_id: str, parts: Mapping[int, dict[str, Any]], checksum: tuple[str, str, str] | None
    ) -> None:
        given: dict[str, Any] = {}
        if provider_of(self._origin.profile.preset).conditional:
            given["IfMatch"] = f'"{_etag(head)}"'
        if checksum is not None and checksum[2] == "FULL_OBJECT":
            given[f"Checksum{checksum[0]}"], given["ChecksumType"] = checksum[1], checksum[2]
        rows = [parts[number] for number in sorted(parts)]
        self._s3().complete_multipart_upload(
            Bucket=self._origin.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows}, **given
        )

    # -- before and after ------------------------------------------------------------------------------------------------
    def _s3(self) -> Any:
        if self._client is None:
            self._client = self._origin.control(copies=True)
        return self._client

    def _head(self, key: str) -> Mapping[str, Any]:
        head: Mapping[str, Any] = self._s3().head_object(Bucket=self._origin.bucket, Key=key, ChecksumMode="ENABLED")
        return head

    def _checked(self, key: str, before: Mapping[str, Any], to_class: str) -> Moved:
        """What the bucket has now is what it had, in the other class."""
        after, subject = self._head(key), self._origin.subject(key)
        old, new = _checksum(before), _checksum(after)
        same_kind = old is not None and new is not None and (old[0], old[2]) == (new[0], new[2])
        if int(after["ContentLength"]) != int(before["ContentLength"]) or (same_kind and old != new):
            step = "an older version may be in the bucket; upload it again where not"
            raise CorruptObject("the copy in the other class is not what was copied", subject=subject, next_step=step)
        found = state_of(after).storage_class
        if found != to_class:
            cause = f"it took the copy and says {found}"
            raise ConfigError(
                f"the server does not keep objects in {to_class}", subject=subject, cause=cause, next_step="see docs/providers.md"
            )
        return Moved(_etag(after), found)


def _metadata(head: Mapping[str, Any]) -> dict[str, Any]:
    return {"Metadata": head.get("Metadata", {}), **{name: head[name] for name in _KEPT if head.get(name)}}


def _etag(head: Mapping[str, Any]) -> str:
    return str(head.get("ETag", "")).strip('"')


def _length(number: int, part_bytes: int, size: int) -> int:
    return min(part_bytes, size - (number - 1) * part_bytes)


def _checksum(head: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """(algorithm, value, type) of the strongest that the server states."""
    for name in _CHECKSUMS:
        value = head.get(f"Checksum{name}")
        if value:
            return name, str(value), str(head.get("ChecksumType") or ("COMPOSITE" if "-" in str(value) else "FULL_OBJECT"))
    return None


def _part_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    sums = {f"Checksum{name}": answer[f"Checksum{name}"] for name in _CHECKSUMS if answer.get(f"Checksum{name}")}
    return {"PartNumber": int(answer["PartNumber"]), "ETag": answer["ETag"], **sums}


def _encryption(head: Mapping[str, Any]) -> dict[str, Any]:
    """A copy takes the bucket's default; what was asked for by name is asked for again."""
    kind = str(head.get("ServerSideEncryption") or "")
    if kind.startswith("aws:kms"):
        key_id = head.get("SSEKMSKeyId")
        return {"ServerSideEncryption": kind, **({"SSEKMSKeyId": key_id} if key_id else {})}
    return {"ServerSideEncryption": kind} if kind else {}
