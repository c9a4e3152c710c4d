"""Tensors over the bytes of a safetensors object, without a copy."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ..storage.errors import InvalidSafetensors
from ..storage.safetensors_header import DTYPE_BITS, SafetensorsHeader, TensorInfo, header_bytes, parse_header

if TYPE_CHECKING:
    import torch

_TORCH_NAMES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32", "I32": "int32",
    "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F4": "float4_e2m1fn_x2",
}  # fmt: skip
"""torch has no 6-bit type, and older versions lack the last few"""


def parse_front(view: memoryview, subject: str) -> SafetensorsHeader:
    """The header of the object whose bytes are ``view``.  Raises InvalidSafetensors, which names ``subject``."""
    try:
        return parse_header(view[: header_bytes(view[:8], len(view))], len(view))
    except InvalidSafetensors as error:
        raise InvalidSafetensors(error.problem, subject=subject, cause=error.cause, next_step=error.next_step) from error


def state_dict(header: SafetensorsHeader, buffer: Any, device: str = "cpu") -> dict[str, torch.Tensor]:
    """A fresh dict of contiguous tensors, sorted by name, each with a storage of its own size.

    ``buffer`` is what owns the object's bytes and is writable (the arena's array, a private mmap): every tensor holds
    it, so the memory lives as long as the longest-lived tensor.  Tensors that do not lie on a multiple of their
    element size are copied.  Raises InvalidSafetensors for a dtype that torch does not have.  Any thread.
    """
    import torch

    dtypes = _torch_dtypes()
    frombuffer = torch.frombuffer
    tensors: dict[str, torch.Tensor] = {}
    for name, (dtype_name, shape, start, end) in header.tensors.items():
        known = dtypes.get(dtype_name)
        if known is None:
            raise _unknown_dtype(name, dtype_name)
        dtype, element_bytes = known
        if dtype_name == "F4":
            shape = _packed(name, shape)
        if start == end:
            tensors[name] = torch.empty(shape, dtype=dtype)
        elif start % element_bytes == 0:
            tensors[name] = frombuffer(buffer, dtype=dtype, offset=start, count=(end - start) // element_bytes).view(shape)
        else:
            raw = frombuffer(buffer, dtype=torch.uint8, offset=start, count=end - start)
            tensors[name] = raw.clone().view(dtype).view(shape)
    if device != "cpu":
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return tensors


def tensor_without_memory(name: str, info: TensorInfo) -> torch.Tensor:
    """A tensor of its shape and dtype on torch's meta device.  Raises InvalidSafetensors for a dtype that torch does not have."""
    import torch

    known = _torch_dtypes().get(info.dtype)
    if known is None:
        raise _unknown_dtype(name, info.dtype)
    shape = _packed(name, info.shape) if info.dtype == "F4" else info.shape
    return torch.empty(shape, dtype=known[0], device="meta")


@functools.lru_cache(maxsize=1)
def _torch_dtypes() -> dict[str, tuple[torch.dtype, int]]:
    """torch's dtype and its bytes an element, for every dtype that this torch has."""
    import torch

    names = {name: torch_name for name, torch_name in _TORCH_NAMES.items() if hasattr(torch, torch_name)}
    return {name: (getattr(torch, torch_name), max(1, DTYPE_BITS[name] // 8)) for name, torch_name in names.items()}


def _packed(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """torch's 4-bit type holds two values an element."""
    if not shape or shape[-1] % 2:
        raise InvalidSafetensors("a tensor cannot be made", cause=f"tensor {name[:80]!a}: an odd number of 4-bit values in a row")
    return (*shape[:-1], shape[-1] // 2)


def _unknown_dtype(name: str, dtype_name: str) -> InvalidSafetensors:
    return InvalidSafetensors(
        "a tensor cannot be made",
        cause=f"tensor {name[:80]!a} has the dtype {dtype_name}, which this version of torch does not have",
        next_step="update torch, or use the model in another precision",
    )
