"""Seam: what ComfyUI's queue and executor do, told as events: queued, started, each node, ended.

Wraps ``PromptQueue.put``, ``delete_queue_item`` and ``wipe_queue`` (event loop: a count and a dictionary, nothing else) and
``PromptExecutor.execute_async`` (the thread that runs prompts).  Nodes are told by a handler of ComfyUI's own progress
registry where it has one.  The outcome is read from the executor's own messages, as the history does.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..storage.events import EventBus
from ..storage.events_comfy import NOT_KNOWN_S, ExecutionComplete, ExecutionProgress, ExecutionStart, QueueOperation
from .seam import Seam, Wrapped, shape_problem

QUEUED_KEPT = 10_000
HANDLER = "modelstream"


class ExecutionsSeam(Seam):
    name = "executions"

    def __init__(self, bus: EventBus, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._bus = bus
        self._clock = clock
        self._lock = threading.Lock()
        self._queued_s: OrderedDict[str, float] = OrderedDict()

    def problem(self) -> str:
        queue, executor = _class("PromptQueue"), _class("PromptExecutor")
        wanted = (
            (queue, "put", ("self", "item")),
            (queue, "delete_queue_item", ("self", "function")),
            (queue, "wipe_queue", ("self",)),
            (executor, "execute_async", ("self", "prompt", "prompt_id")),
        )
        for owner, method, first in wanted:
            problem = shape_problem(getattr(owner, method, None), *first)
            if problem:
                return f"{method}: {problem}"
        return ""

    def wrap_all(self) -> None:
        queue = _class("PromptQueue")
        self.wrap(queue, "put", self._put)
        self.wrap(queue, "delete_queue_item", self._changing("delete"))
        self.wrap(queue, "wipe_queue", self._changing("clear"))
        self.wrap(_class("PromptExecutor"), "execute_async", self._execute)

    # -- the queue ---------------------------------------------------------------------------------------------------------
    def _put(self, original: Wrapped, queue: Any, item: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(queue, item, *args, **kwargs)
        try:
            prompt = str(item[1])
            with self._lock:
                self._queued_s[prompt] = self._clock()
                while len(self._queued_s) > QUEUED_KEPT:
                    self._queued_s.popitem(last=False)
            self._bus.emit(QueueOperation("put", prompt, _pending(queue)))
        except Exception as error:
            self.ours_failed(error)
        return result

    def _changing(self, operation: str) -> Callable[..., Any]:
        def changed(original: Wrapped, queue: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(queue, *args, **kwargs)
            try:
                self._bus.emit(QueueOperation(operation, "", _pending(queue)))
            except Exception as error:
                self.ours_failed(error)
            return result

        return changed

    # -- the executor --------------------------------------------------------------------------------------------------------
    async def _execute(self, original: Wrapped, executor: Any, prompt: Any, prompt_id: Any, *args: Any, **kwargs: Any) -> Any:
        started_s = self._clock()
        nodes = _Nodes(self._bus, str(prompt_id), self._clock)
        self._started(executor, str(prompt_id), started_s)
        try:
            with nodes.watching(self):
                return await original(executor, prompt, prompt_id, *args, **kwargs)
        finally:
            try:
                seconds = self._clock() - started_s
                self._bus.emit(ExecutionComplete(str(prompt_id), _status(executor), seconds, nodes.done))
            except Exception as error:
                self.ours_failed(error)

    def _started(self, executor: Any, prompt: str, now_s: float) -> None:
        try:
            with self._lock:
                queued_s = self._queued_s.pop(prompt, None)
            queue = getattr(getattr(executor, "server", None), "prompt_queue", None)
            if queue is not None:
                self._bus.emit(QueueOperation("start", prompt, _pending(queue)))
            self._bus.emit(ExecutionStart(prompt, NOT_KNOWN_S if queued_s is None else now_s - queued_s))
        except Exception as error:
            self.ours_failed(error)


class _Nodes:
    """Counts the nodes of one execution through ComfyUI's progress registry; without one nothing is counted."""

    def __init__(self, bus: EventBus, prompt: str, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._prompt = prompt
        self._clock = clock
        self._since_s: dict[str, float] = {}
        self.done = 0

    def watching(self, seam: Seam) -> _Watching:
        return _Watching(self, seam)

    def started(self, node: str) -> None:
        self._since_s[node] = self._clock()

    def ended(self, node: str) -> None:
        since_s = self._since_s.pop(node, None)
        if since_s is not None:
            self.done += 1
            self._bus.emit(ExecutionProgress(self._prompt, node, self._clock() - since_s, self.done))


class _Watching:
    """While the block runs, the registry that ``execute_async`` makes gets our handler: its maker is wrapped, in this thread's
    module and only for as long."""

    def __init__(self, nodes: _Nodes, seam: Seam) -> None:
        self._nodes = nodes
        self._seam = seam
        self._undo: Callable[[], None] = lambda: None

    def __enter__(self) -> None:
        execution, progress = sys.modules.get("execution"), sys.modules.get("comfy_execution.progress")
        original: Any = getattr(execution, "reset_progress_state", None)
        base = getattr(progress, "ProgressHandler", None)
        add = getattr(progress, "add_progress_handler", None)
        if original is None or base is None or add is None:
            return
        if shape_problem(add, "handler") or shape_problem(original, "prompt_id", "dynprompt"):
            return
        handler = _handler(base, self._nodes, self._seam)

        def reset_progress_state(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            add(handler)
            return result

        def undo() -> None:
            if getattr(execution, "reset_progress_state", None) is reset_progress_state:
                execution.reset_progress_state = original  # type: ignore[union-attr]

        execution.reset_progress_state = reset_progress_state  # type: ignore[union-attr]
        self._undo = undo

    def __exit__(self, *_: object) -> None:
        self._undo()


def _handler(base: Any, nodes: _Nodes, seam: Seam) -> Any:
    class Handler(base):  # type: ignore[misc]
        def start_handler(self, node_id: Any, *_: Any) -> None:
            nodes.started(str(node_id))

        def finish_handler(self, node_id: Any, *_: Any) -> None:
            try:
                nodes.ended(str(node_id))
            except Exception as error:
                seam.ours_failed(error)

    return Handler(HANDLER)


def _status(executor: Any) -> str:
    kinds = [message[0] for message in getattr(executor, "status_messages", ()) if message]
    if "execution_interrupted" in kinds:
        return "interrupted"
    return "success" if "execution_success" in kinds and "execution_error" not in kinds else "error"


def _pending(queue: Any) -> int:
    return len(getattr(queue, "queue", ()))


def _class(name: str) -> Any:
    return getattr(sys.modules.get("execution"), name, None)
