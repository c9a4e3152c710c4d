"""The header that an object will have once it is converted, when no layer has to stay as it is: for estimates, before a byte moves."""

from __future__ import annotations

import json

from ..storage.safetensors_header import DTYPE_BITS, SafetensorsHeader, TensorInfo
from .precision import ALREADY, ConversionPlan

DTYPES = {"fp8": "F8_E4M3", "int8": "I8"}
"""of the forms that keep a value in a byte; the others pack, in layouts that only their kernels know"""


def planned_header(header: SafetensorsHeader, plan: ConversionPlan) -> SafetensorsHeader | None:
    """None for a form whose layout is not known here."""
    dtype = DTYPES.get(plan.form.name)
    if dtype is None:
        return None
    found: dict[str, TensorInfo] = {}
    at = header.data_start
    for name, info in header.tensors.items():
        layer = name in plan.layers
        kept = dtype if layer else info.dtype
        size_bytes = (info.end - info.start) * DTYPE_BITS[kept] // DTYPE_BITS[info.dtype]
        found[name] = TensorInfo(kept, info.shape, at, at + size_bytes)
        at += size_bytes
        if layer:
            found[f"{name.removesuffix('weight')}weight_scale"] = TensorInfo("F32", (), at, at + 4)
            at += 4
    described = {layer: {"format": plan.form.algorithm} for own in plan.layers.values() for layer in (own, plan.prefix + own)}
    metadata = {**(header.metadata or {}), ALREADY: json.dumps({"format_version": "1.0", "layers": described})}
    return SafetensorsHeader(dict(sorted(found.items())), metadata, header.data_start)
