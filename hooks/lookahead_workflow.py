"""A workflow file as a prompt: what the browser would send for it, as far as models are concerned.  Pure.

The browser's own conversion needs the browser.  This one keeps what look-ahead reads: which nodes are switched on, what
is inside subgraphs (with the values that the subgraph's node gives them), who reads from whom, and every widget's value.
Values whose widget's name the file does not say are called "widget_0", "widget_1", …
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .lookahead_order import link_of

ALWAYS, BYPASSED = 0, 4
NOT_SENT = frozenset({"Note", "MarkdownNote", "PrimitiveNode", "Reroute"})
DEEP = 16

Source: TypeAlias = tuple[str, int]
"""(node id, output)"""
Widgets: TypeAlias = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """An entry of a node's ``properties.models``: what the workflow's author used.  The URL is for people, never fetched."""

    name: str
    directory: str
    hash: str = ""
    hash_type: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class WorkflowPrompt:
    prompt: dict[str, Any]
    targets: tuple[str, ...]
    """nodes that nobody reads from"""
    models: tuple[EmbeddedModel, ...]


def is_workflow(value: Any) -> bool:
    """Whether this is a workflow as the browser saves it (or else a prompt in API format)."""
    return isinstance(value, Mapping) and isinstance(value.get("nodes"), list)


def is_prompt(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(n, Mapping) and "class_type" in n for n in value.values())


def workflow_prompt(workflow: Mapping[str, Any], widgets: Widgets = lambda class_type: ()) -> WorkflowPrompt:
    """Never raises for a workflow that is a dictionary: what is not as expected is left out.

    widgets: the names of a class's widgets in their order, for files that do not name them
    """
    flat = _Flat(_subgraphs(workflow), widgets)
    flat.add(_Graph(workflow), "", {}, DEEP)
    prompt = {
        node: {"class_type": values["class_type"], "inputs": {n: v for n, v in _resolved(flat, values["inputs"]).items() if v is not None}}
        for node, values in flat.nodes.items()
    }
    read = {link_of(value) for values in prompt.values() for value in values["inputs"].values()}
    return WorkflowPrompt(prompt, tuple(node for node in prompt if node not in read), tuple(flat.models))


def embedded_models(workflow: Mapping[str, Any]) -> tuple[EmbeddedModel, ...]:
    return workflow_prompt(workflow).models


class _Graph:
    """One level: the workflow itself, or one subgraph's definition."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.nodes = {str(n.get("id")): n for n in _list(values.get("nodes")) if isinstance(n, Mapping)}
        links = list(_links(values.get("links")))
        self.sources: dict[Any, Source] = {link: source for link, source, _ in links}
        self.ends: dict[Source, Source] = {end: source for _, source, end in links}
        self.inputs = [i for i in _list(values.get("inputs")) if isinstance(i, Mapping)]
        self.input_node, self.output_node = (_id_of(values.get(name)) for name in ("inputNode", "outputNode"))

    def output_source(self, slot: int) -> Source | None:
        return self.ends.get((self.output_node, slot))


@dataclass(frozen=True, slots=True)
class _Link:
    """An input that is read from somewhere: where, as one level of the workflow says it."""

    graph: _Graph
    prefix: str
    link: Any


class _Flat:
    """All levels in one: ids are joined by colons, as the browser does it."""

    def __init__(self, subgraphs: Mapping[str, _Graph], widgets: Widgets) -> None:
        self.subgraphs = subgraphs
        self.widgets = widgets
        self.nodes: dict[str, dict[str, Any]] = {}
        self.models: list[EmbeddedModel] = []
        self.given: dict[str, Mapping[str, Any]] = {}
        """level's prefix → its inputs as its node has them: a value, or a ``_Link`` of the level above"""
        self.inside: dict[str, _Graph] = {}
        self.off: dict[str, Mapping[str, Any]] = {}

    def add(self, graph: _Graph, prefix: str, given: Mapping[str, Any], deep: int) -> None:
        self.given[prefix] = given
        self.inside[prefix] = graph
        for plain_id, node in graph.nodes.items():
            full, kind = prefix + plain_id, str(node.get("type", ""))
            if node.get("mode", ALWAYS) != ALWAYS or kind in NOT_SENT:
                self.off[full] = node
                continue
            values = {name: self._value(graph, prefix, value) for name, value in _inputs(node, self.widgets(kind)).items()}
            if kind in self.subgraphs and deep:
                inner = self.subgraphs[kind]
                self.add(inner, f"{full}:", _promoted(node, values), deep - 1)
            else:
                self.nodes[full] = {"class_type": kind, "inputs": values}
                self.models += _models(node, full)

    def _value(self, graph: _Graph, prefix: str, value: Any) -> Any:
        """A link that only hands on a value from the level above becomes that value."""
        if isinstance(value, tuple):  # (link, the widget's own value)
            link, own = value
            source = graph.sources.get(link)
            if source is not None and source[0] == graph.input_node and source[1] < len(graph.inputs):
                name = str(graph.inputs[source[1]].get("name", ""))
                above = self.given[prefix].get(name)
                return own if above is None else above
            if source is not None and str(graph.nodes.get(source[0], {}).get("type")) == "PrimitiveNode":
                return own
            return _Link(graph, prefix, link)
        return value

    def source(self, link: _Link, deep: int = DEEP * 4) -> Source | None:
        """The node that really makes what comes through a link: through subgraphs, reroutes and bypassed nodes."""
        return self._real(link.graph, link.prefix, link.graph.sources.get(link.link), deep)

    def _real(self, graph: _Graph, prefix: str, found: Source | None, deep: int) -> Source | None:
        if found is None or not deep:
            return None
        node, slot = found
        if node == graph.input_node and graph.input_node:
            name = str(graph.inputs[slot].get("name", "")) if slot < len(graph.inputs) else ""
            above = self.given[prefix].get(name)
            return self.source(above, deep - 1) if isinstance(above, _Link) else None
        full = prefix + node
        if full in self.nodes:
            return full, slot
        inner = self.inside.get(f"{full}:")
        if inner is not None:
            return self._real(inner, f"{full}:", inner.output_source(slot), deep - 1)
        passed = self._passed_on(self.off.get(full), slot)
        return None if passed is None else self._real(graph, prefix, graph.sources.get(passed), deep - 1)

    @staticmethod
    def _passed_on(node: Mapping[str, Any] | None, slot: int) -> Any:
        """The link whose value a bypassed node hands on: the first input of the output's type."""
        if node is None or (node.get("mode") != BYPASSED and node.get("type") != "Reroute"):
            return None
        outputs = _list(node.get("outputs"))
        kind = outputs[slot].get("type") if slot < len(outputs) and isinstance(outputs[slot], Mapping) else None
        inputs = [i for i in _list(node.get("inputs")) if isinstance(i, Mapping) and isinstance(i.get("link"), int | str)]
        return next((i["link"] for i in inputs if i.get("type") == kind or node.get("type") == "Reroute"), None)


def _resolved(flat: _Flat, inputs: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, _Link):
            source = flat.source(value)
            found[name] = None if source is None else [source[0], source[1]]
        else:
            found[name] = value
    return found


def _inputs(node: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Input → its value, or (link, own value) for one that is connected."""
    inputs = [i for i in _list(node.get("inputs")) if isinstance(i, Mapping)]
    widgets = [str(i["widget"].get("name")) for i in inputs if isinstance(i.get("widget"), Mapping)]
    own = _widget_values(node.get("widgets_values"), list(known) or widgets)
    found: dict[str, Any] = dict(own)
    for one in inputs:
        name = str(one.get("name", ""))
        if isinstance(one.get("link"), int | str):
            found[name] = (one["link"], own.get(name))
    return found


def _widget_values(values: Any, widgets: list[str]) -> dict[str, Any]:
    """Names are the file's own where it gives a name to every value; a seed's extra value ("randomize") shifts the rest."""
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    if not isinstance(values, list):
        return {}
    if len(values) == len(widgets):
        return dict(zip(widgets, values, strict=True))
    if len(values) == 1 + len(widgets) and "seed" in "".join(widgets):
        at = next((i for i, v in enumerate(values) if v in ("fixed", "randomize", "increment", "decrement")), len(values))
        kept = [v for i, v in enumerate(values) if i != at]
        if len(kept) == len(widgets):
            return dict(zip(widgets, kept, strict=True))
    return {f"widget_{number}": value for number, value in enumerate(values)}


def _promoted(node: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a subgraph's node gives to the subgraph's inputs, by name."""
    return {name: value for name, value in values.items() if not name.startswith("widget_") and value is not None}


def _models(node: Mapping[str, Any], full_id: str) -> list[EmbeddedModel]:
    properties = node.get("properties")
    listed = properties.get("models") if isinstance(properties, Mapping) else None
    return [
        EmbeddedModel(m["name"], m["directory"], str(m.get("hash") or ""), str(m.get("hash_type") or ""), full_id)
        for m in _list(listed)
        if isinstance(m, Mapping) and isinstance(m.get("name"), str) and isinstance(m.get("directory"), str)
    ]


def _id_of(node: Any) -> str:
    """Empty where there is none: the workflow itself has no such node."""
    return str(node.get("id", "")) if isinstance(node, Mapping) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _links(links: Any) -> Iterable[tuple[Any, Source, Source]]:
    """(link, where it comes from, where it goes to)"""
    for link in links.values() if isinstance(links, Mapping) else _list(links):
        if isinstance(link, Mapping):
            one = [link.get(name) for name in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
        elif isinstance(link, list) and len(link) >= 5:
            one = link[:5]
        else:
            continue
        if isinstance(one[0], int | str) and all(slot is None or isinstance(slot, int) for slot in (one[2], one[4])):
            yield one[0], (str(one[1]), one[2] or 0), (str(one[3]), one[4] or 0)


def _subgraphs(workflow: Mapping[str, Any]) -> dict[str, _Graph]:
    definitions = workflow.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    return {str(s.get("id")): _Graph(s) for s in _list(listed) if isinstance(s, Mapping)}
