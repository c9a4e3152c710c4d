"""``doctor --write``: rights to write, found by trying with one small object, which is taken away again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..storage.errors import ModelStreamError, ObjectChanged
from .doctor_origin import asked
from .findings import ERROR, NOTE, OK, WARNING, Finding, failed

if TYPE_CHECKING:
    from ..storage.origin import Origin


def check(origin: Origin) -> Iterator[Finding]:
    name = origin.name
    if origin.profile.signing == "anonymous":
        yield Finding(name, "write", NOTE, "the profile is anonymous: nothing is written")
        return
    try:
        client = origin.control()
    except ModelStreamError as error:
        yield failed(name, "write", error)
        return
    key = f"{origin.prefix}.modelstream-probe-{secrets.token_hex(8)}"
    put = asked(origin, client.put_object, Key=key, Body=b"modelstream doctor", IfNoneMatch="*")
    if isinstance(put, ModelStreamError):
        yield failed(name, "put", put)
    else:
        yield Finding(name, "put", OK, "allowed")
        yield _conditional(origin, client, key)
    yield from _multipart(origin, client, key)
    if not isinstance(put, ModelStreamError):
        yield _delete(origin, client, key, put.get("VersionId"))
    yield _lifecycle(origin, client)


def _conditional(origin: Origin, client: Any, key: str) -> Finding:
    again = asked(origin, client.put_object, Key=key, Body=b"modelstream doctor", IfNoneMatch="*")
    if isinstance(again, ObjectChanged):
        return Finding(origin.name, "put if absent", OK, "honoured: an upload cannot overwrite by mistake")
    if isinstance(again, ModelStreamError):
        return failed(origin.name, "put if absent", again, WARNING)
    step = "two uploads of one name at the same time overwrite each other on this server"
    return Finding(origin.name, "put if absent", WARNING, "ignored", step)


def _multipart(origin: Origin, client: Any, key: str) -> Iterator[Finding]:
    begun = asked(origin, client.create_multipart_upload, Key=f"{key}-parts")
    if isinstance(begun, ModelStreamError):
        yield failed(origin.name, "multipart", begun)
        return
    upload = {"Key": f"{key}-parts", "UploadId": begun["UploadId"]}
    part = asked(origin, client.upload_part, PartNumber=1, Body=b"x", **upload)
    aborted = asked(origin, client.abort_multipart_upload, **upload)
    if isinstance(part, ModelStreamError):
        yield failed(origin.name, "multipart", part)
    if isinstance(aborted, ModelStreamError):
        step = "allow s3:AbortMultipartUpload: one unfinished upload of this check stays, and so will those of broken uploads"
        yield Finding(origin.name, "multipart", ERROR, f"an upload cannot be given up: {aborted.problem}", step)
    elif not isinstance(part, ModelStreamError):
        yield Finding(origin.name, "multipart", OK, "allowed, and can be given up")


def _delete(origin: Origin, client: Any, key: str, version: str | None) -> Finding:
    """Of a versioned bucket the version itself, else a marker would be all that this check leaves."""
    deleted = asked(origin, client.delete_object, Key=key, **({"VersionId": version} if version else {}))
    if isinstance(deleted, ModelStreamError):
        return Finding(origin.name, "delete", NOTE, f"not allowed; the probe {key} stays", "delete it with a key that may", key)
    return Finding(origin.name, "delete", OK, "allowed; the probe is gone")


def _lifecycle(origin: Origin, client: Any) -> Finding:
    """What is there is written back as it is; where nothing is, a rule for a prefix that nothing has comes and goes."""
    current = asked(origin, client.get_bucket_lifecycle_configuration, absent="NoSuchLifecycleConfiguration")
    if isinstance(current, ModelStreamError):
        return Finding(origin.name, "set lifecycle", NOTE, f"not allowed ({current.problem})")
    rules = current.get("Rules") or [
        {
            "ID": "modelstream-doctor",
            "Status": "Enabled",
            "Filter": {"Prefix": f"{origin.prefix}.modelstream-probe-"},
            "Expiration": {"Days": 1},
        }
    ]
    written = asked(origin, client.put_bucket_lifecycle_configuration, LifecycleConfiguration={"Rules": rules})
    if isinstance(written, ModelStreamError):
        return Finding(origin.name, "set lifecycle", NOTE, f"not allowed ({written.problem})")
    if not current.get("Rules"):
        gone = asked(origin, client.delete_bucket_lifecycle)
        if isinstance(gone, ModelStreamError):
            return Finding(origin.name, "set lifecycle", WARNING, "allowed; the rule modelstream-doctor stays", "take it away")
    return Finding(origin.name, "set lifecycle", OK, "allowed")
