"""Alerts on their way to a webhook that is there, slow, wrong or dead: nobody waits, and its address is never shown."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from modelstream.storage.config import Config
from modelstream.storage.errors import ConfigError
from modelstream.storage.events_comfy import AlertCleared, AlertRaised
from modelstream.storage.webhook import Webhook, WebhookFailed
from modelstream.telemetry.delivery import QUEUE, TRIES, Delivery
from rig.invariants import eventually
from rig.processes import free_ports

RAISED = AlertRaised("origin_down", "critical", "origin", "near", 90.0, 60.0, "the bucket near could not be listed", "check it")
WARNED = AlertRaised("queue_depth", "warning", "queue", "", 90.0, 60.0, "90 prompts wait", "add a worker")


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what was posted; ``status`` is answered once ``gate`` is open."""

    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[str, dict]] = []
        self.status = 204
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/secret-part?key=x"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.gate.wait(30)
        self.server.got.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


def delivery(address: str, failed: list[str], timeout_s: float = 5.0, **more: bool) -> Delivery:
    return Delivery(Webhook(address, timeout_s).post, failed.append, pause_s=0.01, **more)


def test_critical_alerts_are_posted_with_a_text_and_every_figure(receiver: Receiver) -> None:
    failed: list[str] = []
    to = delivery(receiver.address, failed)
    to(RAISED)
    to(WARNED)
    to(AlertCleared("origin_down", "critical", "origin", "near", 30.0))
    assert eventually(lambda: len(receiver.got) == 2)
    (path, first), (_, second) = receiver.got
    assert path == "/hooks/secret-part?key=x"
    assert first["text"] == "critical: the bucket near could not be listed"
    assert (first["active"], first["value"], second["active"], second["rule"]) == (True, 90.0, False, "origin_down")
    assert failed == []


def test_warnings_are_posted_where_the_owner_wants_them(receiver: Receiver) -> None:
    delivery(receiver.address, [], everything=True)(WARNED)
    assert eventually(lambda: [body["rule"] for _, body in receiver.got] == ["queue_depth"])


def test_a_webhook_that_hangs_holds_nobody_up_and_old_alerts_fall_out(receiver: Receiver) -> None:
    receiver.gate.clear()
    to = delivery(receiver.address, [], timeout_s=30)
    for _ in range(1000):
        to(RAISED)
    assert threading.active_count() < 20
    receiver.gate.set()
    assert eventually(lambda: len(receiver.got) >= QUEUE)
    to.close()
    assert len(receiver.got) <= QUEUE + 1


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_refusal_is_tried_again_told_once_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    receiver.status, failed = status, []
    to = delivery(receiver.address, failed)
    to(RAISED)
    assert eventually(lambda: failed == [f"http_{status}"])
    assert len(receiver.got) == TRIES
    to(RAISED)
    assert eventually(lambda: len(receiver.got) == 2 * TRIES)
    assert failed == [f"http_{status}"]


def test_a_dead_webhook_is_told_without_its_address() -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}/hooks/secret-part"
    with pytest.raises(WebhookFailed) as caught:
        Webhook(address, 1.0).post(b"{}")
    assert "secret-part" not in str(caught.value) + repr(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com/x",
        "http://example.com/x",
        "https://user:pass@example.com/x",
        "https://169.254.169.254/latest",
        "https://metadata.google.internal/",
        "https://example.com/x#y",
        "file:///etc/hostname",
    ],
)
def test_only_an_https_address_or_this_machine_may_be_named(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_text(f'[alerts]\nwebhook = "{address}"')
    assert "user:pass" not in str(caught.value)
    assert Config.from_text('[alerts]\nwebhook = "https://example.com/hooks/abc"').alerts.webhook
    assert "abc" not in repr(Config.from_text('[alerts]\nwebhook = "https://example.com/hooks/abc"'))
