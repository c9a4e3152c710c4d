"""Pictures for the documentation: ``python -m tests.rig.screenshots [FOLDER] [streaming] [panel]``.

Chromium is Debian's; the frontend is the one that ComfyUI serves.  streaming-*.png: nodes while a checkpoint streams.
panel-*.png: the sidebar panel of a ComfyUI with something to do, with and without what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .actions import change, is_idle, row_of, upload_variant, wait_until
from .browser import PanelPage, chromium, without_banner
from .checkpoints import ROOT, models
from .comfy import ComfyServer
from .seaweed import Seaweed
from .workflows import load_only, text_to_image

NAME = "dreamlike-sd3.safetensors"
RATE_MBIT = 60
"""26 MB take 3.5 s: time enough for a picture"""
PLACES = {"4": (40, 80), "6": (760, 80), "7": (760, 310), "5": (40, 330), "3": (1240, 100), "8": (1520, 110), "9": (1520, 220)}
LOAD = """async ([graph, name, places]) => {
  await window.app.loadApiJson(graph, name);
  for (const n of window.app.graph._nodes) { const p = places[String(n.id)]; if (p) n.pos = p; }
  window.app.graph.setDirtyCanvas(true, true);
}"""
FIT = """([scale, x, y]) => {
  const d = window.app.canvas.ds;
  d.scale = scale; d.offset = [x, y];
  window.app.graph.setDirtyCanvas(true, true);
}"""
SHOWN = "() => JSON.stringify(window.app.graph._nodes.map(n => n.widgets?.map(w => w.value))).includes('left')"
TIERS = "[ram]\nbudget_gb = 0.2\n[ssd]\nbudget_gb = 0.5\nfree_floor_gb = 0.1\n"


def settle(page: PanelPage) -> None:
    """No banner of the frontend over the picture, and what is drawn on canvases drawn."""
    size = page.page.viewport_size
    without_banner(page.page, (size["width"], size["height"]))
    page.page.wait_for_timeout(700)


def streaming(browser: Any, server: ComfyServer, folder: Path) -> None:
    shots = [("dark", (1500, 620), (0.8, 100, 110)), ("light", (1500, 620), (0.8, 100, 110)), ("dark", (700, 620), (0.8, 100, 110))]
    for number, (theme, size, view) in enumerate(shots):
        graph = text_to_image(f"{number}/{NAME}", lora=None, seed=number)
        page = PanelPage(browser, server, size=size, theme=theme)
        page.page.evaluate(LOAD, [graph, "stream from a bucket", PLACES])
        page.page.evaluate(FIT, list(view))
        page.page.evaluate("() => window.app.queuePrompt(0, 1)")
        page.page.wait_for_function(SHOWN, timeout=60000)
        settle(page)
        take(page, folder / ("streaming-narrow.png" if number == 2 else f"streaming-{theme}.png"))
        page.close()


def take(page: PanelPage, file: Path, **options: Any) -> None:
    page.page.screenshot(path=str(file), **options)
    print(file, flush=True)


def lively(server: ComfyServer) -> None:
    """Something in every tier, something pinned, hits and an eviction."""
    for name in ("1/" + NAME, "2/" + NAME, "2/" + NAME, "3/" + NAME):
        server.prompt(load_only("CheckpointLoaderSimple", ckpt_name=name)).expect()
    digests = {n: row_of(server, "checkpoints", f"{n}/{NAME}")["digest"] for n in (2, 3)}
    change(server, "pin", digests=[digests[2]])
    change(server, "evict", digests=[digests[3]], tier="ssd")


def panel(browser: Any, server: ComfyServer, folder: Path) -> None:
    """Each picture while another checkpoint is on its way."""
    shots: Sequence[tuple[str, str, tuple[int, int], int]] = (
        ("panel-dark", "dark", (1500, 1000), 400),
        ("panel-light", "light", (1500, 1000), 400),
        ("panel-narrow", "dark", (620, 1000), 280),
        ("panel-wide", "light", (1500, 1000), 1100),
    )
    for number, (name, theme, size, width) in enumerate(shots, 4):
        page = PanelPage(browser, server, size=size, theme=theme).open(width)
        graph = text_to_image(f"{number}/{NAME}", lora=None, seed=number)
        page.page.evaluate(LOAD, [graph, "stream from a bucket", {key: (x + 420, y) for key, (x, y) in PLACES.items()}])
        page.page.evaluate(FIT, [0.8, 120, 110])
        page.page.evaluate("() => window.app.queuePrompt(0, 1)")
        page.find("[data-transfer]").first.wait_for(timeout=60_000)
        settle(page)
        take(page, folder / f"{name}.png")
        if name == "panel-dark":
            page.find("modelstream-models").scroll_into_view_if_needed()
            page.find("modelstream-savings").scroll_into_view_if_needed()
            settle(page)
            take(page, folder / "panel-dark-more.png")
            page.page.evaluate("() => { document.querySelector('modelstream-panel').scrollTop = 1e6 }")
            settle(page)
            take(page, folder / "panel-dark-end.png")
        wait_until(lambda: is_idle(server), "the transfer ends")
        page.close()


def unconfigured(browser: Any, folder: Path) -> None:
    with ComfyServer() as server:
        page = PanelPage(browser, server, size=(1100, 720), theme="dark").open(400)
        page.find("modelstream-setup").wait_for()
        settle(page)
        take(page, folder / "panel-setup.png")
        page.close()


def main() -> None:
    wanted = {"streaming", "panel"} & set(sys.argv[1:]) or {"streaming", "panel"}
    others = [argument for argument in sys.argv[1:] if argument not in ("streaming", "panel")]
    folder = Path(others[0]) if others else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    tiny, large = models("tiny"), models("tiny", depth=4)
    with Seaweed() as seaweed, chromium() as browser:
        s3 = seaweed.client()
        s3.create_bucket(Bucket="pictures")
        tiny.upload(s3, "pictures")
        for number in range(9):
            upload_variant(s3, large.path("checkpoints/tiny.safetensors"), "pictures", f"checkpoints/{number}/{NAME}", number)
        config = seaweed.config_toml(bucket="pictures", more=f"[transfer]\nrate_limit_mbit = {RATE_MBIT}\n{TIERS}")
        with ComfyServer(config=config) as server:
            if "streaming" in wanted:
                streaming(browser, server, folder)
            if "panel" in wanted:
                lively(server)
                panel(browser, server, folder)
        if "panel" in wanted:
            unconfigured(browser, folder)


if __name__ == "__main__":
    main()
