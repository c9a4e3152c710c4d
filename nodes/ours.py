"""What every node needs of the running extension."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..hooks.boot import extension
from ..hooks.folders import all_views
from ..hooks.progress import NodeWatch
from ..hooks.runtime import Runtime
from ..storage.errors import ConfigError
from ..storage.objects import RemoteObject
from .selection import Chosen, choose

CATEGORY = "Model Stream"


def always() -> float:
    """A fingerprint that equals no other, so that the node runs in every prompt.  A new NaN each time: one object equals itself."""
    return float("nan")


def runtime() -> Runtime:
    """Raises ConfigError when nothing is configured, saying what to write."""
    ours = extension()
    if ours.runtime is None:
        raise ConfigError("Model Stream is not configured", cause=ours.problem, next_step="restart ComfyUI afterwards")
    return ours.runtime


def chosen(text: str) -> tuple[Chosen, ...]:
    return choose(text, runtime().catalog, all_views())


def origin_names() -> list[str]:
    """Of the configuration, near to far."""
    return [origin.name for origin in extension().config.origins]


def one_by_one(models: Sequence[Chosen], act: Callable[[RemoteObject, NodeWatch], str]) -> list[str]:
    """``act`` for each model with a watch that shows it on the node; lines of what it said.  The user's interrupt ends it."""
    lines = []
    for model in models:
        with NodeWatch(model.name) as watch:
            watch.check()
            lines.append(f"{model.line}: {act(model.obj, watch)}")
    return lines


def total(models: Iterable[Chosen]) -> int:
    return sum(model.obj.size_bytes for model in models)
