"""``bench panel``: the sidebar panel with 10,000 models in Chromium, on a real ComfyUI: what a frame costs while it is scrolled.

A frame's cost is everything that the page's main thread does for it (scripts, style, layout, paint), as Chromium counts it in
``TaskDuration``: the time between two frames would be that of the screen.  Pages of rows arrive from the server meanwhile.
"""

from __future__ import annotations

import sys
from typing import Any

from .lister import BUCKET, lister
from .listing import CONFIG
from .processes import ROOT
from .report import Column, Report, Row, at_least, at_most, median

COLUMNS = (
    Column("models", "models", ",.0f"),
    Column("mean ms", "mean_ms"),
    Column("p95 ms", "p95_ms"),
    Column("longest ms", "longest_ms"),
    Column("rows on page", "rows_on_page", ".0f"),
    Column("tick ms", "tick_ms"),
)
OBJECTS = 10_000
FRAMES = 240
FRAME_MS = 16.0
SCROLL = """async frames => {
  const table = document.querySelector('modelstream-panel').shadowRoot.querySelector('modelstream-models');
  const scroll = table.shadowRoot.querySelector('.scroll');
  const costs = [];
  const step = (scroll.scrollHeight - scroll.clientHeight) / frames;
  for (let frame = 0; frame < frames; frame += 1) {
    await new Promise(requestAnimationFrame);
    const began = performance.now();
    scroll.scrollTop = frame % 8 ? scroll.scrollTop + 137 : frame * step;
    scroll.dispatchEvent(new Event('scroll'));
    await table.updateComplete;
    scroll.getBoundingClientRect();
    costs.push(performance.now() - began);
  }
  return {costs, rows: table.shadowRoot.querySelectorAll('[data-index]').length};
}"""
TICK = """async () => {
  const panel = document.querySelector('modelstream-panel');
  const table = panel.shadowRoot.querySelector('modelstream-models');
  const costs = [];
  for (let n = 0; n < 30; n += 1) {
    await new Promise(requestAnimationFrame);
    const began = performance.now();
    panel.feed.changed();
    await panel.updateComplete;
    await table.updateComplete;
    panel.getBoundingClientRect();
    costs.push(performance.now() - began);
  }
  return costs.sort((a, b) => a - b)[costs.length >> 1];
}"""


def main(report: Report, *, repetitions: int | None, quick: bool) -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    from rig.browser import chromium
    from rig.comfy import ComfyServer

    with lister(OBJECTS) as endpoint, ComfyServer(config=CONFIG.format(endpoint=endpoint, bucket=BUCKET)) as server, chromium() as browser:
        for repetition in range(repetitions or (1 if quick else 5)):
            row = {"situation": "scroll", "client": "panel", "setting": "400 px", "repetition": repetition}
            report.add({**row, **one_run(browser, server)})
    rows = report.rows
    return report.finish(
        [
            at_least("models in the table", median(rows, "models"), OBJECTS),
            at_most("main thread for a frame of scrolling, ms", median(rows, "mean_ms"), FRAME_MS),
            at_most("update and layout of a frame, 95 of 100, ms", median(rows, "p95_ms"), FRAME_MS),
            at_most("a tick of the whole panel, ms", median(rows, "tick_ms"), FRAME_MS),
            at_most("rows on the page", median(rows, "rows_on_page"), 40),
        ]
    )


def one_run(browser: Any, server: Any) -> Row:
    from rig.browser import PanelPage

    page = PanelPage(browser, server).open(400)
    try:
        page.until(lambda: "10,000 models" in page.text("modelstream-models .count"), 60, page.text)
        page.find("[data-digest]").first.wait_for()
        session = page.context.new_cdp_session(page.page)
        session.send("Performance.enable")
        before = metrics(session)
        done = page.page.evaluate(SCROLL, FRAMES)
        spent_ms = 1000 * (metrics(session)["TaskDuration"] - before["TaskDuration"])
        costs = sorted(done["costs"])
        return {
            "models": page.server.get("/modelstream/models", limit="1")["total"],
            "mean_ms": spent_ms / FRAMES,
            "p95_ms": costs[int(0.95 * len(costs))],
            "longest_ms": costs[-1],
            "rows_on_page": done["rows"],
            "tick_ms": page.page.evaluate(TICK),
        }
    finally:
        page.close()


def metrics(session: Any) -> dict[str, float]:
    return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
