"""How much memory the RAM tier may use, and how much there is left: decisions over figures.

`ram_budget_bytes` is pure.  `read_memory_figures` reads the machine (psutil) and the container (cgroup v1 or v2,
with every cgroup above ours, because a limit holds for the whole branch).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

RESERVE_SHARE = 4
"""what stays free for ComfyUI itself, torch and the system: a quarter of the memory there is ..."""
RESERVE_MOST_BYTES = 8 << 30
"""... and no more than this"""
_NO_LIMIT = 1 << 60
"""cgroup v1 writes "no limit" as a huge number"""


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """available_bytes: what could be used without swapping, as the system estimates; cgroup_limit_bytes: None without one;
    cgroup_available_bytes: the limit less what the group's processes hold and cannot be taken from them."""

    total_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None = None
    cgroup_available_bytes: int | None = None

    @property
    def least_available_bytes(self) -> int:
        """Of machine and container."""
        return min(self.available_bytes, self.available_bytes if self.cgroup_available_bytes is None else self.cgroup_available_bytes)

    @property
    def there_bytes(self) -> int:
        """All the memory that machine and container let us use."""
        return min(self.total_bytes, self.cgroup_limit_bytes or self.total_bytes)


@dataclass(frozen=True, slots=True)
class Group:
    """One memory cgroup that holds us, or holds one that does."""

    directory: Path
    version: int

    @property
    def pressure_file(self) -> Path:
        return self.directory / "memory.pressure"

    def limits(self) -> list[int]:
        names = ("memory.max", "memory.high") if self.version == 2 else ("memory.limit_in_bytes",)
        texts = [_text(self.directory / name).strip() for name in names]
        return [int(text) for text in texts if text.isdecimal() and int(text) < _NO_LIMIT]

    def held_bytes(self) -> int:
        """What the processes hold, without the file cache that the kernel drops before it refuses anybody memory."""
        text = _text(self.directory / ("memory.current" if self.version == 2 else "memory.usage_in_bytes")).strip()
        used_bytes = int(text) if text.isdecimal() else 0
        name = "inactive_file" if self.version == 2 else "total_inactive_file"
        stat = dict(line.split(" ", 1) for line in _text(self.directory / "memory.stat").splitlines() if " " in line)
        cache = stat.get(name, "0").strip()
        return max(0, used_bytes - (int(cache) if cache.isdecimal() else 0))


def ram_budget_bytes(configured_bytes: int | None, figures: MemoryFigures, reserve_bytes: int | None = None) -> int:
    """The smallest of what the owner asks for, what the container leaves and what the machine leaves; 0 turns the tier off.

    ``reserve_bytes`` None: a share of the memory there is, see RESERVE_SHARE.
    """
    if reserve_bytes is None:
        reserve_bytes = min(figures.there_bytes // RESERVE_SHARE, RESERVE_MOST_BYTES)
    limits = [figures.least_available_bytes - reserve_bytes]
    if figures.cgroup_limit_bytes is not None:
        limits.append(figures.cgroup_limit_bytes - reserve_bytes)
    if configured_bytes is not None:
        limits.append(configured_bytes)
    return max(0, min(limits))


def read_memory_figures(root: Path = Path("/")) -> MemoryFigures:
    """Reads psutil, /proc/self/cgroup and the limit files below ``root``.  No cgroup, or an unreadable one, is no limit."""
    import psutil

    memory = psutil.virtual_memory()
    limited = [(min(limits), group) for group in memory_groups(root) if (limits := group.limits())]
    if not limited:
        return MemoryFigures(memory.total, memory.available)
    left = min(max(0, limit - group.held_bytes()) for limit, group in limited)
    return MemoryFigures(memory.total, memory.available, min(limit for limit, _ in limited), left)


def memory_groups(root: Path = Path("/")) -> tuple[Group, ...]:
    """Our cgroup and all above it, the innermost first: a limit holds for the whole branch."""
    mounts, found = root / "sys/fs/cgroup", []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            unified = mounts / "unified"  # where version 1 has the controllers, version 2 is mounted beside them
            found += [Group(directory, 2) for directory in _branch(unified if unified.is_dir() else mounts, path)]
        elif "memory" in controllers.split(","):
            found += [Group(directory, 1) for directory in _branch(mounts / "memory", path)]
    return tuple(found)


def _branch(mount: Path, path: str) -> Iterator[Path]:
    """In a container the path is often the host's and not there; the walk then ends at the mount, which is ours."""
    inside = PurePosixPath(path.lstrip("/"))
    for group in (inside, *inside.parents):
        if ".." not in group.parts and (mount / group).is_dir():
            yield mount / group


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
