"""What a policy remembers of each file: decayed counts of its uses at several time scales, also after it was evicted.

Time is counted in *uses of the tier*, not in seconds: a week-end ages nobody, and on the recorded requests that the
benchmark replays this ranks better than wall time (docs/cache-policy.md).  The sum of several exponential memories
approximates the 1/age law by which files come back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

HALF_LIVES = (4.0, 26.0, 160.0, 1_000.0, 8_000.0, 65_000.0)
"""in uses; chosen on the first part of the recorded requests, see docs/cache-policy.md"""
TAUS = tuple(half_life / math.log(2) for half_life in HALF_LIVES)
ZERO = (0.0,) * len(TAUS)
MAX_ROWS = 20_000
"""files remembered: about 500 bytes each"""
_TABLE = 4096

Weights = tuple[float, float, float, float, float, float]


def _decay(uses: int) -> tuple[float, ...]:
    return tuple(math.exp(-uses / tau) for tau in TAUS)


DECAYS = [_decay(uses) for uses in range(_TABLE)]
"""what is left of a count after so many further uses of the tier, per time scale"""


def decay(uses: int) -> tuple[float, ...]:
    """What is left of a count after so many further uses of the tier, per time scale."""
    return DECAYS[uses] if 0 <= uses < _TABLE else _decay(max(uses, 0))


def weights(exponent: float) -> Weights:
    """How much each time scale says about the next use, as use per use: half-life ** exponent, normed.

    0 is the 1/age law; above it long memory counts more, below it recent use does.
    """
    shares = [half_life**exponent for half_life in HALF_LIVES]
    a, b, c, d, e, f = (share / sum(shares) / tau for share, tau in zip(shares, TAUS, strict=True))
    return (a, b, c, d, e, f)


@dataclass(slots=True)
class Row:
    """One file.

    counts:     uses, decayed per time scale, as of ``used_at``
    used_at:    number of the tier's use at which it was last used; negative: never in this process
    used_s:     the same on the caller's clock
    uses:       ever
    stay_uses:  since it entered the tier; entered_at: when that was
    priority:   GreedyDual's, set when it is used
    """

    digest: str
    size_bytes: int
    reload_s: float
    counts: list[float] = field(default_factory=lambda: list(ZERO))
    used_at: int = -1
    used_s: float = 0.0
    uses: int = 0
    stay_uses: int = 0
    entered_at: int = 0
    priority: float = 0.0


@dataclass(frozen=True, slots=True)
class Remembered:
    """A row as it is stored: see `Row`.  ``idle_uses``: how many uses of the tier ago it was last used."""

    digest: str
    size_bytes: int
    reload_s: float
    counts: tuple[float, ...]
    idle_uses: int
    used_s: float
    uses: int


class History:
    """Rows by digest, at most ``max_rows``; those unused for longest go first.  Not thread-safe: its owner holds a lock."""

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._rows: dict[str, Row] = {}
        self._max_rows = max(max_rows, 1)
        self.at = 0
        """uses of the tier so far"""

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, digest: str) -> Row | None:
        return self._rows.get(digest)

    def use(self, digest: str, size_bytes: int, reload_s: float, now_s: float) -> Row:
        """Notes one use."""
        self.at += 1
        row = self._rows.get(digest)
        if row is None:
            row = self._new(digest, size_bytes, reload_s)
        else:
            row.size_bytes, row.reload_s = size_bytes, reload_s
        faded = decay(self.at - row.used_at)
        row.counts = [count * left + 1.0 for count, left in zip(row.counts, faded, strict=True)]
        row.used_at = self.at
        row.used_s = now_s
        row.uses += 1
        row.stay_uses += 1
        return row

    def adopt(self, row: Row) -> None:
        """A row that somebody else made; nothing when the digest is known or the history is full."""
        if len(self._rows) < self._max_rows:
            self._rows.setdefault(row.digest, row)

    def restore(self, remembered: Iterable[Remembered]) -> None:
        """Takes over what an earlier process knew.  Before the first use; a digest already known is left alone."""
        # the oldest first, so that order of use is order in the dict as well
        for one in sorted(remembered, key=lambda one: -one.idle_uses):
            if one.digest not in self._rows:
                row = self._new(one.digest, one.size_bytes, one.reload_s)
                row.counts = list(one.counts)
                row.used_at, row.used_s, row.uses = self.at - one.idle_uses, one.used_s, one.uses

    def remembered(self) -> Iterator[Remembered]:
        """Everything, for storing.  From any thread: a row that is used at this moment may be seen half before, half after."""
        for row in list(self._rows.values()):
            yield Remembered(row.digest, row.size_bytes, row.reload_s, tuple(row.counts), self.at - row.used_at, row.used_s, row.uses)

    def _new(self, digest: str, size_bytes: int, reload_s: float) -> Row:
        if len(self._rows) >= self._max_rows:
            self._forget()
        row = self._rows[digest] = Row(digest, size_bytes, reload_s, used_at=self.at)
        return row

    def _forget(self) -> None:
        """A tenth at a time, so that the sort is paid rarely."""
        by_age = sorted(self._rows.values(), key=lambda row: row.used_at)
        for row in by_age[: 1 + self._max_rows // 10]:
            del self._rows[row.digest]
