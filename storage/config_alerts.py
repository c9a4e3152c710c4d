"""[alerts] of the configuration: thresholds, and where else alerts go.  0 switches one rule off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .config_endpoint import checked_endpoint
from .config_read import Reader, boolean, key, number, text
from .errors import ConfigError


def _webhook() -> Reader:
    """An http(s) address of the owner's; the same rules as for an endpoint (no user name, no metadata address)."""

    def read(value: Any, where: str) -> str:
        address = str(text(empty=False)(value, where))
        url = urlsplit(address)
        if url.fragment or url.scheme not in ("http", "https"):
            raise ConfigError(f"{where} must be an http(s) address", next_step="correct it in the configuration file")
        checked_endpoint(f"{url.scheme}://{url.netloc}", where, allow_http=False)
        return address

    return read


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    enabled: bool = key(boolean(), True)
    queue_depth: float = key(number(0, 1e6), 50.0)
    """prompts that wait"""
    gpu_temperature_c: float = key(number(0, 200), 85.0)
    vram_warning: float = key(number(0, 1), 0.85)
    """share of a device's memory that is used"""
    vram_critical: float = key(number(0, 1), 0.95)
    error_rate: float = key(number(0, 1), 0.05)
    """share of the executions of the last ten minutes that failed"""
    disk_free_gb: float = key(number(0, 1e6), 2.0)
    """GiB above the floor that is kept free anyway"""
    ram_used: float = key(number(0, 1), 0.95)
    """share of the machine's or container's memory"""
    origin_down_s: float = key(number(0, 1e7), 60.0)
    """no listing of an origin has worked for so long"""
    hit_rate: float = key(number(0, 1), 0.2)
    """share of the loads of the last hour that a cache answered: below it"""
    daily_cost: float = key(number(0, 1e9), 0.0)
    webhook: str = key(_webhook(), "", secret=True)
    """where alerts are posted as JSON (its path is often a secret); only critical ones unless ``webhook_all``"""
    webhook_all: bool = key(boolean(), False)
    webhook_timeout_s: float = key(number(0.1, 60), 5.0)

    def __post_init__(self) -> None:
        if self.vram_warning and self.vram_critical and self.vram_warning > self.vram_critical:
            raise ConfigError("alerts.vram_warning is above alerts.vram_critical", next_step="exchange them")
