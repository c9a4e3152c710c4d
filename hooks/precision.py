"""Which precisions this ComfyUI can run, and which models the owner wants written in one while they come in.

A precision is offered only where ComfyUI has the layers for it: its own table (``comfy.quant_ops.QUANT_ALGOS``) is asked, and
what makes the form has to be importable.  Without the table nothing is offered, and why is said.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..cache.precision import plan, recipe_for
from ..cache.recipe import FORMS, Form
from ..storage.config_precision import form_for
from ..storage.errors import InvalidSafetensors

if TYPE_CHECKING:
    from ..storage.objects import RemoteObject
    from .runtime import Request, Runtime

log = logging.getLogger(__name__)


def missing_for(form: Form, folder: str = "") -> str:
    """What this ComfyUI lacks for a form of a model in that folder; "" where it can run it."""
    if folder == "checkpoints" and not _runs_checkpoints():
        return "this ComfyUI's loader of whole checkpoints cannot run quantised layers; that of diffusion models can"
    algorithms = _algorithms()
    if algorithms is None:
        return "this ComfyUI has no quantised layers (comfy.quant_ops.QUANT_ALGOS)"
    if form.algorithm not in algorithms:
        return f"this ComfyUI has no layer for {form.algorithm}; it has {', '.join(sorted(algorithms)) or 'none'}"
    if form.needs and importlib.util.find_spec(form.needs) is None:
        return f"{form.needs} is not installed"
    return ""


def offered(folder: str = "") -> tuple[str, ...]:
    """Names of the forms that models of that folder can be run in here."""
    return tuple(name for name, form in FORMS.items() if not missing_for(form, folder))


def as_owner_wants(runtime: Runtime, obj: RemoteObject, request: Request) -> RemoteObject:
    """The object in the precision that the configuration names for it, or itself.  Blocks for its header, a small read.

    A rule that cannot be followed (no layer for it here, an architecture no table knows) leaves the model as it is, and the log
    says why, once for each object.
    """
    form = form_for(runtime.config.precision, request.folder, request.name)
    if form is None or not obj.basename.lower().endswith((".safetensors", ".sft")):
        return obj
    why = missing_for(FORMS[form], request.folder)
    if not why:
        try:
            plan(runtime.cache.header(obj), recipe_for(form), obj.subject)
        except InvalidSafetensors as error:
            why = error.cause
    if not why:
        return runtime.cache.in_precision(obj, form)
    if (obj.id.digest, form) not in runtime.kept_as_is:
        runtime.kept_as_is.add((obj.id.digest, form))
        log.warning("Model Stream: %s is not converted to %s: %s", obj.subject, form, why)
    return obj


def _algorithms() -> Mapping[str, object] | None:
    quant_ops = sys.modules.get("comfy.quant_ops")
    found = getattr(quant_ops, "QUANT_ALGOS", None)
    return found if isinstance(found, Mapping) else None


def _runs_checkpoints() -> bool:
    """ComfyUI 0.3.75 gives the layers of a checkpoint no dtype to compute in, where the device computes in that of the file; newer
    ones look at the model's quantisation there (comfy/sd.py load_state_dict_guess_config)."""
    loader = getattr(sys.modules.get("comfy.sd"), "load_state_dict_guess_config", None)
    code = getattr(loader, "__code__", None)
    return code is not None and any("quant_config" in name for name in code.co_names)
