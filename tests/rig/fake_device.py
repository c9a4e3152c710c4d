"""A device that ComfyUI takes for a CUDA card, in a process without one.

Tensors "on" it are ordinary ones in memory of their own, marked by their storage, so that moving a model there and back
really copies, uses memory of the fake card and can be counted.  A torch function mode answers ``tensor.device``, moves
and makes tensors; ``put_into_comfyui`` makes ComfyUI's memory manager ask this card.  For a child process that does
nothing else: the mode stays on.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CARD = torch.device("cuda:0")
HOST = torch.device("cpu")

_MAKES = ("empty", "empty_like", "zeros", "zeros_like", "ones", "ones_like", "full", "tensor", "arange", "randn", "linspace")


class _Mark:
    """On a storage: it is the card's.  Storages keep their Python attributes as long as their memory lives."""

    def __init__(self, card: FakeCard, size_bytes: int) -> None:
        card.used_bytes += size_bytes
        weakref.finalize(self, card._give_back, size_bytes)


class FakeCard(TorchFunctionMode):
    """total_bytes; used_bytes: what tensors on it hold now; to_host_bytes, to_card_bytes: copied since `forget`."""

    def __init__(self, total_bytes: int) -> None:
        super().__init__()
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self.to_host_bytes = 0
        self.to_card_bytes = 0
        self._device_of = torch.Tensor.device.__get__

    def forget(self) -> None:
        self.to_host_bytes = self.to_card_bytes = 0

    @property
    def free_bytes(self) -> int:
        return self.total_bytes - self.used_bytes

    def _give_back(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes

    # -- torch -----------------------------------------------------------------------------------------------------------
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == self._device_of:
            return CARD if self.has(args[0]) else func(*args)
        name = getattr(func, "__name__", "")
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], torch.Tensor):
            return self._moved(name, args[0], args[1:], kwargs)
        if name in _MAKES or name == "_parse_to":
            return self._made(func, name, args, kwargs)
        if name == "copy_" and len(args) > 1 and isinstance(args[1], torch.Tensor):
            self._count(args[1], into_card=self.has(args[0]))
        result = func(*args, **kwargs)
        if any(self.has(one) for one in args if isinstance(one, torch.Tensor)) and name not in ("copy_", "__set__"):
            self._mark_all(result)
        return result

    def _moved(self, name: str, tensor: torch.Tensor, args: Any, kwargs: Any) -> Any:
        """``to(device, dtype, non_blocking, copy)`` in all its forms."""
        given = [*args, *kwargs.values()]
        other = next((one for one in given if isinstance(one, torch.Tensor)), None)
        device: Any = next((one for one in given if _is_device(one)), None)
        if other is not None:
            device = CARD if self.has(other) else HOST
        dtype = other.dtype if other is not None else next((one for one in given if isinstance(one, torch.dtype)), tensor.dtype)
        copies = kwargs.get("copy", False) or [one for one in args if isinstance(one, bool)][1:2] == [True]
        was = self.has(tensor)
        card = {"cpu": False, "cuda": True}.get(name, was if device is None else torch.device(device).type != "cpu")
        with torch._C.DisableTorchFunction():
            moved = tensor.to(dtype=dtype, copy=bool(copies or card != was))
        if card != was:
            self._count(tensor, into_card=card)
        return self._mark(moved) if card else moved

    def _made(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        device = kwargs.get("device")
        like = bool(args) and isinstance(args[0], torch.Tensor) and self.has(args[0])
        if name == "_parse_to" or (device is None and not like):
            return func(*args, **kwargs)
        card = _is_device(device) and torch.device(device).type != "cpu" if device is not None else like
        if device is not None:
            kwargs["device"] = HOST
        result = func(*args, **kwargs)
        return self._mark(result) if card else result

    # -- marks -----------------------------------------------------------------------------------------------------------
    def has(self, tensor: torch.Tensor) -> bool:
        with torch._C.DisableTorchFunction():
            return tensor.layout is torch.strided and hasattr(tensor.untyped_storage(), "_fake_card")

    def _mark(self, tensor: torch.Tensor) -> torch.Tensor:
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
            if not hasattr(storage, "_fake_card"):
                storage._fake_card = _Mark(self, storage.nbytes())
        return tensor

    def _mark_all(self, result: Any) -> None:
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor):
                self._mark(one)

    def _count(self, tensor: torch.Tensor, *, into_card: bool) -> None:
        size_bytes = tensor.numel() * tensor.element_size()
        if into_card and not self.has(tensor):
            self.to_card_bytes += size_bytes
        elif not into_card and self.has(tensor):
            self.to_host_bytes += size_bytes


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda"))


def put_into_comfyui(card: FakeCard, management: Any) -> None:
    """ComfyUI's memory manager then has this card, with host memory to offload to, and no reserve of its own."""

    def free(dev: Any = None, torch_free_too: bool = False) -> Any:
        host = dev is not None and getattr(dev, "type", "") == "cpu"
        found = 1 << 40 if host else card.free_bytes
        return (found, 0) if torch_free_too else found

    management.get_torch_device = lambda: CARD
    management.get_free_memory = free
    management.get_total_memory = lambda dev=None, torch_total_too=False: (card.total_bytes, 0) if torch_total_too else card.total_bytes
    management.cpu_state = management.CPUState.GPU
    management.vram_state = management.set_vram_to = management.VRAMState.NORMAL_VRAM
    management.lowvram_available = True
    management.minimum_inference_memory = management.extra_reserved_memory
    management.EXTRA_RESERVED_VRAM = 0
    management.soft_empty_cache = lambda force=False: None
    management.should_use_fp16 = lambda *args, **kwargs: True
    management.should_use_bf16 = lambda *args, **kwargs: False
    management.pin_memory = management.unpin_memory = lambda tensor: False
