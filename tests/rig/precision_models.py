"""Models whose names an architecture of the precision table fits, with weights that are not pure noise."""

from __future__ import annotations

import torch
from safetensors.torch import save


def structured(rows: int, columns: int, seed: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    """Low rank plus noise plus a few outliers, as trained weights are."""
    made = torch.Generator().manual_seed(seed)
    low = torch.randn(rows, 8, generator=made) @ torch.randn(8, columns, generator=made) * 0.01
    weight = low + torch.randn(rows, columns, generator=made) * 0.02
    outliers = torch.rand(rows, columns, generator=made) > 0.999
    return torch.where(outliers, weight * 6, weight).to(dtype)


def wan_like(
    blocks: int = 2, width: int = 256, *, dtype: torch.dtype = torch.float16, prefix: str = "", seed: int = 0
) -> dict[str, torch.Tensor]:
    """The names of a Wan model: attention and ffn of each block, a norm, and what stands around the blocks."""
    made: dict[str, torch.Tensor] = {}
    for block in range(blocks):
        for name in ("self_attn.q", "self_attn.o", "cross_attn.k", "ffn.0"):
            made[f"{prefix}blocks.{block}.{name}.weight"] = structured(width, width, seed * 1000 + len(made), dtype)
            made[f"{prefix}blocks.{block}.{name}.bias"] = torch.zeros(width, dtype=dtype)
        made[f"{prefix}blocks.{block}.norm3.weight"] = torch.ones(width, dtype=dtype)
    made[f"{prefix}head.head.weight"] = structured(width, width, seed * 1000 + 999, dtype)
    return made


def file_of(tensors: dict[str, torch.Tensor]) -> bytes:
    return save(tensors, metadata={"format": "pt"})
