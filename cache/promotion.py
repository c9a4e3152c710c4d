"""Back to a warmer class on use: an object that a load read from a cold class is moved where it costs least from now on.

Off unless the owner says so (`[tiering] promote`).  In the background, one at a time, after the load; decided by the same rules as a
plan, with the use that has just been counted.  A key that may not write is asked once, not at every load.
Threads: `used` from any thread, quick; one short-lived thread of its own while there is something to do.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from ..storage.config import Config
from ..storage.errors import AccessDenied, ModelStreamError
from ..storage.events import EventBus
from ..storage.events_restore import ClassChanged, ClassChangeFailed
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from ..storage.prices import Prices
from ..storage.provider_table import LEVELS, provider_of
from ..storage.tier_copy import Mover
from ..storage.tier_rules import Place, Rules, Used
from .pins import Pins
from .policy_history import Remembered

WAITING_MAX = 1000
CLOSE_S = 5.0


class Promoter:
    """remembered: what the tiers' policies know of past use; prices: loaded at the first need, in the thread."""

    def __init__(
        self,
        config: Config,
        origins: Mapping[str, Origin],
        prices: Callable[[], Prices],
        remembered: Callable[[], Iterable[Remembered]],
        pins: Pins,
        bus: EventBus,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._origins = origins
        self._prices = prices
        self._remembered = remembered
        self._pins = pins
        self._bus = bus
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._waiting: OrderedDict[RemoteObject, None] = OrderedDict()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._refused: set[str] = set()

    def used(self, obj: RemoteObject) -> None:
        """A load has read it from its bucket."""
        provider = provider_of(self._origins[obj.origin].profile.preset)
        if not provider.ways or obj.origin in self._refused or provider.level_of(obj.storage_class) in ("", LEVELS[0]):
            return
        with self._lock:
            if self._closed or len(self._waiting) >= WAITING_MAX:
                return
            self._waiting[obj] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="modelstream-promote", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """What is being copied ends with its part, and is begun anew at the next use."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_S)

    # -- the thread ------------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or self._closed:
                    self._thread = None
                    return
                obj, _ = self._waiting.popitem(last=False)
            try:
                self._promote(obj)
            except ModelStreamError as error:
                if isinstance(error, AccessDenied):
                    self._refused.add(obj.origin)
                self._bus.emit(ClassChangeFailed(obj.subject, error.code, str(error)))
            except Exception as error:  # nobody waits in this thread: told, and the next one is tried
                self._bus.emit(ClassChangeFailed(obj.subject, type(error).__name__, f"{obj.subject}: it could not be moved"))

    def _promote(self, obj: RemoteObject) -> None:
        origin = self._origins[obj.origin]
        provider = provider_of(origin.profile.preset)
        move = self._rules(origin).decide(obj).move
        if move is None or LEVELS.index(provider.level_of(move.to_class)) >= LEVELS.index(provider.level_of(move.from_class)):
            return
        moved = Mover(origin, stopped=lambda: self._closed).move(move.key, move.etag, move.to_class)
        if not moved.already:
            self._bus.emit(ClassChanged(obj.subject, obj.size_bytes, move.from_class, move.to_class, move.fee))

    def _rules(self, origin: Origin) -> Rules:
        now_s, uses = self._wall_clock(), self._uses()
        return Rules(
            self._config.tiering,
            self._config.cost,
            self._prices(),
            [Place(origin.name, origin.profile.preset, origin.prefix)],
            # it has been used at this moment, whatever a policy has noted of it
            uses=lambda obj: Used(max(1, uses.get(obj.id.digest, 1)), now_s),
            held=lambda obj: "it is pinned" if self._pins.holds(obj) else "",
            now_s=now_s,
        )

    def _uses(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self._remembered():
            found[row.digest] = max(found.get(row.digest, 0), row.uses)
        return found
