"""Debian's Chromium on ComfyUI's own page, and the panel in it.  Used by the panel's tests, pictures, the demo and a benchmark."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .checkpoints import ROOT
from .comfy import ComfyServer
from .invariants import eventually

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
NEWEST_FRONTEND = Path(sys.executable).parents[1] / "frontend-newest" / "comfyui_frontend_package" / "static"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """async () => (await axe.run('modelstream-panel')).violations
  .map(one => [one.impact, one.id, one.nodes.map(node => node.target.join(' ') + ' ' + node.failureSummary)])"""
LOADED = "() => window.app && window.app.graph && window.app.extensionManager && customElements.get('modelstream-panel')"
REGISTERED = "() => { window.app.extensionManager.registerSidebarTab; return document.querySelector('.pi-cloud-download') !== null }"
TEXT = """element => { const text = at => at.nodeType === Node.TEXT_NODE ? at.data
    : at.localName === 'style' ? ''
    : [...(at.localName === 'slot' ? at.assignedNodes() : (at.shadowRoot ?? at).childNodes)].map(text).join(' ');
  return text(element).replace(/\\s+/g, ' ').trim(); }"""
WIDTH = """width => { const panel = document.querySelector('modelstream-panel');
  const box = panel.closest('.p-splitterpanel') ?? panel.parentElement;
  Object.assign(box.style, {flexBasis: width + 'px', minWidth: width + 'px', maxWidth: width + 'px'}); }"""


def why_not() -> str:
    """Why there is no browser here; empty when there is."""
    if not Path(CHROMIUM).exists():
        return "Chromium is not installed"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return ""


@contextlib.contextmanager
def chromium(*, headless: bool = True) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS, headless=headless)
        yield browser
        browser.close()


@contextlib.contextmanager
def page_of(server: ComfyServer, width: int, height: int) -> Iterator[Any]:
    """The frontend, loaded and without its first-visit dialog."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(server.url)
        page.wait_for_function("() => window.app && window.app.graph && window.app.extensionManager")
        yield page


def without_banner(page: Any, size: tuple[int, int]) -> None:
    if page.get_by_text("Introducing Nodes 2.0").count():  # newer frontends have no such banner
        page.mouse.click(size[0] - 32, 20)
        page.mouse.move(size[0] / 2, size[1] - 80)


class PanelPage:
    """One tab with ComfyUI in it.  Locators see through the shadow roots of the panel's elements."""

    def __init__(
        self, browser: Any, server: ComfyServer, *, size: tuple[int, int] = (1500, 1000), theme: str = "dark", **context: Any
    ) -> None:
        self.server = server
        for setting, value in {
            "Comfy.TutorialCompleted": True,
            "Comfy.ColorPalette": theme,
            "Comfy.UseNewMenu": "Top",
            "Comfy.Minimap.Visible": False,
        }.items():
            server.post(f"/settings/{setting}", value)
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce", **context)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self._failed(f"{error}\n{error.stack}"))
        self.dialogs: list[str] = []
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.load()

    def use_theme(self, theme: str) -> None:
        """The palette is a setting of the server's, read when the page loads."""
        self.server.post("/settings/Comfy.ColorPalette", theme)
        self.load()

    def load(self) -> None:
        self.page.goto(self.server.url)
        self.page.wait_for_function(LOADED, timeout=60_000)
        self.page.wait_for_function(REGISTERED, timeout=60_000)

    def open(self, width: int | None = None) -> PanelPage:
        if not self.panel.count():
            self.page.locator("button:has(.pi-cloud-download)").first.click()
        self.panel.wait_for()
        if width is not None:
            self.page.evaluate(WIDTH, width)
        return self

    def close_panel(self) -> None:
        if self.panel.count():
            self.page.locator("button:has(.pi-cloud-download)").first.click()
            self.panel.wait_for(state="detached")

    @property
    def panel(self) -> Any:
        return self.page.locator("modelstream-panel")

    @property
    def health(self) -> str:
        return self.panel.locator("[data-health]").get_attribute("data-health") or ""

    @property
    def badge(self) -> str:
        """What is written on the sidebar icon beside its label."""
        return self.page.locator("button:has(.pi-cloud-download)").first.inner_text().replace("Stream", "").strip()

    def find(self, selector: str) -> Any:
        return self.panel.locator(selector)

    def text(self, selector: str = "") -> str:
        """All text in the panel, or in a part of it, shadow roots included."""
        return (self.panel.locator(selector) if selector else self.panel).first.evaluate(TEXT)

    def row(self, name: str) -> Any:
        """The row of the models table whose name button says exactly this."""
        return self.panel.locator("[data-digest]").filter(has=self.page.locator("bdi").get_by_text(name, exact=True))

    def only(self, text: str) -> None:
        """Types into the filter of the models table."""
        self.panel.locator("modelstream-models input[type=search]").fill(text)

    def open_all_sections(self) -> None:
        for button in self.panel.locator("modelstream-section h3 button[aria-expanded=false]").all():
            button.click()

    def serious(self) -> list[Any]:
        """What axe finds in the panel that is serious or critical."""
        self.page.add_script_tag(path=str(AXE))
        found = self.page.evaluate(VIOLATIONS)
        return [violation for violation in found if violation[0] in ("serious", "critical")]

    def until(self, holds: Callable[[], bool], within_s: float, seen: Callable[[], object] = lambda: "") -> None:
        """Fails with what is seen instead."""
        assert eventually(holds, within_s), f"not within {within_s} s; seen: {seen()}"

    def toasts(self) -> list[str]:
        """What the frontend's messages say at this moment; newer frontends draw them another way."""
        return self.page.locator(".p-toast-message, [data-testid=toast-viewport] > *").all_inner_texts()

    def _failed(self, text: str) -> None:
        if "modelstream" in text:  # the frontend has errors of its own
            self.errors.append(text)

    def close(self) -> None:
        self.context.close()
