"""Every way an S3 server, a network or botocore says no, told in the words of ``storage.errors``.

Two doors: ``error_from_answer`` for an HTTP answer (ours or botocore's), ``error_from_exception`` for
everything that is raised.  Neither repeats an endpoint, a URL or anything of the request: botocore puts the
endpoint, also with a password in it, into its own texts.
"""

from __future__ import annotations

import email.utils
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping

from .errors import (
    AccessDenied,
    BadAnswer,
    ClockSkewed,
    ConfigError,
    CredentialsExpired,
    ModelStreamError,
    ObjectArchived,
    ObjectChanged,
    ObjectMissing,
    OriginUnreachable,
    QuotaExceeded,
    Throttled,
    UntrustedServer,
)

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_THROTTLED = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "ErrTooManyRequest"})
_MISSING = frozenset({"NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})
_REGION = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})
_QUOTA = frozenset(
    {"QuotaExceeded", "InsufficientStorage", "StorageQuotaExceeded", "BucketQuotaExceeded", "XMinioStorageFull", "ServiceQuotaExceeded"}
    | {"XMinioAdminBucketQuotaExceeded", "XMinioBucketQuotaExceeded", "InsufficientCapacity", "StorageCapExceeded"}
)
"""Ceph, MinIO, Wasabi and others each have their own"""
_WRONG_KEYS = frozenset({"SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken"})

WallClock = Callable[[], float]


def error_from_answer(
    status: int, code: str, message: str, headers: Mapping[str, str], subject: str, *, now: WallClock = time.time
) -> ModelStreamError:
    """The error that an HTTP answer means.

    code, message: from the XML body; empty for HEAD and for answers that are not S3's.  ``message`` is used
    only to recognise things, never shown: servers repeat parts of the request in it.
    headers: any mapping; names are compared without case.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    cause = _observed(status, code, fields)
    if status in (301, 302, 307, 308) or code in _REGION:
        return _redirected(subject, cause, fields)
    if code == "RequestTimeTooSkewed":
        return _skewed(subject, cause, fields, now)
    if code in _EXPIRED or (status in (400, 403) and "expired" in message.lower()):
        return CredentialsExpired("the credentials have expired", subject=subject, cause=cause, next_step=_NEW_KEYS)
    if code in _QUOTA or status == 507 or (status == 403 and "cap exceeded" in message.lower()):
        step = "free room in the bucket, or have its quota raised; then push again"
        return QuotaExceeded("the server has no room left", subject=subject, cause=cause, next_step=step)
    if code == "InvalidObjectState":
        return _archived(subject, cause, fields)
    if code == "NoSuchBucket":
        return ConfigError(
            "the bucket does not exist", subject=subject, cause=cause, next_step="check bucket, endpoint and region of this origin"
        )
    if code in _THROTTLED or status in (429, 503):
        return Throttled("S3 throttling: the server asks for fewer requests", subject=subject, cause=cause, next_step=_THROTTLE_STEP)
    if status == 404 or (code in _MISSING and "x-amz-delete-marker" in fields) or code in ("NoSuchKey", "NoSuchVersion"):
        return _missing(subject, cause, code, fields)
    if status == 412 or code == "PreconditionFailed":
        return ObjectChanged("the object was overwritten", subject=subject, cause=cause, next_step="load it again")
    if status in (401, 403):
        return _denied(subject, cause, code, fields)
    if status >= 500:
        return OriginUnreachable("the server failed", subject=subject, cause=cause, next_step="try again; look at the server's own log")
    return BadAnswer("the server gave an answer that does not fit", subject=subject, cause=cause, next_step=_NOT_S3)


def error_from_exception(error: BaseException, subject: str, *, now: WallClock = time.time) -> ModelStreamError:
    """The error that an exception of botocore, ssl, http.client or the socket layer means.  One of ours is handed back."""
    if isinstance(error, ModelStreamError):
        return error
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore.exceptions.ClientError, not imported for this
        said = response.get("Error", {})
        meta = response.get("ResponseMetadata", {})
        code = str(said.get("Code", ""))
        headers = {**meta.get("HTTPHeaders", {}), **_region_of(said)}
        status = int(meta.get("HTTPStatusCode") or (code if code.isdigit() else 0))
        return error_from_answer(status, "" if code.isdigit() else code, str(said.get("Message", "")), headers, subject, now=now)
    for link in _chain(error):
        found = _from_link(link, subject)
        if found is not None:
            return found
    return BadAnswer("the request failed in an unforeseen way", subject=subject, cause=type(error).__name__, next_step=_NOT_S3)


_NEW_KEYS = "renew them (aws sso login, a new session token, …); they are read again at the next attempt"
_NOT_S3 = "check that the endpoint is an S3 server and no proxy or portal answers in its place"
_THROTTLE_STEP = "wait a little, or lower connections_max under [transfer]"
_NETWORK = "check the endpoint in the configuration and the network; complete cached copies stay usable"


def _observed(status: int, code: str, fields: Mapping[str, str]) -> str:
    request_id = fields.get("x-amz-request-id") or fields.get("x-minio-request-id") or ""
    parts = (
        f"the server answered {status}",
        f" {_plain(code)}" if code else "",
        f", request id {_plain(request_id)}" if request_id else "",
    )
    return "".join(parts)


def _plain(value: str) -> str:
    """Server text that is safe to show: short, one line, nothing that could be markup or a URL."""
    return "".join(c for c in value[:80] if c.isalnum() or c in "-_.=+")


def _redirected(subject: str, cause: str, fields: Mapping[str, str]) -> ModelStreamError:
    region = _plain(fields.get("x-amz-bucket-region", ""))
    if region:
        step = f'write region = "{region}" in this profile'
        return ConfigError("the bucket is in another region", subject=subject, cause=f"{cause}; its region is {region}", next_step=step)
    step = "correct endpoint and region of this profile: redirects to another host are not followed"
    return BadAnswer("the server points to another place", subject=subject, cause=cause, next_step=step)


def _skewed(subject: str, cause: str, fields: Mapping[str, str], now: WallClock) -> ModelStreamError:
    local_s = now()
    text = f"{cause}; local time {_utc(local_s)}"
    try:
        server_s = email.utils.parsedate_to_datetime(fields.get("date", "")).timestamp()
    except (TypeError, ValueError):
        pass  # no Date: the local time alone must do
    else:
        text += (
            f", server time {_utc(server_s)}, this machine is {abs(local_s - server_s):.0f} s {'ahead' if local_s > server_s else 'behind'}"
        )
    return ClockSkewed(
        "the server refuses this machine's clock", subject=subject, cause=text, next_step="set the clock (NTP), then try again"
    )


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _archived(subject: str, cause: str, fields: Mapping[str, str]) -> ModelStreamError:
    storage_class = _plain(fields.get("x-amz-storage-class", "")) or "an archive class"
    restore = _plain(fields.get("x-amz-restore", ""))
    if "ongoing-request=true" in restore:
        problem, step = f"the object is being restored from {storage_class}", "wait until the restore is done, then load it again"
    else:
        problem, step = f"the object is in {storage_class} and cannot be read", 'restore it first ("modelstream restore NAME")'
    return ObjectArchived(problem, subject=subject, cause=cause, next_step=step)


def _missing(subject: str, cause: str, code: str, fields: Mapping[str, str]) -> ModelStreamError:
    marker = fields.get("x-amz-delete-marker", "").lower() == "true"
    problem = "the object was deleted (delete marker)" if marker else "the object does not exist"
    version = " in this version" if code == "NoSuchVersion" else ""
    return ObjectMissing(problem + version, subject=subject, cause=cause, next_step="refresh the list of models, or upload it again")


def _denied(subject: str, cause: str, code: str, fields: Mapping[str, str]) -> ModelStreamError:
    if code in _WRONG_KEYS:
        problem = "the server does not accept the key"
        step = "check access_key_id, secret_access_key and region of this profile"
    elif code == "AccessDenied" or fields.get("x-amz-request-id"):
        problem = "access is denied"
        step = "the key needs s3:GetObject for the objects and s3:ListBucket for the list"
    else:
        problem = "access is denied"
        step = "check the keys of this profile, and that no proxy or portal answers in the server's place"
    return AccessDenied(problem, subject=subject, cause=cause, next_step=step)


def _region_of(said: Mapping[str, str]) -> dict[str, str]:
    region = said.get("Region")
    return {"x-amz-bucket-region": region} if region else {}


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what it wraps, innermost last; botocore and urllib3 keep the inner one in three different places."""
    found: list[BaseException] = []
    queue: list[object] = [error]
    while queue and len(found) < 16:
        link = queue.pop(0)
        if isinstance(link, BaseException) and all(link is not seen for seen in found):
            found.append(link)
            kwargs = getattr(link, "kwargs", None)
            inner = kwargs.get("error") if isinstance(kwargs, Mapping) else None
            queue += [inner, getattr(link, "reason", None), link.__cause__, link.__context__]
    return sorted(found, key=_precision)


def _precision(link: BaseException) -> int:
    """The most telling first: a certificate error is an OSError too, and botocore's wrapper says least."""
    kinds = (ssl.SSLCertVerificationError, ssl.SSLError, socket.gaierror, TimeoutError, ConnectionError)
    return next((i for i, kind in enumerate(kinds) if isinstance(link, kind)), len(kinds))


def _from_link(link: BaseException, subject: str) -> ModelStreamError | None:
    name = type(link).__name__
    if isinstance(link, ssl.SSLError) or name == "SSLError":
        return _untrusted(link, subject)
    if isinstance(link, socket.gaierror):
        return OriginUnreachable("the server's name cannot be resolved", subject=subject, cause="DNS failure", next_step=_NETWORK)
    if isinstance(link, TimeoutError) or name in ("ConnectTimeoutError", "ReadTimeoutError"):
        return OriginUnreachable("the server did not answer in time", subject=subject, cause="timeout", next_step=_NETWORK)
    if isinstance(link, ConnectionRefusedError):
        return OriginUnreachable("the server cannot be reached", subject=subject, cause="connection refused", next_step=_NETWORK)
    if name in _CREDENTIAL_FAULTS:
        problem, step = _CREDENTIAL_FAULTS[name]
        return ConfigError(problem, subject=subject, cause=name, next_step=step)
    if name in _EXPIRED_FAULTS:
        return CredentialsExpired("the credentials could not be renewed", subject=subject, cause=name, next_step=_NEW_KEYS)
    if isinstance(link, OSError) or name in _NETWORK_FAULTS:
        return OriginUnreachable("the connection failed", subject=subject, cause=_os_cause(link), next_step=_NETWORK)
    return None


_CREDENTIAL_FAULTS = {
    "NoCredentialsError": ("no credentials were found", "write access_key_id and secret_access_key, or aws_profile, into this profile"),
    "PartialCredentialsError": ("only half of a key was found", "give both the id and the secret"),
    "ProfileNotFound": ("the AWS profile does not exist", "correct aws_profile, or add it to ~/.aws/config"),
    "ConfigParseError": ("AWS's own configuration file cannot be read", "correct ~/.aws/config"),
    "ConfigNotFound": ("AWS's own configuration file cannot be found", "correct AWS_CONFIG_FILE"),
    "ParamValidationError": ("the request is not possible", "check bucket and prefix of this origin"),
    "UnknownRegionError": ("the region does not exist", "correct region in this profile"),
    "InvalidRegionError": ("the region is not valid", "correct region in this profile"),
    "NoRegionError": ("no region is known", "write region into this profile"),
}
_EXPIRED_FAULTS = frozenset(
    {"CredentialRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "TokenRetrievalError", "MetadataRetrievalError"}
)
_NETWORK_FAULTS = frozenset(
    {"EndpointConnectionError", "ConnectionClosedError", "ProxyConnectionError", "ResponseStreamingError", "HTTPClientError"}
    | {"IncompleteRead", "RemoteDisconnected", "BadStatusLine", "ConnectionError", "ProtocolError", "CannotSendRequest"}
)


def _untrusted(link: BaseException, subject: str) -> ModelStreamError:
    if isinstance(link, ssl.SSLCertVerificationError):
        said = link.verify_message or "certificate verify failed"
        step = "name the CA that signed the server's certificate with ca_bundle in this profile"
        if "mismatch" in said.lower() or "not valid for" in said.lower():
            step = "use the host name that the certificate was made for as endpoint"
        # OpenSSL's own words; where they end in the host's name they are cut.
        return UntrustedServer("the server's certificate is not trusted", subject=subject, cause=said.split(",")[0], next_step=step)
    text = str(getattr(link, "reason", "") or link)
    if "WRONG_VERSION_NUMBER" in text or "HTTP_REQUEST" in text or "RECORD_LAYER" in text:
        step = "the endpoint says https, the port seems to speak plain http: correct the endpoint"
        return UntrustedServer("the server does not speak TLS", subject=subject, cause="not a TLS answer", next_step=step)
    if "certificate verify failed" in text.lower():
        step = "name the CA that signed the server's certificate with ca_bundle in this profile"
        return UntrustedServer(
            "the server's certificate is not trusted", subject=subject, cause="certificate verify failed", next_step=step
        )
    reason: object = getattr(link, "reason", None)
    cause = reason if isinstance(reason, str) else "TLS failure"
    return UntrustedServer(
        "no TLS connection was possible", subject=subject, cause=cause, next_step="check endpoint, port and TLS settings"
    )


def _os_cause(link: BaseException) -> str:
    number = getattr(link, "errno", None)
    if isinstance(number, int):
        return os.strerror(number)
    return type(link).__name__
