"""What a near origin holds of far objects: one key looked at, and the small objects with which a fleet keeps its books.

Under the near origin's prefix a copy has the same key as the far object has under its own.  Beside the copies lie, under
``.modelstream/``, which no folder of ComfyUI reads: a record for each copy (``copies/``, see `mirror_records`) and the
markers of what is being fetched (``fetching/``, see `mirror_claim`).

Blocks; any thread.  Raises the errors of storage.errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .answers import Refused, read_head, refusal_of
from .errors import BadAnswer, CredentialsExpired, ModelStreamError, ObjectChanged, OriginUnreachable
from .listing import OURS
from .mirror_mark import Mark, mark_from
from .objects import ObjectHead, ObjectId, RemoteObject
from .origin import USER_AGENT, Origin
from .pin import address_of
from .receive import WIRE_FAULTS, fault_of
from .wire import Connection

KEY_BYTES_MAX = 1024
LOOK_CONNECT_S, LOOK_READ_S = 2.0, 5.0
"""a near origin that takes longer is none"""


@dataclass(frozen=True, slots=True)
class Copy:
    """What lies under a key of the near origin.  mark: None when it is no copy of ours"""

    key: str
    head: ObjectHead
    mark: Mark | None

    def as_object(self, origin: Origin) -> RemoteObject:
        """The near object under its own identity."""
        version = ObjectId(origin.endpoint, origin.bucket, self.key, self.head.etag)
        return RemoteObject(origin.name, version, self.head.size_bytes, self.head.modified_s, self.head.storage_class)


class MirrorBucket:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.name = origin.name

    def key_of(self, far: Origin, obj: RemoteObject) -> str:
        """Where a copy of ``obj`` lies; empty where it cannot have one."""
        relative = obj.id.key[len(far.prefix) :]
        key = self.origin.prefix + relative
        longest = max(len(key.encode("utf-8", "surrogatepass")), len(self.record_key(key).encode("utf-8", "surrogatepass")))
        return key if relative and not relative.startswith(OURS) and longest <= KEY_BYTES_MAX else ""

    def record_key(self, key: str) -> str:
        return f"{self.origin.prefix}{OURS}copies/{key[len(self.origin.prefix) :]}"

    def marker_key(self, digest: str) -> str:
        return f"{self.origin.prefix}{OURS}fetching/{digest}"

    def look(self, key: str) -> Copy | None:
        """What is there now; None: nothing.  One request, and one more when the credentials have just expired."""
        try:
            return self._head(key)
        except CredentialsExpired:
            if not self.origin.refresh_credentials():
                raise
            return self._head(key)

    def _head(self, key: str) -> Copy | None:
        origin, subject = self.origin, self.origin.subject(key)
        signed = origin.sign("HEAD", key)
        profile = origin.profile
        connection = Connection(
            address_of(signed),
            origin.tls_context() if signed.tls else None,
            connect_timeout_s=min(profile.connect_timeout_s, LOOK_CONNECT_S),
            read_timeout_s=min(profile.read_timeout_s, LOOK_READ_S),
        )
        try:
            answer = connection.ask("HEAD", signed.target, {"User-Agent": USER_AGENT, **signed.headers})
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise refusal_of(answer.status, answer.headers, b"", subject).error
            fields = {name.lower(): value for name, value in answer.headers.items()}
            return Copy(key, read_head(answer.status, answer.headers, subject), mark_from(fields))
        except Refused as refused:
            raise refused.refusal.error from None
        except WIRE_FAULTS as fault:
            raise fault_of(fault, subject).error from None
        finally:
            connection.close()

    def delete(self, key: str, etag: str) -> None:
        """That version only, where the server knows the condition (not all do for DELETE); else whatever is there.

        Raises ObjectChanged and ObjectMissing where it is another or gone.
        """
        try:
            self.call("delete_object", key, IfMatch=f'"{etag}"')
        except (OriginUnreachable, BadAnswer):
            self.call("delete_object", key)

    # -- small objects -------------------------------------------------------------------------------------------------
    def call(self, method: str, key: str = "", **parameters: Any) -> dict[str, Any]:
        """One request by boto3's client; every error is one of the family."""
        if key:
            parameters["Key"] = key
        try:
            answer: dict[str, Any] = getattr(self.origin.control(), method)(Bucket=self.origin.bucket, **parameters)
        except ModelStreamError:
            raise
        except Exception as error:
            if _is_conflict(error):  # two conditional writes at one moment: the other one was first
                raise ObjectChanged("something else was written there just now", subject=self.origin.subject(key)) from None
            raise self.origin.translate(error, self.origin.subject(key)) from None
        return answer


def _is_conflict(error: Exception) -> bool:
    response = getattr(error, "response", None)
    return isinstance(response, dict) and response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 409
