"""Draws the tiers as bars, with Pillow.  Pure: values in, picture out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

WIDTH, ROW, MARGIN = 960, 96, 32
BACKGROUND, TRACK, TEXT, MUTED = (24, 26, 30), (48, 52, 60), (236, 238, 242), (160, 168, 180)
USED, PINNED, LEASED = (78, 148, 255), (255, 184, 76), (92, 208, 140)
LEGEND = ((USED, "used"), (PINNED, "pinned"), (LEASED, "in use"))


@dataclass(frozen=True, slots=True)
class Bar:
    """Shares of the whole bar, 0 to 1; ``pinned`` and ``leased`` are parts of ``used``."""

    title: str
    detail: str
    used: float
    pinned: float
    leased: float

    @property
    def text(self) -> str:
        return f"{self.title}: {self.detail}"


def draw_bars(bars: Sequence[Bar], footer: str) -> Image:
    """An RGB picture, 960 pixels wide."""
    from PIL import Image, ImageDraw

    height = 2 * MARGIN + ROW * len(bars) + 40
    picture = Image.new("RGB", (WIDTH, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    large, small = (_font(size) for size in (26, 20))
    for at, bar in enumerate(bars):
        top = MARGIN + at * ROW
        draw.text((MARGIN, top), bar.title, TEXT, font=large)
        wide = draw.textlength(bar.detail, font=small)
        draw.text((WIDTH - MARGIN - wide, top + 5), bar.detail, MUTED, font=small)
        box_top, box_bottom, span = top + 38, top + 64, WIDTH - 2 * MARGIN
        draw.rounded_rectangle((MARGIN, box_top, WIDTH - MARGIN, box_bottom), 8, fill=TRACK)
        used = min(max(bar.used, 0.0), 1.0)
        if used * span >= 2:
            draw.rounded_rectangle((MARGIN, box_top, MARGIN + used * span, box_bottom), 8, fill=USED)
        # pinned and in use may overlap, so each is a band of its own
        for share, colour, low, high in ((bar.pinned, PINNED, box_top, box_top + 7), (bar.leased, LEASED, box_bottom - 7, box_bottom)):
            if share * span >= 2:
                draw.rectangle((MARGIN, low, MARGIN + min(share, 1.0) * span, high), fill=colour)
    _legend(draw, small, height - MARGIN - 12, footer)
    return picture


def _legend(draw: ImageDraw, font: FreeTypeFont | BitmapFont, top: int, footer: str) -> None:
    left = MARGIN
    for colour, word in LEGEND:
        draw.rectangle((left, top + 4, left + 16, top + 20), fill=colour)
        draw.text((left + 24, top), word, MUTED, font=font)
        left += 44 + int(draw.textlength(word, font=font))
    wide = draw.textlength(footer, font=font)
    draw.text((WIDTH - MARGIN - wide, top), footer, MUTED, font=font)


def _font(size: int) -> FreeTypeFont | BitmapFont:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size=size)
    except (TypeError, OSError):  # Pillow before 10.1, or without FreeType: one small bitmap font
        return ImageFont.load_default()
