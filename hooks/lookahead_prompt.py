"""Which models a prompt names, in the order in which they will be wanted.  Pure: plain values in, plain values out.

Three ways to find one, none of them a table of node classes:

* the input's list of choices knows its folder (``listing.TaggedNames``): core's loaders and every third-party loader
  that offers ``folder_paths.get_filename_list``;
* any other text that is a model's file name, however deep it is nested: loaders whose widgets are made in the browser,
  primitives that feed a loader;
* ``embedding:NAME`` in a prompt's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .lookahead_order import Prompt, Shapes, execution_order, inputs_of, link_of

EMBEDDINGS = "embeddings"
MODEL_NAME = re.compile(r"[^\n\r\x00]{1,400}\.(?:safetensors|sft|gguf|ckpt|pt|pt2|pth|bin|pkl|onnx)", re.IGNORECASE)
_EMBEDDING = re.compile(r"(?:^|(?<=[\s()]))embedding:((?:\\[()]|[^\s():])+)")
_DEEP = 6
_LINKS = 4
"""a name may come through so many nodes that hand a text on"""
_TEXT_CHARS_MAX = 200_000


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model that a prompt names.

    folder:  ComfyUI's folder; empty: not said, to be looked for by its name
    certain: False for a node that runs only if a lazy input asks for it
    """

    folder: str
    name: str
    node: str
    input: str
    certain: bool = True

    @property
    def is_embedding(self) -> bool:
        """Embeddings are named without their extension."""
        return self.folder == EMBEDDINGS


def model_refs(prompt: Prompt, targets: Iterable[str], shapes: Shapes) -> tuple[ModelRef, ...]:
    """Each model once, at its first use."""
    order = execution_order(prompt, targets, shapes)
    found: dict[tuple[str, str], ModelRef] = {}
    for certain, nodes in ((True, order.certain), (False, order.perhaps)):
        for node in nodes:
            for ref in _refs_of(prompt, node, shapes, certain):
                found.setdefault((ref.folder, ref.name), ref)
    # a name that some loader says the folder of needs no second search
    placed = {name for folder, name in found if folder}
    return tuple(ref for ref in found.values() if ref.folder or ref.name not in placed)


def is_model_name(text: str) -> bool:
    return MODEL_NAME.fullmatch(text) is not None


def _refs_of(prompt: Prompt, node: str, shapes: Shapes, certain: bool) -> Iterator[ModelRef]:
    values = prompt[node] if isinstance(prompt[node], Mapping) else {}
    folders = shapes(str(values.get("class_type", ""))).folders
    for name, value in inputs_of(values).items():
        folder = folders.get(name, "")
        source = link_of(value)
        if source is not None:
            if folder:
                yield from (ModelRef(folder, text, node, name, certain) for text in _constants(prompt, source, _LINKS))
        elif folder and isinstance(value, str):
            if is_model_name(value):  # not "None", "default", "pixel_space"
                yield ModelRef(folder, value, node, name, certain)
        else:
            for text in _texts(value, _DEEP):
                if is_model_name(text):
                    yield ModelRef(folder, text, node, name, certain)
                elif "embedding:" in text:
                    yield from (ModelRef(EMBEDDINGS, one, node, name, certain) for one in embeddings_in(text))


def embeddings_in(text: str) -> tuple[str, ...]:
    """As ``comfy.sd1_clip`` reads a prompt: weights and a comma behind a name do not belong to it."""
    names = (re.sub(r"\\([()])", r"\1", match).rstrip(",") for match in _EMBEDDING.findall(text[:_TEXT_CHARS_MAX]))
    return tuple(dict.fromkeys(name for name in names if name))


def _constants(prompt: Prompt, node: str, links: int) -> Iterator[str]:
    """Model names that a node may hand on: its own, or those of the nodes it reads."""
    for value in inputs_of(prompt.get(node)).values():
        source = link_of(value)
        if source is None:
            yield from (text for text in _texts(value, _DEEP) if is_model_name(text))
        elif links > 1:
            yield from _constants(prompt, source, links - 1)


def _texts(value: Any, deep: int) -> Iterator[str]:
    """Every text in a value; what a widget has switched off (``{"on": false, …}``) is not meant."""
    if isinstance(value, str):
        yield value.strip() if len(value) < 500 else value
    elif deep and isinstance(value, Mapping):
        if value.get("on") is not False:
            for one in value.values():
                yield from _texts(one, deep - 1)
    elif deep and isinstance(value, list | tuple):
        for one in value[:1000]:
            yield from _texts(one, deep - 1)
