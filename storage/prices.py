"""What a storage class costs, read from a data file with a date and a source for each row.

Money is in the file's currency; GB = 10⁹ bytes; a month is 30 days.  The shipped file is ``prices.json``; an owner with
other terms (a contract, another region) names a file of the same form.  A file with nonsense is refused, row by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from .config_read import expect, integer, key, number, read_table, text
from .errors import ConfigError

SHIPPED = Path(__file__).with_name("prices.json")
_MOST = 1e6
"""of any price: beyond it somebody wrote another unit"""


@dataclass(frozen=True, slots=True)
class PriceClass:
    """One way to keep an object and to get it back.

    storage_class: as S3 names it in a listing; restore_tier: of archive classes, how fast an object is asked back
    min_days:      an object that leaves earlier is billed for the rest
    min_bytes:     a smaller object is billed as if it had so many; overhead_bytes: billed with every object
    restore_s:     until an archived object can be read, the longest the provider names; 0: at once
    restore_max_bytes: larger objects are not restored by this tier; 0: no such limit
    egress_free_x_stored: so many times the stored bytes leave free each month
    account_min_bytes: an account that keeps less is billed for so much
    """

    id: str = key(text(empty=False, most=64))
    preset: str = key(text(empty=False, most=64))
    storage_class: str = key(text(empty=False, most=64))
    store_per_gb_month: float = key(number(0, _MOST))
    as_of: str = key(text(empty=False, most=32))
    source: str = key(text(empty=False, most=500))
    restore_tier: str = key(text(most=32), "")
    retrieve_per_gb: float = key(number(0, _MOST), 0.0)
    egress_per_gb: float = key(number(0, _MOST), 0.0)
    get_per_1k: float = key(number(0, _MOST), 0.0)
    put_per_1k: float = key(number(0, _MOST), 0.0)
    restore_per_1k: float = key(number(0, _MOST), 0.0)
    min_days: float = key(number(0, 3650), 0.0)
    min_bytes: int = key(integer(0, 1 << 40), 0)
    overhead_bytes: int = key(integer(0, 1 << 40), 0)
    restore_s: float = key(number(0, 1e8), 0.0)
    restore_max_bytes: int = key(integer(0, 1 << 50), 0)
    egress_free_x_stored: float = key(number(0, 1e6), 0.0)
    account_min_bytes: int = key(integer(0, 1 << 60), 0)

    @property
    def is_archive(self) -> bool:
        return self.restore_s > 0


@dataclass(frozen=True, slots=True)
class Prices:
    currency: str
    read: str
    """the day the list was read"""
    classes: tuple[PriceClass, ...]

    def of(self, preset: str) -> tuple[PriceClass, ...]:
        """Everything a provider offers; () for one that is not in the list (a MinIO of one's own)."""
        return tuple(c for c in self.classes if c.preset == preset)

    def current(self, preset: str, storage_class: str) -> PriceClass | None:
        """The class a listing names, with its cheapest way back; "" means STANDARD."""
        same = [c for c in self.of(preset) if c.storage_class == (storage_class or "STANDARD")]
        return min(same, key=lambda c: (c.retrieve_per_gb, c.restore_per_1k), default=None)


def load_prices(path: Path | None = None) -> Prices:
    """``path``: the owner's own list; None: the shipped one.

    Raises ConfigError for a file that cannot be read, is no such list, or has a price that cannot be one."""
    path = path or SHIPPED
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read", cause=error.strerror or "") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name} is not JSON", cause=str(error)[:200]) from None
    table = expect(table, dict, path.name)
    rows = expect(table.get("classes"), list, f"{path.name}: classes")
    classes = tuple(_row(row, f"{path.name}: classes[{i}]") for i, row in enumerate(rows))
    ids = [c.id for c in classes]
    for name in ids:
        if ids.count(name) > 1:
            raise ConfigError(f"{path.name}: two classes are called {name}")
    currency = text(empty=False, most=8)(table.get("currency", "USD"), f"{path.name}: currency")
    return Prices(currency, text(most=32)(table.get("read", ""), f"{path.name}: read"), classes)


def _row(row: object, where: str) -> PriceClass:
    read: PriceClass = read_table(PriceClass, row, where)
    if read.restore_tier and not read.is_archive:
        raise ConfigError(f"{where}: {read.id} has a restore_tier and no restore_s")
    return replace(read, storage_class=read.storage_class.upper())
