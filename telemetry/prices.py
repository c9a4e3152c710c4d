"""List prices as data, each table with its date.  They are estimates: the owner's own prices ([cost]) win over every row.

Storage: USD, US regions, first volume tier, 10⁹ bytes, as the providers' pages and their transcriptions said between
May and September 2026; a class that is not here has no price, which is said as such.  GPUs: USD an hour for one card on
demand, rounded medians of what rental services asked in 2026, good to a factor of two at best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AS_OF = "2026-09"


@dataclass(frozen=True, slots=True)
class StoragePrice:
    """per_gb_month: kept; egress_gb and retrieval_gb: read; get_per_1k: requests.  All in USD, per 10⁹ bytes."""

    per_gb_month: float
    egress_gb: float
    retrieval_gb: float = 0.0
    get_per_1k: float = 0.0


STORAGE: Mapping[tuple[str, str], StoragePrice] = {
    ("aws", "STANDARD"): StoragePrice(0.023, 0.09, 0.0, 0.0004),
    ("aws", "STANDARD_IA"): StoragePrice(0.0125, 0.09, 0.01, 0.001),
    ("aws", "ONEZONE_IA"): StoragePrice(0.01, 0.09, 0.01, 0.001),
    ("aws", "GLACIER_IR"): StoragePrice(0.004, 0.09, 0.03, 0.01),
    ("aws", "GLACIER"): StoragePrice(0.0036, 0.09, 0.01),
    ("aws", "DEEP_ARCHIVE"): StoragePrice(0.00099, 0.09, 0.02),
    ("r2", "STANDARD"): StoragePrice(0.015, 0.0, 0.0, 0.00036),
    ("r2", "STANDARD_IA"): StoragePrice(0.01, 0.0, 0.01, 0.0009),
    ("b2", "STANDARD"): StoragePrice(0.00695, 0.01),
    ("wasabi", "STANDARD"): StoragePrice(0.00799, 0.0),
    ("gcs", "STANDARD"): StoragePrice(0.0186, 0.112, 0.0, 0.0004),
    ("gcs", "NEARLINE"): StoragePrice(0.0093, 0.112, 0.0093),
    ("gcs", "COLDLINE"): StoragePrice(0.0037, 0.112, 0.0186),
    ("gcs", "ARCHIVE"): StoragePrice(0.0011, 0.112, 0.0466),
    # somebody's own server: no list price, and nothing is billed by the byte
    ("minio", "STANDARD"): StoragePrice(0.0, 0.0),
    ("seaweedfs", "STANDARD"): StoragePrice(0.0, 0.0),
    ("ceph", "STANDARD"): StoragePrice(0.0, 0.0),
}
"""(preset of the profile, storage class as the listing says it)"""

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
