"""What lies on each device, by component and dtype: loaded models as ComfyUI's memory manager knows them.

Looked at in the thread that runs prompts, between two of them and after a load; read from any thread.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

HALF_BYTES = 2
"""of an element in 16 bits: what is kept in fewer saves the difference"""


@dataclass(frozen=True, slots=True)
class DeviceModels:
    """bytes: on the device, by component ("diffusion_model", "text_encoder", "vae", "other") and dtype
    offloaded_bytes: of the same models, in host memory; saved_bytes: against 16 bits an element
    largest_free_bytes: the largest block that the allocator could hand out without asking the driver; None: not known
    """

    device: str
    bytes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    offloaded_bytes: int = 0
    saved_bytes: int = 0
    largest_free_bytes: int | None = None

    @property
    def models_bytes(self) -> int:
        return sum(sum(of_dtype.values()) for of_dtype in self.bytes.values())


class DeviceLooks:
    """``seen``: as of the last look."""

    def __init__(self) -> None:
        self.seen: tuple[DeviceModels, ...] = ()

    def look(self) -> None:
        """In the thread that runs prompts: a few milliseconds for a large model."""
        management = sys.modules["comfy.model_management"]
        loaded = [one for one in list(management.current_loaded_models) if one.model is not None]
        devices = {str(one.device): one.device for one in loaded}
        self.seen = tuple(
            _of_device(name, device, [one.model for one in loaded if str(one.device) == name]) for name, device in sorted(devices.items())
        )

    def as_json(self) -> list[dict[str, Any]]:
        return [{**asdict(one), "models_bytes": one.models_bytes} for one in self.seen]


def _of_device(name: str, device: Any, patchers: list[Any]) -> DeviceModels:
    found: dict[str, Counter[str]] = {}
    offloaded = saved = 0
    for patcher in patchers:
        kinds = found.setdefault(kind_of(patcher), Counter())
        for tensor in patcher.model.state_dict(keep_vars=True).values():
            kept = getattr(tensor, "_qdata", tensor)
            size_bytes = kept.nelement() * kept.element_size()
            if tensor.device != device:
                offloaded += size_bytes
                continue
            kinds[str(kept.dtype).removeprefix("torch.")] += size_bytes
            if tensor.ndim > 1:
                saved += max(0, tensor.nelement() * HALF_BYTES - size_bytes)
    return DeviceModels(name, {kind: dict(one) for kind, one in found.items()}, offloaded, saved, _largest_free(device))


def kind_of(patcher: Any) -> str:
    """By ComfyUI's own classes."""
    base = getattr(sys.modules.get("comfy.model_base"), "BaseModel", ())
    if isinstance(patcher.model, base):
        return "diffusion_model"
    if getattr(patcher, "is_clip", False):
        return "text_encoder"
    module = type(patcher.model).__module__
    return "vae" if "vae" in module or "autoencoder" in module or "taesd" in module else "other"


def _largest_free(device: Any) -> int | None:
    """Of the allocator's segments on a CUDA device."""
    torch: Any = sys.modules.get("torch")
    if getattr(device, "type", "") != "cuda" or torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    index = device.index or 0
    segments = (one for one in torch.cuda.memory_snapshot() if one.get("device", 0) == index)
    return max((b["size"] for one in segments for b in one["blocks"] if b["state"] == "inactive"), default=0)
