"""Pictures of the real frontend while a checkpoint streams: ``python -m tests.rig.screenshots [FOLDER]``.

Chromium is Debian's; the frontend is the one that ComfyUI serves.  Writes streaming-dark.png, streaming-light.png and
streaming-narrow.png.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .checkpoints import ROOT, models
from .comfy import ComfyServer
from .seaweed import Seaweed
from .workflows import text_to_image

CHROMIUM = "/usr/bin/chromium"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
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


@contextlib.contextmanager
def page_of(server: ComfyServer, width: int, height: int) -> Iterator[Any]:
    """The frontend, loaded and without its first-visit dialog."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(server.url)
        page.wait_for_function("() => window.app && window.app.graph && window.app.extensionManager")
        yield page
        browser.close()


def without_banner(page: Any, size: tuple[int, int]) -> None:
    if page.get_by_text("Introducing Nodes 2.0").count():  # newer frontends have no such banner
        page.mouse.click(size[0] - 32, 20)
        page.mouse.move(size[0] / 2, size[1] - 80)


def picture(
    server: ComfyServer, graph: dict[str, Any], theme: str, file: Path, size: tuple[int, int], view: tuple[float, int, int]
) -> None:
    server.post("/settings/Comfy.TutorialCompleted", True)
    server.post("/settings/Comfy.ColorPalette", theme)
    server.post("/settings/Comfy.UseNewMenu", "Top")
    server.post("/settings/Comfy.Minimap.Visible", False)
    with page_of(server, *size) as page:
        without_banner(page, size)
        page.evaluate(LOAD, [graph, "stream from a bucket", PLACES])
        page.evaluate(FIT, list(view))
        page.evaluate("() => window.app.queuePrompt(0, 1)")
        page.wait_for_function(SHOWN, timeout=60000)
        page.wait_for_timeout(700)  # the canvas draws the text and the bar
        page.screenshot(path=str(file))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    tiny, large = models("tiny"), models("tiny", depth=4)
    with Seaweed() as seaweed:
        s3 = seaweed.client()
        s3.create_bucket(Bucket="pictures")
        tiny.upload(s3, "pictures")
        shots = [("dark", (1500, 620), (0.8, 100, 110)), ("light", (1500, 620), (0.8, 100, 110)), ("dark", (700, 620), (0.8, 100, 110))]
        for number in range(len(shots)):
            s3.upload_file(str(large.path("checkpoints/tiny.safetensors")), "pictures", f"checkpoints/{number}/{NAME}")
        config = seaweed.config_toml(bucket="pictures", more=f"[transfer]\nrate_limit_mbit = {RATE_MBIT}\n[ssd]\nfree_floor_gb = 0.1\n")
        with ComfyServer(config=config) as server:
            for number, (theme, size, view) in enumerate(shots):
                graph = text_to_image(f"{number}/{NAME}", lora=None, seed=number)
                name = "streaming-narrow.png" if number == 2 else f"streaming-{theme}.png"
                picture(server, graph, theme, folder / name, size, view)
                print(folder / name)


if __name__ == "__main__":
    main()
