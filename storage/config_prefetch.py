"""[prefetch] and [boot] of the configuration: what is fetched before anybody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .config_read import boolean, integer, key, number, one_of
from .config_read import path as path_reader

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class PrefetchConfig:
    enabled: bool = key(boolean(), True)
    """False: no thread, no file, nothing is fetched before a loader asks"""
    look_ahead: bool = key(boolean(), True)
    """the models of queued prompts"""
    open_graph: bool = key(boolean(), False)
    """also the models of the graph that a browser has open, onto the SSD, behind everything queued"""
    prompts: int = key(integer(1, 1000), 4)
    """so many prompts ahead are fetched into RAM; those further back go to the SSD, less urgently"""
    prompts_max: int = key(integer(1, 10000), 64)
    """prompts further back than that are not looked at yet"""
    learned: bool = key(boolean(), True)
    """what past use says will be wanted next"""
    learned_boosting: bool = key(boolean(), False)
    """also train a model of gradient boosting at quiet times, used only while it beats the counts (scikit-learn)"""
    learned_per_prompt: int = key(integer(0, 100), 2)
    from_bucket: bool = key(boolean(), False)
    """whether a guess may be fetched from a bucket, or only from the SSD into RAM"""
    second_price: float = key(number(0, 1000), 0.1)
    """seconds that a second of transfer costs: a guess has to save more than that (λ)"""
    budget_gb_per_hour: float = key(number(0, 1e6), 50.0)
    """GiB of guesses from buckets; 0: none.  What the queue names is not counted"""
    rate_limit_mbit: float = key(number(0, 1e6), 0.0)
    """10**6 bits per second, on average, of everything fetched ahead from buckets; 0: none"""
    quiet: bool = key(boolean(), False)
    """only what the running and the next prompt name"""

    @property
    def budget_bytes_per_hour(self) -> int:
        return int(self.budget_gb_per_hour * GIB)

    @property
    def rate_limit_bytes_per_s(self) -> float:
        return self.rate_limit_mbit * 125_000


@dataclass(frozen=True, slots=True)
class BootConfig:
    """What is fetched while ComfyUI starts.  Nothing unless a warm set is named."""

    manifest: Path | None = key(path_reader(), None)  # noqa: RUF009
    """a warm set: a TOML or JSON file"""
    recent_hours: float = key(number(0, 24 * 366), 0.0)
    """also what was used in so many hours before the last stop"""
    pins: bool = key(boolean(), False)
    """also what is pinned"""
    tier: str = key(one_of("ram", "ssd"), "ram")

    @property
    def wanted(self) -> bool:
        return self.manifest is not None or self.recent_hours > 0 or self.pins
