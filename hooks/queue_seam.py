"""Seam: ``execution.PromptQueue``, to know what is queued.

Every change of the queue is told by one call that does nothing but wake somebody: ``put`` runs on the event loop.  What is
queued is read afterwards, from the queue's own cheap copy, so that a thousand changes in a row are one look.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .seam import Seam, Wrapped, shape_problem

CHANGES = {"put": ("self", "item"), "wipe_queue": ("self",), "delete_queue_item": ("self", "function")}
"""method → its first parameters"""
PROGRESS = {"get": ("self",), "task_done": ("self", "item_id", "history_result", "status")}


@dataclass(frozen=True, slots=True)
class QueuedPrompt:
    """One prompt that runs or waits; ``prompt`` is ComfyUI's own dictionary and only read."""

    id: str
    prompt: Mapping[str, Any]
    targets: tuple[str, ...]
    running: bool
    client: str = ""
    """who queued it, as ComfyUI names him"""


class QueueSeam(Seam):
    """``changed`` is called in whatever thread changed the queue, the event loop included; ``ended`` in the thread that runs
    prompts, after one ended.  Both must be quick."""

    name = "queue"

    def __init__(self, changed: Callable[[], None], ended: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._changed = changed
        self._ended = ended
        self.taken: deque[QueuedPrompt] = deque(maxlen=0)
        """what the thread that runs prompts took since somebody emptied this; who wants that gives it a length"""

    def problem(self) -> str:
        owner = _owner()
        for method, first in {**CHANGES, **PROGRESS}.items():
            problem = shape_problem(getattr(owner, method, None), *first)
            if problem:
                return f"PromptQueue.{method}: {problem}"
        return shape_problem(getattr(owner, "get_current_queue_volatile", None), "self")

    def wrap_all(self) -> None:
        owner = _owner()
        for method in CHANGES:
            self.wrap(owner, method, self._tell(self._changed))
        self.wrap(owner, "get", self._taking)
        self.wrap(owner, "task_done", self._tell(self._after_prompt))

    def queued(self) -> tuple[QueuedPrompt, ...]:
        """What runs, then what waits, in the order in which it will run.  Any thread; takes the queue's lock for a moment."""
        instance = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
        queue = getattr(instance, "prompt_queue", None)
        if queue is None:
            return ()
        running, waiting = queue.get_current_queue_volatile()
        # a heap: only its first item is in its place
        ordered = sorted(waiting, key=lambda item: (item[0], str(item[1])))
        found = [_queued(item, running=True) for item in running] + [_queued(item, running=False) for item in ordered]
        return tuple(one for one in found if one is not None)

    def _after_prompt(self) -> None:
        self._ended()
        self._changed()

    def _taking(self, original: Wrapped, *args: Any, **kwargs: Any) -> Any:
        """``get``: (item, its number), or None after a time-out."""
        result = original(*args, **kwargs)
        if result is not None:
            try:
                prompt = _queued(result[0], running=True)
                if prompt is not None:
                    self.taken.append(prompt)
                self._changed()
            except Exception as error:
                self.ours_failed(error)
        return result

    def _tell(self, tell: Callable[[], None]) -> Callable[..., Any]:
        def replacement(original: Wrapped, *args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            try:
                tell()
            except Exception as error:
                self.ours_failed(error)
            return result

        return replacement


def _queued(item: Any, *, running: bool) -> QueuedPrompt | None:
    """(number, id, prompt, extra data, outputs to execute, …): later versions only added to the end."""
    try:
        prompt, extra, targets = item[2], item[3], item[4]
        if not isinstance(prompt, Mapping):
            return None
        client = str(extra.get("client_id") or "") if isinstance(extra, Mapping) else ""
        return QueuedPrompt(str(item[1]), prompt, tuple(str(t) for t in targets), running, client)
    except (TypeError, LookupError):
        return None


def _owner() -> Any:
    return getattr(sys.modules.get("execution"), "PromptQueue", None)
