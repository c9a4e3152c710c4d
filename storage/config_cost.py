"""[cost] of the configuration: the owner's own prices, which win over every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .config_read import Reader, expect, key, number, text
from .config_read import path as path_reader


def _prices() -> Reader:
    """A table {name = price}."""
    name, price = text(empty=False, most=128), number(0, 1e6)

    def read(value: Any, where: str) -> Mapping[str, float]:
        table = expect(value, dict, where)
        return MappingProxyType({name(n, where): price(p, f'{where}."{n}"') for n, p in table.items()})

    return read


def _price_table() -> Any:
    # a mapping is no default that a frozen dataclass takes as it is
    return field(default_factory=lambda: MappingProxyType({}), metadata={"reader": _prices()})


@dataclass(frozen=True, slots=True)
class CostConfig:
    currency: str = key(text(empty=False, most=8), "USD")
    gpu_per_hour: float | None = key(number(0, 1e6), None)
    """of this machine's GPU, each; None: by the device's name"""
    gpu_prices: Mapping[str, float] = _price_table()
    """{part of a device's name = price an hour}"""
    egress_per_gb: Mapping[str, float] = _price_table()
    """{origin = price of 10⁹ bytes read from it}"""
    storage_per_gb_month: Mapping[str, float] = _price_table()
    """{origin = price of 10⁹ bytes kept there for a month}"""
    price_file: Path | None = key(path_reader(), None)  # noqa: RUF009
    """a list of the form of prices.json, in place of the shipped one"""
