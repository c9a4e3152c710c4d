"""Everything that one configuration stands for: bus, origins, catalog, engine, tiers, cache, wired together.

Made before ComfyUI imports torch, so making it imports neither torch nor boto3 and starts nothing; ``start`` starts
the catalog, and the cache is opened by whoever needs it first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.catalog import Catalog
from ..storage.config import Config
from ..storage.errors import ConfigError, ModelStreamError, NoRoom
from ..storage.events import EventBus, TierDegraded
from ..storage.layout import FolderView
from ..storage.objects import RemoteObject
from ..storage.origin import open_origins
from .handed_out import HandedOut
from .holdings import Holdings
from .seam import place_of

if TYPE_CHECKING:
    from ..cache.arena import Arena
    from ..cache.fetcher import Fetcher
    from ..cache.pins import Pins
    from ..cache.policy_history import Remembered
    from ..cache.prefetch import Prefetcher
    from ..cache.ram import RamTier
    from ..cache.ssd_stack import AnySsd
    from ..cache.store import Cache
    from ..storage.engine import TransferEngine
    from .fit import Estimator
    from .loaded_models import LoadedModels
    from .open_graphs import OpenGraphs

_REQUESTS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Places:
    """Where this ComfyUI lets us keep files.

    state:  small things: the catalog's snapshot
    ssd:    the SSD tier, unless the configuration names another directory
    """

    state: Path
    ssd: Path


@dataclass(frozen=True, slots=True)
class Memory:
    """The RAM tier and the memory that stands behind it, for who looks after memory."""

    arena: Arena
    ram: RamTier


@dataclass(frozen=True, slots=True)
class Request:
    """What a loader asked for, as ComfyUI names it."""

    folder: str
    name: str


class Runtime:
    """Thread-safe.  ``cache`` raises the error of its first opening to everybody: half a cache is none."""

    def __init__(self, config: Config, places: Places, bus: EventBus) -> None:
        self.config = config
        self.bus = bus
        self.places = places
        self.origins = {origin.name: origin for origin in open_origins(config)}
        self.catalog = Catalog(
            tuple(self.origins.values()),
            config.catalog,
            bus,
            snapshot=places.state / "catalog.bin",
            fingerprint=config.listing_fingerprint(),
        )
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._engine: TransferEngine | None = None
        self._failure: ModelStreamError | None = None
        self._requests: OrderedDict[str, Request] = OrderedDict()
        self.holdings = Holdings(config, self.catalog)
        self.handed_out = HandedOut()
        self.kept_as_is: set[tuple[str, str]] = set()
        """(digest, form): models that a precision rule names and that were left as they are, which was said"""
        self.models: LoadedModels | None = None
        """loaded models that can be let go; None where none are kept"""
        self.make_estimator: Callable[[], Estimator] | None = None
        """None until ComfyUI's loaders are there; see ``estimator``"""
        self._estimator: Estimator | None = None
        self.pause_prefetch: Callable[[bool], None] | None = None
        """holds back or lets go on what is fetched ahead; None where nothing is"""
        self.prefetcher: Prefetcher | None = None
        """where fetching ahead is on"""
        self.open_graphs: OpenGraphs | None = None
        """where the graphs that browsers have open are wished for"""
        self.status_blocks: dict[str, Callable[[], object]] = {}
        """what else the status shows, by its name there; each is quick and works from memory"""
        self.on_open: list[Callable[[Memory], Callable[[], None]]] = []
        """called once when the cache is opened; what each returns is called before the cache is closed"""
        self._before_close: list[Callable[[], None]] = []
        self.starting = False
        """ComfyUI is being imported: what streams spares it"""

    def start(self, views: tuple[FolderView, ...]) -> None:
        """views: the folders that will be listed."""
        self.places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.catalog.expect(views)
        self.catalog.start()

    def started(self) -> None:
        """ComfyUI is up: what streams may have all that the configuration allows."""
        with self._lock:
            self.starting = False
            engine = self._engine
        if engine is not None:
            engine.hurry()

    def close(self) -> None:
        self.catalog.close()
        with self._lock:
            cache, self._cache = self._cache, None
            self._failure = self._failure or NoRoom("Model Stream is closed")
        while self._before_close:
            self._before_close.pop()()
        if cache is not None:
            cache.close()

    # -- the cache ---------------------------------------------------------------------------------------------------
    @property
    def cache(self) -> Cache:
        """Opened on first use (directories are scanned: not for the event loop); raises ModelStreamError."""
        if self._cache is None:
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                if self._cache is None:
                    try:
                        self._engine, self._cache, memory = _open_cache(self)
                        self._before_close += [opened(memory) for opened in self.on_open]
                    except Exception as error:
                        self._failure = _as_failure(error)
                        raise self._failure from error
        return self._cache

    def open_ahead(self) -> None:
        """Opens the cache in a thread of its own; a failure is told as an event, and again to whoever needs the cache."""

        def run() -> None:
            try:
                _ = self.cache
            except ModelStreamError as error:
                self.bus.emit(TierDegraded("cache", error.code, str(error)))

        threading.Thread(target=run, name="modelstream-open", daemon=True).start()

    @property
    def estimator(self) -> Estimator | None:
        """How much memory a model will take.  Made when first asked for; None where there is none.  Any thread."""
        if self._estimator is None and self.make_estimator is not None:
            made = self.make_estimator()
            with self._lock:
                self._estimator = self._estimator or made
        return self._estimator

    @property
    def opened(self) -> Cache | None:
        """The cache if somebody has opened it; never waits."""
        return self._cache

    @property
    def engine(self) -> TransferEngine | None:
        return self._engine

    @property
    def failure(self) -> ModelStreamError | None:
        """Why the cache cannot be opened."""
        return self._failure

    def object_at(self, path: object) -> RemoteObject | None:
        """The object behind a path that we handed out; None for every other path, and before the cache is open."""
        cache = self._cache
        return cache.object_at(path) if cache is not None and isinstance(path, str) else None

    # -- who asked for what --------------------------------------------------------------------------------------------
    def asked(self, path: str, folder: str, name: str) -> None:
        with self._lock:
            self._requests[path] = Request(folder, name)
            self._requests.move_to_end(path)
            while len(self._requests) > _REQUESTS_KEPT:
                self._requests.popitem(last=False)

    def request_for(self, path: str, obj: RemoteObject) -> Request:
        with self._lock:
            return self._requests.get(path) or Request("", obj.basename)


def _as_failure(error: Exception) -> ModelStreamError:
    if isinstance(error, ModelStreamError):
        return error
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("modelstream"):
        step = "install the packages of the extension's requirements.txt into ComfyUI's Python and restart"
        return ConfigError("a Python package is missing", cause=error.name or "", next_step=step)
    return ConfigError("the cache cannot be opened", cause=place_of(error), next_step="report this with the log")


def _open_cache(runtime: Runtime) -> tuple[TransferEngine, Cache, Memory]:
    from ..cache.arena import Arena
    from ..cache.fetcher import Fetcher
    from ..cache.forms import Forms
    from ..cache.headers import HeaderReader
    from ..cache.local_bytes import LocalBytes
    from ..cache.memory_budget import ram_budget_bytes, read_memory_figures
    from ..cache.near_open import open_near
    from ..cache.pins import Pins
    from ..cache.ram import RamTier
    from ..cache.restores import Restores
    from ..cache.restores_asked import AskedBack
    from ..cache.same_bytes import SameBytes
    from ..cache.speeds import Speeds
    from ..cache.ssd_stack import open_ssd
    from ..cache.state_file import StateFile
    from ..cache.store import Cache
    from ..cache.tier_choice import TierChoice
    from ..storage.engine import TransferEngine
    from ..storage.prices import load_prices

    config, bus = runtime.config, runtime.bus
    undo: list[Callable[[], None]] = []
    try:
        pins = Pins(StateFile(runtime.places.state / "pins.json"))
        speeds = Speeds()
        ssd = open_ssd(config.ssd, runtime.places.ssd, bus, policy=config.cache.for_ssd, pins=pins, speeds=speeds)
        undo.append(ssd.close)
        ssd.start()
        arena = Arena(ram_budget_bytes(config.ram.budget_bytes, read_memory_figures()), bus, backing=config.ram.memory)
        ram = RamTier(arena, bus, choice=TierChoice(policy=config.cache.for_ram, pins=pins))
        undo.append(ram.close)
        engine = TransferEngine(config.transfer, bus, gentle=runtime.starting)
        undo.append(engine.close)
        same = SameBytes(ram, ssd, StateFile(runtime.places.state / "same.json"))
        asked = AskedBack(StateFile(runtime.places.state / "restores.json"))
        restores = Restores(config.restore, runtime.origins, bus, asked, prices=lambda: load_prices(config.cost.price_file))
        near = open_near(config, tuple(runtime.origins.values()), runtime.catalog, engine, LocalBytes(ram, ssd, same), bus, speeds)
        forms = None if config.transfer.compressed == "never" else Forms(runtime.catalog, bus, config.transfer.compressed)
        fetcher = Fetcher(runtime.origins, runtime.catalog, engine, ram, ssd, bus, speeds, same, restores, near, forms)
        if config.tiering.promote:
            runtime._before_close.append(_promote_on_use(runtime, fetcher, ram, ssd, pins))
        headers = HeaderReader(runtime.origins, ram, ssd)
        configured = {"ram": config.ram.budget_bytes, "ssd": config.ssd.budget_bytes}
        more: Any = {"pins": pins, "state": runtime.places.state, "configured": configured}
        return engine, Cache(fetcher, headers, runtime.catalog, engine, ram, ssd, bus, **more), Memory(arena, ram)
    except BaseException:
        while undo:
            undo.pop()()
        raise


def _promote_on_use(runtime: Runtime, fetcher: Fetcher, ram: RamTier, ssd: AnySsd, pins: Pins) -> Callable[[], None]:
    """What closes it."""
    from ..cache.promotion import Promoter
    from ..storage.prices import load_prices

    def remembered() -> Iterator[Remembered]:
        for choice in (ram.choice, *(directory.choice for directory in ssd.directories())):
            yield from choice.remembered()

    config = runtime.config
    promoter = Promoter(config, runtime.origins, lambda: load_prices(config.cost.price_file), remembered, pins, runtime.bus)
    fetcher.read_for_load = promoter.used
    return promoter.close
