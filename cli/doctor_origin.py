"""``doctor``: one origin: credentials, rights found by trying, latency, rate, clock, and what the server can do."""

from __future__ import annotations

import argparse
import email.utils
import statistics
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..storage.errors import AccessDenied, ModelStreamError
from ..storage.origin import error_from_answer
from ..storage.wire import Address, Answer, Connection
from .discard import DiscardZone
from .findings import ERROR, NOTE, OK, WARNING, Finding, failed
from .output import duration_text, rate_text, size_text, time_text

if TYPE_CHECKING:
    from ..storage.config import Config
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin

SKEW_WARNING_S, SKEW_ERROR_S = 30.0, 300.0
"""a signature is refused by AWS when the clocks are 15 minutes apart; ours are presigned for an hour from a clock that may drift"""
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE", "ARCHIVE"})
KINDS = {"amazons3": "aws", "seaweedfs": "seaweedfs", "minio": "minio", "cloudflare": "r2", "uploadserver": "gcs", "wasabi": "wasabi"}


class Wire:
    """Single requests on one kept connection, timed; for the status and headers that boto3 hides."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._connection: Connection | None = None

    def ask(self, method: str, key: str, headers: dict[str, str] | None = None) -> tuple[Answer, float]:
        """(answer, seconds until its head).  Raises ModelStreamError where there is no answer."""
        request = self._origin.sign(method, key, headers=headers or {})
        profile = self._origin.profile
        try:
            if self._connection is None:
                address = Address(request.tls, request.host, request.port)
                limits = {"connect_timeout_s": profile.connect_timeout_s, "read_timeout_s": profile.read_timeout_s}
                self._connection = Connection(address, self._origin.tls_context(), **limits)
                self._connection.open()
            started_s = time.monotonic()
            answer = self._connection.ask(method, request.target, {**(headers or {}), **request.headers})
            seconds = time.monotonic() - started_s
            self._connection.error_body()
            self._connection.finish()
        except ModelStreamError:
            raise
        except Exception as error:
            self.close()
            raise self._origin.translate(error) from None
        return answer, seconds

    def asked(self, method: str, key: str, headers: dict[str, str] | None = None, expected: int = 200) -> Answer:
        answer, _ = self.ask(method, key, headers)
        if answer.status != expected:
            raise error_from_answer(answer.status, "", "", dict(answer.headers.items()), self._origin.subject(key))
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def check(origin: Origin, config: Config, options: argparse.Namespace) -> Iterator[Finding]:
    wire = Wire(origin)
    try:
        yield _credentials(origin)
        before_s = time.time()
        answer, _ = wire.ask("HEAD", "")
        yield Finding(origin.name, "server", OK, _kind(answer, origin), value=answer.header("server"))
        yield _clock(origin, answer, (before_s + time.time()) / 2)
    except ModelStreamError as error:
        yield failed(origin.name, "reach", error)
        wire.close()
        return
    try:
        yield from _reading(origin, wire, config, options)
        yield from _bucket(origin)
    finally:
        wire.close()


def _credentials(origin: Origin) -> Finding:
    said = origin.credentials_from()
    if said.expires_s is None:
        return Finding(origin.name, "credentials", OK, said.source, value=said.source)
    left_s = said.expires_s - time.time()
    found = f"{said.source}, until {time_text(said.expires_s)} UTC ({duration_text(max(0.0, left_s))} left)"
    status = ERROR if left_s <= 0 else WARNING if left_s < 600 and not said.renewed else OK
    return Finding(origin.name, "credentials", status, found, "renew them" if status != OK else "", said.expires_s)


def _kind(answer: Answer, origin: Origin) -> str:
    server = answer.header("server") or "it does not say"
    guess = next((preset for word, preset in KINDS.items() if word in server.lower()), "")
    preset = origin.profile.preset
    advice = f'; preset = "{guess}" fits it' if guess and not preset else ""
    return f"{server[:80]}{advice}"


def _clock(origin: Origin, answer: Answer, local_s: float) -> Finding:
    try:
        server_s = email.utils.parsedate_to_datetime(answer.header("date") or "").timestamp() + 0.5  # Date has whole seconds
    except (TypeError, ValueError):
        return Finding(origin.name, "clock", NOTE, "the server states no time")
    skew_s = local_s - server_s
    status = ERROR if abs(skew_s) > SKEW_ERROR_S else WARNING if abs(skew_s) > SKEW_WARNING_S else OK
    if status == OK:
        return Finding(origin.name, "clock", OK, "agrees with the server's, to the second of its Date", value=skew_s)
    found = f"this machine is {duration_text(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} the server"
    return Finding(origin.name, "clock", status, found, "set the clock (NTP): signatures are refused when clocks differ", skew_s)


# -- reading -----------------------------------------------------------------------------------------------------------
def _reading(origin: Origin, wire: Wire, config: Config, options: argparse.Namespace) -> Iterator[Finding]:
    page: list[RemoteObject] = []
    try:
        started_s = time.monotonic()
        page = list(next(origin.list_pages(), ()))
        took = duration_text(time.monotonic() - started_s)
        yield Finding(origin.name, "list", OK, f"allowed: {len(page)} objects in {took}", value=len(page))
    except ModelStreamError as error:
        yield failed(origin.name, "list", error)
    key = options.probe or _sample(page)
    if not key:
        step = "" if page else "name an object with --probe to try reading without a list"
        yield Finding(origin.name, "head, get", NOTE, "there is no object that could be read", step)
        return
    try:
        head = wire.asked("HEAD", key)
        yield Finding(origin.name, "head", OK, "allowed")
        size_bytes = int(head.header("content-length") or 0)
        yield _ranges(origin, wire, key, size_bytes)
        yield _checksum(origin, head)
        seconds = [wire.ask("HEAD", key)[1] for _ in range(max(1, options.heads))]
    except ModelStreamError as error:
        yield failed(origin.name, "head, get", error)
        return
    middle = statistics.median(seconds)
    yield Finding(origin.name, "latency", OK, f"{duration_text(middle)}, the median of {len(seconds)} HEADs", value=middle)
    sample = next((obj for obj in page if obj.id.key == key), None)
    if sample is not None and not options.quick and sample.size_bytes:
        yield _rate(origin, sample, config, options.seconds)


def _sample(page: list[RemoteObject]) -> str:
    readable = [obj for obj in page if obj.size_bytes and obj.storage_class not in ARCHIVES]
    return max(readable, key=lambda obj: obj.size_bytes).id.key if readable else ""


def _ranges(origin: Origin, wire: Wire, key: str, size_bytes: int) -> Finding:
    last = min(size_bytes, 100) - 1
    answer, _ = wire.ask("GET", key, {"Range": f"bytes=0-{last}"})
    if answer.status == 206 and (answer.header("content-range") or "").startswith(f"bytes 0-{last}/"):
        return Finding(origin.name, "get", OK, "allowed, in ranges")
    if answer.status == 200:
        return Finding(origin.name, "get", WARNING, "allowed; the server ignores ranges", "every model is read over one connection")
    raise error_from_answer(answer.status, "", "", dict(answer.headers.items()), origin.subject(key))


def _checksum(origin: Origin, head: Answer) -> Finding:
    kinds = [name.removeprefix("x-amz-checksum-") for name in map(str.lower, head.headers) if name.startswith("x-amz-checksum-")]
    found = sorted(kind for kind in kinds if kind not in ("mode", "type"))
    whole = (head.header("x-amz-checksum-type") or "FULL_OBJECT") == "FULL_OBJECT"
    if "crc64nvme" in found and whole:
        return Finding(origin.name, "checksums", OK, "CRC64NVME of the whole object: reads are verified end to end", value=found)
    stated = f"{', '.join(found)} ({'whole object' if whole else 'parts'})" if found else "none"
    step = "upload with `modelstream push` or `aws s3 cp --checksum-algorithm CRC64NVME`"
    return Finding(origin.name, "checksums", NOTE, f"{stated}: reads are checked by size and ETag only", step, found)


def _rate(origin: Origin, sample: RemoteObject, config: Config, seconds: float) -> Finding:
    """As models are read: by the transfer engine, in parallel ranges, and every part checked."""
    from ..storage.engine import TransferEngine
    from ..storage.events import EventBus

    zone, engine = DiscardZone(), TransferEngine(config.transfer, EventBus())
    try:
        started_s = time.monotonic()
        transfer = engine.start(origin, sample, zone)
        done = transfer.wait(seconds)
        progress, took_s = transfer.progress(), time.monotonic() - started_s
        if done:
            transfer.result()
        else:
            transfer.cancel()
            transfer.wait(5.0)
    except ModelStreamError as error:
        return failed(origin.name, "rate", error)
    finally:
        engine.close()
        zone.close()
    rate = progress.landed_bytes / took_s
    found = f"{rate_text(rate)}, {size_text(progress.landed_bytes)} in {duration_text(took_s)}"
    if progress.landed_bytes < 20_000_000:
        found += " (too little to say: the largest object of the first page is small)"
    return Finding(origin.name, "rate", OK, found, value=rate)


# -- the bucket ----------------------------------------------------------------------------------------------------------
def _bucket(origin: Origin) -> Iterator[Finding]:
    """What a reader needs no right for is a note where it may not be asked."""
    if origin.profile.signing == "anonymous":
        return
    try:
        client = origin.control()
    except ModelStreamError as error:
        yield failed(origin.name, "bucket", error)
        return
    versioning = asked(origin, client.get_bucket_versioning)
    if isinstance(versioning, ModelStreamError):
        yield _may_not(origin, "versioning", versioning)
    else:
        state = str(versioning.get("Status", "off")).lower()
        step = "" if state == "enabled" else "`modelstream init` switches it on: an overwritten model can be brought back"
        yield Finding(origin.name, "versioning", OK if state == "enabled" else NOTE, state, step, state)
    rules = asked(origin, client.get_bucket_lifecycle_configuration, absent="NoSuchLifecycleConfiguration")
    if isinstance(rules, ModelStreamError):
        yield _may_not(origin, "lifecycle", rules)
        return
    aborts = any(r.get("Status") == "Enabled" and "AbortIncompleteMultipartUpload" in r for r in rules.get("Rules", ()))
    if aborts:
        yield Finding(origin.name, "lifecycle", OK, "unfinished uploads are cleaned up", value=True)
    else:
        step = "`modelstream init` adds the rule: parts of broken uploads cost storage and are in no listing"
        yield Finding(origin.name, "lifecycle", NOTE, "no rule cleans up unfinished uploads", step, False)


def _may_not(origin: Origin, check: str, error: ModelStreamError) -> Finding:
    if isinstance(error, AccessDenied):
        return Finding(origin.name, check, NOTE, "this key may not ask (reading models needs no such right)")
    return Finding(origin.name, check, NOTE, f"the server does not say ({error.cause or error.problem})")


def asked(origin: Origin, call: Any, absent: str = "", **more: Any) -> Any:
    """A call of boto3's: its answer, {} where the server says ``absent``, or what it says as an error of ours (returned)."""
    try:
        return call(Bucket=origin.bucket, **more)
    except Exception as error:
        response = getattr(error, "response", None)
        if absent and isinstance(response, dict) and response.get("Error", {}).get("Code") == absent:
            return {}
        return origin.translate(error)
