"""The objects that are loaded: real-size safetensors files, and what their bytes must be."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .jobs import Target

MIB = 1 << 20
UPLOAD_PART_BYTES = 16 * MIB
PRESIGNED_S = 6 * 3600

_SHAPES = (
    (320, 320, 3, 3),
    (320,),
    (640, 320, 3, 3),
    (640,),
    (1280, 640, 3, 3),
    (1280,),
    (1280, 1280),
    (1280, 768),
    (10240, 1280),
    (1280,),
)
"""a few of SD1.5's, again and again"""


def synthetic(path: Path, size_bytes: int, seed: int) -> Path:
    """A safetensors file of about this size: fp16, shapes of SD1.5, random bytes of ordinary exponents."""
    if path.exists():
        return path
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Any] = {}
    left = size_bytes
    while left > 0:
        for shape in _SHAPES:
            name = f"model.blocks.{len(tensors):05d}.weight"
            tensors[name] = torch.randn(shape, generator=generator).mul_(0.02).half()
            left -= tensors[name].nbytes
            if left <= 0:
                break
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    save_file(tensors, fresh, metadata={"format": "pt"})
    fresh.rename(path)
    return path


def target_of(key: str, path: Path) -> Target:
    """Reads the whole file: its checksum and that of its tensors' bytes in the order of their names."""
    from awscrt import checksums

    size_bytes = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as view:
        crc_tensors = 0
        for start, end in _pieces(view):
            with view[start:end] as piece:
                crc_tensors = checksums.crc64nvme(piece, crc_tensors)
        return Target(key, size_bytes, crc_tensors, checksums.crc64nvme(view))


def into_page_cache(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def out_of_page_cache(path: Path) -> None:
    """Out of the page cache.  What the host of a virtual machine keeps is out of reach: the limit is read the same way."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _pieces(view: memoryview) -> Iterator[tuple[int, int]]:
    data_start = 8 + int.from_bytes(view[:8], "little")
    header = json.loads(bytes(view[8:data_start]))
    header.pop("__metadata__", None)
    for name in sorted(header):
        start, end = header[name]["data_offsets"]
        if end > start:
            yield data_start + start, data_start + end


class Bucket:
    """Uploads with full-object CRC64NVME in 16 MiB parts, as AWS has it for every new object."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._client = server.client()

    def put(self, key: str, path: Path, *, expected: Target | None = None) -> Target:
        from boto3.s3.transfer import TransferConfig

        parts = TransferConfig(multipart_threshold=UPLOAD_PART_BYTES, multipart_chunksize=UPLOAD_PART_BYTES, max_concurrency=2)
        self._client.upload_file(str(path), self.server.bucket, key, ExtraArgs={"ChecksumAlgorithm": "CRC64NVME"}, Config=parts)
        target = replace(expected, key=key) if expected else target_of(key, path)
        return self.presigned(target)

    def presigned(self, target: Target) -> Target:
        where = {"Bucket": self.server.bucket, "Key": target.key}
        return replace(target, url=self._client.generate_presigned_url("get_object", Params=where, ExpiresIn=PRESIGNED_S))

    def remove(self, key: str) -> None:
        self._client.delete_object(Bucket=self.server.bucket, Key=key)
