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


def missing_for(form: Form) -> str:
    """What this ComfyUI lacks for a form; "" where it can run it."""
    algorithms = _algorithms()
    if algorithms is None:
        return "this ComfyUI has no quantised layers (comfy.quant_ops.QUANT_ALGOS)"
    if form.algorithm not in algorithms:
        return f"this ComfyUI has no layer for {form.algorithm}; it has {', '.join(sorted(algorithms)) or 'none'}"
    if form.needs and importlib.util.find_spec(form.needs) is None:
        return f"{form.needs} is not installed"
    return ""


def offered() -> tuple[str, ...]:
    """Names of the forms that can be run here."""
    return tuple(name for name, form in FORMS.items() if not missing_for(form))


def as_owner_wants(runtime: Runtime, obj: RemoteObject, request: Request) -> RemoteObject:
    """The object in the precision that the configuration names for it, or itself.  Blocks for its header, a small read.

    A rule that cannot be followed (no layer for it here, an architecture no table knows) leaves the model as it is, and the log
    says why, once for each object.
    """
    form = form_for(runtime.config.precision, request.folder, request.name)
    if form is None or not obj.basename.lower().endswith((".safetensors", ".sft")):
        return obj
    why = missing_for(FORMS[form])
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
