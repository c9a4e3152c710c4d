"""What ComfyUI makes of a header: its own loaders, run over tensors that have a shape and a dtype and no memory.

``comfy.sd``'s functions detect the architecture, choose the dtypes for this device and build the modules, as they will when the
weights are there; copies of them run here that see torch's meta device where ComfyUI would take memory, so that nothing of the
running process is changed and any thread may do it.  About 0.1 s for SD1.5, a second for the largest.
"""

from __future__ import annotations

import logging
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..cache.tensors import tensor_without_memory
from ..storage.safetensors_header import SafetensorsHeader
from .fit_folders import CHECKPOINTS, DIFFUSION, FOLDERS, TEXT, VAES
from .seam import place_of

TENSORS_MOST = 20_000
"""a header with more is none of a model that ComfyUI knows, and its detection takes the square of them"""


class NotKnown(Exception):
    """ComfyUI would not load it.  The text says why, in words for people."""


@dataclass(frozen=True, slots=True)
class Built:
    """Modules without memory.  config: ComfyUI's description of the architecture; None for a text encoder or VAE alone."""

    config: Any = None
    model: Any = None
    clip: Any = None
    vae: Any = None
    clip_vision: Any = None


def build(header: SafetensorsHeader, folder: str) -> Built:
    """Raises NotKnown.  ComfyUI's modules must be imported; seconds at most; any thread."""
    if len(header.tensors) > TENSORS_MOST:
        raise NotKnown(f"{len(header.tensors)} tensors are more than any model has that ComfyUI knows")
    if folder not in FOLDERS:
        raise NotKnown(f"nothing is known about models of the folder {folder}")
    tensors = {name: tensor_without_memory(name, info) for name, info in header.tensors.items()}
    try:
        with _silent(), made_up_values():
            return _BUILDERS[folder](tensors, dict(header.metadata or {}))
    except NotKnown:
        raise
    except Exception as error:
        if "size mismatch" in str(error):
            raise NotKnown("its shapes are not those of the architecture that its names stand for") from error
        raise NotKnown(f"ComfyUI's loader does not take it ({place_of(error)})") from error


def _checkpoint(tensors: dict[str, Any], metadata: dict[str, str]) -> Built:
    parts = _functions()["load_state_dict_guess_config"](tensors, output_clipvision=True, metadata=metadata)
    if parts is None:
        raise NotKnown("no architecture that this ComfyUI knows has such names and shapes")
    model, clip, vae, vision, *_ = parts
    return Built(model.model.model_config, model, clip, vae if getattr(vae, "first_stage_model", None) is not None else None, vision)


def _diffusion(tensors: dict[str, Any], metadata: dict[str, str]) -> Built:
    model = _functions()["load_diffusion_model_state_dict"](tensors, metadata=metadata)
    if model is None:
        raise NotKnown("no architecture that this ComfyUI knows has such names and shapes")
    return Built(model.model.model_config, model)


def _text_encoder(tensors: dict[str, Any], metadata: dict[str, str]) -> Built:
    """As `CLIPLoader` makes it of one file.  Its size is the same whatever the node's ``type`` says."""
    sd = _comfy("sd")
    if sd.detect_te_model(tensors) is None:
        raise NotKnown("no text encoder that this ComfyUI knows has such names and shapes")
    if "_quantization_metadata" in metadata:
        tensors["_quantization_metadata"] = metadata["_quantization_metadata"]
    return Built(clip=_functions()["load_text_encoder_state_dicts"]([tensors]))


def _vae(tensors: dict[str, Any], metadata: dict[str, str]) -> Built:
    vae = _make_vae(sd=tensors, metadata=metadata)
    if vae.first_stage_model is None:
        raise NotKnown("no VAE that this ComfyUI knows has such names and shapes")
    return Built(vae=vae)


_BUILDERS: Mapping[str, Callable[[dict[str, Any], dict[str, str]], Built]] = {
    CHECKPOINTS: _checkpoint,
    DIFFUSION: _diffusion,
    TEXT: _text_encoder,
    VAES: _vae,
}


# -- ComfyUI's functions, with other names in them ---------------------------------------------------------------------------
class _Over:
    """A module of ComfyUI's with some of its functions replaced, for who gets this object and nobody else."""

    def __init__(self, real: Any, **own: Any) -> None:
        self.__dict__.update(own, _real=real)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _rebound(function: Any, **names: Any) -> Any:
    """The same code, with these names in its module instead of those there."""
    while hasattr(function, "__wrapped__"):  # seams, ours and others'
        function = function.__wrapped__
    made = types.FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _functions() -> dict[str, Any]:
    sd, detection = _comfy("sd"), _comfy("model_detection")
    names: dict[str, Any] = {
        "comfy": _without_paging(),
        "model_management": _no_memory(),
        "model_detection": _Over(detection, model_config_from_unet=_on_meta(detection.model_config_from_unet)),
        "CLIP": _make_clip,
        "VAE": _make_vae,
    }
    for name in ("load_diffusion_model_state_dict", "load_state_dict_guess_config", "load_text_encoder_state_dicts"):
        names[name] = _rebound(getattr(sd, name), **names)
    return names


def _no_memory() -> _Over:
    """Devices for working are the real ones, so that dtypes are chosen for them; what would be memory is meta."""
    meta = _meta()
    return _Over(
        _comfy("model_management"),
        unet_inital_load_device=lambda *_, **__: meta,
        unet_offload_device=lambda *_, **__: meta,
        text_encoder_initial_device=lambda *_, **__: meta,
        load_models_gpu=lambda *_, **__: None,
    )


def _without_paging() -> _Over:
    """Newer ComfyUI's patcher that pages weights takes address space on the device: here the plain one is made."""
    patchers = _comfy("model_patcher")
    return _Over(sys.modules["comfy"], model_patcher=_Over(patchers, CoreModelPatcher=patchers.ModelPatcher))


def _on_meta(detect: Any) -> Any:
    def detected(*args: Any, **kwargs: Any) -> Any:
        config = detect(*args, **kwargs)
        if config is not None:
            make = config.get_model
            config.get_model = lambda state_dict, prefix="", device=None: make(state_dict, prefix, device=_meta())
        return config

    return detected


def _make_clip(target: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Without the tokenizer: it takes a second, and its words may lie in the file."""
    sd = _comfy("sd")
    target.tokenizer = lambda **_: None
    clip = sd.CLIP(no_init=True)
    with _meta():
        _rebound(sd.CLIP.__init__, comfy=_without_paging(), model_management=_no_memory())(clip, target, *args, **kwargs)
    return clip


def _make_vae(*args: Any, **kwargs: Any) -> Any:
    with _meta():
        return _comfy("sd").VAE(*args, **kwargs)


def _comfy(name: str) -> Any:
    return sys.modules[f"comfy.{name}"]


def _meta() -> Any:
    return sys.modules["torch"].device("meta")


# -- values --------------------------------------------------------------------------------------------------------------------
def made_up_values() -> Any:
    """A context in which a tensor without memory has values for who asks: false, and one.  Of this thread only.

    A few architectures look at the values of small tensors (a noise schedule's ends, the spread of a bias); none of these
    changes a size.
    """
    from torch.overrides import TorchFunctionMode

    answers: dict[str, Any] = {"__bool__": False, "__int__": 1, "__index__": 1, "__float__": 1.0}

    class MadeUp(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(function, "__name__", "")
            if (name in answers or name == "item") and args and has_no_memory(args[0]):
                return answers[name] if name in answers else 1.0 if args[0].is_floating_point() else 1
            return function(*args, **(kwargs or {}))

    return MadeUp()


def has_no_memory(tensor: Any) -> bool:
    return bool(tensor.is_meta) or hasattr(tensor, "fake_mode")


# -- the log -------------------------------------------------------------------------------------------------------------------
class _ThisThread(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self.thread


@contextmanager
def _silent() -> Iterator[None]:
    """ComfyUI's loaders log to the root logger what they load; nothing is loaded here.  Of this thread only."""
    mine, root = _ThisThread(), logging.getLogger()
    root.addFilter(mine)
    try:
        yield
    finally:
        root.removeFilter(mine)
