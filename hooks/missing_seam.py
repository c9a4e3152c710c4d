"""Seam: ComfyUI's on-prompt handlers, to put right the names of models and to tell those that are nowhere, in one list.

Runs on the event loop before ComfyUI validates a prompt; from memory only.  A name that no list has, but of which one
model differs only in case, slash, subfolder or extension, is replaced in the prompt: validation, caching and loading then
see the right one.  A URL in a workflow is never read.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import folder_paths

from ..storage.events import ModelsMissing
from .folders import view_of
from .lookahead_order import Shapes, inputs_of
from .lookahead_prompt import is_model_name
from .lookahead_workflow import EmbeddedModel, embedded_models, is_workflow
from .missing_names import NAMES_MAX, Resolved, of_same_content, resolve
from .runtime import Runtime
from .seam import Seam

LOG = logging.getLogger("modelstream")
SHOWN = 100


@dataclass(frozen=True, slots=True)
class _Named:
    node: str
    input: str
    folder: str
    name: str


class MissingModelsSeam(Seam):
    name = "missing_models"

    def __init__(self, runtime: Runtime, shapes: Shapes) -> None:
        super().__init__()
        self._runtime = runtime
        self._shapes = shapes
        self._last: dict[str, Any] = {"missing": [], "replaced": []}

    def problem(self) -> str:
        handlers = getattr(_server(), "on_prompt_handlers", None)
        return "" if isinstance(handlers, list) else "PromptServer keeps its on-prompt handlers in another way"

    def wrap_all(self) -> None:
        handlers = _server().on_prompt_handlers
        handlers.append(self.on_prompt)
        self.undo_with(lambda: handlers.remove(self.on_prompt) if self.on_prompt in handlers else None)

    def last(self) -> dict[str, Any]:
        """Of the last prompt that had any: for the status."""
        return self._last

    def on_prompt(self, sent: Any) -> Any:
        """Returns the prompt, whatever happens."""
        try:
            self._put_right(sent)
        except Exception as error:
            self.ours_failed(error)
        return sent

    def _put_right(self, sent: Any) -> None:
        prompt: Any = sent.get("prompt") if isinstance(sent, Mapping) else None
        wrong = list(self._not_listed(prompt)) if isinstance(prompt, dict) else []
        if not wrong:
            return
        embedded = {model.name: model for model in _embedded(sent)}
        missing, replaced = [], []
        for one in wrong:
            found = self._meant(one, embedded.get(one.name))
            if found.name:
                prompt[one.node]["inputs"][one.input] = found.name
                replaced.append({"node": one.node, "name": one.name, "instead": found.name, "why": found.why})
                LOG.warning("[modelstream] %s/%s is not there; %s is taken, %s", one.folder, one.name, found.name, found.why)
            else:
                missing.append({"node": one.node, "folder": one.folder, "name": one.name, "candidates": list(found.candidates)})
        self._last = {"missing": missing[:SHOWN], "replaced": replaced[:SHOWN]}
        if missing:
            names = tuple(dict.fromkeys(f"{m['folder']}/{m['name']}" for m in missing))
            LOG.warning(
                "[modelstream] this prompt names %d models that are neither local nor in a bucket: %s", len(names), ", ".join(names)
            )
            self._runtime.bus.emit(ModelsMissing(str(sent.get("prompt_id") or ""), names))

    def _not_listed(self, prompt: Mapping[str, Any]) -> Iterator[_Named]:
        for node, values in prompt.items():
            if not isinstance(values, Mapping):
                continue
            folders = self._shapes(str(values.get("class_type", ""))).folders
            for name, folder in folders.items():
                value = inputs_of(values).get(name)
                if isinstance(value, str) and is_model_name(value) and value not in folder_paths.get_filename_list(folder):
                    yield _Named(str(node), name, folder, value)

    def _meant(self, one: _Named, embedded: EmbeddedModel | None) -> Resolved:
        names, view = folder_paths.get_filename_list(one.folder), view_of(one.folder)
        same: tuple[str, ...] = ()
        if embedded is not None and embedded.hash and view is not None and len(names) <= NAMES_MAX:
            versions = ((name, obj.id.version) for name, obj in self._runtime.catalog.entries(view))
            same = of_same_content(embedded.hash, embedded.hash_type, versions)
        return resolve(one.name, names, same)


def _embedded(sent: Mapping[str, Any]) -> tuple[EmbeddedModel, ...]:
    """The workflow travels with the prompt, to be written into the image."""
    found: Any = sent
    for name in ("extra_data", "extra_pnginfo", "workflow"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return embedded_models(found) if is_workflow(found) else ()


def _server() -> Any:
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
