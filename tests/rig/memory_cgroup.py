"""A memory cgroup of one's own, version 1 or 2: for who may make one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from types import TracebackType

from modelstream.cache.memory_budget import memory_groups


class MemoryCgroup:
    """``with MemoryCgroup(limit_bytes) as group: group.take(pid)``.  Raises OSError where none can be made."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    def __enter__(self) -> MemoryCgroup:
        groups = [group for group in memory_groups() if group.version == 1] or list(memory_groups())
        if not groups:
            raise OSError("there is no memory cgroup")
        parent = groups[-1]
        self.directory: Path = parent.directory / f"modelstream-test-{uuid.uuid4().hex[:8]}"
        self.directory.mkdir()
        try:
            name = "memory.limit_in_bytes" if parent.version == 1 else "memory.max"
            (self.directory / name).write_text(str(self.limit_bytes))
            swap = self.directory / ("memory.swappiness" if parent.version == 1 else "memory.swap.max")
            if swap.exists():
                swap.write_text("0")
        except OSError:
            self.directory.rmdir()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.directory.rmdir()

    def take(self, pid: int) -> None:
        (self.directory / "cgroup.procs").write_text(str(pid))


def join(directory: str) -> None:
    (Path(directory) / "cgroup.procs").write_text(str(os.getpid()))
