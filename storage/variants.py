"""Which files are one model in several precisions: told by their headers, with the names only to begin with.

Files are of one family when their names are the same without the words that stand for a precision, *and* their headers have the same
tensors of the same shapes whatever the dtype (``signature``).  Two fine-tunes of one architecture have the same shapes, so shapes alone
would not do; names alone never do: where a header disagrees, the file is of another family (``Family.strangers``).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .gguf_header import BITS as GGUF_BITS
from .safetensors_header import DTYPE_BITS, SafetensorsHeader, TensorInfo

SUFFIXES = (".safetensors", ".sft", ".gguf")
_WORDS = re.compile(
    r"(?<![a-z0-9])(fp|float|bf|f)(32|16|8)(mixed|scaled)?(?![a-z0-9])"
    r"|(?<![a-z0-9])(e4m3fn|e4m3|e5m2|nvfp4|mxfp4|mxfp8|int8|int4|w8a8|w4a4|scaled|mixed|awq|convrot)(?![a-z0-9])"
    r"|(?<![a-z0-9])(i?q[2-8](_[0-9])?(_k)?(_(xs|s|m|l|nl))?)(?![a-z0-9])"
)
_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_SCALES = re.compile(r"(^|\.)(scaled_fp8|scale_weight|scale_input|weight_scale|weight_scale_2|input_scale|comfy_quant|pre_quant_scale)$")
_UNUSED = ("model_ema.",)
QUANTISED = "_quantization_metadata"
FORMAT_OF = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8", "I8": "int8", "U8": "4-bit"}
IDENTITY = ("modelspec.architecture", "ss_base_model_version")
"""values of a header that are the same in any precision; two files that both have one and differ are two models"""


@dataclass(frozen=True, slots=True)
class Precision:
    """format: "fp16", "fp8", "nvfp4", "Q4_K", …, that of most of the weights; bits: an element on average, scales included"""

    format: str
    bits: float


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a family."""

    name: str
    size_bytes: int
    precision: Precision


@dataclass(frozen=True, slots=True)
class Family:
    """members: sorted by bits, the most first, then by name; strangers: name and why, of those that are called alike and are not"""

    members: tuple[Member, ...]
    strangers: tuple[tuple[str, str], ...] = ()


def stem(name: str) -> str:
    """A file's name without folder, suffix and words of precision: "flux/flux1-dev-fp8.safetensors" → "flux1 dev"."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    base = next((base[: -len(suffix)] for suffix in SUFFIXES if base.endswith(suffix)), base)
    spread = re.sub(r"[\s.\-+()\[\]]+|_(?![0-9ksmlxn])", " ", base)
    return " ".join(_WORDS.sub(" ", _WORDS.sub(" ", spread)).replace("_", " ").split())


def alike(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Those of ``names`` that may be the same model, by what they are called; ``name`` itself among them."""
    wanted = stem(name)
    if not wanted:  # it is called by its precision alone
        return (name,)
    return tuple(one for one in names if one.lower().endswith(SUFFIXES) and stem(one) == wanted)


def signature(header: SafetensorsHeader) -> str:
    """Equal for the same model in any precision: of names and shapes, without scales, prefixes and packing."""
    found = sorted((_plain(name), *_shape(name, info, header)) for name, info in _weights(header).items())
    return hashlib.sha256(json.dumps(found, separators=(",", ":")).encode()).hexdigest()


def precision(header: SafetensorsHeader) -> Precision:
    weights = _weights(header)
    elements: Counter[str] = Counter()
    for name, info in weights.items():
        elements[info.dtype] += math.prod(_shape(name, info, header))
    total = sum(elements.values())
    size_bytes = sum(info.end - info.start for info in header.tensors.values() if not _unused(info))
    most = max(elements, key=lambda dtype: (elements[dtype], dtype)) if elements else ""
    return Precision(_quantised(header) or FORMAT_OF.get(most, most), round(size_bytes * 8 / total, 2) if total else 0.0)


def family(name: str, headers: Mapping[str, SafetensorsHeader | str], sizes: Mapping[str, int]) -> Family:
    """headers: of `alike` names, ``name``'s among them; where one cannot be read, why."""
    own = headers[name]
    if isinstance(own, str):
        return Family((), ((name, own),))
    wanted, identity = signature(own), _identity(own)
    members, strangers = [], []
    for other, header in sorted(headers.items()):
        if isinstance(header, str):
            strangers.append((other, header))
        elif signature(header) != wanted:
            strangers.append((other, "its tensors are not those of " + name))
        elif any(identity[key] != _identity(header).get(key, identity[key]) for key in identity):
            strangers.append((other, "its metadata names another model than that of " + name))
        else:
            members.append(Member(other, sizes[other], precision(header)))
    return Family(tuple(sorted(members, key=lambda one: (-one.precision.bits, one.name))), tuple(strangers))


# -- inside ------------------------------------------------------------------------------------------------------------------
def _weights(header: SafetensorsHeader) -> dict[str, TensorInfo]:
    return {name: info for name, info in header.tensors.items() if not _SCALES.search(name) and not name.startswith(_UNUSED)}


def _unused(info: TensorInfo) -> bool:
    return info.start == info.end


def _plain(name: str) -> str:
    return next((name[len(prefix) :] for prefix in _PREFIXES if name.startswith(prefix)), name)


def _shape(name: str, info: TensorInfo, header: SafetensorsHeader) -> tuple[int, ...]:
    """Of the values: two 4-bit ones are packed into a byte where a scale lies beside them; GGUF keeps what it reshaped."""
    kept = (header.metadata or {}).get(f"comfy.gguf.orig_shape.{name}", "")
    if re.fullmatch(r"[0-9]+(,[0-9]+)*", kept):
        return tuple(int(one) for one in kept.split(","))
    if (
        info.dtype == "U8"
        and info.shape
        and any(name.removesuffix("weight") + scale in header.tensors for scale in ("weight_scale", "weight_scale_2"))
    ):
        return (*info.shape[:-1], info.shape[-1] * 2)
    return info.shape


def _quantised(header: SafetensorsHeader) -> str:
    """The format that ComfyUI's own quantisation metadata names for most layers."""
    try:
        layers = json.loads((header.metadata or {}).get(QUANTISED, "{}")).get("layers", {})
        formats = Counter(str(one["format"]) for one in layers.values())
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return ""
    most = formats.most_common(1)[0][0] if formats else ""
    return "fp8" if most.startswith("float8") else most


def _identity(header: SafetensorsHeader) -> dict[str, str]:
    return {key: header.metadata[key] for key in IDENTITY if header.metadata and header.metadata.get(key)}


def bits_of(dtype: str) -> float:
    """An element of safetensors' or ggml's dtypes."""
    return float(DTYPE_BITS.get(dtype, 0) or GGUF_BITS.get(dtype, 0))
