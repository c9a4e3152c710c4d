"""The graphs that are open in browsers, as wishes: likely, not certain, so behind every queued prompt and onto the SSD only.

Off by default (``[prefetch] open_graph``).  A browser sends its graph when the models in it changed; the next one replaces
it.  A graph ends with its browser's websocket, or after half an hour.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cache.prefetch_policy import Wish
from ..cache.steady_clock import SteadyClock
from ..storage.events import EventBus, TierDegraded
from .lookahead_order import Shapes, inputs_of, link_of
from .lookahead_prompt import ModelRef, model_refs

if TYPE_CHECKING:
    from .lookahead_find import Finder

KEPT_S = 1800.0
LOOK_S = 15.0
"""so often is looked whether the browsers are still there, while there is a graph"""
GRAPHS_MAX = 16
REFS_MAX = 200
SOURCE = "graph"


@dataclass(slots=True)
class _Graph:
    prompt: Mapping[str, Any]
    until_s: float
    refs: tuple[ModelRef, ...] | None = None
    """None: not read yet"""


class OpenGraphs:
    """``wishes`` is for the prefetcher's thread, the rest for any; nothing here blocks."""

    def __init__(
        self,
        finder: Finder,
        shapes: Shapes,
        bus: EventBus,
        changed: Callable[[], None],
        *,
        far: int,
        connected: Callable[[], Collection[str] | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """far: prompts ahead, further than any of the queue; connected: browsers with a websocket; None: not known"""
        self._finder = finder
        self._shapes = shapes
        self._bus = bus
        self._changed = changed
        self._far = far
        self._connected = connected or websockets
        self._clock = SteadyClock(clock)
        self._lock = threading.Lock()
        self._graphs: OrderedDict[str, _Graph] = OrderedDict()

    def opened(self, client: str, prompt: Mapping[str, Any]) -> None:
        """Takes the place of the client's graph; an empty one ends it."""
        with self._lock:
            self._graphs.pop(client, None)
            if prompt:
                self._graphs[client] = _Graph(prompt, self._clock() + KEPT_S)
            while len(self._graphs) > GRAPHS_MAX:
                self._graphs.popitem(last=False)
        self._changed()

    def again_s(self) -> float | None:
        """Seconds until a graph may have ended by itself; None: there is none."""
        with self._lock:
            if not self._graphs:
                return None
            return max(0.0, min(LOOK_S, min(graph.until_s for graph in self._graphs.values()) - self._clock()))

    def wishes(self) -> list[Wish]:
        """The graph that changed last first."""
        found = (self._finder.find(ref) for graph in self._living() for ref in self._refs_of(graph))
        return [Wish(obj, self._far, certain=False, source=SOURCE) for obj in found if obj is not None]

    def _living(self) -> list[_Graph]:
        connected, now_s = self._connected(), self._clock()
        with self._lock:
            for client, graph in list(self._graphs.items()):
                if graph.until_s <= now_s or (connected is not None and client not in connected):
                    del self._graphs[client]
            return list(reversed(self._graphs.values()))

    def _refs_of(self, graph: _Graph) -> tuple[ModelRef, ...]:
        """Whatever a browser sent must not keep the queue's models from coming."""
        if graph.refs is None:
            try:
                graph.refs = model_refs(graph.prompt, _targets(graph.prompt, self._shapes), self._shapes)[:REFS_MAX]
            except Exception as error:
                graph.refs = ()
                self._bus.emit(TierDegraded("prefetch", "graph", type(error).__name__))
        return graph.refs


def _targets(prompt: Mapping[str, Any], shapes: Shapes) -> tuple[str, ...]:
    """What queueing the graph would ask for; of one that has no output yet, the nodes that nobody reads from."""
    outputs = tuple(node for node, values in prompt.items() if shapes(str(values.get("class_type", ""))).output)
    if outputs:
        return outputs
    read = {link_of(value) for values in prompt.values() for value in inputs_of(values).values()}
    return tuple(node for node in prompt if node not in read)


def websockets() -> Collection[str] | None:
    """Client ids with a websocket, as ComfyUI's server keeps them."""
    instance = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    sockets = getattr(instance, "sockets", None)
    return tuple(sockets) if isinstance(sockets, dict) else None
