"""A whole cache before a real S3 server: put objects, load them, restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modelstream.storage.events import TransferStarted

from .invariants import eventually
from .whole_cache import Parts, cache_toml, open_parts

MIB = 1 << 20


def tensors(seed: int, mib: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(mib * MIB // 8, generator=generator),
        "b.weight": torch.randn(3, 5, generator=generator).half(),
        "c": torch.arange(mib * MIB // 16, dtype=torch.int64),
    }


class Server:
    """What `cache_toml` wants to know of a server."""

    def __init__(self, seaweed: Any, bucket: str) -> None:
        self.access_key, self.secret_key, self.bucket = seaweed.access_key, seaweed.secret_key, bucket


class Rig:
    def __init__(self, seaweed: Any, bucket: str, folder: Path, ram_mib: int = 96) -> None:
        self.client = seaweed.client()
        self.bucket = bucket
        self.folder = folder
        self.toml = cache_toml(Server(seaweed, bucket), seaweed.endpoint, ram_bytes=ram_mib * MIB)
        self.parts: Parts = open_parts(self.toml, folder / "ssd")

    def restart(self, toml: str | None = None) -> None:
        self.parts.close()
        self.parts = open_parts(toml or self.toml, self.folder / "ssd")
        self.parts.catalog.refresh(wait=True)

    def put(self, key: str, body: bytes) -> Any:
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")
        self.parts.catalog.refresh(wait=True)
        return self.find(key)

    def find(self, key: str) -> Any:
        return next(o for o in self.parts.catalog.objects() if o.id.key == key)

    def transfers(self) -> int:
        return sum(isinstance(e, TransferStarted) for e in self.parts.events)

    def wait_on_disk(self, obj: Any) -> None:
        assert eventually(lambda: self.parts.cache.is_on_disk(obj))


def assert_equal(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert torch.equal(got[name], tensor), name
