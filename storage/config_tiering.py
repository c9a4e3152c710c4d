"""[tiering] of the configuration: where objects may be kept, and what a plan takes for granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config_read import boolean, expect, integer, key, number, one_of, read_table, text, texts
from .errors import ConfigError
from .provider_table import COPY, LEVELS, LIFECYCLE


def _levels() -> Any:
    one = one_of(*LEVELS)

    def read(value: Any, where: str) -> tuple[str, ...]:
        found = tuple(one(level, f"{where}[{i}]") for i, level in enumerate(expect(value, list, where)))
        if not found:
            raise ConfigError(f"{where} names no level", next_step=f"name some of: {', '.join(LEVELS)}")
        return found

    return read


def _folders() -> Any:
    return lambda value, where: tuple(
        read_table(TieringFolder, table, f"{where}[{i}]") for i, table in enumerate(expect(value, list, where))
    )


@dataclass(frozen=True, slots=True)
class TieringFolder:
    """What is different below one directory; None: as in [tiering]."""

    prefix: str = key(text(empty=False, most=1024))
    """below the origin's prefix"""
    keep: bool = key(boolean(), False)
    """nothing here is ever moved"""
    levels: tuple[str, ...] | None = key(_levels(), None)
    min_age_days: float | None = key(number(0, 3650), None)
    life_days: float | None = key(number(1, 3650), None)
    allowed_restore_hours: float | None = key(number(0, 1000), None)
    reads_per_month: float | None = key(number(0, 1e6), None)
    """the owner knows better than the history"""


@dataclass(frozen=True, slots=True)
class TieringConfig:
    levels: tuple[str, ...] = key(_levels(), ("hot", "warm", "cold"))
    classes: tuple[str, ...] = key(texts(), ())
    """of these levels only these classes; (): the usual ones of the provider"""
    allowed_restore_hours: float = key(number(0, 1000), 0.0)
    """so long a reader may wait for an archive; an archive that takes longer is never chosen"""
    min_age_days: float = key(number(0, 3650), 30.0)
    min_idle_days: float = key(number(0, 3650), 7.0)
    """what was used later than this does not get colder"""
    life_days: float = key(number(1, 3650), 365.0)
    """for how long an object will be kept from now on"""
    min_saving: float = key(number(0, 1e6), 0.01)
    """a month; a move that saves less is left"""
    leaves_region: bool = key(boolean(), True)
    """reads pay egress: the GPU is outside the provider's region"""
    machines: int = key(integer(1, 100_000), 1)
    """that use this bucket as this one does"""
    share_from_bucket: float = key(number(0, 1), 1.0)
    """of all uses; the others are answered by RAM and SSD"""
    way: str = key(one_of("auto", COPY, LIFECYCLE), "auto")
    promote: bool = key(boolean(), False)
    """an object that is read from a cold class is moved where it costs least from now on"""
    folders: tuple[TieringFolder, ...] = key(_folders(), ())

    def folder_of(self, name: str) -> TieringFolder | None:
        """name: the key below the origin's prefix.  The longest prefix wins."""
        fitting = [f for f in self.folders if name.startswith(f.prefix)]
        return max(fitting, key=lambda f: len(f.prefix), default=None)
