"""What the tests of warm models share: a real checkpoint in the RAM tier's memory, and ComfyUI's loaders over it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import torch

from modelstream.cache.arena import Allocation, Arena
from modelstream.cache.tensors import parse_front, state_dict
from modelstream.hooks.shared_memory import SharedMemory
from modelstream.storage.events import EventBus


class InArena:
    """A safetensors file in the arena, as the RAM tier holds it."""

    def __init__(self, path: Path) -> None:
        body = path.read_bytes()
        self.allocation: Allocation = Arena(len(body) + (8 << 20), EventBus()).allocate(len(body))
        self.allocation.view[:] = body
        self.header = parse_front(self.allocation.view, "a test")

    @property
    def buffer(self) -> Any:
        return self.allocation.buffer

    def tensors(self) -> dict[str, torch.Tensor]:
        return state_dict(self.header, self.buffer)

    def checksum(self) -> str:
        return hashlib.sha256(self.allocation.view).hexdigest()


def load_from(held: InArena, shared: SharedMemory | None = None) -> tuple[Any, Any, Any]:
    """MODEL, CLIP and VAE of a whole checkpoint."""
    if shared is not None:
        shared.add(held.buffer)
    model, clip, vae, _ = comfy.sd.load_state_dict_guess_config(held.tensors(), output_vae=True, output_clip=True)
    return model, clip, vae


def weights(patcher: Any) -> dict[str, torch.Tensor]:
    """Copies of what the module holds now."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in patcher.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[n].dtype == other[n].dtype and torch.equal(one[n], other[n]) for n in one)


def lora_of(patcher: Any, *, strength: float = 0.5, keys: int = 12) -> dict[str, Any]:
    """Patches for the first few matrices of a model, as a LoRA loader makes them."""
    generator = torch.Generator().manual_seed(1)
    found = [(n, t) for n, t in patcher.model.state_dict().items() if t.ndim == 2 and n.endswith("weight")][:keys]
    return {name: ("diff", (torch.randn(tensor.shape, generator=generator) * strength,)) for name, tensor in found}
