"""Waiting for archived objects: one restore however many ask, polled by whoever waits, forgotten by nobody.

A restore belongs to the bucket, not to this process: it is asked for once, goes on when everybody here stops waiting, and is found
under way by the next who asks.  What was asked when is remembered in the state folder, for the time left that is shown.

Threads: any.  Lock order: ``Restores._lock`` (the table of those under way) and a `_Flight`'s condition are never held together,
nor while a request is made or an event emitted.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping

from ..storage.config_restore import RestoreConfig
from ..storage.errors import (
    AccessDenied,
    ConfigError,
    CredentialsExpired,
    ModelStreamError,
    ObjectArchived,
    ObjectMissing,
    TransferCancelled,
)
from ..storage.events import EventBus
from ..storage.events_restore import NO_PRICE, RestoreFailed, RestoreFinished, RestoreStarted
from ..storage.objects import RemoteObject
from ..storage.origin import Origin
from ..storage.prices import Prices, load_prices
from ..storage.restore import ARCHIVED, ARCHIVES, ONGOING, ArchiveState, archive_state, ask_back, expected_s, restore_cost
from .restore_words import RestoreProgress, refused, under_way
from .restores_asked import Asked, AskedBack

CHECK_S = 0.05
"""how soon a waiter sees that it is not wanted any more"""
FIRST_POLL_S, SLOWER, LAST_POLL_S, JITTER = 1.0, 1.5, 300.0, 0.2
LASTING = (AccessDenied, ConfigError, CredentialsExpired, ObjectArchived, ObjectMissing)
"""errors that asking again does not mend; after others the wait goes on"""


def poll_s(number: int, draw: Callable[[], float] = random.random) -> float:
    """Until the next look; the first is number 0.  Exponential, with jitter so that many machines do not ask at once."""
    plain = min(LAST_POLL_S, FIRST_POLL_S * SLOWER ** min(number, 40))
    return plain * (1 - JITTER + 2 * JITTER * draw())


class _Flight:
    """One object that is waited for.  Everything is guarded by the condition."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiters = 0
        self.looking = False
        self.number = 0
        self.next_s = 0.0
        self.state: ArchiveState | None = None
        self.error: ModelStreamError | None = None
        self.told = False


class Restores:
    """``prices``: loaded at the first need; ``clock`` monotonic, ``wall_clock`` for what is stored."""

    def __init__(
        self,
        settings: RestoreConfig,
        origins: Mapping[str, Origin],
        bus: EventBus,
        asked: AskedBack | None = None,
        *,
        prices: Callable[[], Prices] = load_prices,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.asked = asked or AskedBack()
        self._origins = origins
        self._bus = bus
        self._load_prices = prices
        self._clock = clock
        self._wall_clock = wall_clock
        self._draw = draw
        self._lock = threading.Lock()
        self._flights: dict[tuple[str, str], _Flight] = {}

    # -- for loads -----------------------------------------------------------------------------------------------------
    def before_reading(self, obj: RemoteObject, wanted: bool, stopped: Callable[[], bool], show: Callable[[RestoreProgress], None]) -> None:
        """Called before the first byte: returns at once for what a listing says is in no archive.

        wanted: a load needs it now, so that the owner's ``on_load`` decides; else nothing is ever asked back.
        Raises ObjectArchived where it cannot be read and nobody may wait.
        """
        if obj.storage_class in ARCHIVES:
            self.readable(obj, wanted, stopped, show)

    def readable(self, obj: RemoteObject, wanted: bool, stopped: Callable[[], bool], show: Callable[[RestoreProgress], None]) -> None:
        """Returns when the object can be read.  Raises like `before_reading`, and TransferCancelled once ``stopped()``."""
        on_load = self.settings.on_load if wanted else "error"
        if on_load == "wait":
            return self.wait(obj, stopped, show)
        state = self.look(obj)
        if state.can_be_read:
            return None
        if on_load == "start" and state.phase == ARCHIVED:
            state = self.ask(obj, state)
            if state.can_be_read:
                return None
        raise self.refusal(obj, state, started=on_load == "start")

    def wait(self, obj: RemoteObject, stopped: Callable[[], bool], show: Callable[[RestoreProgress], None]) -> None:
        """Asks it back where nobody has, and returns when it can be read."""
        flight, began_s = self._join(obj), self._clock()
        most_s = self.settings.max_wait_hours * 3600 or float("inf")
        try:
            while not self._looked(flight, obj):
                if stopped():
                    raise TransferCancelled("nobody waits for its restore any more; the restore itself goes on", subject=obj.subject)
                if self._clock() - began_s > most_s:
                    assert flight.state is not None
                    raise self.refusal(obj, flight.state, waited_s=self._clock() - began_s)
                if flight.state is not None:
                    show(self.progress(obj, flight.state))
                with flight.condition:
                    flight.condition.wait(CHECK_S)
        finally:
            self._leave(obj, flight)

    # -- for everybody -------------------------------------------------------------------------------------------------
    def look(self, obj: RemoteObject) -> ArchiveState:
        """What HEAD says now; one request.  Raises ModelStreamError."""
        return archive_state(self._origins[obj.origin], obj.id.key)

    def ask(self, obj: RemoteObject, state: ArchiveState, *, capped: bool = True) -> ArchiveState:
        """Asks it back.  capped: not above the owner's ``max_cost``.  Raises ModelStreamError."""
        settings, origin = self.settings, self._origins[obj.origin]
        cost = self.cost(obj, state)
        if capped and settings.max_cost is not None and (cost is None or cost > settings.max_cost):
            raise refused(
                obj, state, self.expected_s(obj, state), f"asking it back would cost {_money(cost)}, max_cost is {settings.max_cost:g}"
            )
        phase, ours = ask_back(origin, obj.id.key, state, days=settings.days, tier=settings.tier)
        expected = self.expected_s(obj, state)
        if ours:
            self.asked.add(Asked(obj.origin, obj.id.key, self._wall_clock(), settings.tier, settings.days))
        if ours or phase == ONGOING:
            paid = cost if ours and cost is not None else NO_PRICE
            told = (state.storage_class, settings.tier, settings.days, expected, paid, ours)
            self._bus.emit(RestoreStarted(obj.subject, state.size_bytes, *told))
        return ArchiveState(phase, state.storage_class, state.size_bytes, state.etag, state.expires_s)

    def cost(self, obj: RemoteObject, state: ArchiveState) -> float | None:
        return restore_cost(self._load_prices(), self._preset(obj), state, self.settings)

    def expected_s(self, obj: RemoteObject, state: ArchiveState) -> float:
        """With the tier that it was asked back with, where that is known."""
        known = self.asked.of(obj.origin, obj.id.key)
        tier = known.tier if known and state.phase != ARCHIVED else self.settings.tier
        return expected_s(self._load_prices(), self._preset(obj), state.storage_class, tier, state.size_bytes)

    def progress(self, obj: RemoteObject, state: ArchiveState) -> RestoreProgress:
        known, expected = self.asked.of(obj.origin, obj.id.key), self.expected_s(obj, state)
        waited_s = max(0.0, self._wall_clock() - known.at_s) if known else 0.0
        left_s = max(0.0, expected - waited_s) if expected else None
        return RestoreProgress(state.storage_class, waited_s, left_s if state.phase != ARCHIVED else None)

    def refusal(self, obj: RemoteObject, state: ArchiveState, *, started: bool = False, waited_s: float = 0.0) -> ObjectArchived:
        expected = self.expected_s(obj, state)
        if state.phase == ARCHIVED:
            return refused(obj, state, expected, "")
        return under_way(obj, state, self.progress(obj, state).left_s, started=started, waited_s=waited_s)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _preset(self, obj: RemoteObject) -> str:
        return self._origins[obj.origin].profile.preset

    def _join(self, obj: RemoteObject) -> _Flight:
        with self._lock:
            flight = self._flights.setdefault((obj.origin, obj.id.key), _Flight())
            flight.waiters += 1
        return flight

    def _leave(self, obj: RemoteObject, flight: _Flight) -> None:
        with self._lock:
            flight.waiters -= 1
            if not flight.waiters and self._flights.get((obj.origin, obj.id.key)) is flight:
                del self._flights[obj.origin, obj.id.key]

    def _looked(self, flight: _Flight, obj: RemoteObject) -> bool:
        """Looks when it is time, by one waiter at a time.  True: the object can be read.  Raises what ends the wait for all."""
        with flight.condition:
            self._or_raise(flight)
            if flight.state is not None and flight.state.can_be_read:
                return True
            if flight.looking or self._clock() < flight.next_s:
                return False
            flight.looking = True
        state: ArchiveState | None = None
        error: ModelStreamError | None = None
        try:
            state = self._step(flight, obj)
        except ModelStreamError as caught:
            error = caught
        finally:
            with flight.condition:
                flight.looking = False
                flight.state = state or flight.state
                flight.error = error if isinstance(error, LASTING) or (error and flight.state is None) else None
                flight.next_s = self._clock() + poll_s(flight.number, self._draw)
                flight.number += 1
                flight.condition.notify_all()
        if flight.error is not None:
            self._bus.emit(RestoreFailed(obj.subject, flight.error.code, str(flight.error)))
        self._or_raise(flight)
        return state is not None and state.can_be_read

    def _or_raise(self, flight: _Flight) -> None:
        if flight.error is not None:
            raise flight.error.about(flight.error.subject)

    def _step(self, flight: _Flight, obj: RemoteObject) -> ArchiveState:
        """One look, and the request for the restore where there is none yet, or where it expired before anybody read it."""
        state = self.look(obj)
        if state.phase == ARCHIVED:
            flight.told = True
            return self.ask(obj, state)
        if state.can_be_read:
            if flight.told:
                known = self.asked.of(obj.origin, obj.id.key)
                seconds = max(0.0, self._wall_clock() - known.at_s) if known else 0.0
                self._bus.emit(RestoreFinished(obj.subject, state.size_bytes, seconds, state.expires_s))
        elif not flight.told:
            flight.told = True
            expected, s = self.expected_s(obj, state), self.settings
            self._bus.emit(RestoreStarted(obj.subject, state.size_bytes, state.storage_class, s.tier, s.days, expected, NO_PRICE, False))
        return state


def _money(cost: float | None) -> str:
    return "an unknown sum" if cost is None else f"about {cost:.2f}"
