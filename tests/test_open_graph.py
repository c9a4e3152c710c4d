"""The graph that a browser has open, as wishes: behind everything queued, one a browser, and not for long."""

from __future__ import annotations

from typing import Any

import pytest

from modelstream.cache.prefetch_policy import Depth, Tiers, Wish, plan_queue
from modelstream.hooks.bodies import Refused
from modelstream.hooks.lookahead_order import UNKNOWN, NodeShape
from modelstream.hooks.lookahead_prompt import ModelRef
from modelstream.hooks.open_graphs import GRAPHS_MAX, KEPT_S, LOOK_S, OpenGraphs
from modelstream.hooks.routes_graph import NODES_MAX, read_graph
from modelstream.storage.events import EventBus, TierDegraded
from modelstream.storage.landing import Priority
from modelstream.storage.objects import ObjectId, RemoteObject

SHAPES = {"Load": NodeShape(folders={"name": "checkpoints"}), "Show": NodeShape(output=True, first=True)}


class OneBucket:
    """Has every name but "gone…"."""

    def find(self, ref: ModelRef) -> RemoteObject | None:
        return None if ref.name.startswith("gone") else thing(ref.name)


class Site:
    def __init__(self, shapes: Any = lambda kind: SHAPES.get(kind, UNKNOWN)) -> None:
        self.now_s, self.looks, self.connected = 1000.0, 0, {"one", "two"}
        self.events: list[Any] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.graphs = OpenGraphs(
            OneBucket(),  # type: ignore[arg-type]
            shapes,
            bus,
            self.look,
            far=65,
            connected=lambda: self.connected,
            clock=lambda: self.now_s,
        )

    def look(self) -> None:
        self.looks += 1

    def names(self) -> list[str]:
        return [wish.obj.id.key for wish in self.graphs.wishes()]


def thing(name: str) -> RemoteObject:
    return RemoteObject("near", ObjectId("e", "b", name, "v"), 10, 1.0)


def graph(*names: str) -> dict[str, Any]:
    nodes = {f"l{place}": {"class_type": "Load", "inputs": {"name": name}} for place, name in enumerate(names)}
    shows = {f"s{place}": {"class_type": "Show", "inputs": {"of": [f"l{place}", 0]}} for place in range(len(names))}
    return nodes | shows


def test_a_browsers_graph_replaces_its_last_one_and_an_empty_one_ends_it():
    site = Site()
    site.graphs.opened("one", graph("a.safetensors", "gone.safetensors"))
    site.graphs.opened("two", graph("b.safetensors"))
    assert site.names() == ["b.safetensors", "a.safetensors"], "the one that changed last first"
    site.graphs.opened("one", graph("c.safetensors"))
    assert site.names() == ["c.safetensors", "b.safetensors"]
    site.graphs.opened("one", {})
    assert (site.names(), site.looks) == (["b.safetensors"], 4)


def test_a_graph_ends_with_its_browser_or_after_a_while_and_a_clock_that_jumps_back_keeps_none_for_ever():
    site = Site()
    assert site.graphs.again_s() is None
    site.graphs.opened("one", graph("a.safetensors"))
    site.graphs.opened("two", graph("b.safetensors"))
    assert site.graphs.again_s() == LOOK_S
    site.connected = {"two"}
    assert site.names() == ["b.safetensors"]
    site.now_s -= 1e9
    assert site.names() == ["b.safetensors"]
    site.now_s += KEPT_S - 5
    assert site.names() == ["b.safetensors"] and site.graphs.again_s() == pytest.approx(5)
    site.now_s += 5
    assert site.names() == [] and site.graphs.again_s() is None


def test_many_browsers_and_a_graph_that_cannot_be_read_harm_nobody():
    site = Site()
    site.connected = {str(number) for number in range(GRAPHS_MAX + 5)}
    for number in range(GRAPHS_MAX + 5):
        site.graphs.opened(str(number), graph(f"{number}.safetensors"))
    assert len(site.names()) == GRAPHS_MAX and "0.safetensors" not in site.names()
    cycle = {"1": {"class_type": "Load", "inputs": {"name": ["2", 0]}}, "2": {"class_type": "Load", "inputs": {"name": ["1", 0]}}}
    site.graphs.opened("0", cycle)
    assert len(site.names()) == GRAPHS_MAX - 1

    def raises(kind: str) -> NodeShape:
        raise RuntimeError("other people's code")

    broken = Site(raises)
    broken.graphs.opened("one", graph("a.safetensors"))
    assert broken.names() == [] == broken.names()
    assert [event.code for event in broken.events if isinstance(event, TierDegraded)] == ["graph"], "told once"


def test_what_is_open_comes_after_what_is_queued_onto_the_ssd_only_and_not_at_all_in_quiet_mode():
    site = Site()
    site.graphs.opened("one", graph("queued.safetensors", "open.safetensors"))
    wishes = [Wish(thing("queued.safetensors"), 1), *site.graphs.wishes()]
    plan = plan_queue(wishes, Tiers(set(), set(), 1000, 1000), Depth())
    assert [(s.obj.id.key, s.tier, s.priority, s.source) for s in plan.steps] == [
        ("queued.safetensors", "ram", Priority.QUEUED, "queue"),
        ("open.safetensors", "ssd", Priority.BACKGROUND, "graph"),
    ]
    quiet = plan_queue(wishes, Tiers(set(), set(), 1000, 1000), Depth(quiet=True))
    assert [s.obj.id.key for s in quiet.steps] == ["queued.safetensors"]


@pytest.mark.parametrize(
    "body",
    [
        {"client_id": "../x", "prompt": {}},
        {"client_id": "x"},
        {"client_id": "x", "prompt": [1]},
        {"client_id": "x", "prompt": {"1": "text"}},
        {"client_id": "x", "prompt": {"1": {"class_type": 7}}},
        {"client_id": "x", "prompt": {}, "tier": "ram"},
        {"client_id": "x", "prompt": {str(number): {"class_type": "A"} for number in range(NODES_MAX + 1)}},
    ],
)
def test_a_body_that_is_no_graph_is_refused(body):
    with pytest.raises(Refused):
        read_graph(body)
    assert read_graph({"client_id": "x", "prompt": graph("a.safetensors")}) == ("x", graph("a.safetensors"))
