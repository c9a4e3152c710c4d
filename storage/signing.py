"""From an object key to a signed request line, cheaply: botocore's signers without its service models.

Importing ``botocore.auth`` is the whole cost at start (about 60 ms of CPU beside awscrt, against 0.3 s for a
boto3 client); one signature takes about 0.3 ms and serves every part of an object.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .credentials import Keys
from .objects import SignedRequest

PRESIGN_S = 3600
"""lifetime of a presigned URL: long enough for one object, short enough to be worthless soon after"""

_MARGIN_S = 60
_UNSIGNED_PAYLOAD = SimpleNamespace(s3={"payload_signing_enabled": False})
"""what botocore's signer reads of a client's configuration"""
_TOKEN_LIFETIME_S = 540
"""botocore renews session keys when less than 10 minutes are left; a signature dies with its token"""


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket answers: the request line's start and the host."""

    tls: bool
    host: str
    port: int
    path: str
    """before the key: "" for virtual-host style, "/bucket" (after the endpoint's own path) for path style"""

    @classmethod
    def of(cls, endpoint: str, bucket: str, *, virtual: bool) -> BucketAddress:
        url = urlsplit(endpoint)
        tls = url.scheme == "https"
        host = url.hostname or ""
        base = url.path.rstrip("/")
        port = url.port or (443 if tls else 80)
        return cls(tls, f"{bucket}.{host}", port, base) if virtual else cls(tls, host, port, f"{base}/{bucket}")

    def target(self, key: str) -> str:
        """Path of the request line.  Exactly the unreserved characters stay as they are, as SigV4 asks; "/" is kept."""
        return f"{self.path}/{quote(key.encode('utf-8', 'surrogatepass'), safe='/~')}"

    def url(self, target: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = self.port == (443 if self.tls else 80)
        return f"{'https' if self.tls else 'http'}://{host}{'' if standard else f':{self.port}'}{target}"


def signed_request(
    address: BucketAddress,
    method: str,
    target: str,
    *,
    keys: Keys | None,
    region: str,
    in_query: bool,
    headers: Mapping[str, str],
    now_s: float,
    unsigned_payload: bool = False,
    lifetime_s: int = PRESIGN_S,
) -> SignedRequest:
    """in_query: a presigned URL (``headers`` are signed too, so they must be sent as given); else an Authorization header.

    unsigned_payload: the body is no part of the signature; it has a checksum of its own.
    now_s: on the caller's monotonic clock; ``expires_s`` of the answer is on the same clock.
    """
    if keys is None:
        return _request(address, target, headers, float("inf"))
    auth, aws_request = _signers()
    request = aws_request(method=method, url=address.url(target), headers=dict(headers))
    if in_query:
        auth.S3SigV4QueryAuth(keys, "s3", region, expires=lifetime_s).add_auth(request)
        lifetime_s = _TOKEN_LIFETIME_S if keys.token else lifetime_s - _MARGIN_S
    else:
        if unsigned_payload:
            request.context["client_config"] = _UNSIGNED_PAYLOAD
        auth.S3SigV4Auth(keys, "s3", region).add_auth(request)
        # A header signature is good for 15 minutes of clock difference; a retry signs again anyway.
        lifetime_s = 300
    signed = urlsplit(request.url)
    line = f"{signed.path}?{signed.query}" if signed.query else signed.path
    return _request(address, line, dict(request.headers.items()), now_s + lifetime_s)


def query(parameters: Mapping[str, str | None]) -> str:
    """ "?a=b" of the parameters that have a value, quoted as SigV4 asks; empty for none."""
    given = {name: value for name, value in parameters.items() if value is not None}
    return f"?{urlencode(given, quote_via=quote, safe='~')}" if given else ""


def _request(address: BucketAddress, target: str, headers: Mapping[str, str], expires_s: float) -> SignedRequest:
    return SignedRequest(address.tls, address.host, address.port, target, dict(headers), expires_s)


@functools.cache
def _signers() -> tuple[Any, Any]:
    import botocore.auth
    from botocore.awsrequest import AWSRequest

    cap_botocore_logging()
    return botocore.auth, AWSRequest


def cap_botocore_logging() -> None:
    """botocore writes whole signatures, urllib3 whole URLs, at DEBUG: never, whatever the root logger says."""
    for name in ("botocore", "boto3", "urllib3", "s3transfer"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.INFO))
