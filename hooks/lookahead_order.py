"""In which order ComfyUI will run the nodes of a prompt.  Pure: plain values in, node ids out.

The same steps as ``comfy_execution.graph.ExecutionList`` takes when nothing is cached yet: nodes behind lazy inputs are
not waited for (whether they run at all is decided while the prompt runs), an output that can run goes first, then what
an output waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Prompt: TypeAlias = Mapping[str, Any]
"""ComfyUI's API format: node id → {"class_type": …, "inputs": {…}}.  From outside: anything may be in it."""


@dataclass(frozen=True, slots=True)
class NodeShape:
    """What is known of a node class without running it.

    folders: input → the model folder its value is chosen from
    lazy:    inputs that are asked for only when the node wants them
    first:   an output or an async node: run as soon as it can be
    """

    folders: Mapping[str, str] = field(default_factory=dict)
    lazy: frozenset[str] = frozenset()
    output: bool = False
    first: bool = False


UNKNOWN = NodeShape()
Shapes: TypeAlias = Callable[[str], NodeShape]
"""class → shape; ``UNKNOWN`` for a class that is not there"""


@dataclass(frozen=True, slots=True)
class Order:
    """certain: will run, in this order; perhaps: run only when a lazy input asks for them."""

    certain: tuple[str, ...]
    perhaps: tuple[str, ...]


def execution_order(prompt: Prompt, targets: Iterable[str], shapes: Shapes) -> Order:
    """targets: ids of the outputs that are asked for, in ComfyUI's order.  A cycle or a missing node ends the order early."""
    asked = [t for t in targets if t in prompt]
    certain = _run_order(_Pending(prompt, shapes, lazy=False).added(asked))
    seen = set(certain)
    everything = _run_order(_Pending(prompt, shapes, lazy=True).added(asked))
    return Order(tuple(certain), tuple(node for node in everything if node not in seen))


def inputs_of(node: Any) -> Mapping[str, Any]:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def link_of(value: Any) -> str | None:
    """The node that a linked input comes from."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int | float):
        return value[0]
    return None


class _Pending:
    """Nodes that are to run, in the order in which ComfyUI finds them, and who waits for whom."""

    def __init__(self, prompt: Prompt, shapes: Shapes, *, lazy: bool) -> None:
        self._prompt = prompt
        self._shapes = shapes
        self._lazy = lazy
        self.waits_for: dict[str, set[str]] = {}
        self.blocking: dict[str, dict[str, None]] = {}

    def added(self, targets: Iterable[str]) -> _Pending:
        for target in targets:
            self._add(target)
        return self

    def shape(self, node: str) -> NodeShape:
        return self._shapes(str(self._prompt[node].get("class_type", ""))) if isinstance(self._prompt[node], Mapping) else UNKNOWN

    def _add(self, target: str) -> None:
        stack, links = [target], []
        while stack:
            node = stack.pop()
            if node in self.waits_for:
                continue
            self.waits_for[node] = set()
            self.blocking[node] = {}
            lazy = frozenset() if self._lazy else self.shape(node).lazy
            for name, value in inputs_of(self._prompt[node]).items():
                source = link_of(value)
                if source is not None and source in self._prompt and name not in lazy:
                    stack.append(source)
                    links.append((source, node))
        for source, node in links:
            self.waits_for[node].add(source)
            self.blocking[source][node] = None


def _run_order(pending: _Pending) -> list[str]:
    order: list[str] = []
    left = dict.fromkeys(pending.waits_for)
    waiting = {node: len(sources) for node, sources in pending.waits_for.items()}
    while left:
        ready = [node for node in left if not waiting[node]]
        if not ready:
            break  # a cycle; ComfyUI refuses the prompt
        node = _pick(ready, pending)
        order.append(node)
        del left[node]
        for blocked in pending.blocking[node]:
            waiting[blocked] -= 1
    return order


def _pick(ready: list[str], pending: _Pending) -> str:
    """ComfyUI's ``ux_friendly_pick_node``."""

    def output(node: str) -> bool:
        return pending.shape(node).output

    def reaches(node: str, steps: int) -> bool:
        return any(output(b) if steps == 1 else reaches(b, steps - 1) for b in pending.blocking[node])

    for node in ready:
        if pending.shape(node).first:
            return node
    for steps in (1, 2):
        for node in ready:
            if reaches(node, steps):
                return node
    return ready[0]
