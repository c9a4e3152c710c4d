"""Who of a fleet fetches a far object: a marker in the near origin, so that the others wait for the copy instead.

Best effort: the marker is written with If-None-Match, renewed while its owner is at work, and expires.  A server that
ignores the condition, a worker that dies, two that take over at once: then an object is fetched twice, and nothing else
happens.  What a marker says is shown to people and never decides what bytes are loaded.

Blocks; any thread.  Raises the errors of storage.errors.
"""

from __future__ import annotations

import email.utils
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import ModelStreamError, ObjectChanged, ObjectMissing
from .mirror_bucket import MirrorBucket

BEAT_S = 4.0
"""how often an owner renews his marker"""
EXPIRE_S = 20.0
_BODY_MAX = 4096


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody's marker.  age_s: since it was last written, by the server's own clock; landed_bytes: so far, of the object"""

    etag: str
    owner: str
    landed_bytes: int
    age_s: float

    @property
    def expired(self) -> bool:
        return self.age_s > EXPIRE_S


class Claims:
    """The markers of one near origin, for one process."""

    def __init__(self, bucket: MirrorBucket) -> None:
        self._bucket = bucket
        self.owner = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._etags: dict[str, str] = {}

    def take(self, digest: str, instead_of: Held | None = None) -> bool:
        """Whether the object is ours to fetch now.  instead_of: the marker that has expired."""
        condition = {"IfNoneMatch": "*"} if instead_of is None else {"IfMatch": f'"{instead_of.etag}"'}
        try:
            self._write(digest, 0, condition)
        except (ObjectChanged, ObjectMissing):  # it is there already, or another took over, or it went
            return False
        return True

    def beat(self, digest: str, landed_bytes: int) -> None:
        """Says that we are still at it."""
        self._write(digest, landed_bytes, {})

    def look(self, digest: str) -> Held | None:
        key = self._bucket.marker_key(digest)
        try:
            answer = self._bucket.call("get_object", key)
            body = answer["Body"].read(_BODY_MAX)
        except ObjectMissing:
            return None
        except ModelStreamError:
            raise
        except Exception as error:  # botocore's, while the body is read
            raise self._bucket.origin.translate(error, self._bucket.origin.subject(key)) from None
        owner, landed_bytes = _read(body)
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return Held(str(answer.get("ETag", "")).strip('"'), owner, landed_bytes, _age_s(headers))

    def release(self, digest: str) -> None:
        """Takes our marker away; another's, which took over, stays where the server knows If-Match for DELETE."""
        with self._lock:
            etag = self._etags.pop(digest, "")
        if etag:
            try:
                self._bucket.delete(self._bucket.marker_key(digest), etag)
            except (ObjectChanged, ObjectMissing):
                return

    def _write(self, digest: str, landed_bytes: int, condition: Mapping[str, str]) -> None:
        body = json.dumps({"owner": self.owner, "landed_bytes": landed_bytes}).encode()
        answer = self._bucket.call("put_object", self._bucket.marker_key(digest), Body=body, **condition)
        with self._lock:
            self._etags[digest] = str(answer.get("ETag", "")).strip('"')


def _read(body: bytes) -> tuple[str, int]:
    try:
        said = json.loads(body)
        owner, landed = said["owner"], said["landed_bytes"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", 0
    good = isinstance(owner, str) and type(landed) is int and landed >= 0
    return (owner[:64], landed) if good else ("", 0)


def _age_s(headers: Mapping[str, str]) -> float:
    """By the server's two stamps of one answer: nobody's clock but its own counts."""
    try:
        written, now = (email.utils.parsedate_to_datetime(headers[name]) for name in ("last-modified", "date"))
        return max(0.0, (now - written).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0
