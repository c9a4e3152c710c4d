"""The panel of a ComfyUI that listens on the network: it asks for the owner's token, and shows nothing before."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from rig import browser as rig_browser
from rig.browser import AXE, PanelPage, chromium
from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.seaweed import Seaweed

pytestmark = pytest.mark.skipif(bool(rig_browser.why_not()), reason=rig_browser.why_not() or "-")

BUCKET = "network"
ADMIN = secrets.token_urlsafe(32)
LISTEN = ("--listen", "0.0.0.0")
KEPT = "() => sessionStorage.getItem('modelstream.admin')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(seaweed: Seaweed) -> Iterator[ComfyServer]:
    s3 = seaweed.client()
    s3.create_bucket(Bucket=BUCKET)
    models("tiny").upload(s3, BUCKET)
    config = seaweed.config_toml(bucket=BUCKET, more="[ssd]\nfree_floor_gb = 0.1\n")
    with ComfyServer(config=config, args=LISTEN, environment={"MODELSTREAM_ADMIN_TOKEN": ADMIN}) as server:
        yield server


@pytest.fixture
def page(browser: Any, server: ComfyServer) -> Iterator[PanelPage]:
    page = PanelPage(browser, server).open()
    yield page
    page.close()
    assert page.errors == []


def enter(page: PanelPage, token: str) -> None:
    page.find("form.locked input").fill(token)
    page.find("form.locked button").click()


def test_the_token_is_asked_for_refused_when_wrong_and_kept_for_the_tab_when_right(
    page: PanelPage, browser: Any, server: ComfyServer
) -> None:
    page.find("form.locked[data-lock=asked]").wait_for()
    assert "admin token" in page.text("form.locked")
    assert page.find("[data-digest]").count() == 0 and page.find("[data-health]").count() == 0
    assert server.request("GET", "/modelstream/status").status == 403

    enter(page, "x" * 43)
    page.find("form.locked[data-lock=wrong]").wait_for()
    assert "did not accept this token" in page.find("form.locked [role=alert]").inner_text()
    assert page.page.evaluate(KEPT) is None
    assert page.find("form.locked input").input_value() == ""
    if AXE.is_file():
        assert page.serious() == []

    enter(page, ADMIN)
    page.until(lambda: page.find("[data-health]").count() == 1 and page.health == "ok", 60, lambda: page.text())
    row = page.row("tiny.safetensors").first
    row.locator("[data-control=pin]").click()
    page.until(lambda: row.locator("[data-control=pin]").get_attribute("aria-pressed") == "true", 10)

    page.load()
    page.open()
    page.until(lambda: page.find("[data-health]").count() == 1 and page.health == "ok", 30, lambda: page.text())
    assert page.find("form.locked").count() == 0
    assert page.row("tiny.safetensors").first.locator("[data-control=pin]").get_attribute("aria-pressed") == "true"

    other = PanelPage(browser, server).open()  # another tab knows nothing of it
    other.find("form.locked[data-lock=asked]").wait_for()
    other.close()


def test_a_token_that_is_no_longer_right_locks_an_open_panel_and_takes_the_figures_away(page: PanelPage, server: ComfyServer) -> None:
    enter(page, ADMIN)
    page.find("[data-digest]").first.wait_for()
    port = server.port
    server.halt()
    page.find("[data-phase=away]").wait_for()
    without = ComfyServer(base=server.base, folder_name=None, args=LISTEN)
    try:
        without.start(port=port)
        page.find("[data-lock=none]").wait_for(timeout=60_000)
        assert "MODELSTREAM_ADMIN_TOKEN" in page.text("[data-lock=none]")
        assert page.find("[data-digest]").count() == 0 and page.find("[data-health]").count() == 0
        assert page.page.evaluate(KEPT) is None
        assert without.request("GET", "/modelstream/status").json()["error"] == "no_admin_token"
    finally:
        without.stop()
    server.start(port=port)
    page.find("form.locked[data-lock=asked]").wait_for(timeout=60_000)
    enter(page, ADMIN)
    page.find("[data-digest]").first.wait_for()
