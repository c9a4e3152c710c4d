"""Seam: a model leaves the device without being copied back, where the RAM tier still has its weights.

ComfyUI 0.3.x moves a model off a device with ``module.to("cpu")``: every weight is copied over the bus into fresh memory.
A parameter that was loaded from the arena has its bytes there still.  So when a model is moved to a device, each
parameter remembers the host tensor that it was; when it leaves, that tensor takes its place, and the move that follows
finds nothing left to copy.

Not for weights that differ from what the host has: those under a LoRA (ComfyUI keeps the original itself and puts it
back), those a hook has patched, those written in place (they forget their host copy).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from .seam import Seam, Wrapped, shape_problem
from .shared_memory import SharedMemory

HOST = "_modelstream_host"
"""attribute of a parameter on a device: the host tensor with the same bytes"""


class HostCopiesSeam(Seam):
    name = "host_copies"

    def __init__(self, shared: SharedMemory) -> None:
        super().__init__()
        self.shared = shared
        self.dropped_bytes = 0
        """device bytes that were let go without being copied to the host, since the start"""

    def problem(self) -> str:
        patcher = _patcher()
        return (
            shape_problem(getattr(patcher, "load", None), "self", "device_to")
            or shape_problem(getattr(patcher, "unpatch_model", None), "self", "device_to", "unpatch_weights")
            or shape_problem(getattr(patcher, "partially_unload", None), "self", "device_to", "memory_to_free")
        )

    def wrap_all(self) -> None:
        patcher = _patcher()
        self.wrap(patcher, "load", self._load)
        self.wrap(patcher, "unpatch_model", self._unpatch_model)
        self.wrap(patcher, "partially_unload", self._partially_unload)

    # -- the wrappers ----------------------------------------------------------------------------------------------------
    def _load(self, original: Wrapped, patcher: Any, device_to: Any = None, *args: Any, **kwargs: Any) -> Any:
        before = [] if _is_host(device_to) or _dynamic(patcher) else self._on_host(patcher.model)
        try:
            return original(patcher, device_to, *args, **kwargs)
        finally:  # also after an interrupt or a full device: ComfyUI then sends back at once what had arrived
            self._remember(patcher, before)

    def _remember(self, patcher: Any, before: list[tuple[Any, str, str, Any]]) -> None:
        patched = _patched_keys(patcher)
        for module, name, key, host in before:
            param = module._parameters.get(name)
            if param is not None and param.device.type != "cpu" and key not in patched and param.dtype == host.dtype:
                setattr(param, HOST, host)

    def _unpatch_model(self, original: Wrapped, patcher: Any, device_to: Any = None, unpatch_weights: bool = True) -> Any:
        if unpatch_weights and _is_host(device_to) and not _dynamic(patcher):
            self._unpatch_hooks(patcher)
            self._let_go(patcher, patcher.model.named_modules())
        return original(patcher, device_to, unpatch_weights)

    def _partially_unload(self, original: Wrapped, patcher: Any, device_to: Any, *args: Any, **kwargs: Any) -> Any:
        """The original moves single modules with ``module.to``: those get one that lets go first, while it lasts."""
        if not _is_host(device_to) or _dynamic(patcher):
            return original(patcher, device_to, *args, **kwargs)
        modules = [(name, module) for name, module in patcher.model.named_modules() if any(True for _ in _with_host_copy(module))]
        for name, module in modules:
            module.to = _Leaving(self, patcher, name, module)
        try:
            return original(patcher, device_to, *args, **kwargs)
        finally:
            for _, module in modules:
                module.__dict__.pop("to", None)

    # -- inside ----------------------------------------------------------------------------------------------------------
    def _on_host(self, model: Any) -> list[tuple[Any, str, str, Any]]:
        """(module, parameter's name, full key, tensor) of every parameter that lies in the arena."""
        found = []
        for prefix, module in model.named_modules():
            for name, param in module._parameters.items():
                if param is not None and param.device.type == "cpu" and self.shared.holds(param):
                    found.append((module, name, f"{prefix}.{name}" if prefix else name, param.data))
        return found

    def _unpatch_hooks(self, patcher: Any) -> None:
        """As the original does first thing: afterwards the weights are what they were, or have forgotten their host copy."""
        if patcher.hook_backup:
            patcher.unpatch_hooks()

    def _let_go(self, patcher: Any, modules: Any) -> None:
        patched = _patched_keys(patcher)
        for prefix, module in modules:
            for name, param in _with_host_copy(module):
                host = getattr(param, HOST)
                if (f"{prefix}.{name}" if prefix else name) in patched or param.shape != host.shape or param.dtype != host.dtype:
                    continue
                self.dropped_bytes += host.numel() * host.element_size()
                delattr(param, HOST)
                param.data = host


class _Leaving:
    """``module.to`` for the time of one partial unload."""

    def __init__(self, seam: HostCopiesSeam, patcher: Any, prefix: str, module: Any) -> None:
        self._seam, self._patcher, self._prefix, self._module = seam, patcher, prefix, module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args and _is_host(args[0]):
            self._seam._let_go(self._patcher, [(self._prefix, self._module)])
        return type(self._module).to(self._module, *args, **kwargs)


def note_host_copies(shared: SharedMemory, module: Any, sd: Any) -> None:
    """After a module that is built on a device was filled from the arena: its parameters remember where they came from."""
    for name, param in module.named_parameters():
        tensor = sd.get(name)
        fits = tensor is not None and tensor.dtype == param.dtype and tensor.shape == param.shape and tensor.is_contiguous()
        if fits and param.device.type != "cpu" and shared.holds(tensor):
            setattr(param, HOST, tensor)


def host_copies(module: Any) -> Iterator[Any]:
    """The host tensors of every parameter on a device that has one."""
    for one in module.modules():
        for _, param in _with_host_copy(one):
            yield getattr(param, HOST)


def host_copy_bytes(module: Any) -> int:
    """Bytes on a device that can be let go without a copy."""
    return sum(host.numel() * host.element_size() for host in host_copies(module))


def _with_host_copy(module: Any) -> Iterator[tuple[str, Any]]:
    for name, param in module._parameters.items():
        if param is not None and HOST in getattr(param, "__dict__", ()) and param.device.type != "cpu":
            yield name, param


def _patched_keys(patcher: Any) -> set[str]:
    return {*patcher.backup, *patcher.hook_backup}


def _is_host(device: Any) -> bool:
    return getattr(device, "type", device) == "cpu"


def _dynamic(patcher: Any) -> bool:
    is_dynamic = getattr(patcher, "is_dynamic", None)
    return bool(is_dynamic and is_dynamic())


def _patcher() -> Any:
    return getattr(sys.modules.get("comfy.model_patcher"), "ModelPatcher", None)
