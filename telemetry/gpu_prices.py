"""What an hour of a GPU costs, by a part of the device's name.  Estimates: the owner's own prices ([cost]) win over every row.

USD an hour for one card on demand, rounded medians of what rental services asked in 2026, good to a factor of two at
best.  Not read from a page: nobody publishes one list.  What objects cost is in ``storage/prices.json``.
"""

from __future__ import annotations

from collections.abc import Mapping

GPU_PER_HOUR: tuple[tuple[str, float], ...] = (
    ("B300", 6.0),
    ("B200", 5.0),
    ("GH200", 2.5),
    ("H200", 3.0),
    ("H100", 2.5),
    ("MI300X", 2.5),
    ("A100", 1.5),
    ("RTX PRO 6000", 1.8),
    ("RTX 6000 Ada", 0.8),
    ("L40S", 0.9),
    ("L40", 0.8),
    ("A40", 0.4),
    ("RTX A6000", 0.5),
    ("RTX A5000", 0.3),
    ("RTX 5090", 0.7),
    ("RTX 5080", 0.4),
    ("RTX 4090", 0.4),
    ("RTX 4080", 0.3),
    ("RTX 3090", 0.25),
    ("A10G", 1.0),
    ("A10", 0.6),
    ("L4", 0.7),
    ("T4", 0.4),
    ("V100", 0.8),
)
"""(part of the device's name, price); the first that fits, so longer names stand before shorter ones"""


def gpu_price(name: str, own: Mapping[str, float], fixed: float | None) -> tuple[float, str] | None:
    """(price an hour, "configuration" or "table"); None: no price is known for a device of that name."""
    if fixed is not None:
        return fixed, "configuration"
    folded = name.casefold()
    for part, price in sorted(own.items(), key=lambda item: -len(item[0])):
        if part.casefold() in folded:
            return price, "configuration"
    words = folded.replace("-", " ").split()
    for part, price in GPU_PER_HOUR:
        wanted = part.casefold().split()
        if any(words[at : at + len(wanted)] == wanted for at in range(len(words))):
            return price, "table"
    return None
