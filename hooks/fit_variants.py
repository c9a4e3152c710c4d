"""The variants of a model that a loader could take instead, each with its estimate, and which of them a rule takes.

Reads the headers of files that are called alike, local and in buckets (one small request each, then they are kept).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import folder_paths

from ..cache.fit import Estimate, Verdict
from ..cache.headers_of_files import read_header
from ..cache.variant_choice import Choice, Variant, choose_variant
from ..storage.errors import ModelStreamError, ObjectMissing
from ..storage.events_fit import VariantChosen
from ..storage.gguf_header import BITS
from ..storage.people import size_text
from ..storage.safetensors_header import DTYPE_BITS, SafetensorsHeader
from ..storage.variants import Family, Member, alike, family
from .fit_folders import DIFFUSION, GGUF_FOLDER
from .fit_shapes import Size
from .folders import local_file, view_of

if TYPE_CHECKING:
    from .fit import Estimator
    from .runtime import Runtime

GGUF = ".gguf"
GGUF_LOADER = "UnetLoaderGGUF"
"""the node of the pack that loads GGUF diffusion models"""
TORCH_BITS = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "float8_e4m3fn": 8, "float8_e5m2": 8, "int8": 8}


@dataclass(frozen=True, slots=True)
class Chosen:
    """folder: that of the variant; text: what was chosen and why, and why none of the others, for people"""

    folder: str
    choice: Choice
    text: str


def choose(runtime: Runtime, folder: str, name: str, rule: str, bits_most: float, size: Size) -> Chosen:
    """Raises NoRoom and ObjectMissing as `choose_variant` does, and the errors of reading ``name``'s own header."""
    estimator = runtime.estimator
    if estimator is None:
        raise ObjectMissing("nothing can be said about memory", subject=name, next_step="look at the log for why")
    found = find_family(runtime, folder, name)
    choice = choose_variant(variants_of(estimator, folder, found, size), name, rule, bits_most)
    lines = [f"{choice.variant.name}: {choice.why}"]
    lines += [f"not {other}: {why}" for other, why in (*choice.others, *found.strangers)]
    runtime.bus.emit(VariantChosen(folder, name, choice.variant.name, rule, choice.variant.format, choice.why))
    return Chosen(GGUF_FOLDER if choice.variant.name.lower().endswith(GGUF) else folder, choice, "\n".join(lines))


def variants_of(estimator: Estimator, folder: str, found: Family, size: Size) -> list[Variant]:
    return [_variant(estimator, folder, member, found, size) for member in found.members]


def smaller_names(runtime: Runtime, label: str) -> list[str]:
    """Variants of fewer bits of the object of that subject, for an error: a sentence each."""
    for folder in (DIFFUSION, "checkpoints"):
        view = view_of(folder)
        name = next((n for n, obj in runtime.catalog.entries(view) if obj.subject == label), None) if view is not None else None
        if name is not None:
            found = find_family(runtime, folder, name)
            own = next(one for one in found.members if one.name == name)
            few = [one for one in found.members if one.precision.bits < own.precision.bits]
            return [f"{one.name} ({one.precision.format}, {size_text(one.size_bytes)}), a smaller variant of it" for one in few[:3]]
    return []


def find_family(runtime: Runtime, folder: str, name: str) -> Family:
    """Of the files that are called alike in the folder, those whose headers agree.  Raises what reading ``name``'s own raises."""
    headers: dict[str, SafetensorsHeader | str] = {}
    sizes: dict[str, int] = {}
    for other in alike(name, _names(folder)):
        try:
            headers[other], sizes[other] = _header(runtime, folder, other)
        except (ModelStreamError, OSError) as error:
            if other == name:
                raise
            headers[other] = f"its header cannot be read: {getattr(error, 'problem', type(error).__name__)}"
    if name not in headers:
        raise ObjectMissing("no safetensors file of that name", subject=name, next_step="choose one of the list")
    return family(name, headers, sizes)


def _names(folder: str) -> list[str]:
    names = list(folder_paths.get_filename_list(folder))
    if folder == DIFFUSION and GGUF_FOLDER in folder_paths.folder_names_and_paths:
        names += [one for one in folder_paths.get_filename_list(GGUF_FOLDER) if one not in names]
    return names


def _header(runtime: Runtime, folder: str, name: str) -> tuple[SafetensorsHeader, int]:
    """A local file first, as ComfyUI does."""
    where = GGUF_FOLDER if name.lower().endswith(GGUF) and GGUF_FOLDER in folder_paths.folder_names_and_paths else folder
    path = local_file(where, name)
    if path is not None:
        return read_header(path), os.path.getsize(path)
    view = view_of(where)
    obj = None if view is None else runtime.catalog.find(view, name)
    if obj is None:
        raise ObjectMissing("it is in no folder and no bucket", subject=name)
    return runtime.cache.header(obj), obj.size_bytes


def _variant(estimator: Estimator, folder: str, member: Member, found: Family, size: Size) -> Variant:
    if member.name.lower().endswith(GGUF):
        verdict = _verdict_of_gguf(estimator, folder, member, found, size)
        return Variant(member.name, member.precision.format, member.precision.bits, member.size_bytes, verdict, _gguf_problem(folder))
    fit = estimator.by_name(folder, member.name, size)
    if fit is None:
        return Variant(member.name, member.precision.format, member.precision.bits, member.size_bytes, Verdict("unknown", ""), "it is gone")
    bits = min(member.precision.bits, _bits_loaded(fit.estimate) or member.precision.bits)
    problem = (
        fit.estimate.problem
        if not fit.estimate.architecture and any(_is_known(estimator, folder, one, size) for one in found.members)
        else ""
    )
    return Variant(member.name, member.precision.format, round(bits, 2), member.size_bytes, fit.verdict, problem)


def _is_known(estimator: Estimator, folder: str, member: Member, size: Size) -> bool:
    """Whether ComfyUI knows the architecture of another of the family: then one that it refuses is one it cannot load."""
    fit = None if member.name.lower().endswith(GGUF) else estimator.by_name(folder, member.name, size)
    return fit is not None and bool(fit.estimate.architecture)


def _verdict_of_gguf(estimator: Estimator, folder: str, member: Member, found: Family, size: Size) -> Verdict:
    """The pack keeps weights as the file has them: the architecture's working memory is that of a variant that ComfyUI knows."""
    others = (one for one in found.members if not one.name.lower().endswith(GGUF))
    known = next(
        (fit for fit in (estimator.by_name(folder, one.name, size) for one in others) if fit is not None and fit.estimate.architecture),
        None,
    )
    if known is None:
        return Verdict(
            "unknown", "", reason="ComfyUI itself does not know GGUF, and no other variant is there to learn the architecture from"
        )
    parts = tuple(replace(one, loaded={"gguf": member.size_bytes}) for one in known.estimate.components if one.kind == "diffusion_model")
    return estimator.judged(Estimate(member.name, member.size_bytes, known.estimate.architecture, parts, known.estimate.work)).verdict


def _gguf_problem(folder: str) -> str:
    if folder != DIFFUSION or GGUF_LOADER not in getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}):
        return "GGUF needs a node pack that loads it"
    return ""


def _bits_loaded(estimate: Estimate) -> float:
    """A weight of the diffusion model, as ComfyUI will hold it; 0 where a dtype says nothing about bits."""
    part = estimate.component("diffusion_model")
    loaded: Any = {} if part is None else part.loaded
    bits = {**DTYPE_BITS, **BITS, **TORCH_BITS}
    if not loaded or not set(loaded) <= bits.keys():
        return 0.0
    elements = sum(size_bytes * 8 / bits[dtype] for dtype, size_bytes in loaded.items())
    return float(sum(loaded.values()) * 8 / elements) if elements else 0.0


def load_gguf(name: str) -> Any:
    """By the node pack, as its own node would.  Returns a MODEL."""
    loader = sys.modules["nodes"].NODE_CLASS_MAPPINGS[GGUF_LOADER]()
    return getattr(loader, loader.FUNCTION)(name)[0]
