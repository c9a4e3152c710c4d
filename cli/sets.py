"""What a command is given as its list of models: a warm set, a workflow, or a prompt in API format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..cache.prefetch_set import WarmModel, WarmSet, read_content, read_warm_set
from ..hooks.lookahead_order import UNKNOWN
from ..hooks.lookahead_prompt import EMBEDDINGS, ModelRef, model_refs
from ..hooks.lookahead_workflow import EmbeddedModel, is_prompt, is_workflow, workflow_prompt


def read_set(path: Path) -> WarmSet:
    """Raises ConfigError."""
    if path.suffix.lower() == ".json":
        content = read_content(path)
        if is_workflow(content):
            found = workflow_prompt(content)
            return WarmSet(tuple(_models(model_refs(found.prompt, found.targets, lambda _: UNKNOWN), found.models)))
        if is_prompt(content):
            return WarmSet(tuple(_models(model_refs(content, list(content), lambda _: UNKNOWN), ())))
    return read_warm_set(path)


def _models(refs: Iterable[ModelRef], embedded: Iterable[EmbeddedModel]) -> Iterable[WarmModel]:
    """No ComfyUI is here to say the folder of an input: the workflow's own list of models says it where there is one."""
    folders = {model.name: model.directory for model in embedded}
    for ref in refs:
        folder = ref.folder or folders.get(ref.name, "")
        if folder == EMBEDDINGS and "." not in ref.name.rsplit("/", 1)[-1]:
            yield WarmModel(folder, f"{ref.name}.safetensors")
        else:
            yield WarmModel(folder, ref.name)
