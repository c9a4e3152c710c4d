"""The sidebar panel in the real frontend: ComfyUI's own and a newer one, with a real bucket behind a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from rig import browser as rig_browser
from rig.actions import change, upload_variant
from rig.browser import AXE, NEWEST_FRONTEND, PanelPage, chromium
from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.faultproxy import FaultProxy
from rig.faults import CutBefore
from rig.seaweed import Seaweed
from rig.workflows import load_only

pytestmark = pytest.mark.skipif(bool(rig_browser.why_not()), reason=rig_browser.why_not() or "-")

BUCKET = "panel"
SLOW_MBIT = 60
"""26 MB take 3.5 s: long enough to see it under way"""
MORE = f"""
[transfer]
rate_limit_mbit = {SLOW_MBIT}
[ssd]
free_floor_gb = 0.1
[catalog]
refresh_s = 3600
[alerts]
origin_down_s = 1
"""
PARTS = (
    *("Where the models are", "Now", "Models", "Graphics card", "Hit rate and savings"),
    *("Time line", "Prefetch", "Alerts", "Connection to ComfyUI"),
)
FOCUSED_ROW = """() => {
  let at = document.activeElement;
  while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
  return at.closest('[data-index]')?.dataset.index;
}"""
NODE_MENU = """() => window.app.collectNodeMenuItems(window.made.node)
  .filter(item => item?.content?.startsWith('Model Stream')).map(item => item.submenu.options.map(option => option.content))"""
STRICT_API = """export const api = Object.assign(new EventTarget(),
  {clientId: 'strict', fetchApi: (route, options) => fetch('/api' + route, options)});"""
HOSTILE = {
    "html": "<img src=x onerror=alert(1)>.safetensors",
    "quotes": "\"'><svg onload=alert(2)>'\".safetensors",
    "rtl": "abc\u202egnp.safetensors",
    "newline": "one\ntwo.safetensors",
    "script": "javascript:alert(3).safetensors",
}
"""some of these no file system takes, and the catalog leaves them out: then they must not be on the page either"""


@pytest.fixture(scope="module")
def filled(seaweed: Seaweed) -> str:
    s3, tiny, large = seaweed.client(), models("tiny"), models("tiny", depth=4)
    s3.create_bucket(Bucket=BUCKET)
    s3.create_bucket(Bucket="panel-empty")
    tiny.upload(s3, BUCKET)
    for number, name in enumerate(("slow-load", "slow-fetch", "slow-cancel", "slow-drop")):
        upload_variant(s3, large.path("checkpoints/tiny.safetensors"), BUCKET, f"checkpoints/{name}.safetensors", number)
    small = tiny.path("loras/tiny.safetensors").read_bytes()
    for name in HOSTILE.values():
        s3.put_object(Bucket=BUCKET, Key=f"loras/{name}", Body=small)
    return BUCKET


@pytest.fixture(scope="module")
def proxy(seaweed: Seaweed) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=["own", "newest"])
def shown(request: pytest.FixtureRequest, seaweed: Seaweed, filled: str, proxy: FaultProxy, browser: Any) -> Iterator[PanelPage]:
    """A page with the panel open.  With the newer frontend ComfyUI starts without a configuration, and is restarted under it."""
    config = seaweed.config_toml(
        bucket=filled,
        url=proxy.url,
        more=MORE,
    )
    own = request.param == "own"
    if not own and not NEWEST_FRONTEND.is_dir():
        pytest.skip("no newer frontend is installed")
    args = () if own else ("--front-end-root", str(NEWEST_FRONTEND))
    with ComfyServer(config=config if own else None, args=args) as server:
        page = PanelPage(browser, server).open()
        if not own:
            assert_setup_is_explained(page)
            server.write_config("[origins]\nbucket = 1\n")
            restart_under(page)
            assert_a_mistake_in_the_configuration_is_told(page)
            server.write_config(seaweed.config_toml(bucket="panel-empty", more=MORE))
            restart_under(page)
            assert_an_empty_bucket_says_what_to_do(page)
            server.write_config(config)
            restart_under(page)
        page.until(lambda: page.health == "ok", 60, lambda: page.text())
        yield page
        assert page.errors == []
        assert page.dialogs == []
        page.close()


def assert_setup_is_explained(page: PanelPage) -> None:
    page.find("modelstream-setup").wait_for()
    assert page.health == "not_configured"
    assert "__modelstream/config.toml" in page.find("modelstream-setup code").inner_text()
    lines = page.find("modelstream-setup pre").inner_text()
    assert "[[origins]]" in lines and "bucket" in lines
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.find("modelstream-setup button").click()
    page.until(lambda: page.page.evaluate("navigator.clipboard.readText()").strip() == lines.strip(), 5)


def assert_a_mistake_in_the_configuration_is_told(page: PanelPage) -> None:
    page.until(lambda: page.health == "config", 20, lambda: page.text())
    assert page.text().count("origins must be a list") == 1
    assert "open this file" in page.text("modelstream-setup")


def assert_an_empty_bucket_says_what_to_do(page: PanelPage) -> None:
    page.until(lambda: "The bucket holds nothing for ComfyUI" in page.text(), 30, lambda: page.text())
    assert page.find("[data-digest]").count() == 0
    assert "No model was loaded yet" in page.text()


def restart_under(page: PanelPage) -> None:
    """ComfyUI goes away and comes back on the same port; the panel says so and goes on by itself."""
    port = page.server.port
    page.server.halt()
    page.find("[data-phase=away]").wait_for()
    page.server.start(port=port)
    page.find("[data-phase=away]").wait_for(state="detached", timeout=60_000)


def told(page: PanelPage) -> str:
    """What helps when an action had no effect."""
    status = page.server.get("/modelstream/status")
    return f"{page.text('[aria-live=polite]')} | {status['transfers']} | {page.server.log()[-1500:]}"


def tiers_of(page: PanelPage, name: str) -> str:
    return page.row(name).locator(".where .hidden").inner_text()


def test_the_panel_shows_its_parts_from_health_to_the_connection_with_comfyui(shown):
    headings = shown.find("modelstream-section h3 button").all_inner_texts()
    assert tuple(heading.splitlines()[0] for heading in headings) == PARTS
    meters = shown.find("modelstream-tiers [role=meter]")
    assert {"RAM", "SSD", "Bucket"} <= {meters.nth(n).get_attribute("aria-label") for n in range(meters.count())}
    assert re.search(r"\d+ models", shown.text("[data-tier=bucket]"))
    shown.until(lambda: "No graphics card" in shown.text("modelstream-gpus") or shown.find("[data-gpu]").count() > 0, 10)
    shown.open_all_sections()
    shown.until(lambda: shown.find("[data-seam]").count() > 5, 10)
    assert shown.find("[data-seam] .good").count() > 5


def test_a_streaming_load_appears_with_its_node_and_finishes_in_the_panel(shown):
    server, name = shown.server, "slow-load.safetensors"
    queued = server.submit(load_only("CheckpointLoaderSimple", ckpt_name=name))
    transfer = shown.find("[data-transfer]").filter(has_text=name)
    transfer.wait_for(timeout=30_000)
    bar = transfer.locator("[role=progressbar]")
    shown.until(lambda: 0 < int(bar.get_attribute("aria-valuenow") or 0) < 100, 20)
    facts = transfer.inner_text()
    assert "MB/s" in facts and "waits" in facts, facts
    assert shown.health == "streaming"
    assert shown.badge == "1"
    server.wait(queued).expect()
    transfer.wait_for(state="detached", timeout=30_000)
    shown.only("slow-load")
    shown.until(lambda: {"RAM", "SSD"} <= set(tiers_of(shown, name).split(", ")), 30, lambda: tiers_of(shown, name))
    shown.until(lambda: f"Loaded {name}" in shown.text("modelstream-timeline"), 20)
    shown.until(lambda: shown.badge == "", 20)


def test_prefetch_pin_and_evict_work_from_the_table_and_survive_a_reload(shown):
    name = "slow-fetch.safetensors"
    shown.only("slow-fetch")
    row = shown.row(name)
    row.wait_for()
    assert tiers_of(shown, name) == "Bucket"
    row.locator("[data-control=prefetch]").click()
    shown.until(lambda: "SSD" in tiers_of(shown, name), 60, lambda: told(shown))
    row.locator("[data-control=pin]").click()
    shown.until(lambda: row.locator("[data-control=pin]").get_attribute("aria-pressed") == "true", 10)

    shown.load()
    shown.open()
    shown.only("slow-fetch")
    row.wait_for()
    assert row.locator("[data-control=pin]").get_attribute("aria-pressed") == "true"
    assert "SSD" in tiers_of(shown, name)

    row.locator("[data-control=evict]").click()  # pinned: it stays, and the panel says why
    shown.until(lambda: "pinned" in shown.text("[aria-live=polite]"), 10, lambda: shown.text("[aria-live=polite]"))
    row.locator("[data-control=pin]").click()
    shown.until(lambda: row.locator("[data-control=pin]").get_attribute("aria-pressed") == "false", 10)
    row.locator("[data-control=evict]").click()
    shown.until(lambda: tiers_of(shown, name) == "Bucket", 20, lambda: tiers_of(shown, name))
    shown.until(lambda: f"Evicted {name} from the SSD" in shown.text("modelstream-timeline"), 10)


def test_a_transfer_that_nobody_waits_for_is_cancelled_with_its_button(shown):
    name = "slow-cancel.safetensors"
    shown.only("slow-cancel")
    shown.row(name).locator("[data-control=prefetch]").click()
    transfer = shown.find("[data-transfer]").filter(has_text=name)
    transfer.wait_for(timeout=20_000)
    transfer.get_by_role("button", name=f"Cancel {name}").click()
    transfer.wait_for(state="detached", timeout=20_000)
    assert tiers_of(shown, name) == "Bucket"


def test_the_table_filters_and_sorts_on_the_server_and_answers_to_the_keyboard(shown):
    shown.only("slow-")
    shown.until(lambda: shown.find("[data-digest]").count() == 4, 10)
    assert "4 models" in shown.text("modelstream-models .count")
    first = shown.find("[data-index='0'] [data-control=pin]")
    first.focus()
    shown.page.keyboard.press("ArrowDown")
    assert shown.page.evaluate(FOCUSED_ROW) == "1"
    shown.find("[data-index='0'] [data-control=name]").press("Enter")
    details = shown.find("modelstream-details")
    details.wait_for()
    assert "checkpoints" in shown.text("modelstream-details") and re.search(r"\(\d\d,\d\d\d,\d\d\d B\)", shown.text("modelstream-details"))
    details.get_by_role("button", name="Will it fit?").click()
    shown.find("modelstream-details [data-fit=whole]").wait_for(timeout=20_000)
    assert "Fits whole on cpu" in shown.text("modelstream-details") and "SD3" in shown.text("modelstream-details")
    details.get_by_role("button", name="Close").press("Enter")
    details.wait_for(state="detached")
    shown.only("nothing has this name")
    shown.until(lambda: "No model fits" in shown.text("modelstream-models"), 10)
    shown.only("")


def test_hostile_names_are_text(shown):
    shown.only("safetensors")
    shown.find("modelstream-models select").nth(1).select_option("loras")
    shown.until(lambda: shown.find("[data-digest]").count() >= 2, 10)
    shown.page.wait_for_function("() => true")
    names = shown.find("[data-digest] bdi").all_text_contents()
    listed = shown.server.get("/modelstream/models", folder="loras")["rows"]
    assert sorted(name.replace("\\u202e", "\u202e").replace("⏎", "\n") for name in names) == sorted(row["name"] for row in listed)
    assert HOSTILE["html"] in names or HOSTILE["html"] not in {row["name"] for row in listed}
    assert any("'" in name or "<" in name for name in names), names
    assert not any(ord(sign) < 32 or "\u202a" <= sign <= "\u202e" for name in names for sign in name)
    assert shown.find("modelstream-models img").count() == 0
    assert shown.page.evaluate("() => document.querySelectorAll('[onerror], [onload]').length") == 0
    shown.find("modelstream-models select").nth(1).select_option("")
    shown.only("")


def test_loader_nodes_show_where_a_model_is_and_keep_the_value_plain(shown):
    made = """async () => {
      const node = LiteGraph.createNode('CheckpointLoaderSimple');
      window.app.graph.add(node);
      const combo = node.widgets.find(w => w.name === 'ckpt_name');
      combo.value = 'slow-load.safetensors';
      window.made = { node, combo };
      return combo.options.getOptionLabel(combo.value);
    }"""
    assert shown.page.evaluate(made).startswith(("slow-load.safetensors", "☁"))
    label = "() => window.made.combo.options.getOptionLabel(window.made.combo.value)"
    shown.until(lambda: shown.page.evaluate(label).startswith("☁ slow-load.safetensors · 26"), 10, lambda: shown.page.evaluate(label))
    shown.until(lambda: shown.page.evaluate(label).endswith(" · fits"), 20, lambda: shown.page.evaluate(label))
    assert shown.page.evaluate("() => window.made.combo.options.getOptionLabel('not-remote.safetensors')") == "not-remote.safetensors"
    prompt = shown.page.evaluate("async () => (await window.app.graphToPrompt()).output[String(window.made.node.id)].inputs.ckpt_name")
    assert prompt == "slow-load.safetensors"
    menu = shown.page.evaluate(NODE_MENU)
    assert menu == [["Fetch to the SSD", "Pin", "Where is it?"]]
    shown.page.evaluate("() => window.app.graph.remove(window.made.node)")


def test_our_nodes_carry_a_sign(shown):
    made = """() => { const node = LiteGraph.createNode('ModelStreamPrefetch'); window.app.graph.add(node); window.made = node; }"""
    shown.page.evaluate(made)
    drawn = "() => window.made.badges.map(one => typeof one === 'function' ? one() : one).map(one => one.icon?.unicode ?? '')"
    shown.until(lambda: "\ue9db" in shown.page.evaluate(drawn), 5, lambda: shown.page.evaluate(drawn))
    shown.page.evaluate("() => window.app.graph.remove(window.made)")


def test_a_dropped_web_socket_is_taken_up_again(shown):
    shown.page.evaluate("() => window.app.api.socket.close()")
    name = "slow-drop.safetensors"
    shown.only("slow-drop")
    shown.row(name).wait_for()
    shown.until(lambda: shown.page.evaluate("() => window.app.api.socket.readyState") == 1, 30)
    before = shown.text("modelstream-now")
    shown.row(name).locator("[data-control=prefetch]").click()
    shown.find("[data-transfer]").filter(has_text=name).wait_for(timeout=20_000)
    assert name not in before
    shown.find("[data-transfer]").filter(has_text=name).wait_for(state="detached", timeout=60_000)
    shown.only("")


def test_a_bucket_that_is_away_is_said_as_a_sentence_and_as_an_alert_and_passes(shown, proxy):
    proxy.on(CutBefore(), times=None, method=None)
    try:
        shown.find("header button").click()
        shown.until(lambda: shown.health in ("origin_down", "alert"), 90, lambda: shown.text())
        shown.until(lambda: shown.find("[data-origin=bucket] .bad").count() == 1, 20)
        shown.find("modelstream-alerts li").first.wait_for(timeout=60_000)
    finally:
        proxy.clear()
    shown.find("header button").click()
    shown.until(lambda: shown.health == "ok", 90, lambda: shown.text())
    shown.until(lambda: shown.find("modelstream-alerts li").count() == 0, 60, lambda: shown.text())


def test_a_critical_alert_is_a_toast_in_every_browser_also_with_the_panel_closed(shown, proxy):
    shown.close_panel()
    shown.until(lambda: shown.toasts() == [], 30, shown.toasts)
    proxy.on(CutBefore(), times=None, method=None)
    try:
        change(shown.server, "refresh")
        shown.until(lambda: any("could not be listed" in text for text in shown.toasts()), 90, shown.toasts)
        said = next(text for text in shown.toasts() if "could not be listed" in text)
        assert re.search(r"“bucket” could not be listed for [\d.]+ (s|sec|min)\b", said), said
        assert "Check the network and the endpoint" in said
        assert shown.badge == "!"
        shown.open()
        shown.until(lambda: shown.find("modelstream-alerts [data-rule=origin_down]").count() == 1, 20)
        assert shown.find("modelstream-alerts .bad").count() == 1
        found = shown.serious() if AXE.is_file() else []
    finally:
        proxy.clear()
    change(shown.server, "refresh")
    shown.until(lambda: shown.badge != "!", 60, lambda: shown.badge)
    shown.until(lambda: shown.health == "ok", 60, lambda: shown.text())
    assert found == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(shown, theme):
    shown.use_theme(theme)
    for width in (1000, 420, 280):
        shown.open(width).open_all_sections()
        assert shown.panel.get_attribute("theme") == theme
        shown.find("[data-index='0'] [data-control=name]").click()
        shown.find("modelstream-details").wait_for()
        found = shown.serious()
        shown.find("modelstream-details").get_by_role("button", name="Close").click()
        assert found == [], width


def test_the_panel_needs_no_right_to_make_html_from_text(shown):
    """Trusted Types: Chromium refuses every assignment of text as HTML but those of lit's own policy, which sees static templates only."""
    extension = next(path for path in shown.server.get("/extensions") if path.endswith("/modelstream.js"))
    strict = f"""<!doctype html><html lang="en"><head><title>strict</title>
      <meta http-equiv="Content-Security-Policy" content="require-trusted-types-for 'script'; trusted-types lit-html"></head>
      <body><main id="place"></main><script type="module" src="{extension}"></script></body></html>"""
    app = """export const app = {extensionManager: {registerSidebarTab: tab => tab.render(document.getElementById('place'))},
      registerExtension: extension => extension.setup(), graph: {_nodes: []}};"""
    page = shown.context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.route("**/strict.html", lambda route: route.fulfill(content_type="text/html", body=strict))
    page.route("**/scripts/app.js", lambda route: route.fulfill(content_type="text/javascript", body=app))
    page.route("**/scripts/api.js", lambda route: route.fulfill(content_type="text/javascript", body=STRICT_API))
    page.route("**/favicon.ico", lambda route: route.fulfill(body=""))
    page.goto(shown.server.url + "/strict.html")
    try:
        page.locator("modelstream-panel [data-digest]").first.wait_for()
        assert page.locator("modelstream-panel [role=meter]").count() >= 3
        assert errors == []
        with pytest.raises(Exception, match="TrustedHTML"):
            page.evaluate("() => { document.body.innerHTML = '<b>text</b>' }")
    finally:
        page.close()


def test_the_key_and_the_command_open_and_close_the_panel_and_the_about_page_names_it(shown):
    shown.close_panel()
    shown.page.locator("canvas").first.focus()
    shown.page.keyboard.press("Alt+Shift+B")
    shown.panel.wait_for()
    run = "id => window.app.extensionManager.command.execute(id)"
    shown.page.evaluate(run, "ModelStream.TogglePanel")
    shown.panel.wait_for(state="detached")
    shown.page.evaluate(run, "Comfy.ShowSettingsDialog")
    for name in ("About", "Model Stream"):
        shown.page.get_by_role("dialog").get_by_text(name, exact=True).first.click()
        if name == "About":
            shown.page.get_by_role("dialog").locator(".pi-cloud-download").first.wait_for()
    for setting in ("Show a message when", "Show running transfers", "Show where a model is"):
        assert shown.page.get_by_role("dialog").get_by_text(setting).count() >= 1, setting
    shown.page.keyboard.press("Escape")
    shown.page.get_by_role("dialog").wait_for(state="detached")
    shown.open()


def test_closing_the_panel_stops_its_questions(shown):
    shown.close_panel()
    asked: list[str] = []
    shown.page.on("request", lambda request: asked.append(request.url) if "/modelstream/" in request.url else None)
    shown.until(lambda: shown.server.get("/modelstream/status")["panels"] == 0, 30)
    asked.clear()
    shown.server.prompt(load_only("CheckpointLoaderSimple", ckpt_name="slow-load.safetensors")).expect()
    assert [url for url in asked if "/panel" in url or "/status" in url or "/series" in url] == []
    shown.open()
    shown.until(lambda: shown.server.get("/modelstream/status")["panels"] >= 1, 30)
