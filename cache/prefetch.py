"""Fetches what will be wanted, ahead of time: one thread that looks, decides (`prefetch_policy`) and acts through the cache.

Level-triggered: ``poke`` says that something changed, the thread then asks what is wanted *now* and makes the fetches
that run agree with it.  So a thousand changes in a row are one look, and whatever is not wanted any more is cancelled
without anybody having to say so.  Nothing here blocks a caller; nothing runs before the first poke.

Foreground loads go first in two ways: the transfer engine takes connections away from less urgent transfers at once,
and what a loader asks for joins the fetch that is under way.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ..storage.config_prefetch import PrefetchConfig
from ..storage.errors import ModelStreamError
from ..storage.events import Event, EventBus, Evicted, PrefetchDecided, TierDegraded, WarmFinished
from ..storage.landing import Priority
from .operations import RAM, SSD
from .prefetch_credit import Credit
from .prefetch_policy import Depth, Prices, QueuePlan, Skipped, Step, Tiers, Wish, lanes, plan_queue
from .prefetch_score import Scores
from .steady_clock import SteadyClock

if TYPE_CHECKING:
    from .prefetch_guess import Guesses
    from .store import Cache
    from .warming import Warming

RETRY_S, RETRY_MAX_S = 15.0, 600.0
NO_ROOM_S = 20.0
"""so long an object that found no room in RAM is content with the SSD"""
SETTLE_S = 0.02
"""changes of the queue come in bursts"""
CLOSE_S = 2.0
REMEMBERED_MAX = 4000
DECISIONS_SHOWN = 30
PLAN_SHOWN = 20


@dataclass(slots=True)
class _Run:
    step: Step
    warming: Warming
    priority: Priority


@dataclass(frozen=True, slots=True)
class _Failed:
    times: int
    again_s: float


class Prefetcher:
    """Thread-safe.  ``wishes`` and ``loaded`` are called in the prefetcher's own thread.

    cache:  opens it on first call; may raise ModelStreamError, and then nothing is fetched
    wishes: what will be wanted, soonest first
    loaded: digests that need no load (a model that is loaded answers for them) → bytes of RAM that they hold; any thread
    again_s: seconds until the wishes may change by themselves; None: only when somebody pokes
    """

    def __init__(
        self,
        cache: Callable[[], Cache],
        bus: EventBus,
        settings: PrefetchConfig,
        wishes: Callable[[], Sequence[Wish]],
        *,
        loaded: Callable[[], dict[str, int]] = dict,
        again_s: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        clock = SteadyClock(clock)
        self.settings = settings
        self.quiet = settings.quiet
        self.paused = False
        self.scores = Scores(bus, clock)
        self._cache = cache
        self._bus = bus
        self._wishes = wishes
        self.guesses: Guesses | None = None
        """what may be wanted next, once the queue has all it wants"""
        self._loaded = loaded
        self._again_s = again_s
        self._clock = clock
        self._credit = Credit(settings.rate_limit_bytes_per_s, clock)
        self._condition = threading.Condition()
        self._poked = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._running: dict[str, _Run] = {}
        self._failed: dict[str, _Failed] = {}
        self._no_room_s: dict[str, float] = {}
        self._told: dict[str, tuple[str, str, str]] = {}
        self._decisions: deque[dict[str, Any]] = deque(maxlen=DECISIONS_SHOWN)
        self._kept: frozenset[str] = frozenset()
        self._planned: tuple[Step, ...] = ()
        self._wanted_in_ram: dict[str, int] = {}
        self._ram_budget_bytes = 0
        self._undo = [bus.subscribe(self.scores), bus.subscribe(self._on_event)]

    def poke(self) -> None:
        """Something changed.  Takes microseconds; any thread, the event loop included."""
        with self._condition:
            if self._closed:
                return
            self._poked = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="modelstream-prefetch", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    def close(self) -> None:
        """Stops what is on its way and joins the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        while self._undo:
            self._undo.pop()()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def pause(self, paused: bool) -> None:
        """Paused: what is on its way is stopped and nothing new is started; loaders load as ever."""
        self.paused = paused
        self.poke()

    def status(self) -> dict[str, Any]:
        """From memory; ``plan`` is what is on its way or comes next."""
        totals = self.scores.totals()
        counts = {name: int(totals.get(name, 0)) for name in ("useful", "late", "wasted")}
        known = sum(counts.values())
        return {
            **counts,
            "accuracy": counts["useful"] / known if known else None,
            "paused": self.paused,
            "quiet": self.quiet,
            "plan": [_shown(step) for step in self._planned[:PLAN_SHOWN]],
            "running": [_shown(run.step) for run in tuple(self._running.values())],
            "decisions": list(self._decisions),
            "totals": totals,
        }

    # -- the thread ----------------------------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._poked or self._closed, self._next_look_s())
                if self._closed:
                    break
                if self._poked:
                    self._condition.wait_for(lambda: self._closed, SETTLE_S)
                self._poked = False
            try:
                self._look()
            except ModelStreamError as error:
                self._bus.emit(TierDegraded("prefetch", error.code, str(error)))
            except Exception as error:  # a background failure becomes an event; the next change is looked at again
                self._bus.emit(TierDegraded("prefetch", "internal", type(error).__name__))
        for run in self._running.values():
            run.warming.cancel()
        if self._kept:
            self._keep_these(self._cache(), frozenset())

    def _next_look_s(self) -> float | None:
        """None: nothing to do until something changes."""
        due = [failed.again_s for failed in self._failed.values()] + list(self._no_room_s.values())
        credit_s = self._credit.ready_s() if self._credit.refused else None
        due += [] if credit_s is None else [credit_s]
        waits_s = [due_s - self._clock() for due_s in due]
        again_s = self._again_s()
        waits_s += [] if again_s is None else [again_s]
        return max(0.05, min(waits_s)) if waits_s else None

    def _look(self) -> None:
        wishes = [] if self.paused else self._wishes()
        guessing = self.guesses is not None and not self.paused and not self.quiet and self.guesses.any()
        if not wishes and not self._running and not guessing:
            self._failed.clear()
            self._no_room_s.clear()
            self._planned = ()
            self._wanted_in_ram = {}
            if self._kept:
                self._keep_these(self._cache(), frozenset())
            return
        cache = self._cache()
        self._reap()
        tiers = self._tiers(cache, wishes)
        plan = plan_queue(self._possible(wishes), tiers, self._depth())
        self._keep(cache, plan, tiers)
        if guessing and not plan.steps:
            plan = self._guessed(cache, tiers, plan)
        self._agree_with(cache, plan)
        self.scores.expire()

    def _guessed(self, cache: Cache, tiers: Tiers, plan: QueuePlan) -> QueuePlan:
        """The queue has all it wants: what is only probable."""
        assert self.guesses is not None
        prices = Prices(self.settings.second_price, self.scores.ssd, self.scores.bucket)
        running = [run.step for run in self._running.values()]
        wanted = {obj.id.digest for kept in plan.keep.values() for obj in kept}
        steps, skipped = self.guesses.steps(tiers, prices, running, cache.plan_room, wanted, self._clock())
        return replace(plan, steps=steps, skipped=(*plan.skipped, *skipped))

    def _depth(self) -> Depth:
        return Depth(self.settings.prompts, self.quiet)

    def _possible(self, wishes: Sequence[Wish]) -> list[Wish]:
        """Without what failed lately; what found no room in RAM is content with the SSD for a while."""
        now_s = self._clock()
        self._no_room_s = {digest: until for digest, until in self._no_room_s.items() if until > now_s}
        wanted = {wish.digest for wish in wishes}
        self._failed = {digest: failed for digest, failed in self._failed.items() if digest in wanted}
        found = []
        for wish in wishes:
            failed = self._failed.get(wish.digest)
            if failed is None or failed.again_s <= now_s:
                found.append(replace(wish, memory=wish.memory and wish.digest not in self._no_room_s))
        return found

    def _tiers(self, cache: Cache, wishes: Sequence[Wish]) -> Tiers:
        snapshot = cache.snapshot()
        self._ram_budget_bytes = snapshot.ram.budget_bytes
        wanted = {wish.digest for wish in wishes}
        loaded = self._loaded()
        entries = cache.entries()
        stays = [e for e in entries if RAM in e.tiers and (e.pinned or e.leased) and e.digest not in wanted]
        taken = sum(e.size_bytes for e in stays)
        ssd_budget = snapshot.ssd.budget_bytes
        return Tiers(
            in_ram={e.digest for e in entries if RAM in e.tiers},
            on_ssd={e.digest for e in entries if SSD in e.tiers},
            ram_budget_bytes=snapshot.ram.budget_bytes,
            ssd_budget_bytes=(1 << 62 if ssd_budget is None else ssd_budget) if snapshot.ssd.writable else 0,
            ram_taken_bytes=taken,
            loaded=loaded,
        )

    def ram_short(self) -> tuple[frozenset[str], int]:
        """What has to be in RAM or loaded, and how many bytes of RAM models hold that stand in its way.  Any thread."""
        wanted, loaded = self._wanted_in_ram, self._loaded()
        others = sum(size for digest, size in loaded.items() if digest not in wanted)
        return frozenset(wanted), min(others, sum(wanted.values()) + others - self._ram_budget_bytes)

    def _keep(self, cache: Cache, plan: QueuePlan, tiers: Tiers) -> None:
        self._wanted_in_ram = {obj.id.digest: obj.size_bytes for obj in plan.keep.get(RAM, ())}
        ram = tiers.in_ram
        on_ssd_only = (obj.id.digest for obj in plan.keep.get(SSD, ()) if obj.id.digest not in ram)
        self._keep_these(cache, frozenset(self._wanted_in_ram).union(on_ssd_only))

    def _keep_these(self, cache: Cache, digests: frozenset[str]) -> None:
        """No tier lets go of them while others can go."""
        if digests - self._kept:
            cache.keep(digests - self._kept, math.inf)
        if self._kept - digests:
            cache.keep(self._kept - digests, 0.0)
        self._kept = digests

    # -- acting --------------------------------------------------------------------------------------------------------
    def _agree_with(self, cache: Cache, plan: QueuePlan) -> None:
        self._planned = plan.steps
        wanted = {step.digest: step for step in plan.steps}
        for digest in [d for d, run in self._running.items() if d not in wanted or wanted[d].tier != run.step.tier]:
            self._cancel(digest, wanted.get(digest))
        chosen = [step for step in lanes(plan.steps) if step.digest in self._running or self._affordable(step)]
        for place, step in enumerate(chosen):
            # beside the first one the others start with one connection and get the rest when it ends
            self._start(cache, step, step.priority if place == 0 else Priority.BACKGROUND)
        for digest, run in self._running.items():
            if digest not in {step.digest for step in chosen} and run.priority is not Priority.BACKGROUND:
                self._start(cache, run.step, Priority.BACKGROUND)
        for skip in plan.skipped:
            self._tell_skip(skip)
        self._forget_told({*wanted, *(skip.obj.id.digest for skip in plan.skipped)})

    def _affordable(self, step: Step) -> bool:
        """The rate that the owner allows; what the running and the next prompt name is not held up by it."""
        return step.prompts_ahead <= 1 or not step.from_bucket or self._credit.allows(step.obj.size_bytes)

    def _start(self, cache: Cache, step: Step, priority: Priority) -> None:
        before = self._running.get(step.digest)
        if before is not None and before.priority is priority:
            return
        warming = cache.warm((step.obj,), tier=step.tier, priority=priority)
        self._running[step.digest] = _Run(step, warming, priority)
        if before is not None:
            before.warming.cancel()  # the new one has joined its fetch
            return
        if step.from_bucket:
            self._credit.spend(step.obj.size_bytes)
        if self.guesses is not None and step.source == "learned":
            self.guesses.started(step, self._clock())
        self.scores.started(step.obj, step.tier, step.source)
        self._tell(step.obj, "fetch", step.tier, step.source, step.reason, step.p)

    def _cancel(self, digest: str, instead: Step | None) -> None:
        run = self._running.pop(digest)
        progress = run.warming.progress()
        run.warming.cancel()
        if instead is None:
            self.scores.stopped(run.step.obj, progress.done_bytes)
            self._tell(run.step.obj, "cancel", run.step.tier, run.step.source, "nobody wants it any more", run.step.p)

    def _reap(self) -> None:
        """Takes account of what has ended."""
        for digest, run in list(self._running.items()):
            progress = run.warming.progress()
            if not progress.finished:
                continue
            del self._running[digest]
            if progress.failures:
                self._has_failed(run, progress.failures[0].code, progress.failures[0].message, progress.done_bytes)
            elif not progress.cancelled:
                self._failed.pop(digest, None)
                self.scores.fetched(run.step.obj, run.warming.wire_bytes)

    def _has_failed(self, run: _Run, code: str, message: str, done_bytes: int) -> None:
        digest, now_s = run.step.digest, self._clock()
        if code == "no_room" and run.step.tier == RAM:
            self._no_room_s[digest] = now_s + NO_ROOM_S
        else:
            times = self._failed[digest].times + 1 if digest in self._failed else 1
            self._failed[digest] = _Failed(times, now_s + min(RETRY_S * 2 ** (times - 1), RETRY_MAX_S))
        self.scores.stopped(run.step.obj, done_bytes)
        self._tell(run.step.obj, "failed", run.step.tier, run.step.source, message, run.step.p)

    # -- telling -------------------------------------------------------------------------------------------------------
    def _tell_skip(self, skip: Skipped) -> None:
        if skip.reason != "there already":
            self._tell(skip.obj, "skip", "", skip.source, skip.reason, skip.p)

    def _tell(self, obj: Any, action: str, tier: str, source: str, reason: str, p: float) -> None:
        """Each decision once, until it changes."""
        decision = (action, tier, reason)
        if self._told.get(obj.id.digest) == decision:
            return
        self._told[obj.id.digest] = decision
        event = PrefetchDecided(obj.subject, obj.size_bytes, action, tier, source, reason, p)
        self._decisions.append(asdict(event))
        self._bus.emit(event)

    def _forget_told(self, still: set[str]) -> None:
        if len(self._told) > REMEMBERED_MAX:
            self._told = {digest: told for digest, told in self._told.items() if digest in still}

    def _on_event(self, event: Event) -> None:
        if isinstance(event, WarmFinished | Evicted) and self._thread is not None:
            self.poke()


def _shown(step: Step) -> dict[str, Any]:
    return {
        "digest": step.digest,
        "name": step.obj.basename,
        "subject": step.obj.subject,
        "folder": "",
        "size_bytes": step.obj.size_bytes,
        "tier": step.tier,
        "source": step.source,
        "reason": step.reason,
        "probability": step.p,
    }
