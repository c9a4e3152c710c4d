"""[ssd] of the configuration: the directories of the SSD tier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .config_read import key, number, paths, tables
from .config_read import path as path_reader
from .errors import ConfigError

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class SsdDirectory:
    """One of several directories.  None: as [ssd] says for all of them."""

    path: Path = key(path_reader())  # noqa: RUF009
    budget_gb: float | None = key(number(0, 1048576), None)
    free_floor_gb: float | None = key(number(0, 1048576), None)

    @property
    def budget_bytes(self) -> int | None:
        return None if self.budget_gb is None else int(self.budget_gb * GIB)

    @property
    def free_floor_bytes(self) -> int:
        return int((self.free_floor_gb or 0.0) * GIB)


@dataclass(frozen=True, slots=True)
class SsdConfig:
    directory: Path | None = key(path_reader(), None)  # noqa: RUF009
    """None: decided by the hooks (ComfyUI's directories)"""
    directories: tuple[SsdDirectory, ...] = key(tables(SsdDirectory), ())
    """several of them, the fastest first; instead of ``directory``"""
    shared: tuple[Path, ...] = key(paths(), ())
    """directories that somebody else fills: read, never written to"""
    budget_gb: float | None = key(number(0, 1048576), None)
    """GiB of each directory; None: what the disk leaves above ``free_floor_gb``"""
    free_floor_gb: float = key(number(0, 1048576), 10.0)
    """GiB that stay free on each disk whatever the budget says"""

    def __post_init__(self) -> None:
        if self.directory is not None and self.directories:
            raise ConfigError("ssd has both directory and directories", next_step="keep one of them")
        named = [*(d.path for d in self.directories), *([self.directory] if self.directory else []), *self.shared]
        if len(set(named)) < len(named):
            raise ConfigError("ssd names one directory twice", next_step="name each of them once")

    @property
    def budget_bytes(self) -> int | None:
        return None if self.budget_gb is None else int(self.budget_gb * GIB)

    @property
    def free_floor_bytes(self) -> int:
        return int(self.free_floor_gb * GIB)

    def all_directories(self, default: Path) -> tuple[SsdDirectory, ...]:
        """Those that are written to, in order, with every figure filled in."""
        named = self.directories or (SsdDirectory(self.directory or default),)
        return tuple(
            SsdDirectory(
                d.path,
                self.budget_gb if d.budget_gb is None else d.budget_gb,
                self.free_floor_gb if d.free_floor_gb is None else d.free_floor_gb,
            )
            for d in named
        )
