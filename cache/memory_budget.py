"""How much memory the RAM tier may use: one decision over figures that are read once, at start.

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
    """available_bytes: what could be used without swapping, as the system estimates; cgroup_limit_bytes: None without one."""

    total_bytes: int
    available_bytes: int
    cgroup_limit_bytes: int | None = None


def ram_budget_bytes(configured_bytes: int | None, figures: MemoryFigures, reserve_bytes: int | None = None) -> int:
    """The smallest of what the owner asks for, what the container leaves and what the machine leaves; 0 turns the tier off.

    ``reserve_bytes`` None: a share of the memory there is, see RESERVE_SHARE.
    """
    there = min(figures.total_bytes, figures.cgroup_limit_bytes or figures.total_bytes)
    if reserve_bytes is None:
        reserve_bytes = min(there // RESERVE_SHARE, RESERVE_MOST_BYTES)
    limits = [figures.available_bytes - reserve_bytes]
    if figures.cgroup_limit_bytes is not None:
        limits.append(figures.cgroup_limit_bytes - reserve_bytes)
    if configured_bytes is not None:
        limits.append(configured_bytes)
    return max(0, min(limits))


def read_memory_figures(root: Path = Path("/")) -> MemoryFigures:
    """Reads psutil, /proc/self/cgroup and the limit files below ``root``.  No cgroup, or an unreadable one, is no limit."""
    import psutil

    memory = psutil.virtual_memory()
    return MemoryFigures(memory.total, memory.available, min(_cgroup_limits(root), default=None))


def _cgroup_limits(root: Path) -> Iterator[int]:
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":  # v2
            yield from _limits(mounts, path, ("memory.max", "memory.high"))
        elif "memory" in controllers.split(","):
            yield from _limits(mounts / "memory", path, ("memory.limit_in_bytes",))


def _limits(mount: Path, path: str, names: tuple[str, ...]) -> Iterator[int]:
    """Limits of the cgroup and of all above it.

    In a container the path is often the host's and not there; the walk then ends at the mount, which is ours.
    """
    inside = PurePosixPath(path.lstrip("/"))
    for group in (inside, *inside.parents):
        if ".." in group.parts:
            continue
        for name in names:
            text = _text(mount / group / name).strip()
            if text.isdecimal() and int(text) < _NO_LIMIT:
                yield int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
