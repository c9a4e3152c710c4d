"""No secret in anything that a person or another program can read: logs, events, errors, representations.

The server of these tests is the worst one: it repeats the whole request in its error bodies, as S3 itself does
with SignatureDoesNotMatch.
"""

from __future__ import annotations

import http.server
import logging
import re
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from modelstream.storage.config import Config, load_config
from modelstream.storage.credentials import CredentialSource
from modelstream.storage.errors import ModelStreamError
from modelstream.storage.events import CatalogRefreshFailed, EventBus, LoadFailed, TransferFailed
from modelstream.storage.objects import ObjectHead, ObjectId, RemoteObject
from modelstream.storage.origin import Origin
from modelstream.telemetry.logs import start_logging

ACCESS_KEY = "CANARYACCESSKEYID0001"
SECRET = "canary/secret+key/0123456789abcdefghijkl"
TOKEN = "canary-session-token-0123456789=="
LITERALS = (ACCESS_KEY, SECRET, TOKEN)
FORMS = re.compile(
    r"(?i)(?:x-amz-signature|x-amz-credential|x-amz-security-token|(?<![a-z-])signature)=(?!\[redacted\])[\w%/+-]{8,}"
    r"|AWS4-HMAC-SHA256 Cred(?!ential=\[redacted)"
)


class EchoServer(http.server.ThreadingHTTPServer):
    """Answers everything with ``status`` and an S3 error that holds the request, signature and all."""

    status = 403
    code = "SignatureDoesNotMatch"

    def __init__(self) -> None:
        self.signatures: set[str] = set()
        super().__init__(("127.0.0.1", 0), EchoHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class EchoHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: EchoServer

    def answer(self) -> None:
        request = f"{self.requestline}\n{self.headers}"
        self.server.signatures.update(re.findall(r"(?i)signature=([0-9a-f]{64})", request))
        said = escape(request)
        body = f"<Error><Code>{self.server.code}</Code><Message>{said}</Message><StringToSign>{said}</StringToSign></Error>".encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *_: object) -> None:
        return None


class Seen(logging.Handler):
    """Everything that any logger hands to the root."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as echo:
        thread = threading.Thread(target=echo.serve_forever, args=(0.01,))
        thread.start()
        yield echo
        echo.shutdown()
        thread.join()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """The root logger at DEBUG, and the clients' own loggers opened again after the cap, as careless nodes do."""
    handler = Seen()
    root = logging.getLogger()
    monkeypatch.setattr(root, "level", logging.DEBUG)
    root.addHandler(handler)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET}.get(name, TOKEN))
    yield handler
    root.removeHandler(handler)


CONFIG = """
[profiles.keys]
endpoint = "{url}"
access_key_id = "{key}"
secret_access_key = "{secret}"
session_token = "{token}"
max_attempts = 1
[profiles.chain]
endpoint = "{url}"
max_attempts = 1
[[origins]]
name = "near"
bucket = "models"
profile = "{profile}"
"""


def config(tmp_path: Path, url: str, profile: str = "keys") -> Config:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(url=url, key=ACCESS_KEY, secret=SECRET, token=TOKEN, profile=profile))
    file.chmod(0o600)
    return load_config(file)


def everything_about(error: BaseException) -> list[str]:
    return [str(error), repr(error), "".join(traceback.format_exception(error)), repr(vars(error))]


def is_clean(texts: list[str], signatures: set[str]) -> None:
    for text in texts:
        for secret in (*LITERALS, *signatures):
            assert secret not in text, text[:400]
        assert not FORMS.search(text), text[:400]


def reopen_client_loggers() -> None:
    for name in ("botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(name).setLevel(logging.DEBUG)


@pytest.fixture
def restored_levels() -> Iterator[None]:
    loggers = [logging.getLogger(n) for n in ("botocore", "boto3", "urllib3", "s3transfer")]
    before = [x.level for x in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def list_all(origin: Origin) -> None:
    for _ in origin.list_pages():
        pass


@pytest.mark.usefixtures("restored_levels")
@pytest.mark.parametrize("profile", ["keys", "chain"])
@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "AccessDenied", "ExpiredToken", "InternalError", "MadeUp"])
@pytest.mark.parametrize("known", [True, False], ids=["literals known", "forms only"])
def test_a_server_that_repeats_the_request_gives_nothing_away(
    server: EchoServer, seen: Seen, tmp_path: Path, profile: str, code: str, known: bool
) -> None:
    server.code = code
    server.status = 500 if code == "InternalError" else 403
    bus = EventBus()
    events: list[str] = []
    bus.subscribe(lambda e: events.append(repr(e)))
    read = config(tmp_path, server.url, profile)
    stop = start_logging(read.log, bus, secrets=LITERALS if known else ())
    origin = Origin(read.origins[0])
    reopen_client_loggers()
    try:
        with pytest.raises(ModelStreamError) as caught:
            reopening(origin)
        bus.emit(CatalogRefreshFailed("near", caught.value.code, str(caught.value)))
        logging.getLogger("modelstream.anything").error("refresh failed", exc_info=caught.value)
    finally:
        stop()
    assert server.signatures, "the request was not signed"
    assert any("error component=catalog" in text for text in seen.texts)
    assert any("Traceback" in text for text in seen.texts)
    if known:
        is_clean([*seen.texts, *events, *everything_about(caught.value)], server.signatures)
    else:  # botocore prints the key id bare at DEBUG; only somebody who opens its loggers again can see that
        texts = [*seen.texts, *events, *everything_about(caught.value)]
        is_clean([t.replace(ACCESS_KEY, "") for t in texts], server.signatures)


def reopening(origin: Origin) -> None:
    """Lists with the client's loggers at DEBUG: making the client caps them, so they are opened once more after that."""
    origin._s3()
    reopen_client_loggers()
    list_all(origin)


def test_the_cap_silences_the_clients_own_debug_lines(server: EchoServer, seen: Seen, tmp_path: Path) -> None:
    read = config(tmp_path, server.url)
    stop = start_logging(read.log, EventBus())
    try:
        with pytest.raises(ModelStreamError):
            list_all(Origin(read.origins[0]))
        logging.getLogger("any.other").debug("still there")
    finally:
        stop()
    assert "still there" in seen.texts
    assert not [t for t in seen.texts if "CanonicalRequest" in t or "Signature:" in t or "Making request" in t]
    is_clean(seen.texts, server.signatures)


def test_representations_hold_no_secret(server: EchoServer, tmp_path: Path) -> None:
    read = config(tmp_path, server.url)
    origin = Origin(read.origins[0])
    source = CredentialSource(read.profiles[0])
    shown = [repr(read), str(read), repr(read.profiles), repr(origin), repr(source), repr(source.keys()), repr(origin._s3())]
    shown.append(read.listing_fingerprint())
    is_clean([text.replace(ACCESS_KEY, "") for text in shown], set())


def test_a_signed_request_does_not_show_its_signature(server: EchoServer, tmp_path: Path) -> None:
    origin = Origin(config(tmp_path, server.url).origins[0])
    signed = [origin.sign("GET", "a b.safetensors"), origin.sign("HEAD", "a b.safetensors", headers={"range": "bytes=0-1"})]
    assert "X-Amz-Signature=" in signed[0].target
    is_clean([repr(s) for s in signed] + [str(s) for s in signed], set())


def refused_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_refused_connection_gives_nothing_away(seen: Seen, tmp_path: Path) -> None:
    read = config(tmp_path, refused_port())
    stop = start_logging(read.log, EventBus(), secrets=LITERALS)
    try:
        with pytest.raises(ModelStreamError) as caught:
            list_all(Origin(read.origins[0]))
        logging.getLogger("root").error("prompt failed: %s", traceback.format_exc())
    finally:
        stop()
    is_clean([*seen.texts, *everything_about(caught.value)], set())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace('endpoint = "http://', f'endpoint = "http://{ACCESS_KEY}:{SECRET}@', 1),
        lambda text: text.replace(f'"{SECRET}"', f'"{SECRET}', 1),
        lambda text: text.replace("session_token", "sesion_token", 1),
        lambda text: text.replace(f'"{SECRET}"', f'["{SECRET}"]', 1),
        lambda text: text.replace(f'"{TOKEN}"', f'"{TOKEN}\\u0000"', 1),
    ],
    ids=["userinfo", "unclosed", "unknown key", "wrong type", "control character"],
)
def test_an_error_about_the_configuration_does_not_repeat_it(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    text = CONFIG.format(url="http://127.0.0.1:1", key=ACCESS_KEY, secret=SECRET, token=TOKEN, profile="keys")
    spoiled = spoil(text)
    assert spoiled != text
    with pytest.raises(ModelStreamError) as caught:
        Config.from_text(spoiled)
    is_clean([str(caught.value), repr(caught.value), repr(vars(caught.value))], set())


class Zone:
    """A landing zone that nothing ever lands in."""

    def prepare(self, head: ObjectHead) -> memoryview:
        return memoryview(bytearray(head.size_bytes))

    def extents(self) -> list[object]:
        return []

    def landed(self, extent: object) -> None:
        raise AssertionError("a part of an error page landed")


@pytest.mark.parametrize("status", [200, 206, 400, 403, 404, 500])
@pytest.mark.parametrize("signing", ["presign", "each_request"])
def test_a_failing_transfer_gives_nothing_away(server: EchoServer, seen: Seen, tmp_path: Path, status: int, signing: str) -> None:
    from modelstream.storage.engine import TransferEngine

    server.status = status
    config(tmp_path, server.url)
    file = tmp_path / "config.toml"
    quick = "[transfer]\nretries = 1\nno_progress_s = 1\ndeadline_s = 5\n"
    file.write_text(quick + file.read_text().replace("[profiles.keys]\n", f'[profiles.keys]\nsigning = "{signing}"\n'))
    read = load_config(file)
    bus = EventBus()
    events: list[object] = []
    bus.subscribe(events.append)
    stop = start_logging(read.log, bus, secrets=LITERALS)
    origin = Origin(read.origins[0])
    engine = TransferEngine(read.transfer, bus)
    obj = RemoteObject("near", ObjectId(origin.endpoint, "models", "a b.safetensors", "e"), 1000, 0.0)
    try:
        transfer = engine.start(origin, obj, Zone())
        assert transfer.wait(20)
        with pytest.raises(ModelStreamError) as caught:
            transfer.result()
        bus.emit(LoadFailed("a b.safetensors", obj.subject, caught.value.code, str(caught.value)))
        texts = [repr(transfer), repr(engine), repr(transfer.progress()), *map(repr, events), *everything_about(caught.value)]
    finally:
        engine.close()
        stop()
    assert server.signatures
    assert any(isinstance(e, TransferFailed) for e in events)
    assert any("component=loading" in t for t in seen.texts)
    is_clean([*texts, *seen.texts], server.signatures)
