"""What a measured process is told, and what its load hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Target:
    """One object.  crc_tensors: over the bytes of all tensors in the order of their names; crc_object: over the file.

    form: "safetensors", or "tensors" for tensorizer's own format
    """

    key: str
    size_bytes: int
    crc_tensors: int
    crc_object: int
    url: str = ""
    """presigned"""
    form: str = "safetensors"


@dataclass(frozen=True)
class Job:
    """directory: empty, for this process alone; state: prepared beforehand (the catalog's snapshot)."""

    client: str
    endpoint: str
    bucket: str
    access_key: str
    secret_key: str
    targets: tuple[Target, ...]
    directory: str
    memory_directory: str = ""
    """empty, for this process alone, on a file system in memory"""
    state: str = ""
    warm_targets: tuple[Target, ...] = ()
    """other objects of the same sizes, loaded and dropped before the clock starts"""
    options: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Job:
        known = {name: plain[name] for name in cls.__dataclass_fields__ if name in plain}
        for name in ("targets", "warm_targets"):
            known[name] = tuple(Target(**target) for target in known.get(name, ()))
        return cls(**known)

    @property
    def size_bytes(self) -> int:
        return sum(target.size_bytes for target in self.targets)

    @property
    def total_bytes_largest(self) -> int:
        return max(self.size_bytes, sum(target.size_bytes for target in self.warm_targets))

    def fresh_path(self, target: Target, *, in_memory: bool) -> Path:
        return Path(self.memory_directory if in_memory else self.directory) / target.key.rsplit("/", 1)[-1]


@dataclass
class Loaded:
    """state_dicts: one a target, in their order; buffers: instead of tensors, where a limit has none.

    settle:  waits for what goes on behind the load (writing to the SSD); None when nothing does
    details: more figures for the row
    """

    state_dicts: list[dict[str, Any]] = field(default_factory=list)
    buffers: list[memoryview] = field(default_factory=list)
    wire_bytes: int | None = None
    settle: Callable[[], None] | None = None
    details: dict[str, Any] = field(default_factory=dict)


class Client:
    """A way to load objects.  Made before the clock starts; must import what it needs in ``load``.

    ``warm`` puts the process into the state of daily use: libraries imported, connections tried, memory touched.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def warm(self) -> None:
        self.load(self.job.warm_targets)

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        raise NotImplementedError

    def close(self) -> None:
        return None
