"""How a load is seen and stopped in ComfyUI: the node's bar, the text on the node, the interrupt button."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..cache.restore_words import duration
from ..cache.watch import LoadProgress
from ..storage.people import seconds_text, share_text, size_text
from .context import Executing, executing

TEXTS_PER_S = 4
MIB = 1 << 20

_FROM = {"bucket": "from the bucket", "ssd": "from the SSD", "ram": "from RAM"}


class Figures(Protocol):
    """An opened object (cache.opened.Opened)."""

    source: str
    size_bytes: int
    wire_bytes: int
    seconds: float


class NodeWatch:
    """A cache ``Watch`` that shows a load on the node that waits for it.  Used by one thread.

    Outside a node it shows nothing and cannot be interrupted: the interrupt belongs to the prompt that runs.
    ``stopped`` is the exception that ended the wait, so that it can be told from a failure.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.stopped: BaseException | None = None
        self._name = name
        self._clock = clock
        self._where = executing()
        self._bar: Any = None
        self._next_text_s = 0.0

    def __enter__(self) -> NodeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar = None

    def progress(self, progress: LoadProgress) -> None:
        if self._where is None:
            return
        self._show_bar(progress.done_bytes, progress.size_bytes)
        now_s = self._clock()
        if now_s >= self._next_text_s:
            self._next_text_s = now_s + 1 / TEXTS_PER_S
            send_text(progress_text(self._name, progress), self._where)

    def check(self) -> None:
        """Raises ComfyUI's InterruptProcessingException when the user has interrupted the prompt."""
        if self._where is None:
            return
        self._or_stop(sys.modules["comfy.model_management"].throw_exception_if_processing_interrupted)

    def finished(self, opened: Figures) -> None:
        """The last text stays on the node."""
        if self._where is None:
            return
        self._show_bar(opened.size_bytes, opened.size_bytes)
        send_text(finished_text(self._name, opened), self._where)

    def _show_bar(self, done_bytes: int, size_bytes: int) -> None:
        assert self._where is not None
        if self._bar is None:
            self._bar = sys.modules["comfy.utils"].ProgressBar(max(1, size_bytes // MIB), node_id=self._where.node)
        # ComfyUI's progress hook raises on interrupt too
        self._or_stop(lambda: self._bar.update_absolute(done_bytes // MIB, max(1, size_bytes // MIB)))

    def _or_stop(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            self.stopped = error
            raise


def send_text(text: str, where: Executing) -> None:
    """Shows a text on a node, in every browser that is open.  Any thread."""
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    instance = getattr(server, "instance", None)
    if instance is not None:
        instance.send_progress_text(text, where.node)


def progress_text(name: str, progress: LoadProgress) -> str:
    """`sdxl.safetensors · 1.2 / 6.9 GB · 850 MB/s · 7 s left`"""
    if progress.waits:
        most = [] if progress.eta_s is None else [f"{duration(progress.eta_s)} left at most"]
        return " · ".join([name, progress.waits, *most])
    parts = [name, share_text(progress.done_bytes, progress.size_bytes)]
    if progress.rate_bytes_per_s > 0:
        parts.append(f"{size_text(progress.rate_bytes_per_s)}/s")
    if progress.eta_s is not None:
        parts.append(f"{seconds_text(progress.eta_s)} left")
    return " · ".join(parts)


def finished_text(name: str, opened: Figures) -> str:
    """`sdxl.safetensors · 6.9 GB from the bucket in 8.1 s`"""
    return f"{name} · {size_text(opened.size_bytes)} {_FROM.get(opened.source, opened.source)} in {seconds_text(opened.seconds)}"
