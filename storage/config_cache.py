"""[cache] of the configuration: what the tiers let go of when they are full."""

from __future__ import annotations

from dataclasses import dataclass

from .config_read import key, one_of

POLICIES = (
    "adaptive",
    "lru",
    "fifo",
    "lfu",
    "gdsf",
    "size_aware",
    "size_aware_persistent",
    "thrifty_lru",
    "recent",
    "steady",
    "habit",
)
"""see docs/cache-policy.md; the rankings themselves are the cache's"""


@dataclass(frozen=True, slots=True)
class CacheConfig:
    policy: str = key(one_of(*POLICIES), "adaptive")
    ram_policy: str = key(one_of(*POLICIES), "")
    """empty: as ``policy`` says"""
    ssd_policy: str = key(one_of(*POLICIES), "")

    @property
    def for_ram(self) -> str:
        return self.ram_policy or self.policy

    @property
    def for_ssd(self) -> str:
        return self.ssd_policy or self.policy
