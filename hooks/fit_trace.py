"""How much memory a computation needs: it is run over tensors without memory, and what lives at once is added up.

torch's fake tensors say the device that they stand for, so ComfyUI takes the same ways as with real ones: its attention, its
casts.  Seconds at most for the largest; nothing is computed.  What kernels use inside themselves is not seen, but for a CPU's
convolutions, which is known (see ``_within``).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from .fit_build import made_up_values
from .fit_shapes import inputs_of


class _Faker:
    """Modules without memory as if they were on a device, for as long as it is entered.  Not thread-safe; the modules are its own."""

    def __init__(self, device: Any) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self._device = device
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def put(self, module: Any) -> None:
        for one in module.modules():
            for tensors in (one._parameters, one._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = self._fake(tensor)

    def _fake(self, tensor: Any) -> Any:
        import torch

        with self._mode:
            made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=self._device)
        return torch.nn.Parameter(made, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else made

    def peak_bytes(self, work: Callable[[], Any]) -> int:
        import torch

        counted = live_bytes()
        with ExitStack() as stack:
            for context in (torch.no_grad(), self._mode, counted, made_up_values()):
                stack.enter_context(context)
            work()
        return int(counted.peak_bytes)


def live_bytes() -> Any:
    """A context: ``peak_bytes`` afterwards is the most that storages made within it held at once.  Views count nothing."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    class Live(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.bytes = self.peak_bytes = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            for given in tree_iter((args, kwargs)):
                self._see(given, counts=False)
            before = self.bytes
            result = function(*args, **(kwargs or {}))
            if str(function) == "aten.convolution.default":
                self.peak_bytes = max(self.peak_bytes, before + _within(args[0], args[1], result, transposed=args[6]))
            for made in tree_iter(result):
                self._see(made, counts=True)
            return result

        def _see(self, tensor: Any, *, counts: bool) -> None:
            import torch

            if not isinstance(tensor, torch.Tensor):
                return
            storage: Any = tensor.untyped_storage()
            if hasattr(storage, "_seen_live"):
                return
            storage._seen_live = True
            if counts:
                size_bytes = storage.nbytes()
                self.bytes += size_bytes
                self.peak_bytes = max(self.peak_bytes, self.bytes)
                weakref.finalize(storage, self._gone, size_bytes)

        def _gone(self, size_bytes: int) -> None:
            self.bytes -= size_bytes

    return Live()


BLOCK = 16
"""channels that oneDNN keeps together"""


def _within(given: Any, weight: Any, made: Any, *, transposed: bool) -> int:
    """Bytes that a convolution of a CPU holds at its worst, what it returns included; 0 elsewhere.

    As torch 2.13's allocator tells: oneDNN puts input, weight and output into blocks of channels first and the output back at the
    end; a single volume is unfolded into columns instead.
    """
    if given.device.type != "cpu" or given.dtype.itemsize != 4:
        return 0
    if given.ndim == 5 and given.shape[0] == 1:
        taps = math.prod(weight.shape[2:])
        columns = given.shape[1] * taps * math.prod(made.shape[2:]) * given.element_size() if taps > 1 else 0
        return columns + made.numel() * made.element_size()
    blocked = [one.numel() // max(1, one.shape[1]) * -(-one.shape[1] // BLOCK) * BLOCK * one.element_size() for one in (given, made)]
    small = given.numel() * given.element_size() if given.shape[1] < BLOCK else blocked[0]
    output = made.numel() * made.element_size()
    return int(max(small + weight.numel() * weight.element_size() + blocked[1], blocked[1] + output) + (output if transposed else 0))


def trace_step(model: Any, latent: tuple[int, ...], device: Any) -> int | None:
    """Bytes beside the weights of one step of a diffusion model built without memory, or None where the table has no inputs for it.

    model: ComfyUI's BaseModel.  Raises what ComfyUI raises where it does not go with tensors without values.
    """
    given = inputs_of(model.model_config)
    if given is None:
        return None
    faker = _Faker(device)
    faker.put(model)
    return faker.peak_bytes(lambda: step(model, latent, given, device))


def trace_decode(vae: Any, latent: tuple[int, ...], device: Any) -> int:
    """Of a VAE that makes a picture of one latent."""
    import torch

    faker = _Faker(device)
    faker.put(vae.first_stage_model)

    def decode() -> Any:
        made = torch.empty(latent, dtype=vae.vae_dtype, device=device)
        return vae.process_output(vae.first_stage_model.decode(made).to(torch.float32))

    return faker.peak_bytes(decode)


def step(model: Any, latent: tuple[int, ...], given: Any, device: Any) -> Any:
    """One call of a diffusion model as ComfyUI's sampler makes it: conditions and their opposite in one batch."""
    import torch

    batch = latent[0]
    noise = torch.zeros(latent, device=device)
    text = torch.zeros((batch, given.tokens, given.text_width), device=device)
    pooled = torch.zeros((batch, given.pooled_width), device=device) if given.pooled_width else None
    said = {"noise": noise, "device": device, "cross_attn": text, "pooled_output": pooled, "seed": 0, "prompt_type": "positive"}
    if given.masked:
        said["attention_mask"] = torch.ones((batch, given.tokens), dtype=torch.long, device=device)
    pixels = {"width": latent[-1] * given.pixels, "height": latent[-2] * given.pixels}
    conditions = model.extra_conds(**said, **pixels)
    made = {name: one.process_cond(batch_size=batch, device=device, area=None).cond for name, one in conditions.items()}
    sigma = torch.ones((batch,), device=device)
    return model.apply_model(noise, sigma, **made, transformer_options={"cond_or_uncond": [0] * batch, "sigmas": sigma})
