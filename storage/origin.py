"""One configured bucket prefix: how to list it, how to sign for it, what its errors mean.

boto3 lists (it is imported at the first listing); reading objects needs only ``sign`` and a plain HTTP client.
Every method may be called from any thread.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import VERSION
from .breath import PYTHON_ROWS, slices
from .config import Config, OriginConfig, ProfileConfig, load_config
from .credentials import CredentialsFrom, CredentialSource
from .errors import BadAnswer, ConfigError, ModelStreamError
from .list_answer import ROWS, Page, cut_rows, rows_of, seconds_of
from .objects import RemoteObject, SignedRequest
from .origin_errors import error_from_answer, error_from_exception
from .presets import aws_host
from .signing import BucketAddress, cap_botocore_logging, query, signed_request

__all__ = ["USER_AGENT", "Origin", "error_from_answer", "error_from_exception", "open_origins"]

USER_AGENT = f"model-stream/{VERSION}"

COPY_TIMEOUT_S, COPY_CONNECTIONS = 900.0, 16
_EMPTY_PAGES_MAX = 100
"""pages in a row without one key, after which a listing is taken for a loop"""


class Origin:
    """reread: gives this origin's profile as the file says it now; for keys that are rotated in the file."""

    def __init__(
        self,
        config: OriginConfig,
        *,
        reread: Callable[[], ProfileConfig | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.profile = config.profile
        self.name = config.name
        self.bucket = config.bucket
        self.prefix = config.prefix
        self.signs_each_request = config.profile.signing == "each_request"
        self._credentials = CredentialSource(config.profile, reread, clock=clock)
        self._clock = clock
        self._lock = threading.Lock()
        self._client_lock = threading.Lock()  # held while a client is made (0.1 s and more): apart, so that the wire never waits for it
        self._client: Any = None
        self._copy_client: Any = None
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"Origin({self.name!r})"

    @functools.cached_property
    def region(self) -> str:
        """May read AWS's own configuration when the profile names no region."""
        return self._credentials.region()

    @functools.cached_property
    def endpoint(self) -> str:
        """Scheme, host and port; for AWS without an endpoint the regional one."""
        return self.profile.endpoint or f"https://{aws_host(self.region)}"

    @functools.cached_property
    def address(self) -> BucketAddress:
        return BucketAddress.of(self.endpoint, self.bucket, virtual=self.profile.addressing == "virtual")

    def subject(self, key: str = "") -> str:
        """As errors and logs name an object, or the origin itself."""
        return f"{self.name}:{key}" if key else self.name

    # -- reading -------------------------------------------------------------------------------------------------

    def sign(self, method: str, key: str, *, version_id: str | None = None, headers: Mapping[str, str] | None = None) -> SignedRequest:
        """A GET is presigned, so that one signature serves every part: Range and If-Match are added unsigned.

        HEAD, and everything where ``signs_each_request``, is signed in its headers with ``headers`` (Range,
        If-Match, …) inside the signature; send them exactly as they are in the answer.  HEAD asks for checksums.
        Raises ConfigError (no credentials) or CredentialsExpired.
        """
        sent = dict(headers or {})
        if method == "HEAD":
            sent.setdefault("x-amz-checksum-mode", "ENABLED")
        return signed_request(
            self.address,
            method,
            self.address.target(key) + query({"versionId": version_id}),
            keys=self._credentials.keys(),
            region=self.region,
            in_query=method == "GET" and not self.signs_each_request,
            headers=sent,
            now_s=self._clock(),
        )

    def sign_upload(self, key: str, parameters: Mapping[str, str | None], headers: Mapping[str, str]) -> SignedRequest:
        """A PUT with a body, signed in its headers: send exactly those of the answer, and Content-Length.

        The body is not signed: hashing it for that would cost more than sending it.  Give its checksum among ``headers``.
        """
        return signed_request(
            self.address,
            "PUT",
            self.address.target(key) + query(parameters),
            keys=self._credentials.keys(),
            region=self.region,
            in_query=False,
            headers=headers,
            now_s=self._clock(),
            unsigned_payload=True,
        )

    def link(self, key: str, lifetime_s: int) -> str:
        """A URL that opens an object without credentials for so long: a secret of its own.  Only where the owner allows links."""
        signed = signed_request(
            self.address,
            "GET",
            self.address.target(key),
            keys=self._credentials.keys(),
            region=self.region,
            in_query=True,
            headers={},
            now_s=self._clock(),
            lifetime_s=lifetime_s,
        )
        return self.address.url(signed.target)

    def refresh_credentials(self) -> bool:
        """Reads or renews the credentials.  True when they differ from those before (also when another thread has
        just renewed them): sign again and go on.  Call it at most once for one refused request.
        """
        changed = self._credentials.refresh()
        if changed:
            with self._client_lock:
                self._client = self._copy_client = None
        return changed

    def credentials_from(self) -> CredentialsFrom:
        """Where the keys come from and until when they hold; raises like ``sign``."""
        return self._credentials.described()

    def tls_context(self) -> ssl.SSLContext | None:
        """For the wire; None for a plain endpoint.  One context an origin: connections share its session tickets."""
        if not self.address.tls:
            return None
        with self._lock:
            if self._tls is None:
                self._tls = _tls_context(self.profile)
            return self._tls

    def translate(self, error: BaseException, subject: str = "") -> ModelStreamError:
        """Any error of botocore, ssl, http.client or the socket layer as one of the family."""
        return error_from_exception(error, subject or self.name)

    def control(self, *, copies: bool = False) -> Any:
        """boto3's S3 client of this origin (thread-safe), for what is no reading of objects: lifecycle, restore, publishing.

        Made at the first call (0.1 s and more).  Its exceptions go through ``translate`` before anybody sees them.
        copies: one that waits for minutes: some servers copy a whole part before they answer
        """
        if not copies:
            return self._s3()
        with self._client_lock:
            if self._copy_client is None:
                self._copy_client = self._new_client(read_timeout_s=COPY_TIMEOUT_S, connections=COPY_CONNECTIONS)
            return self._copy_client

    # -- listing -------------------------------------------------------------------------------------------------

    def list_pages(self) -> Iterator[Sequence[RemoteObject]]:
        """Every object under the prefix, a page at a time, keys exactly as stored.

        "dir/" markers without bytes are left out.  Raises the errors of ``storage.errors``; a server that never
        comes to an end (repeated continuation token, endless empty pages) is a BadAnswer.
        """
        token: str | None = None
        seen: set[str] = set()
        empty = 0
        while True:
            with _collector_paused():
                answer = self._list_page(token)
                page = self._page(answer)
                empty = 0 if answer.get("Contents") or ROWS in answer else empty + 1
                more, token = answer.get("IsTruncated"), answer.get("NextContinuationToken")
                del answer
            yield page
            if not more:
                return
            if not token or token in seen or empty > _EMPTY_PAGES_MAX:
                raise BadAnswer(
                    "the listing does not come to an end",
                    subject=self.name,
                    cause="the server repeats its continuation token" if token else "a cut-off page came without a continuation token",
                    next_step="check that the endpoint is an S3 server that knows ListObjectsV2",
                )
            seen.add(token)

    def _list_page(self, token: str | None) -> Mapping[str, Any]:
        request: dict[str, Any] = {"Bucket": self.bucket, "Prefix": self.prefix}
        if token:
            request["ContinuationToken"] = token
        try:
            answer: Mapping[str, Any] = self._s3().list_objects_v2(**request)
        except ModelStreamError:
            raise
        except Exception as error:
            raise self.translate(error) from None
        if "Name" not in answer and "KeyCount" not in answer and "Contents" not in answer:
            step = "check that the endpoint is an S3 server and no proxy or portal answers in its place"
            cause = "the answer has none of a listing's fields"
            raise BadAnswer("the answer is not an S3 listing", subject=self.name, cause=cause, next_step=step)
        return answer

    def _page(self, answer: Mapping[str, Any]) -> Sequence[RemoteObject]:
        rows, page = rows_of(answer), Page(self.name, self.endpoint, self.bucket)
        for part in slices(len(rows.keys), PYTHON_ROWS):
            for number in range(part.start, part.stop):
                key, size = rows.keys[number], rows.sizes[number]
                if (size == 0 and key.endswith("/")) or not key.startswith(self.prefix):
                    continue
                modified_s = seconds_of(rows.modified[number])
                page.keys.append(key)
                page.versions.append((rows.etags[number] or f"none-{size}-{modified_s:.0f}").strip('"'))
                page.sizes.append(size)
                page.modified_s.append(modified_s)
                page.classes.append(rows.classes[number])
        return page or ()

    def _s3(self) -> Any:
        with self._client_lock:
            if self._client is None:
                self._client = self._new_client()
            return self._client

    def _new_client(self, *, read_timeout_s: float = 0.0, connections: int = 8) -> Any:
        from botocore import UNSIGNED
        from botocore.config import Config as BotoConfig

        profile = self.profile
        cap_botocore_logging()
        self._credentials.keys()  # says no in our own words when there are none
        settings: dict[str, Any] = {
            "connect_timeout": profile.connect_timeout_s,
            "read_timeout": read_timeout_s or profile.read_timeout_s,
            "retries": {"mode": "standard", "total_max_attempts": profile.max_attempts},
            "s3": {"addressing_style": profile.addressing},
            "request_checksum_calculation": profile.request_checksums,
            "response_checksum_validation": profile.response_checksums,
            "user_agent": USER_AGENT,
            "max_pool_connections": connections,
            # AWS_ENDPOINT_URL in the environment must not send the owner's keys elsewhere.
            "ignore_configured_endpoint_urls": True,
        }
        if self._credentials.anonymous:
            settings["signature_version"] = UNSIGNED
        client = self._credentials.boto3_session().client(
            "s3",
            endpoint_url=self.endpoint if profile.endpoint else None,
            region_name=self.region,
            verify=str(profile.ca_bundle) if profile.ca_bundle and profile.verify_tls else profile.verify_tls,
            config=BotoConfig(**settings),
        )
        client.meta.events.register_first("before-parse.s3.ListObjectsV2", cut_rows)
        return client


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection until the containers of one page (8 for each object, none in a cycle) are gone again.

    Else every few pages would make the interpreter look through all that ComfyUI holds: 0.1 s and more, in which no
    thread runs, the event loop neither.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def open_origins(config: Config) -> tuple[Origin, ...]:
    """The origins of a configuration, near to far.  Touches no network."""

    def rereader(name: str) -> Callable[[], ProfileConfig | None] | None:
        path = config.path
        if path is None:
            return None
        return lambda: load_config(path).profile(name)

    return tuple(Origin(o, reread=rereader(o.profile.name)) for o in config.origins)


def _tls_context(profile: ProfileConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(profile.ca_bundle) if profile.ca_bundle else None)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            f"profiles.{profile.name}.ca_bundle cannot be read",
            next_step="it must be a PEM file with the CA's certificate",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not profile.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
