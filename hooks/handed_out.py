"""Files whose path somebody got who opens them himself: leased for a while, and counted as one load.

Nobody says when such a file is no longer needed: those of the prompt that asks now are kept, those of earlier prompts are
given back.  A node that asks for a path and then gives it to ComfyUI's ``load_torch_file`` goes through both of our seams;
that is one use of the model, told once, with the seconds of the part that waits for the bucket.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .context import Executing  # imports ComfyUI, which is not there for the command line


class HandedOut:
    """Thread-safe.  What is remembered is of one prompt, so it is bounded by what that prompt loads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prompt = ""
        self._releases: list[Callable[[], None]] = []
        self._counted: set[tuple[str, str]] = set()
        """(node, path)"""

    def keep(self, prompt: str, release: Callable[[], None]) -> None:
        with self._lock:
            old = self._move_to(prompt)
            self._releases.append(release)
        for give_back in old:
            give_back()

    def counted(self, path: str, where: Executing | None) -> bool:
        """Whether this node has been told of as one that loaded this file, in this execution."""
        with self._lock:
            return where is not None and where.prompt == self._prompt and (where.node, path) in self._counted

    def count(self, path: str, where: Executing) -> None:
        """After ``keep`` of the same prompt."""
        with self._lock:
            if where.prompt == self._prompt:
                self._counted.add((where.node, path))

    def release_all(self) -> None:
        with self._lock:
            old = self._move_to("")
        for give_back in old:
            give_back()

    def _move_to(self, prompt: str) -> list[Callable[[], None]]:
        if prompt == self._prompt:
            return []
        old, self._releases, self._prompt = self._releases, [], prompt
        self._counted.clear()
        return old
