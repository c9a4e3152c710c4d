"""From ComfyUI's queue to what the prefetcher should fetch: which models the queued prompts name, soonest first.

Runs in the prefetcher's thread, which reads the queue when something changed.  A prompt is read once; which object a name
means is asked each time, because buckets and local files change while a prompt waits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from ..cache.prefetch_policy import Wish
from ..storage.events import Event, EventBus, ModelLoaded
from .lookahead_find import Finder
from .lookahead_order import Shapes
from .lookahead_prompt import ModelRef, model_refs
from .pickles import is_safetensors_name
from .queue_seam import QueuedPrompt

PROMPTS_KEPT = 256


class LookAhead:
    """``wishes`` is for one thread; ``__call__`` (a subscriber of the bus) for any."""

    def __init__(self, queued: Callable[[], tuple[QueuedPrompt, ...]], finder: Finder, shapes: Shapes, bus: EventBus, *, most: int) -> None:
        """most: prompts further back are not looked at"""
        self._queued = queued
        self._finder = finder
        self._shapes = shapes
        self._most = most
        self._refs: OrderedDict[str, tuple[ModelRef, ...]] = OrderedDict()
        self._lock = threading.Lock()
        self._served: OrderedDict[str, set[str]] = OrderedDict()
        self._undo = bus.subscribe(self)

    def close(self) -> None:
        self._undo()

    def __call__(self, event: Event) -> None:
        """What the running prompt has loaded already it will not load again."""
        if isinstance(event, ModelLoaded) and event.prompt:
            with self._lock:
                self._served.setdefault(event.prompt, set()).add(event.subject)
                while len(self._served) > 8:
                    self._served.popitem(last=False)

    def wishes(self) -> list[Wish]:
        found: list[Wish] = []
        queued = self._queued()
        ahead = 0 if any(one.running for one in queued) else 1
        for place, prompt in enumerate(queued[: self._most]):
            with self._lock:
                served = frozenset(self._served.get(prompt.id, ())) if prompt.running else frozenset()
            for ref in self.refs_of(prompt):
                obj = self._finder.find(ref)
                if obj is not None and obj.subject not in served:
                    memory = is_safetensors_name(obj.basename) and not ref.is_embedding
                    found.append(Wish(obj, place + ahead, memory, ref.certain))
        return found

    def refs_of(self, prompt: QueuedPrompt) -> tuple[ModelRef, ...]:
        known = self._refs.get(prompt.id)
        if known is None:
            known = self._refs[prompt.id] = model_refs(prompt.prompt, prompt.targets, self._shapes)
            while len(self._refs) > PROMPTS_KEPT:
                self._refs.popitem(last=False)
        else:
            self._refs.move_to_end(prompt.id)
        return known
