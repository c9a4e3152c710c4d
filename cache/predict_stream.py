"""What one person's (or one queue client's) prompts looked like lately.  Pure; bounded."""

from __future__ import annotations

from collections.abc import Sequence

FILES_REMEMBERED = 64
SWITCH_MEMORY = 0.15


class Stream:
    """files:    of the last prompt; previous: of the last one before it that was different; lead: its largest file
    run:      how many prompts in a row had the same files, the first not counted
    prompts:  so far
    switching: how often a prompt needs something new, a fading mean
    recent:   file → (number of the prompt that last used it, uses), the latest last
    """

    __slots__ = ("files", "lead", "previous", "prompts", "recent", "run", "switching")

    def __init__(self) -> None:
        self.files: frozenset[str] = frozenset()
        self.previous: frozenset[str] = frozenset()
        self.lead = ""
        self.run = 0
        self.prompts = 0
        self.switching = 0.3
        self.recent: dict[str, tuple[int, int]] = {}

    def used(self, files: Sequence[str], lead: str) -> None:
        now = frozenset(files)
        if self.prompts:
            self.switching += SWITCH_MEMORY * (bool(now - self.files) - self.switching)
        self.prompts += 1
        if now == self.files:
            self.run += 1
        else:
            self.previous, self.files, self.lead, self.run = self.files, now, lead, 0
        for file in files:
            _, uses = self.recent.pop(file, (0, 0))
            self.recent[file] = (self.prompts, uses + 1)
        while len(self.recent) > FILES_REMEMBERED:
            del self.recent[next(iter(self.recent))]
