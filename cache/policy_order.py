"""Residents, nearly sorted: finding the lowest scores without scoring thousands of entries at each eviction.

Scores fall as time passes, each at its own speed, so no heap stays valid.  Few residents are all scored.  Of many,
the lowest quarter as of a moment ago is kept as a queue whose front is scored afresh; it is made anew when it is
used up or old.  Whoever was used after the queue was made has left its front.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping
from operator import itemgetter

from .policy_history import Row
from .policy_rank import Moment, Ranking
from .policy_room import Scored

EXACT = 48
"""up to so many residents all are scored"""
FRONT = 24
"""so many of the queue's front are scored afresh, and more if their bytes do not do"""


_FIRST_TWO = itemgetter(0, 1)


class Order:
    """Of one tier or shadow under one ranking.  ``residents`` is the owner's own mapping, read at each call."""

    def __init__(self, residents: Mapping[str, Row]) -> None:
        self._residents = residents
        self._queue: list[Row] = []
        self._made_at = -1
        self._ranking: Ranking | None = None

    def lowest(self, needed_bytes: int, ranking: Ranking, moment: Moment, spared: Container[str]) -> list[Scored]:
        """Candidates, lowest first: everybody, or enough of the front that their bytes are well above what is needed."""
        score = ranking.score
        if len(self._residents) <= EXACT or not ranking.queued:
            rows = [row for digest, row in self._residents.items() if digest not in spared]
            return _scored(rows, score, moment)
        front = self._front(needed_bytes, ranking, moment, spared)
        if front is None:
            self._make(ranking, moment)
            front = self._front(needed_bytes, ranking, moment, spared)
        if front is None:
            front = [row for digest, row in self._residents.items() if digest not in spared]
        return _scored(front, score, moment)

    def _make(self, ranking: Ranking, moment: Moment) -> None:
        ordered = _scored(list(self._residents.values()), ranking.score, moment)
        self._queue = [one[2] for one in reversed(ordered[: max(len(ordered) // 4, 4 * FRONT)])]
        self._made_at = moment.at
        self._ranking = ranking

    def _front(self, needed_bytes: int, ranking: Ranking, moment: Moment, spared: Container[str]) -> list[Row] | None:
        """None when the queue is of another ranking, old or used up."""
        if self._ranking is not ranking or moment.at - self._made_at > len(self._residents) // 2:
            return None
        front: list[Row] = []
        freed_bytes = 0
        queue = self._queue
        while queue and not self._valid(queue[-1]):
            queue.pop()
        for row in reversed(queue):
            if len(front) >= FRONT and freed_bytes >= 2 * needed_bytes:
                return front
            if self._valid(row) and row.digest not in spared:
                front.append(row)
                freed_bytes += row.size_bytes
        return None

    def _valid(self, row: Row) -> bool:
        return row.used_at <= self._made_at and self._residents.get(row.digest) is row


def _scored(rows: Collection[Row], score: Callable[[Row, Moment], float], moment: Moment) -> list[Scored]:
    """The last use is in the key so that ties go to the older, and rows are never compared."""
    found = [(score(row, moment), row.used_at, row) for row in rows]
    found.sort(key=_FIRST_TWO)
    return found
