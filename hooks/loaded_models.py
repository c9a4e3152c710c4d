"""Letting go of loaded models on request.  They are dropped by the thread that runs prompts, between two of them."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass, field

from .vram_pressure import VramPressureSeam
from .warm_models import WarmModelsSeam

WAKE_AGAIN_S = 0.25


@dataclass(slots=True)
class _Request:
    """labels None: all of them"""

    labels: frozenset[str] | None
    done: threading.Event = field(default_factory=threading.Event)


class LoadedModels:
    """Thread-safe.  A model's label is its object's subject."""

    def __init__(self, warm: WarmModelsSeam, pressure: VramPressureSeam) -> None:
        self._warm = warm
        self._pressure = pressure
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        pressure.asked_between_prompts = self._work

    def count(self) -> int:
        return len(self._warm.pool.snapshot().entries)

    def size_of(self, label: str | None) -> int | None:
        """Of one model, or of all (None); None when it is not loaded."""
        sizes = [e.sizes.total_bytes for e in self._warm.pool.snapshot().entries if label is None or e.label == label]
        return sum(sizes) if sizes else None

    def let_go(self, labels: Collection[str] | None, timeout_s: float) -> bool:
        """True when they went; False when a prompt ran all the time, and then nothing happens later either."""
        request = _Request(None if labels is None else frozenset(labels))
        with self._lock:
            self._requests.append(request)
        if self._woken(request, timeout_s):
            return True
        with self._lock:
            if request in self._requests:
                self._requests.remove(request)
                return False
        return request.done.wait(timeout_s)

    def _woken(self, request: _Request, timeout_s: float) -> bool:
        """Whether it was done in time.  Woken again and again: ComfyUI's queue forgets a wake that comes while its thread is busy
        with what is between two prompts (measuring, collecting garbage), and then sleeps."""
        left_s = timeout_s
        while left_s > 0:
            self._pressure.wake()
            if request.done.wait(min(WAKE_AGAIN_S, left_s)):
                return True
            left_s -= WAKE_AGAIN_S
        return False

    def _work(self) -> None:
        with self._lock:
            requests, self._requests = self._requests, []
        for request in requests:
            for entry in self._warm.pool.snapshot().entries:
                if request.labels is None or entry.label in request.labels:
                    self._warm.drop_one(entry.key, "asked")
            request.done.set()
