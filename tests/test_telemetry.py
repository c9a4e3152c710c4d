"""Events become log lines; lines hold no credential and appear once."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage import events
from modelstream.storage.config import LogConfig
from modelstream.storage.events import EventBus, TransferFinished
from modelstream.telemetry.logs import LEVELS, start_logging
from modelstream.telemetry.redact import HIDDEN, Redactor

DEFAULTS = LogConfig()
FINISHED = TransferFinished(7, "near:checkpoints/a model.safetensors", 100, 120, 1.23456789, 9, 1, "crc64nvme")


class Lines(logging.Handler):
    """What a root handler with ComfyUI's format prints."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@dataclass
class Logged:
    bus: EventBus
    root: Lines
    stops: list[Callable[[], None]]

    def start(self, settings: LogConfig = DEFAULTS, secrets: tuple[str, ...] = ()) -> Callable[[], None]:
        self.stops.append(start_logging(settings, self.bus, secrets=secrets))
        return self.stops[-1]


@pytest.fixture
def logged() -> Iterator[Logged]:
    rig = Logged(EventBus(), Lines(), [])
    logging.getLogger().addHandler(rig.root)
    yield rig
    for stop in rig.stops:
        stop()
    logging.getLogger().removeHandler(rig.root)


def sample(kind: type[events.Event]) -> events.Event:
    """An event of this kind with made-up fields."""
    made = {"int": 3, "float": 0.5, "str": "word", "bool": True, "tuple[str, ...]": ("one", "two")}
    return kind(**{f.name: made[str(f.type)] for f in fields(kind)})


def test_an_event_is_one_line_in_the_console_format(logged: Logged) -> None:
    logged.start()
    logged.bus.emit(FINISHED)
    [line] = logged.root.lines
    start = '[modelstream] transfer_finished transfer_id=7 subject="near:checkpoints/a model.safetensors" size_bytes=100'
    assert line == start + " wire_bytes=120 seconds=1.2346 requests=9 retries=1 verified=crc64nvme"


def test_an_event_is_one_json_object_in_the_json_format(logged: Logged) -> None:
    logged.start(LogConfig(format="json"))
    logged.bus.emit(FINISHED)
    [line] = logged.root.lines
    read = json.loads(line)
    assert read.pop("timestamp").endswith("Z")
    assert read == {
        "event": "transfer_finished",
        "level": "info",
        "transfer_id": 7,
        "subject": FINISHED.subject,
        "size_bytes": 100,
        "wire_bytes": 120,
        "seconds": 1.2346,
        "requests": 9,
        "retries": 1,
        "verified": "crc64nvme",
    }


@pytest.mark.parametrize("as_format", ["console", "json"])
def test_every_kind_of_event_can_be_logged(logged: Logged, as_format: str) -> None:
    kinds = events.Event.__subclasses__()
    logged.start(LogConfig(level="debug", format=as_format))
    for kind in kinds:
        logged.bus.emit(sample(kind))
    assert len(logged.root.lines) == len(kinds) > 15
    assert logged.bus.subscriber_errors == 0


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_of_the_configuration_decides_which_events_are_shown(logged: Logged, level: str) -> None:
    logged.start(LogConfig(level=level))
    kinds = events.Event.__subclasses__()
    for kind in kinds:
        logged.bus.emit(sample(kind))
    shown = [k for k in kinds if LEVELS.get(k, logging.INFO) >= logging.getLevelName(level.upper())]
    assert len(logged.root.lines) == len(shown)


@pytest.mark.parametrize("as_format", ["console", "json"])
def test_structlog_is_imported_at_the_first_line_not_at_start(as_format: str) -> None:
    code = (
        "import sys\n"
        "from modelstream.storage.config import LogConfig\n"
        "from modelstream.storage.events import *\n"
        "from modelstream.telemetry.logs import start_logging\n"
        f"bus = EventBus(); start_logging(LogConfig(format={as_format!r}), bus)\n"
        "bus.emit(TierMiss('ssd', 'a:b', 1)); assert 'structlog' not in sys.modules\n"
        "bus.emit(CredentialsRefreshed('far')); assert 'structlog' in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    (line,) = run.stderr.splitlines()
    assert line == "[modelstream] credentials_refreshed origin=far" or json.loads(line)["origin"] == "far"


def test_without_a_root_handler_a_line_goes_to_stderr_once(logged: Logged, capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept, root.handlers = root.handlers, []
    try:
        logged.start()
        logged.bus.emit(FINISHED)
        assert capfd.readouterr().err.count("transfer_finished") == 1
    finally:
        root.handlers = kept
    logged.bus.emit(FINISHED)
    assert capfd.readouterr().err.count("[modelstream] transfer_finished") == 0
    assert len(logged.root.lines) == 1


def test_the_file_gets_the_same_lines_with_time_and_level_and_is_rotated(logged: Logged, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "modelstream.log"
    stop = logged.start(LogConfig(file=file, rotate_mb=0.001, keep=2))
    for _ in range(30):
        logged.bus.emit(FINISHED)
    stop()
    assert sorted(p.name for p in file.parent.iterdir()) == ["modelstream.log", "modelstream.log.1", "modelstream.log.2"]
    for line in file.read_text().splitlines():
        assert " INFO    [modelstream] transfer_finished " in line
    assert len(logged.root.lines) == 30


def test_a_log_file_that_cannot_be_opened_is_a_warning(logged: Logged, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    logged.start(LogConfig(file=tmp_path / "taken" / "x.log"))
    logged.bus.emit(FINISHED)
    assert "cannot be opened" in logged.root.lines[0]
    assert str(tmp_path) not in logged.root.lines[0]
    assert len(logged.root.lines) == 2


def test_stop_ends_it_and_may_be_called_twice(logged: Logged) -> None:
    ours = logging.getLogger("modelstream")
    before = (logging.getLogRecordFactory(), ours.level, list(ours.handlers))
    stop = logged.start(LogConfig(level="error"))
    stop()
    stop()
    logged.bus.emit(FINISHED)
    assert logged.root.lines == []
    assert before == (logging.getLogRecordFactory(), ours.level, list(ours.handlers))


def test_a_record_factory_that_somebody_put_over_ours_survives_stop(logged: Logged) -> None:
    original = logging.getLogRecordFactory()
    stop = logged.start(secrets=("canary-literal",))
    ours = logging.getLogRecordFactory()

    def theirs(*args: object, **kwargs: object) -> logging.LogRecord:
        return ours(*args, **kwargs)

    logging.setLogRecordFactory(theirs)
    try:
        stop()
        logging.getLogger("somebody").error("canary-literal")
        assert logging.getLogRecordFactory() is theirs
        assert logged.root.lines == ["canary-literal"]
    finally:
        logging.setLogRecordFactory(original)


def test_a_key_cannot_forge_a_line_or_move_the_cursor(logged: Logged) -> None:
    logged.start()
    logged.bus.emit(events.CredentialsRefreshed("a\n[modelstream] forged\x1b[2J\u2028b"))
    [line] = logged.root.lines
    assert line.isprintable()
    assert "forged" in line


def test_other_peoples_records_are_left_as_they_are(logged: Logged) -> None:
    logged.start(secrets=("canary-literal",))
    record = logging.getLogRecordFactory()("other", logging.INFO, "p", 1, "%s tokens of %d", ("many", 3), None)
    assert record.msg == "%s tokens of %d"
    assert record.args == ("many", 3)


PRESIGNED = (
    "http://127.0.0.1:8333/models/a.safetensors?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=KEYID0001%2F2026%2Fus"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=TOKEN00001&X-Amz-Signature=SIGNATURE00001"
)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (PRESIGNED, ["KEYID0001", "TOKEN00001", "SIGNATURE00001"]),
        (f"GET {PRESIGNED.partition('8333')[2]} HTTP/1.1", ["KEYID0001", "TOKEN00001", "SIGNATURE00001"]),
        ("https://b.s3.amazonaws.com/k?AWSAccessKeyId=KEYID0001&Signature=SIGNATURE%3D&Expires=1", ["KEYID0001", "SIGNATURE%3D"]),
        (
            "Authorization: AWS4-HMAC-SHA256 Credential=KEYID0001/2026/s3/aws4_request, SignedHeaders=host, Signature=0123456789abcdef",
            ["KEYID0001", "0123456789abcdef"],
        ),
        ("{'Authorization': b'AWS KEYID0001:SIGNATURE00001', 'Range': 'bytes=0-1'}", ["KEYID0001", "SIGNATURE00001"]),
        ("{'X-Amz-Security-Token': 'TOKEN00001+/='}", ["TOKEN00001"]),
        ("x-amz-security-token:TOKEN00001\nhost:x", ["TOKEN00001"]),
        ("Signature:\n0123456789abcdef0123456789abcdef", ["0123456789abcdef"]),
        ("X-Amz-Signature=0123456789abcdef", ["0123456789abcdef"]),
        ("Could not connect to https://user:hunter22@host:9000/bucket", ["user:", "hunter22"]),
        ('secret_access_key = "wJalrXUtnFEMI"', ["wJalrXUtnFEMI"]),
        ('{"SecretAccessKey": "wJalrXUtnFEMI", "SessionToken": "TOKEN00001"}', ["wJalrXUtnFEMI", "TOKEN00001"]),
        ("credentials AKIAIOSFODNN7EXAMPLE were refused", ["AKIAIOSFODNN7EXAMPLE"]),
    ],
)
def test_every_form_of_a_credential_is_taken_out(text: str, hidden: list[str]) -> None:
    clean = Redactor().text(text)
    assert HIDDEN in clean
    for secret in hidden:
        assert secret not in clean
    assert Redactor().text(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "near:checkpoints/sd_xl.safetensors?: 3 tokens, no secret here",
        "https://host/path?list-type=2&prefix=a",
        "the signature does not match",
        "SignatureDoesNotMatch (403), request id 1234567890",
        "me@example.com wrote https://example.com/a@b",
        "token_embedding.weight is missing",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Redactor().text(text) is text


@given(st.text(min_size=6, max_size=40), st.text(max_size=80), st.text(max_size=80))
def test_a_known_secret_never_survives(secret: str, before: str, after: str) -> None:
    redactor = Redactor()
    redactor.add([secret])
    clean = redactor.text(before + secret + after)
    assert secret not in clean.replace(HIDDEN, "\0")


def test_a_line_says_in_which_execution_it_happened_and_things_of_one_kind_have_one_name(logged: Logged) -> None:
    def bound(event: events.Event) -> dict[str, str]:
        return {"execution_id": "p-1", "node": "4"}

    logged.stops.append(start_logging(LogConfig(format="json", level="debug"), logged.bus, bound=bound))
    logged.bus.emit(events.Evicted("ram", "near:a.safetensors", 7, "room"))
    logged.bus.emit(events.TransferFailed(3, "near:a.safetensors", "denied", "403"))
    logged.bus.emit(events.ModelLoaded("loras", "a", "near:a", "ram", 7, 0, 0.5, "9", "p-2"))
    evicted, failed, loaded = (json.loads(line) for line in logged.root.lines)
    assert evicted.items() >= {"event": "model_operation", "operation": "evict", "tier": "ram", "execution_id": "p-1", "node": "4"}.items()
    assert failed.items() >= {"event": "error", "component": "transfer", "code": "denied", "node": "4"}.items()
    assert loaded.items() >= {"event": "model_operation", "operation": "load", "node": "9", "prompt": "p-2"}.items()
