"""The RAM tier as the memory watch sees it: how much stands behind it, and giving that back to the system."""

from __future__ import annotations

from .arena import Arena
from .ram import RamTier


class TierUnderPressure:
    """Any thread."""

    def __init__(self, arena: Arena, ram: RamTier) -> None:
        self._arena = arena
        self._ram = ram

    @property
    def asked_bytes(self) -> int:
        return self._arena.asked_bytes

    def held_bytes(self) -> int:
        figures = self._arena.figures()
        return figures.used_bytes + figures.warm_free_bytes

    def give_back(self, size_bytes: int, reason: str) -> int:
        """Free memory first, then idle objects, as far as there are any; returns what went to the system."""
        before = self.held_bytes()
        went = self._arena.trim(size_bytes)
        if went < size_bytes:
            self._ram.shrink_to(max(0, before - size_bytes), reason)
        return max(0, before - self.held_bytes())

    def set_ceiling(self, ceiling_bytes: int | None) -> None:
        self._arena.set_ceiling(ceiling_bytes)
