"""Which layers of a model are written in fewer bits: read from the table, decided from the header alone.

Pure: a header and a recipe in, a `ConversionPlan` out.  Nothing is guessed from a file's name.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..storage.errors import InvalidSafetensors
from ..storage.safetensors_header import SafetensorsHeader, TensorInfo
from .recipe import Form, Recipe, form_named

FLOATS = ("F16", "BF16", "F32")
SMALLEST = 64
"""a matrix with a side below this gains nothing"""
ALREADY = "_quantization_metadata"


@dataclass(frozen=True, slots=True)
class Architecture:
    name: str
    detect: tuple[re.Pattern[str], ...]
    convert: tuple[re.Pattern[str], ...]
    keep: tuple[re.Pattern[str], ...]
    source: str

    def fits(self, names: Iterable[str]) -> bool:
        missing = list(self.detect)
        for name in names:
            missing = [pattern for pattern in missing if not pattern.match(name)]
            if not missing:
                return True
        return False

    def converts(self, name: str) -> bool:
        return any(p.match(name) for p in self.convert) and not any(p.match(name) for p in self.keep)


@dataclass(frozen=True, slots=True)
class Table:
    version: int
    prefixes: tuple[str, ...]
    architectures: tuple[Architecture, ...]


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """What becomes of every tensor.

    layers:     name of the weight in the file → name of the layer as ComfyUI's model sees it, of what is converted
    prefix:     what stands before the model's own names in the file
    planned_bytes: of the data, when no layer has to stay as it is; scales included
    """

    recipe: Recipe
    form: Form
    architecture: str
    prefix: str
    layers: Mapping[str, str]
    kept_bytes: int
    planned_bytes: int
    source_bytes: int


@functools.lru_cache(maxsize=1)
def table() -> Table:
    """The table that is shipped."""
    return read_table(Path(__file__).with_name("precision_layers.json").read_text("utf-8"))


def read_table(text: str) -> Table:
    raw = json.loads(text)

    def patterns(globs: Iterable[str]) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(fnmatch.translate(glob)) for glob in globs)

    rows = tuple(
        Architecture(row["name"], patterns(row["detect"]), patterns(row["convert"]), patterns(row["keep"]), row["source"])
        for row in raw["architectures"]
    )
    return Table(int(raw["version"]), tuple(raw["prefixes"]), rows)


def recipe_for(form: str) -> Recipe:
    """With the table as it is now.  Raises ConfigError for a form that does not exist."""
    return Recipe(form_named(form).name, table().version)


def plan(header: SafetensorsHeader, recipe: Recipe, subject: str = "") -> ConversionPlan:
    """Raises InvalidSafetensors where there is nothing to convert: an unknown architecture, no 16-bit matrix, or a file
    that is converted already."""
    form = form_named(recipe.form)
    if header.metadata is not None and ALREADY in header.metadata:
        raise _refused(subject, "its weights are quantised already", "load it as it is")
    found = _architecture(header.tensors)
    if found is None:
        step = "load it as it is, or choose a file that was published in this precision"
        raise _refused(subject, "its architecture is in no table of layers that bear fewer bits", step)
    architecture, prefix = found
    layers, kept_bytes, planned_bytes, source_bytes = {}, 0, 0, 0
    for name, info in header.tensors.items():
        size_bytes = info.end - info.start
        source_bytes += size_bytes
        own = name[len(prefix) :] if name.startswith(prefix) else ""
        if own and bears(form, info) and architecture.converts(own):
            layers[name] = own.removesuffix(".weight")
            planned_bytes += converted_bytes(form, info)
        else:
            kept_bytes += size_bytes
    if not layers:
        raise _refused(subject, "none of its layers can be converted", "load it as it is")
    return ConversionPlan(recipe, form, architecture.name, prefix, layers, kept_bytes, kept_bytes + planned_bytes, source_bytes)


def bears(form: Form, info: TensorInfo) -> bool:
    """Whether a weight of this dtype and shape can be written so."""
    if info.dtype not in FLOATS or len(info.shape) != 2 or min(info.shape) < SMALLEST:
        return False
    return (form.bits == 8 and form.needs == "") or not (info.shape[0] % 128 or info.shape[1] % 64)


def converted_bytes(form: Form, info: TensorInfo) -> int:
    """Of the weight with its scales (layouts of comfy_kitchen/tensor: a scale every 16 weights for nvfp4, every 32 for mxfp8)."""
    count = info.shape[0] * info.shape[1]
    scales = {"nvfp4": count // 16 + 4, "mxfp8": count // 32}.get(form.name, 4)
    return count * form.bits // 8 + scales


def _architecture(tensors: Mapping[str, TensorInfo]) -> tuple[Architecture, str] | None:
    for prefix in table().prefixes:
        names = [name[len(prefix) :] for name in tensors if name.startswith(prefix)]
        for architecture in table().architectures:
            if names and architecture.fits(names):
                return architecture, prefix
    return None


def _refused(subject: str, cause: str, step: str) -> InvalidSafetensors:
    return InvalidSafetensors("it cannot be converted to another precision", subject=subject, cause=cause, next_step=step)
