"""What publishing asks of a bucket besides the bytes themselves: look, begin, end and give up an upload, list and copy.

Through boto3's client of the origin.  Whoever calls gets values and errors of the family; expired credentials are renewed
once a call.  Every method may be called from any thread and blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .checksum import from_header, to_header
from .errors import AccessDenied, BadAnswer, CredentialsExpired, ModelStreamError
from .origin import Origin
from .publish_plan import PartDone

COPY_WHOLE_MAX_BYTES = 5 << 30
"""S3's own limit of CopyObject; more is copied in parts"""
COPY_PART_BYTES = 1 << 30
_RELABEL_IN_PLACE = ("seaweedfs", "minio")

_WRITE_STEP = (
    "the key needs s3:PutObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts under this prefix;"
    " a key that may only read cannot push"
)


class Said(Exception):
    """An answer that is an error, before anybody decided what it means."""

    def __init__(self, status: int, code: str, error: ModelStreamError) -> None:
        self.status = status
        self.code = code
        self.error = error
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Stated:
    """What HEAD says of an object.  metadata: names in lower case"""

    size_bytes: int
    etag: str
    version_id: str | None = None
    crc64: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    storage_class: str = "STANDARD"
    modified_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pending:
    """An upload that was begun and neither ended nor given up."""

    key: str
    upload_id: str
    begun_s: float
    """wall time, as the server says"""


class Bucket:
    """server: what the last answer said of the program behind it, in lower case"""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.server = ""

    # -- looking -----------------------------------------------------------------------------------------------------
    def head(self, key: str) -> Stated | None:
        """None: nothing is there.  Raises AccessDenied where these keys may write but not look."""
        try:
            said = self.call("head_object", key, Key=key, ChecksumMode="ENABLED")
        except Said as answer:
            if answer.status == 404:
                return None
            raise answer.error from None
        full = (said.get("ChecksumType") or "FULL_OBJECT").upper() == "FULL_OBJECT"
        crc = said.get("ChecksumCRC64NVME") if full else None
        modified = said.get("LastModified")
        return Stated(
            size_bytes=int(said.get("ContentLength") or 0),
            etag=(said.get("ETag") or "").strip('"'),
            version_id=said.get("VersionId") if said.get("VersionId") != "null" else None,
            crc64=from_header(crc) if crc else None,
            metadata={name.lower(): value for name, value in (said.get("Metadata") or {}).items()},
            storage_class=said.get("StorageClass") or "STANDARD",
            modified_s=modified.timestamp() if modified is not None else 0.0,
        )

    # -- an upload in parts ------------------------------------------------------------------------------------------
    def create(self, key: str, metadata: Mapping[str, str], storage_class: str = "") -> tuple[str, bool]:
        """(upload id, whether the server takes CRC64NVME checksums)."""
        wanted: dict[str, Any] = {"Key": key, "Metadata": dict(metadata), "ContentType": "application/octet-stream"}
        if storage_class:
            wanted["StorageClass"] = storage_class
        try:
            said = self.call("create_multipart_upload", key, **wanted, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
            return str(said["UploadId"]), True
        except Said as answer:
            # servers that know no CRC64NVME say either that the request is wrong or that they have not implemented it
            if answer.status != 501 and not (answer.status == 400 and isinstance(answer.error, BadAnswer)):
                raise answer.error from None
        said = self.ask("create_multipart_upload", key, **wanted)
        return str(said["UploadId"]), False

    def try_writing(self, key: str) -> None:
        """Raises AccessDenied, QuotaExceeded, … where an upload to this key could not even begin.  Leaves nothing."""
        self.abort(key, str(self.ask("create_multipart_upload", key, Key=key)["UploadId"]))

    def parts(self, key: str, upload_id: str) -> dict[int, tuple[int, str]] | None:
        """Part number → (size, ETag); None: the server knows no such upload (any more)."""
        found: dict[int, tuple[int, str]] = {}
        marker = 0
        while True:
            try:
                said = self.call("list_parts", key, Key=key, UploadId=upload_id, PartNumberMarker=marker)
            except Said as answer:
                if answer.status == 404:
                    return None
                raise answer.error from None
            for row in said.get("Parts") or ():
                found[int(row["PartNumber"])] = (int(row["Size"]), str(row["ETag"]).strip('"'))
            after = int(said.get("NextPartNumberMarker") or 0)
            if not said.get("IsTruncated") or after <= marker:
                return found
            marker = after

    def complete(self, key: str, upload_id: str, parts: Sequence[PartDone], crc64: int | None, condition: Mapping[str, str]) -> None:
        """condition: IfNoneMatch or IfMatch, or nothing; crc64: of the whole object.  Raises Said."""
        rows = [
            {"PartNumber": p.number, "ETag": f'"{p.etag}"', **({} if crc64 is None else {"ChecksumCRC64NVME": to_header(p.crc64)})}
            for p in parts
        ]
        whole = {} if crc64 is None else {"ChecksumCRC64NVME": to_header(crc64), "ChecksumType": "FULL_OBJECT"}
        upload = {"MultipartUpload": {"Parts": rows}, "UploadId": upload_id}
        self.call("complete_multipart_upload", key, Key=key, **upload, **whole, **condition)

    def abort(self, key: str, upload_id: str) -> bool:
        """The parts are gone.  False: there was no such upload (any more)."""
        try:
            self.call("abort_multipart_upload", key, Key=key, UploadId=upload_id)
        except Said as answer:
            if answer.status == 404:
                return False
            raise answer.error from None
        return True

    def pending(self) -> Iterator[Pending]:
        """Every unfinished upload under the origin's prefix, whoever began it."""
        markers: dict[str, str] = {}
        while True:
            said = self.ask("list_multipart_uploads", "", Prefix=self.origin.prefix, **markers)
            for row in said.get("Uploads") or ():
                if row["Key"].startswith(self.origin.prefix):
                    begun = row.get("Initiated")
                    yield Pending(row["Key"], str(row["UploadId"]), begun.timestamp() if begun is not None else 0.0)
            after = {"KeyMarker": said.get("NextKeyMarker") or "", "UploadIdMarker": said.get("NextUploadIdMarker") or ""}
            if not said.get("IsTruncated") or not after["KeyMarker"] or after == markers:
                return
            markers = {name: value for name, value in after.items() if value}

    def keys(self, prefix: str) -> Iterator[str]:
        """Every key that begins with ``prefix``, whatever the origin's own prefix is.  Raises ModelStreamError."""
        more: dict[str, str] = {}
        while True:
            said = self.ask("list_objects_v2", "", Prefix=prefix, **more)
            yield from (row["Key"] for row in said.get("Contents") or ())
            token = said.get("NextContinuationToken") if said.get("IsTruncated") else None
            if not token or token == more.get("ContinuationToken"):
                return
            more = {"ContinuationToken": token}

    @property
    def relabels_in_place(self) -> bool:
        """Whether new metadata for an object costs no copy of its bytes: programs known for that, in a bucket without versions."""
        if not self.server.startswith(_RELABEL_IN_PLACE):
            return False
        try:
            return self.ask("get_bucket_versioning", "").get("Status", "") == ""
        except ModelStreamError:
            return False

    def relabel(self, key: str, stated: Stated, metadata: Mapping[str, str]) -> None:
        """Gives the version ``stated`` other metadata.  Raises ModelStreamError."""
        same = {"CopySource": {"Bucket": self.origin.bucket, "Key": key}, "CopySourceIfMatch": f'"{stated.etag}"'}
        new: dict[str, Any] = {"Metadata": dict(metadata), "ContentType": "application/octet-stream", "MetadataDirective": "REPLACE"}
        if stated.storage_class != "STANDARD":
            new["StorageClass"] = stated.storage_class
        self.ask("copy_object", key, Key=key, **same, **new)

    # -- copying inside the service -----------------------------------------------------------------------------------
    def copy(self, source: tuple[str, str], stated: Stated, key: str, metadata: Mapping[str, str], storage_class: str = "") -> None:
        """source: (bucket, key) on the same service; only the version ``stated`` is copied.  Raises ModelStreamError."""
        bucket, source_key = source
        from_ = {"CopySource": {"Bucket": bucket, "Key": source_key}, "CopySourceIfMatch": f'"{stated.etag}"'}
        new: dict[str, Any] = {"Metadata": dict(metadata), "ContentType": "application/octet-stream"}
        if storage_class:
            new["StorageClass"] = storage_class
        if stated.size_bytes <= COPY_WHOLE_MAX_BYTES:
            self.ask("copy_object", key, Key=key, **from_, MetadataDirective="REPLACE", **new)
            return
        upload_id = str(self.ask("create_multipart_upload", key, Key=key, **new)["UploadId"])
        try:
            rows = []
            for number, start in enumerate(range(0, stated.size_bytes, COPY_PART_BYTES), 1):
                end = min(start + COPY_PART_BYTES, stated.size_bytes)
                part = {"UploadId": upload_id, "PartNumber": number, "CopySourceRange": f"bytes={start}-{end - 1}"}
                said = self.ask("upload_part_copy", key, Key=key, **part, **from_)
                rows.append({"PartNumber": number, "ETag": said["CopyPartResult"]["ETag"]})
            self.ask("complete_multipart_upload", key, Key=key, UploadId=upload_id, MultipartUpload={"Parts": rows})
        except BaseException:
            self.abort(key, upload_id)
            raise

    # -- asking ------------------------------------------------------------------------------------------------------
    def ask(self, operation: str, key: str, **wanted: Any) -> Mapping[str, Any]:
        """Like `call`; raises ModelStreamError."""
        try:
            return self.call(operation, key, **wanted)
        except Said as answer:
            raise answer.error from None

    def call(self, operation: str, key: str, **wanted: Any) -> Mapping[str, Any]:
        """One operation of boto3's client.  Raises Said for an error of the server's, ModelStreamError for everything else."""
        for again in (False, True):
            try:
                said: Mapping[str, Any] = getattr(self.origin.control(), operation)(Bucket=self.origin.bucket, **wanted)
                self._heard(said)
                return said
            except ModelStreamError:
                raise
            except Exception as error:
                told = writing_error(self.origin.translate(error, self.origin.subject(key)))
                if isinstance(told, CredentialsExpired) and not again and self.origin.refresh_credentials():
                    continue
                response = getattr(error, "response", None)
                if not isinstance(response, Mapping):
                    raise told from None
                self._heard(response)
                status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
                raise Said(status, str(response.get("Error", {}).get("Code", "")), told) from None
        raise AssertionError("unreachable")

    def _heard(self, said: Mapping[str, Any]) -> None:
        self.server = str(said.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("server", self.server)).lower()


def writing_error(error: ModelStreamError) -> ModelStreamError:
    """The errors' own next steps are for who reads."""
    if type(error) is AccessDenied and "s3:GetObject" in error.next_step:
        return AccessDenied(error.problem, subject=error.subject, cause=error.cause, next_step=_WRITE_STEP)
    return error
