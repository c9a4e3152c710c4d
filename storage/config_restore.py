"""[restore] of the configuration: what a load of an archived object does."""

from __future__ import annotations

from dataclasses import dataclass

from .config_read import integer, key, number, one_of

TIERS = ("Standard", "Bulk", "Expedited")
"""as S3 calls how fast an object is asked back"""


@dataclass(frozen=True, slots=True)
class RestoreConfig:
    """A restore costs money and hours, so nothing starts one by itself unless the owner says so."""

    on_load: str = key(one_of("error", "start", "wait"), "error")
    """"error": say what is the matter; "start": ask the object back and say so; "wait": and load it when it is there"""
    days: int = key(integer(1, 365), 3)
    """for how long the restored copy stays"""
    tier: str = key(one_of(*TIERS), "Standard")
    max_cost: float | None = key(number(0, 1e6), None)
    """of one object, by the price list; what costs more, or has no known price, is not started by a load"""
    max_wait_hours: float = key(number(0, 720), 0.0)
    """0: as long as it takes"""
