"""Seam: a loader takes a variant of fewer bits, stored or made on the way in, instead of a model that does not fit, where the
owner allowed that.

Without ``[fit] smaller = true`` it is not put on, and nothing ever loads another precision than the one that was chosen.  With it,
only where the estimate says that the model does not fit at all: what ComfyUI can load in parts is loaded as it is.  Told by events
and on the node.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import folder_paths

from ..cache.fit import EVICT, NO, OFFLOAD, WHOLE
from ..cache.recipe import FORMS
from ..cache.variant_choice import Variant, choose_variant
from ..storage.errors import ModelStreamError, NoRoom
from ..storage.events_fit import MemoryStep, VariantChosen
from ..storage.people import size_text
from ..storage.variant_rules import BEST
from .context import executing
from .fit_folders import CHECKPOINTS, DIFFUSION
from .fit_shapes import PICTURE
from .fit_variants import GGUF, find_family, variants_of
from .folders import local_file, view_of
from .precision import offered
from .progress import send_text
from .runtime import Runtime
from .seam import Seam, Wrapped, shape_problem

if TYPE_CHECKING:
    from .fit import Estimator

LOADERS = ((DIFFUSION, "load_diffusion_model", "unet_path"), (CHECKPOINTS, "load_checkpoint_guess_config", "ckpt_path"))


class SmallerSeam(Seam):
    """Put on after the warm models: what is loaded instead may be warm."""

    name = "smaller"

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def problem(self) -> str:
        problems = [shape_problem(getattr(sys.modules.get("comfy.sd"), name, None), first) for _, name, first in LOADERS]
        return next((problem for problem in problems if problem), "")

    def wrap_all(self) -> None:
        for folder, name, _ in LOADERS:
            self._wrap_loader(folder, name)

    def _wrap_loader(self, folder: str, name: str) -> None:
        def load(original: Wrapped, path: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                path = self._instead(folder, path) or path
            except (ModelStreamError, OSError):
                pass  # no header, no other variant: it is loaded as it is, and whatever comes of that is told
            except Exception as error:
                self.ours_failed(error)
            return original(path, *args, **kwargs)

        self.wrap(sys.modules["comfy.sd"], name, load)

    def _instead(self, folder: str, path: Any) -> str | None:
        """The path of what is loaded instead; None: nothing."""
        estimator = self._runtime.estimator
        name = _name_of(self._runtime, folder, path)
        fit = None if estimator is None or name is None else estimator.by_name(folder, name)
        if estimator is None or name is None or fit is None or fit.verdict.kind != NO:
            return None
        found = self._variant(estimator, folder, name) or self._recipe(estimator, folder, name)
        if found is None:
            return None
        (taken, instead), verdict = found, fit.verdict
        missing = f"{size_text(verdict.missing_bytes)} of {verdict.reason} were missing"
        why = f"{taken.name} ({taken.format}) instead: {missing}, and the owner allows it"
        self._runtime.bus.emit(VariantChosen(folder, name, taken.name, "smaller", taken.format, why))
        left = max(0, verdict.needed_bytes - taken.verdict.needed_bytes)
        self._runtime.bus.emit(MemoryStep("smaller", verdict.device, name, verdict.needed_bytes, verdict.left_bytes, left, why))
        where = executing()
        if where is not None:
            send_text(why, where)
        return instead

    def _variant(self, estimator: Estimator, folder: str, name: str) -> tuple[Variant, str] | None:
        """The best of the stored variants that fits, and the path that a loader is given for it."""
        found = find_family(self._runtime, folder, name)
        every = [one for one in variants_of(estimator, folder, found, PICTURE) if not one.name.lower().endswith(GGUF)]
        own = next(one for one in every if one.name == name)
        try:
            taken = choose_variant([own, *(one for one in every if one.bits < own.bits)], name, BEST).variant
        except NoRoom:
            return None
        path = None if taken.name == name else _path_of(self._runtime, folder, taken.name)
        return None if path is None else (taken, path)

    def _recipe(self, estimator: Estimator, folder: str, name: str) -> tuple[Variant, str] | None:
        """The object itself, written in fewer bits while it comes in: the most bits with which it fits."""
        view = view_of(folder)
        obj = None if view is None or local_file(folder, name) is not None else self._runtime.catalog.find(view, name)
        if obj is None:
            return None
        for form in sorted((FORMS[one] for one in offered(folder)), key=lambda one: -one.bits):
            verdict = estimator.in_form(obj, folder, form.name).verdict
            if verdict.kind in (WHOLE, EVICT, OFFLOAD):
                made = self._runtime.cache.in_precision(obj, form.name)
                path = str(self._runtime.cache.path_for(made))
                self._runtime.asked(path, folder, name)
                return Variant(name, form.name, float(form.bits), made.size_bytes, verdict), path
        return None


def _path_of(runtime: Runtime, folder: str, name: str) -> str | None:
    """What a loader would be given: a local file, or where the object is or will be.  Whoever asked had a path for the same loader."""
    view, local = view_of(folder), local_file(folder, name)
    obj = None if view is None else runtime.catalog.find(view, name)
    if local is not None or obj is None:
        return local
    path = str(runtime.cache.path_for(obj))
    runtime.asked(path, folder, name)
    return path


def _name_of(runtime: Runtime, folder: str, path: Any) -> str | None:
    """What a loader's list calls it."""
    if not isinstance(path, str):
        return None
    obj = runtime.object_at(path)
    if obj is not None:
        request = runtime.request_for(path, obj)
        return request.name if request.folder == folder else None
    for base in folder_paths.get_folder_paths(folder):
        relative = os.path.relpath(path, base)
        if not relative.startswith(os.pardir) and not os.path.isabs(relative):
            return relative
    return None
