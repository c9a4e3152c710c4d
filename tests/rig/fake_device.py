"""A device that ComfyUI takes for a CUDA card, in a process without one.

Tensors "on" it are ordinary ones in memory of their own, marked by their storage, so that moving a model there and back
really copies, uses memory of the fake card and can be counted.  A torch function mode answers ``tensor.device``, moves
and makes tensors; ``put_into_comfyui`` makes ComfyUI's memory manager ask this card.  For a child process that does
nothing else: the mode stays on.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

CARD = torch.device("cuda:0")
HOST = torch.device("cpu")

_MAKES = ("empty", "empty_like", "zeros", "zeros_like", "ones", "ones_like", "full", "tensor", "arange", "randn", "linspace")


class _Mark:
    """On a storage: it is this card's.  Storages keep their Python attributes as long as their memory lives."""

    def __init__(self, card: Card, size_bytes: int) -> None:
        self.card = card
        card.used_bytes += size_bytes
        weakref.finalize(self, card.give_back, size_bytes)


class OutOfMemory(RuntimeError):
    """What ComfyUI is told that its torch raises."""


class Card:
    """total_bytes; used_bytes: what tensors on it hold now; to_host_bytes, to_card_bytes: copied since `forget`.

    full_after_bytes: when so many bytes more have arrived, the next tensor finds no room, once.
    """

    def __init__(self, total_bytes: int, index: int) -> None:
        self.device = torch.device("cuda", index)
        self.total_bytes = total_bytes
        self.used_bytes = 0
        self.to_host_bytes = 0
        self.to_card_bytes = 0
        self.full_after_bytes: list[int] = []

    def forget(self) -> None:
        self.to_host_bytes = self.to_card_bytes = 0

    @property
    def free_bytes(self) -> int:
        return self.total_bytes - self.used_bytes

    def give_back(self, size_bytes: int) -> None:
        self.used_bytes -= size_bytes

    def arrives(self, size_bytes: int) -> None:
        if self.full_after_bytes:
            self.full_after_bytes[0] -= size_bytes
            if self.full_after_bytes[0] < 0:
                self.full_after_bytes.pop(0)
                raise OutOfMemory("CUDA out of memory")
        self.to_card_bytes += size_bytes


class FakeCard(TorchFunctionMode, Card):
    """The first card, and the mode that makes all of them; ``others``: more of them."""

    def __init__(self, total_bytes: int, others: int = 0) -> None:
        TorchFunctionMode.__init__(self)
        Card.__init__(self, total_bytes, 0)
        self.others = [Card(total_bytes, index + 1) for index in range(others)]
        self._device_of = torch.Tensor.device.__get__

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Tensors made within are no card's, and meta ones are made as ever."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()

    def card_at(self, device: Any) -> Card | None:
        """None for the host."""
        found = torch.device(device)
        return None if found.type == "cpu" else [self, *self.others][found.index or 0]

    # -- torch -----------------------------------------------------------------------------------------------------------
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == self._device_of:
            card = self.card_of(args[0])
            return func(*args) if card is None else card.device
        name = getattr(func, "__name__", "")
        if name in ("to", "cpu", "cuda") and args and isinstance(args[0], torch.Tensor):
            return self._moved(name, args[0], args[1:], kwargs)
        if name in _MAKES or name == "_parse_to":
            return self._made(func, name, args, kwargs)
        if name == "copy_" and len(args) > 1 and isinstance(args[1], torch.Tensor):
            self._count(args[1], self.card_of(args[0]))
        result = func(*args, **kwargs)
        card = next((c for one in args if isinstance(one, torch.Tensor) and (c := self.card_of(one)) is not None), None)
        if card is not None and name not in ("copy_", "__set__"):
            self._mark_all(result, card)
        return result

    def _moved(self, name: str, tensor: torch.Tensor, args: Any, kwargs: Any) -> Any:
        """``to(device, dtype, non_blocking, copy)`` in all its forms."""
        given = [*args, *kwargs.values()]
        other = next((one for one in given if isinstance(one, torch.Tensor)), None)
        device: Any = next((one for one in given if _is_device(one)), None)
        was = self.card_of(tensor)
        if other is not None:
            at = self.card_of(other)
            device = HOST if at is None else at.device
        dtype = other.dtype if other is not None else next((one for one in given if isinstance(one, torch.dtype)), tensor.dtype)
        copies = kwargs.get("copy", False) or [one for one in args if isinstance(one, bool)][1:2] == [True]
        card = None if name == "cpu" else self if name == "cuda" and device is None else was if device is None else self.card_at(device)
        if card is not was:
            self._count(tensor, card)
        with torch._C.DisableTorchFunction():
            moved = tensor.to(dtype=dtype, copy=bool(copies or card is not was))
        return moved if card is None else self._mark(moved, card)

    def _made(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        device = kwargs.get("device")
        like = self.card_of(args[0]) if args and isinstance(args[0], torch.Tensor) else None
        if name == "_parse_to" or (device is None and like is None):
            return func(*args, **kwargs)
        card = like if device is None else self.card_at(device) if _is_device(device) else None
        if device is not None:
            kwargs["device"] = HOST
        result = func(*args, **kwargs)
        return result if card is None else self._mark(result, card)

    # -- marks -----------------------------------------------------------------------------------------------------------
    def card_of(self, tensor: torch.Tensor) -> Card | None:
        with torch._C.DisableTorchFunction():
            if tensor.layout is not torch.strided:
                return None
            mark = getattr(tensor.untyped_storage(), "_fake_card", None)
            return None if mark is None else mark.card

    def _mark(self, tensor: torch.Tensor, card: Card) -> torch.Tensor:
        with torch._C.DisableTorchFunction():
            storage = tensor.untyped_storage()
            if not hasattr(storage, "_fake_card"):
                storage._fake_card = _Mark(card, storage.nbytes())
        return tensor

    def _mark_all(self, result: Any, card: Card) -> None:
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor):
                self._mark(one, card)

    def _count(self, tensor: torch.Tensor, into: Card | None) -> None:
        size_bytes, was = tensor.numel() * tensor.element_size(), self.card_of(tensor)
        if into is not None and was is not into:
            into.arrives(size_bytes)
        elif into is None and was is not None:
            was.to_host_bytes += size_bytes


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cpu", "cuda"))


def put_into_comfyui(card: FakeCard, management: Any) -> None:
    """ComfyUI's memory manager then has these cards, with host memory to offload to, and no reserve of its own."""

    def at(dev: Any) -> Card | None:
        return card if dev is None else card.card_at(dev)

    def free(dev: Any = None, torch_free_too: bool = False) -> Any:
        found = at(dev)
        free_bytes = 1 << 40 if found is None else found.free_bytes
        return (free_bytes, 0) if torch_free_too else free_bytes

    def total(dev: Any = None, torch_total_too: bool = False) -> Any:
        found = at(dev)
        total_bytes = 1 << 40 if found is None else found.total_bytes
        return (total_bytes, 0) if torch_total_too else total_bytes

    management.get_torch_device = lambda: CARD
    management.get_free_memory = free
    management.get_total_memory = total
    management.OOM_EXCEPTION = OutOfMemory
    management.cpu_state = management.CPUState.GPU
    management.vram_state = management.set_vram_to = management.VRAMState.NORMAL_VRAM
    management.lowvram_available = True
    management.minimum_inference_memory = management.extra_reserved_memory
    management.EXTRA_RESERVED_VRAM = 0
    management.soft_empty_cache = lambda force=False: None
    management.should_use_fp16 = lambda *args, **kwargs: True
    management.should_use_bf16 = lambda *args, **kwargs: False
    management.pin_memory = management.unpin_memory = lambda tensor: False
