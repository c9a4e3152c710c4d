"""Writes one weight in fewer bits, with the very arithmetic that ComfyUI uses.

A 16-bit weight has 65,536 possible values and every scaled 8-bit form maps each of them alone, so the form's own operations
run once over all of them and the weight is then looked up: 2.3 GB/s a core where torch's cast from fp16 to fp8 makes 0.6 to
1.0 (blocks of 32,768 weights, which stay in the core's cache), and bit for bit what those operations would have given.
The operations: comfy/quant_ops.py TensorCoreFP8Layout.quantize (0.3.75; comfy_kitchen's quantize_per_tensor_fp8 is the same)
and comfy_kitchen's quantize_int8_tensorwise.  Block-scaled forms come from comfy_kitchen itself.

Any thread; torch is imported at the first call.  Memory: a few hundred KB above the weight and its result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..storage.safetensors_header import TensorInfo
from .recipe import Form

if TYPE_CHECKING:
    import torch

BLOCK = 1 << 15
"""weights at a time; their indexes (4 bytes each), values and results stay in 256 KiB of cache"""
SAMPLED_FROM = 1 << 20
"""of a weight with more elements the error is taken from every eighth block"""
SAMPLE_EVERY = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of the result: what is appended to the weight's name less "weight", its dtype as the header writes it."""

    suffix: str
    dtype: str
    shape: tuple[int, ...]
    raw: memoryview | bytes

    @property
    def size_bytes(self) -> int:
        return len(self.raw)


@dataclass(frozen=True, slots=True)
class Converted:
    """error: RMS of the difference over the RMS of the weight.  parts: the scales; the weight itself is where it was asked to be,
    ``weight_dtype`` and ``weight_shape`` say what it is."""

    error: float
    weight_dtype: str
    weight_shape: tuple[int, ...]
    weight_bytes: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Stays:
    """It is not written in fewer bits, and why: "nan", "inf" or "error"."""

    why: str
    error: float = math.inf


def convert(raw: memoryview, info: TensorInfo, form: Form, into: memoryview) -> Converted | Stays:
    """raw: the weight's bytes; into: room for at least `precision.converted_bytes`.  Neither is kept."""
    import torch

    weight = torch.frombuffer(raw, dtype=_dtypes()[info.dtype])
    low, high = (float(x) for x in torch.aminmax(weight))
    largest = max(abs(low), abs(high))
    if not math.isfinite(largest):
        return Stays("nan" if math.isnan(largest) else "inf")
    found = _blocks_of_kitchen(weight, info, form, into) if form.needs else _scaled(weight, info, form, largest, into)
    return Stays("error", found.error) if found.error > form.error_max else found


def fp8_scale(largest: float, dtype: torch.dtype) -> torch.Tensor:
    """float32, without dimensions.  An all-zero weight gets 1.  Kept large enough for its inverse to be a number of ``dtype``,
    as newer ComfyUI does: 0.3.75 makes NaN of fp16 weights whose largest value is below 0.0068."""
    import torch

    scale = torch.tensor(largest, dtype=torch.float32) / torch.finfo(torch.float8_e4m3fn).max
    if largest == 0:
        return torch.ones((), dtype=torch.float32)
    limit = torch.finfo(dtype).max
    return 1.0 / torch.clamp(1.0 / scale, max=limit) if float(1.0 / scale) > limit else scale


def int8_scale(largest: float) -> torch.Tensor:
    import torch

    return (torch.tensor(largest, dtype=torch.float32) / 127.0).clamp(min=1e-30)


# -- one scale a weight ------------------------------------------------------------------------------------------------
def _scaled(weight: torch.Tensor, info: TensorInfo, form: Form, largest: float, into: memoryview) -> Converted:
    import torch

    scale = fp8_scale(largest, weight.dtype) if form.name == "fp8" else int8_scale(largest)
    count = weight.numel()
    out = torch.frombuffer(into, dtype=torch.uint8, count=count)
    if weight.dtype is torch.float32:
        for start, end in _spans(count):
            out[start:end] = _rounded(weight[start:end], scale, form)
    else:
        _look_up(weight.view(torch.int16), _table(weight.dtype, scale, form), out)
    values = _values(form) * scale
    error = _error(weight, lambda start, end: torch.index_select(values, 0, out[start:end].to(torch.int32)))
    raw = scale.reshape(1).numpy().tobytes()
    dtype = "F8_E4M3" if form.name == "fp8" else "I8"
    return Converted(error, dtype, info.shape, count, (Part("weight_scale", "F32", (), raw),))


def _rounded(values: torch.Tensor, scale: torch.Tensor, form: Form) -> torch.Tensor:
    """The form's own operations; the result as bytes."""
    import torch

    if form.name == "fp8":
        scaled = values * (1.0 / scale).to(values.dtype)
        largest = torch.finfo(torch.float8_e4m3fn).max
        return torch.clamp(scaled, -largest, largest).to(torch.float8_e4m3fn).view(torch.uint8)
    return torch.clamp(torch.round(values.float() / scale), -128, 127).to(torch.int8).view(torch.uint8)


def _table(dtype: torch.dtype, scale: torch.Tensor, form: Form) -> torch.Tensor:
    """What becomes of every 16-bit value, by its bits as a signed number plus 32,768."""
    import torch

    every = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(dtype)
    return _rounded(every, scale, form)


def _look_up(bits: torch.Tensor, table: torch.Tensor, out: torch.Tensor) -> None:
    import torch

    indexes = torch.empty(min(BLOCK, len(bits)), dtype=torch.int32)
    for start, end in _spans(len(bits)):
        some = indexes[: end - start]
        some.copy_(bits[start:end])
        some.add_(32768)
        torch.index_select(table, 0, some, out=out[start:end])


def _values(form: Form) -> torch.Tensor:
    """What each byte of the form means, before the scale; float32."""
    import torch

    every = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    return every.view(torch.float8_e4m3fn if form.name == "fp8" else torch.int8).float()


# -- a scale for each block of weights ---------------------------------------------------------------------------------
def _blocks_of_kitchen(weight: torch.Tensor, info: TensorInfo, form: Form, into: memoryview) -> Converted:
    import comfy_kitchen as kitchen
    import torch

    matrix = weight.view(info.shape)
    if form.name == "nvfp4":
        scale = weight.abs().amax().float() / (448.0 * 6.0)
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        packed, blocks = kitchen.quantize_nvfp4(matrix, scale)
        back = kitchen.dequantize_nvfp4(packed, scale, blocks, torch.float32)
        parts: tuple[Part, ...] = (_part("weight_scale", "F8_E4M3", blocks), _part("weight_scale_2", "F32", scale))
        dtype = "U8"
    else:
        packed, blocks = kitchen.quantize_mxfp8(matrix)
        back = kitchen.dequantize_mxfp8(packed, blocks, torch.float32)
        parts = (_part("weight_scale", "U8", blocks),)
        dtype = "F8_E4M3"
    flat = back.reshape(-1)
    error = _error(weight, lambda start, end: flat[start:end])
    raw = _bytes_of(packed)
    into[: len(raw)] = raw
    return Converted(error, dtype, tuple(packed.shape), len(raw), parts)


def _part(suffix: str, dtype: str, tensor: torch.Tensor) -> Part:
    return Part(suffix, dtype, tuple(tensor.shape), _bytes_of(tensor))


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    flat: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(flat).cast("B")


# -- both --------------------------------------------------------------------------------------------------------------
def _error(weight: torch.Tensor, back: Any) -> float:
    """Of all blocks, or of every eighth where there are many.  0 for a weight without a value."""
    every = SAMPLE_EVERY if weight.numel() > SAMPLED_FROM else 1
    wrong = right = 0.0
    for number, (start, end) in enumerate(_spans(weight.numel())):
        if number % every == 0:
            value = weight[start:end].float()
            right += float(value.dot(value))
            value = value - back(start, end)  # not in place: it may be the weight itself
            wrong += float(value.dot(value))
    return math.sqrt(wrong / right) if right else (0.0 if not wrong else math.inf)


def _spans(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, BLOCK):
        yield start, min(count, start + BLOCK)


def _dtypes() -> dict[str, torch.dtype]:
    import torch

    return {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}
