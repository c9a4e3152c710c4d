"""The plot of ``bench predict``: recall, what the probabilities are worth, stalls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelstream.cache.predict_score import KS

from .plot import pyplot_for
from .report import Report


def draw(report: Report, path: Path) -> None:
    pyplot = pyplot_for(report)
    if pyplot is None:
        return
    figure, axes = pyplot.subplots(1, 3, figsize=(19, 6))
    _recall(axes[0], report)
    _reliability(axes[1], report)
    _stalls(axes[2], report)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _recall(axis: Any, report: Report) -> None:
    part = "rank" if any(row["part"] == "rank" for row in report.rows) else "mix"
    for row in report.rows:
        if row["part"] == part and "recall_1" in row:
            ours = row["method"] == "ours"
            if row["method"] != "ours, priced":
                axis.plot(range(len(KS)), [row[f"recall_{k}"] for k in KS], marker="o", label=row["method"], linewidth=3 if ours else 1)
    axis.set_xticks(range(len(KS)), [str(k) for k in KS])
    axis.set_xlabel("files named")
    axis.set_ylabel("share of the newly needed files among them")
    axis.legend(fontsize=8)


def _reliability(axis: Any, report: Report) -> None:
    axis.plot((0.001, 1), (0.001, 1), color="black", linewidth=0.8)
    for row in report.rows:
        if row["part"] == "reliability":
            bins = [one for one in row["bins"] if one["came_true"]]
            axis.plot([one["said"] for one in bins], [one["came_true"] for one in bins], marker="o", label=row["method"])
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("probability that was said")
    axis.set_ylabel("share that came true")
    axis.legend(fontsize=8)


def _stalls(axis: Any, report: Report) -> None:
    rows = [row for row in report.rows if row["part"] == "stalls"]
    cells, methods = (list(dict.fromkeys(row[name] for row in rows)) for name in ("cell", "method"))
    for number, method in enumerate(methods):
        heights = []
        for cell in cells:
            mine, lru = (
                sum(row["stall_s"] for row in rows if row["cell"] == cell and row["method"] == name) for name in (method, methods[0])
            )
            heights.append(mine / lru if lru else 0.0)
        axis.bar([i + number * 0.8 / len(methods) for i in range(len(cells))], heights, 0.8 / len(methods), label=method)
    axis.set_xticks([i + 0.4 for i in range(len(cells))], cells)
    axis.set_ylabel("seconds of waiting, of LRU")
    axis.legend(fontsize=8, loc="lower right")
