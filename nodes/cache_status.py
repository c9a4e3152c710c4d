"""Cache Status: what is where, as values, a text and a picture."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..hooks.boot import extension
from ..storage.people import size_text
from .ours import CATEGORY, always
from .picture import Bar, draw_bars
from .prefetch import after_input, after_output

TIERS = (("vram", "VRAM"), ("ram", "RAM"), ("ssd", "SSD"), ("bucket", "Bucket"))


class CacheStatus(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ModelStreamStatus",
            display_name="Cache Status",
            category=CATEGORY,
            description="What VRAM, RAM, SSD and the buckets hold, as values and as a picture.",
            inputs=[after_input()],
            outputs=[
                after_output(),
                io.Image.Output("picture", display_name="picture", tooltip="The tiers as bars."),
                io.String.Output("report", display_name="report", tooltip="A line each tier."),
                io.Float.Output("ram_gb", display_name="RAM GB", tooltip="What the RAM tier holds."),
                io.Float.Output("ssd_gb", display_name="SSD GB", tooltip="What the SSD tier holds."),
                io.Float.Output(
                    "hit_rate",
                    display_name="hit rate",
                    tooltip="Loads answered by VRAM, RAM or SSD since the start; 0 to 1, -1 before the first.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> float:
        return always()

    @classmethod
    def execute(cls, after: Any = None) -> io.NodeOutput:
        status = extension().status()
        tiers = status.get("tiers") or {}
        rate = hit_rate(status)
        bars = bars_of(tiers)
        report = "\n".join([*(bar.text for bar in bars), "no load yet" if rate is None else f"{rate:.0%} of loads came from a tier"])
        picture = image_tensor(bars, report.splitlines()[-1])
        used = {name: float((tiers.get(name) or {}).get("used_bytes", 0)) / 1e9 for name in ("ram", "ssd")}
        shown = -1.0 if rate is None else rate
        return io.NodeOutput(after, picture, report, used["ram"], used["ssd"], shown, ui=ui.PreviewText(report))


def bars_of(tiers: dict[str, Any]) -> list[Bar]:
    """From the tiers of a status; a tier that is not there yet is an empty bar that says so."""
    bars = []
    for name, title in TIERS:
        tier = tiers.get(name)
        if not tier:
            bars.append(Bar(title, "not in use", 0.0, 0.0, 0.0))
            continue
        used, budget = int(tier.get("used_bytes", 0)), tier.get("budget_bytes")
        whole = max(int(budget or used), 1)
        of = f" of {size_text(budget)}" if budget else ""
        text = f"{size_text(used)}{of}, {int(tier.get('entries', 0))} models"
        pinned, leased = (min(int(tier.get(part, 0)), used) / whole for part in ("pinned_bytes", "leased_bytes"))
        bars.append(Bar(title, text, used / whole, pinned, leased))
    return bars


def hit_rate(status: dict[str, Any]) -> float | None:
    """Of the loads since the start; None before the first."""
    totals = status.get("totals") or {}
    near = sum(int(totals.get(f"loads_from_{tier}", 0)) for tier in ("vram", "ram", "ssd"))
    far = int(totals.get("loads_from_bucket", 0))
    return near / (near + far) if near + far else None


def image_tensor(bars: list[Bar], footer: str) -> Any:
    """ComfyUI's IMAGE: float32, (1, height, width, 3), 0 to 1."""
    import numpy
    import torch

    picture = draw_bars(bars, footer)
    return torch.from_numpy(numpy.asarray(picture, dtype=numpy.float32) / 255.0)[None]
