"""A lease: somebody uses a thing, so nobody may evict, truncate or recycle it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class Lease:
    """Given back once, however often and from whatever threads `release` is called."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back = [give_back]

    def release(self) -> None:
        try:
            give_back = self._give_back.pop()  # atomic: of two threads one gets it
        except IndexError:
            return
        give_back()

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
