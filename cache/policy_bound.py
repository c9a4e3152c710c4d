"""How few seconds of loading a tier could have lost, had it known the future: a bound on recorded uses.

FOO (Berger et al., arXiv 1711.03709): the linear relaxation over the intervals between uses, exact, a lower bound that no
policy can beat.  Between two uses of a file its share x in [0, 1] is kept; at no moment may what is kept exceed the tier.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

from .tier_choice import PolicyReport, Use

FEW = 2
"""uses that came back, below which a bound says nothing"""


@dataclass(frozen=True, slots=True)
class Interval:
    """A file might have been kept from use number ``begin`` to use number ``end``; that would have saved ``reload_s``."""

    begin: int
    end: int
    size_bytes: int
    reload_s: float


def most_saved(intervals: Sequence[Interval], capacity_bytes: int) -> float:
    """Seconds that keeping could have saved at most.  10,000 intervals take a second or two; numpy and scipy are imported."""
    import numpy as np
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    if not intervals:
        return 0.0
    starts = sorted({interval.begin for interval in intervals})
    n, m = len(intervals), len(starts)
    # occupancy after each start is a variable of its own, which keeps the matrix sparse
    rows, columns, values = [], [], []
    for column, interval in enumerate(intervals):
        rows.append(bisect.bisect_left(starts, interval.begin))
        columns.append(column)
        values.append(interval.size_bytes / 1e9)
        gone = bisect.bisect_left(starts, interval.end)
        if gone < m:
            rows.append(gone)
            columns.append(column)
            values.append(-interval.size_bytes / 1e9)
    rows += [*range(m), *range(1, m)]
    columns += [*range(n, n + m), *range(n, n + m - 1)]
    values += [-1.0] * m + [1.0] * (m - 1)
    gain = np.concatenate([[-interval.reload_s for interval in intervals], np.zeros(m)])
    upper = np.concatenate([np.ones(n), np.full(m, capacity_bytes / 1e9)])
    matrix = csr_matrix((values, (rows, columns)), shape=(m, n + m))
    found = linprog(gain, A_eq=matrix, b_eq=np.zeros(m), bounds=np.column_stack([np.zeros(n + m), upper]), method="highs")
    if not found.success:
        raise RuntimeError(f"the bound was not found: {found.message}")
    return -float(found.fun)


def lost_s(uses: Sequence[Use]) -> float:
    return sum(use.reload_s for use in uses if not use.hit)


def least_lost_s(report: PolicyReport) -> float | None:
    """A bound for the recorded uses of a tier, of its present size; None where almost nothing came back.

    What was hit at its first recorded use was there before, and may have been kept from the start.
    """
    uses, last, total_s = report.recent, dict[str, int](), 0.0
    intervals = []
    for number, use in enumerate(uses):
        before = last.get(use.digest, -1 if use.hit else None)
        total_s += use.reload_s
        if before is not None and use.size_bytes <= report.capacity_bytes:
            intervals.append(Interval(before, number, use.size_bytes, use.reload_s))
        last[use.digest] = number
    if len(intervals) < FEW:
        return None
    try:
        least_s = total_s - most_saved(intervals, report.capacity_bytes)
    except ImportError:
        return None  # ComfyUI brings scipy, but nothing else here needs it
    return min(max(0.0, least_s), lost_s(uses))  # it is a bound but for rounding
