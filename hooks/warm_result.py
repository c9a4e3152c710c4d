"""What a loader returned, kept: the parents of all clones, what is handed out of them, and what they weigh."""

from __future__ import annotations

import copy
import weakref
from typing import Any

from ..cache.vram import Sizes
from .host_copies import host_copies
from .seam import Wrapped
from .shared_memory import SharedMemory


class WarmResult:
    """One loader's result: the parents of all clones.  ``hand_out`` makes a result of the same shape from clones."""

    def __init__(self, result: Any, shared: SharedMemory) -> None:
        self._result = result
        self._shared = shared
        self._handed: list[weakref.ref[Any]] = []

    @property
    def can_be_kept(self) -> bool:
        found = [part for part in self._parts() if part is not None]
        return bool(found) and all(_can_be_cloned(part) for part in found)

    def hand_out(self) -> Any:
        made = [None if part is None else _clone(part) for part in self._parts()]
        self._handed = [ref for ref in self._handed if ref() is not None]
        self._handed += [weakref.ref(one) for one in made if one is not None]
        return type(self._result)(made) if isinstance(self._result, tuple | list) else made[0]

    def in_use(self) -> bool:
        """A clone of a clone holds the one that was handed out."""
        return any(ref() is not None for ref in self._handed)

    def point_back(self, pair: tuple[Wrapped, Wrapped] | None) -> None:
        """Newer ComfyUI calls the loader again for a model of its own (another device): that must not be the pool's clone."""
        if pair is None:
            return
        original, wrapper = pair
        for part in self._parts():
            patcher = getattr(part, "patcher", part)
            made_by = getattr(patcher, "cached_patcher_init", None)
            if made_by and made_by[0] is wrapper:
                patcher.cached_patcher_init = (original, *made_by[1:])

    def patchers(self) -> list[Any]:
        found: list[Any] = []
        for part in self._parts():
            own = [part] if hasattr(part, "load_device") and hasattr(part, "model_size") else [getattr(part, "patcher", None)]
            found += [*own, *(part.get_models() if hasattr(part, "get_models") else ())]
        return [patcher for patcher in found if patcher is not None and getattr(patcher, "model", None) is not None]

    def measure(self) -> Sizes:
        host = 0
        devices: dict[str, int] = {}
        buffers: dict[int, int] = {}

        def in_arena(buffer: int, size_bytes: int) -> None:
            buffers[buffer] = buffers.get(buffer, 0) + size_bytes

        modules = {id(module): module for module in self.modules()}.values()
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        for tensor in (*tensors, *self._loose_tensors()):
            size_bytes = tensor.numel() * tensor.element_size()
            if tensor.device.type != "cpu":
                devices[str(tensor.device)] = devices.get(str(tensor.device), 0) + size_bytes
            elif (buffer := self._shared.buffer_of(tensor)) is not None:
                in_arena(buffer, size_bytes)
            else:
                host += size_bytes
        for module in modules:
            for copy_of in host_copies(module):
                if (buffer := self._shared.buffer_of(copy_of)) is not None:
                    in_arena(buffer, copy_of.numel() * copy_of.element_size())
        return Sizes(host, sum(buffers.values()), devices, buffers)

    def modules(self) -> list[Any]:
        adapters = [getattr(part, "t2i_model", None) for part in self._parts()]
        return [*(patcher.model for patcher in self.patchers()), *(adapter for adapter in adapters if adapter is not None)]

    def _loose_tensors(self) -> list[Any]:
        """A control LoRA keeps the state dict it was made from."""
        found = [getattr(part, "control_weights", None) for part in self._parts()]
        return [tensor for weights in found if isinstance(weights, dict) for tensor in weights.values() if hasattr(tensor, "numel")]

    def _parts(self) -> tuple[Any, ...]:
        return tuple(self._result) if isinstance(self._result, tuple | list) else (self._result,)


def _can_be_cloned(part: Any) -> bool:
    if hasattr(part, "control_model") or hasattr(part, "t2i_model") or hasattr(part, "cond_hint"):
        return hasattr(part, "copy")
    return hasattr(part, "clone") or hasattr(part, "patcher") or getattr(part, "first_stage_model", part) is None


def _clone(part: Any) -> Any:
    if hasattr(part, "cond_hint"):
        return part.copy()
    if hasattr(part, "clone"):
        made = part.clone()
        made_by = getattr(part, "cached_patcher_init", None)
        if made_by is not None and getattr(made, "cached_patcher_init", None) is None:
            made.cached_patcher_init = made_by
        return made
    return copy.copy(part)
