"""Sizes and times as people type them, for argparse."""

from __future__ import annotations

import argparse
import re

_SIZES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
_TIMES = {"s": 1, "min": 60, "h": 3600, "d": 86400, "days": 86400, "w": 604800}


def size(text: str) -> int:
    """Bytes of "20GB", "1.5 GiB", "300k", "4096"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match.group(2) == "i":
        raise argparse.ArgumentTypeError(f"{text!r} is no size; 20GB, 1.5GiB and 300MB are")
    return int(float(match.group(1)) * _SIZES[match.group(2)])


def duration(text: str) -> float:
    """Seconds of "30d", "12h", "90s", "2w"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text.lower())
    if match is None or match.group(2) not in _TIMES:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; 30d, 12h, 90min and 45s are")
    return float(match.group(1)) * _TIMES[match.group(2)]
