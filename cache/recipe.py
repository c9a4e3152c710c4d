"""Recipes: forms of an object that are made on the way in, and the object ids they have.

A recipe and the object it is made from name an object of their own, with its own digest: RAM and SSD keep it, lease it,
pin it and evict it like any other.  Only `cache.converting` knows how it comes to be.

Plain values; no torch.  `Recipes` is thread-safe.
"""

from __future__ import annotations

import posixpath
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from ..storage.errors import ConfigError
from ..storage.objects import RemoteObject

VERSION = 1
"""of the way bytes are made; another one makes other objects"""
KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a weight.

    algorithm:   ComfyUI's own name of it (comfy/quant_ops.py: QUANT_ALGOS), as the file's metadata says it
    bits:        a weight, without its scales
    error_max:   of one layer: RMS of the difference over the RMS of the weights.  Above it the layer stays as it is.
    needs:       what has to be importable to make it; "" for plain torch
    """

    name: str
    algorithm: str
    bits: int
    error_max: float
    needs: str = ""


FORMS = {
    form.name: form
    for form in (
        # Uniform mantissas round by 2^-4 at most: 0.026 RMS for anything that stays out of the subnormals.  A layer whose
        # outliers push the others down there passes 0.05 long before it shows in an image.
        Form("fp8", "float8_e4m3fn", 8, 0.05),
        Form("int8", "int8_tensorwise", 8, 0.05),
        Form("mxfp8", "mxfp8", 8, 0.05, "comfy_kitchen"),
        Form("nvfp4", "nvfp4", 4, 0.13, "comfy_kitchen"),
    )
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """form: a name in FORMS; table: version of the table that says which layers stay as they are"""

    form: str
    table: int

    @property
    def tag(self) -> str:
        return f"{self.form}.{self.table}.{VERSION}"


def form_named(name: str) -> Form:
    form = FORMS.get(name)
    if form is None:
        known = ", ".join(FORMS)
        raise ConfigError(f"there is no precision {name[:40]!a}", next_step=f"use one of {known}")
    return form


def derived(source: RemoteObject, recipe: Recipe, size_bytes: int) -> RemoteObject:
    """The object that ``recipe`` makes of ``source``.  size_bytes: a guess is enough, its digest does not depend on it."""
    stem, extension = posixpath.splitext(source.id.key)
    named = replace(source.id, key=f"{stem}@{recipe.form}{extension}", version=f"{source.id.version}+{recipe.tag}")
    return replace(source, id=named, size_bytes=size_bytes)


class Recipes:
    """Which derived objects are known here, and what they are made from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made_from: OrderedDict[str, tuple[RemoteObject, Recipe]] = OrderedDict()

    def derive(self, source: RemoteObject, recipe: Recipe) -> RemoteObject:
        """Raises ConfigError for a form that does not exist."""
        share = form_named(recipe.form).bits / 16
        obj = derived(source, recipe, int(source.size_bytes * share))
        with self._lock:
            self._made_from[obj.id.digest] = (source, recipe)
            while len(self._made_from) > KEPT:
                self._made_from.popitem(last=False)
        return obj

    def source_of(self, obj: RemoteObject) -> tuple[RemoteObject, Recipe] | None:
        """None: it is an object of a bucket, or nobody has asked for this form in this process."""
        with self._lock:
            return self._made_from.get(obj.id.digest)
