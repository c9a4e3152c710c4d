"""Plots beside the JSON.  matplotlib is a tool of the benchmarks, not of the product."""

from __future__ import annotations

from typing import Any

from .report import Report


def pyplot_for(report: Report) -> Any:
    """matplotlib's pyplot, which draws into files; None, and a note in the report, where it is not installed."""
    try:
        import matplotlib
    except ImportError:
        report.note("no plot: matplotlib is not installed")
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot
