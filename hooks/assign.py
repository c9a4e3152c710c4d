"""Seam: weights that lie in the RAM tier become the model's parameters as they are, without a copy.

ComfyUI 0.3.x builds a module and copies every tensor of the state dict into it.  Where a tensor is ours (it lies in the
arena), is contiguous and has the parameter's dtype and shape, the parameter takes it instead.  ComfyUI that assigns by
itself (``load_model_weights`` has ``assign``) is left alone.

Nobody may then write into those parameters, since the arena's bytes are everybody's:

* modules that set their weights in place by themselves (scaled fp8, anything with ``set_weight``) get copies, as before;
* the one function through which ComfyUI updates a weight in place, ``comfy.utils.copy_to_param`` (hooks, and
  ``weight_inplace_update``), gives the module a parameter of its own first: copy on write.

LoRA patches replace parameters and never write into them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .host_copies import note_host_copies
from .seam import Seam, Wrapped, shape_problem
from .shared_memory import SharedMemory


@dataclass(slots=True)
class AssignFigures:
    """Since the start: parameters and bytes that were taken over, or copied as ComfyUI does; writes that were turned away."""

    assigned: int = 0
    assigned_bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    copies_on_write: int = 0


class AssignSeam(Seam):
    name = "assign"

    def __init__(self, shared: SharedMemory) -> None:
        super().__init__()
        self.shared = shared
        self.figures = AssignFigures()
        self._making_vae = threading.local()

    def problem(self) -> str:
        base = _class("comfy.model_base", "BaseModel")
        found = shape_problem(getattr(base, "load_model_weights", None), "self", "sd", "unet_prefix")
        if found:
            return found
        if not shape_problem(base.load_model_weights, "self", "sd", also_optional=("assign",)):
            return "this ComfyUI assigns weights itself"
        torch_problem = shape_problem(sys.modules["torch"].nn.Module.load_state_dict, "self", "state_dict", also_optional=("assign",))
        if torch_problem:
            return f"this torch cannot assign: {torch_problem}"
        copying = shape_problem(getattr(sys.modules.get("comfy.utils"), "copy_to_param", None), "obj", "attr", "value")
        return copying or shape_problem(getattr(_class("comfy.sd", "CLIP"), "load_sd", None), "self", "sd", "full_model")

    def wrap_all(self) -> None:
        self.wrap(sys.modules["comfy.utils"], "copy_to_param", self._copy_to_param)
        self.wrap(_class("comfy.model_base", "BaseModel"), "load_model_weights", self._load_model_weights)
        self.wrap(_class("comfy.sd", "CLIP"), "load_sd", self._load_clip)
        encoder = _class("comfy.ldm.models.autoencoder", "AutoencodingEngine")
        if encoder is not None and not shape_problem(getattr(_class("comfy.sd", "VAE"), "__init__", None), "self", "sd"):
            self.wrap(_class("comfy.sd", "VAE"), "__init__", self._make_vae)
            self.wrap(encoder, "load_state_dict", self._load_vae)

    # -- the wrappers ----------------------------------------------------------------------------------------------------
    def _load_model_weights(self, original: Wrapped, model: Any, *args: Any, **kwargs: Any) -> Any:
        with self._assigning([model.diffusion_model]):
            return original(model, *args, **kwargs)

    def _load_clip(self, original: Wrapped, clip: Any, *args: Any, **kwargs: Any) -> Any:
        whole = clip.cond_stage_model
        inner = [m.transformer for m in whole.modules() if hasattr(m, "transformer") and hasattr(m.transformer, "load_state_dict")]
        with self._assigning([whole, *inner]):
            return original(clip, *args, **kwargs)

    def _make_vae(self, original: Wrapped, vae: Any, *args: Any, **kwargs: Any) -> None:
        self._making_vae.on = True
        try:
            original(vae, *args, **kwargs)
        finally:
            self._making_vae.on = False

    def _load_vae(self, original: Wrapped, module: Any, sd: Any, *args: Any, **kwargs: Any) -> Any:
        """``VAE`` converts the module as a whole right afterwards (``.to(vae_dtype)``), so the file's dtype may stay until then."""
        if not getattr(self._making_vae, "on", False):
            return original(module, sd, *args, **kwargs)
        return self._loaded(functools.partial(original, module), module, sd, args, kwargs, any_dtype=True)

    def _copy_to_param(self, original: Wrapped, obj: Any, attr: str, value: Any) -> Any:
        utils = sys.modules["comfy.utils"]
        param = utils.get_attr(obj, attr)
        if self.shared.holds(param):
            self.figures.copies_on_write += 1
            utils.set_attr_param(obj, attr, param.detach().clone())
        forget_host_copy(param)
        return original(obj, attr, value)

    # -- assigning -------------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _assigning(self, modules: list[Any]) -> Iterator[None]:
        """While it lasts, ``load_state_dict`` of these modules takes over what is ours."""
        for module in modules:
            original = module.load_state_dict
            module.load_state_dict = functools.partial(self._load_state_dict, original, module)
        try:
            yield
        finally:
            for module in modules:
                module.__dict__.pop("load_state_dict", None)

    def _load_state_dict(self, original: Callable[..., Any], module: Any, sd: Any, *args: Any, **kwargs: Any) -> Any:
        return self._loaded(original, module, sd, args, kwargs, any_dtype=False)

    def _loaded(self, original: Callable[..., Any], module: Any, sd: Any, args: Any, kwargs: Any, *, any_dtype: bool) -> Any:
        try:
            prepared = None if args or "assign" in kwargs else self._prepared(module, sd, any_dtype)
        except Exception as error:
            self.ours_failed(error)
            prepared = None
        if prepared is None:
            result = original(sd, *args, **kwargs)
            with contextlib.suppress(AttributeError):
                note_host_copies(self.shared, module, sd)
            return result
        return original(prepared, **kwargs, assign=True)

    def _prepared(self, module: Any, sd: Any, any_dtype: bool) -> dict[str, Any] | None:
        """The state dict to assign from; None when the module has to copy as ComfyUI does.

        A tensor that does not fit as it is becomes a new one with the parameter's dtype, which is the same copy.
        """
        params = dict(module.named_parameters(remove_duplicate=False))
        if len(params) != sum(1 for _ in module.parameters()) or any(_fills_itself(m) for m in module.modules()):
            return None  # two names of one parameter would become two parameters
        targets = {**params, **dict(module.named_buffers(remove_duplicate=False))}
        if any(target.device.type != "cpu" for target in targets.values()):
            return None
        ours = [name for name, target in params.items() if self._fits(sd.get(name), target, any_dtype)]
        if not ours:
            return None
        prepared = dict(sd)
        taken = set(ours)
        for name, target in targets.items():
            tensor = sd.get(name)
            if tensor is None:
                continue
            size_bytes = tensor.numel() * tensor.element_size()
            if name in taken:
                self.figures.assigned += 1
                self.figures.assigned_bytes += size_bytes
            else:
                prepared[name] = tensor.to(device="cpu", dtype=target.dtype).contiguous() if tensor.dtype != target.dtype else _own(tensor)
                self.figures.copied += 1
                self.figures.copied_bytes += size_bytes
        return prepared

    def _fits(self, tensor: Any, target: Any, any_dtype: bool) -> bool:
        if tensor is None or tensor.shape != target.shape or not tensor.is_contiguous():
            return False
        return (any_dtype or tensor.dtype == target.dtype) and self.shared.holds(tensor)


def forget_host_copy(param: Any) -> None:
    """The parameter is about to be written to: what the host has is no longer its value."""
    if "_modelstream_host" in getattr(param, "__dict__", {}):
        del param._modelstream_host


def _fills_itself(module: Any) -> bool:
    """Modules that set their weights in place, or that read the state dict in a way of their own."""
    module_type = sys.modules["torch"].nn.Module
    reads = type(module)._load_from_state_dict
    of_torch = type(module).__module__.startswith("torch.nn.")
    return hasattr(module, "set_weight") or (reads is not module_type._load_from_state_dict and not of_torch)


def _own(tensor: Any) -> Any:
    """A copy: a tensor that is not ours may be somebody else's, and ComfyUI would have copied it."""
    return tensor.detach().clone(memory_format=sys.modules["torch"].contiguous_format)


def _class(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)
