"""Puts fetching ahead on: the prefetcher and who tells it what will be wanted.  Nothing at all where it is off.

``start_prefetch`` works before torch is imported; ``install_lookahead`` adds what needs ComfyUI's queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .queue_seam import QueueSeam
from .runtime import Runtime
from .seam import Seams

if TYPE_CHECKING:
    from ..cache.prefetch_policy import Wish
    from ..storage.objects import RemoteObject
    from .lookahead_boot import BootFetch
    from .open_graphs import OpenGraphs
    from .warm_models import WarmModelsSeam


@dataclass
class Sources:
    """Who wishes for what, soonest first; filled while ComfyUI starts."""

    queue: Callable[[], list[Wish]] = list
    boot: BootFetch | None = None
    graphs: OpenGraphs | None = None
    loaded: Callable[[], dict[str, int]] = dict
    undo: list[Callable[[], None]] = field(default_factory=list)

    def wishes(self) -> list[Wish]:
        behind = (one for one in (self.boot, self.graphs) if one is not None)
        return self.queue() + [wish for one in behind for wish in one.wishes()]

    def again_s(self) -> float | None:
        """Seconds until the wishes may change by themselves; None: not before something else happens."""
        due = [one.again_s() for one in (self.boot, self.graphs) if one is not None]
        return min((s for s in due if s is not None), default=None)

    def close(self) -> None:
        while self.undo:
            self.undo.pop()()


def start_prefetch(runtime: Runtime) -> Sources | None:
    """None: it is off.  Starts no thread unless a warm set is configured."""
    if not runtime.config.prefetch.enabled:
        return None
    from ..cache.prefetch import Prefetcher

    sources = Sources()
    prefetcher = runtime.prefetcher = Prefetcher(
        lambda: runtime.cache,
        runtime.bus,
        runtime.config.prefetch,
        sources.wishes,
        loaded=lambda: sources.loaded(),
        again_s=sources.again_s,
    )
    sources.undo.append(prefetcher.close)
    runtime.pause_prefetch = prefetcher.pause
    runtime.status_blocks["prefetch"] = lambda: {**prefetcher.status(), "open_graph": runtime.open_graphs is not None}
    if runtime.config.boot.wanted:
        from .lookahead_boot import BootFetch

        sources.boot = BootFetch(runtime)
        sources.undo.append(sources.boot.close)
        prefetcher.poke()
    return sources


def install_lookahead(seams: Seams, runtime: Runtime, sources: Sources | None, warm: WarmModelsSeam | None) -> None:
    """warm: the seam that keeps loaded models, where it is on."""
    prefetcher = runtime.prefetcher
    if sources is None or prefetcher is None:
        return
    if warm is not None:
        sources.loaded = warm.loaded
    config = runtime.config.prefetch
    if config.open_graph:
        _install_graphs(runtime, sources, prefetcher.poke)
    if not (config.look_ahead or config.learned):
        return
    from .learning_install import install_learning
    from .lookahead import LookAhead
    from .lookahead_find import Finder
    from .lookahead_shapes import ComfyShapes

    def make_room() -> None:
        """In the thread that runs prompts: memory of models that are not wanted soon, for objects that are."""
        wanted, size_bytes = prefetcher.ram_short()
        if warm is not None and size_bytes > 0 and warm.shed_except(wanted, size_bytes, "look_ahead"):
            prefetcher.poke()

    seam = QueueSeam(prefetcher.poke, make_room)
    finder = Finder(runtime.catalog, runtime.config, _in_precision(runtime))
    ahead = LookAhead(seam.queued, finder, ComfyShapes(), runtime.bus, most=config.prompts_max)
    seam.undo_with(ahead.close)
    seams.put_on(seam)
    if not seams.is_on(seam.name):
        ahead.close()
        return
    learned = install_learning(runtime, seam, ahead, finder, prefetcher.poke) if config.learned else None
    if learned is not None:
        prefetcher.guesses = learned.guesses
        seam.undo_with(learned.learning.close)

    def queue() -> list[Wish]:
        if learned is not None:
            learned.ran.look(seam.queued())
        return ahead.wishes() if config.look_ahead else []

    sources.queue = queue
    if warm is not None:
        before = warm.changed

        def changed() -> None:
            before()
            make_room()

        warm.changed = changed
        seam.undo_with(lambda: setattr(warm, "changed", before))


def _install_graphs(runtime: Runtime, sources: Sources, changed: Callable[[], None]) -> None:
    from .lookahead_find import Finder
    from .lookahead_shapes import ComfyShapes
    from .open_graphs import OpenGraphs

    far = runtime.config.prefetch.prompts_max + 1
    sources.graphs = OpenGraphs(
        Finder(runtime.catalog, runtime.config, _in_precision(runtime)), ComfyShapes(), runtime.bus, changed, far=far
    )
    runtime.open_graphs = sources.graphs


def _in_precision(runtime: Runtime) -> Callable[[RemoteObject, str, str], RemoteObject]:
    """What the loader will get where the owner's rules convert a model on the way in."""
    from .precision import as_owner_wants
    from .runtime import Request

    return lambda obj, folder, name: as_owner_wants(runtime, obj, Request(folder, name))
