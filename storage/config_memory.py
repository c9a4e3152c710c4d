"""[ram] and [vram] of the configuration: what stays in host memory, and which loaded models are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .config_read import boolean, expect, key, number, one_of
from .errors import ConfigError

GIB = 1 << 30
ANONYMOUS, MEMFD = "anonymous", "memfd"


def _gib(value: float | None) -> int | None:
    return None if value is None else int(value * GIB)


@dataclass(frozen=True, slots=True)
class RamConfig:
    budget_gb: float | None = key(number(0, 65536), None)
    """GiB; None: a share of what the machine or the container has, decided by the RAM tier; 0 turns the tier off"""
    hand_over: bool = key(boolean(), True)
    """models take the tier's memory for their weights instead of copying it"""
    pressure: bool = key(boolean(), True)
    """the tier shrinks while the machine or the container runs short of memory, and grows back afterwards"""
    pin_gb: float | None = key(number(0, 65536), None)
    """GiB of the tier that are pinned for CUDA, after loads, in the background; None: half of the tier; 0: none"""
    memory: str = key(one_of(ANONYMOUS, MEMFD), ANONYMOUS)
    """what stands behind the tier's memory; "memfd" is Linux's and is anonymous elsewhere"""

    @property
    def budget_bytes(self) -> int | None:
        return _gib(self.budget_gb)

    @property
    def pin_bytes(self) -> int | None:
        return _gib(self.pin_gb)


def _by_device(value: Any, where: str) -> Mapping[str, float]:
    """A table of device name → number; in a TOML file a name with a colon stands in quotes."""
    one = number(0, 65536)
    found = {}
    for name, amount in expect(value, dict, where).items():
        kind, _, index = name.partition(":")
        if not kind.isalpha() or not index.isdecimal():
            raise ConfigError(f"{where} has a name that is no device", next_step='write them like "cuda:0" = 12')
        found[name] = one(amount, f"{where}.{name}")
    return found


@dataclass(frozen=True, slots=True)
class FitConfig:
    """What may be done when a model does not fit."""

    smaller: bool = key(boolean(), False)
    """a loader may take a variant of fewer bits instead of one that does not fit; never without this"""


@dataclass(frozen=True, slots=True)
class VramConfig:
    """Warm models: loaded models that are kept for the next prompt that wants them."""

    warm_models: bool = key(boolean(), True)
    host_budget_gb: float | None = key(number(0, 65536), None)
    """GiB of host memory beside the RAM tier's; None: as long as ``keep_free_gb`` stays free"""
    device_budget_gb: float | None = key(number(0, 65536), None)
    """GiB of models on each device; None: what ComfyUI leaves there"""
    device_budgets_gb: Mapping[str, float] = field(default_factory=dict, metadata={"reader": _by_device})
    """the same for single devices, before ``device_budget_gb``"""
    working_memory_gb: float = key(number(0, 1024), 0.0)
    """GiB kept free on the device beside ComfyUI's own reserve"""
    keep_free_gb: float | None = key(number(0, 65536), None)
    """GiB of host memory that stay available; None: an eighth of the machine's, 4 at most"""
    keep_alive_s: float = key(number(0, 1e9), 0.0)
    """0: for as long as there is room"""
    compact: bool = key(boolean(), True)

    @property
    def host_budget_bytes(self) -> int | None:
        return _gib(self.host_budget_gb)

    @property
    def device_budget_bytes(self) -> int | None:
        return _gib(self.device_budget_gb)

    @property
    def device_budgets_bytes(self) -> Mapping[str, int]:
        return {name: int(amount * GIB) for name, amount in self.device_budgets_gb.items()}

    @property
    def working_memory_bytes(self) -> int:
        return int(self.working_memory_gb * GIB)

    @property
    def keep_free_bytes(self) -> int | None:
        return _gib(self.keep_free_gb)
