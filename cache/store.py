"""The cache as its callers see it: open an object, get its bytes from the nearest tier that has them.

`Cache.open_tensors` and `Cache.open_file` block the calling thread, never for longer than 50 ms without
asking the watch.  All methods are thread-safe.  One object is fetched once however many ask: they join one
`Fetch`.  No lock here: `Fetches`, the tiers and what looks after them have theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..storage.catalog import Catalog
from ..storage.engine import TransferEngine
from ..storage.errors import CorruptObject, ModelStreamError, NoRoom
from ..storage.events import EventBus, TierHit
from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from ..storage.safetensors_header import SafetensorsHeader
from .fetch import SHOW_S, Fetch, Goal
from .fetcher import Fetcher
from .fetches import Fetches, Joined
from .headers import HeaderReader
from .housekeeping import Housekeeping
from .keeping import Keeping
from .ledger import Ledger
from .mapped_file import map_private
from .opened import OpenFile, OpenTensors
from .operations import RAM, CacheEntry, EvictOutcome, Pin, Saved, VerifyOutcome
from .pins import Pins
from .policy import EvictionPlan
from .policy_memory import PolicyMemory
from .precision import recipe_for
from .ram import RamEntry, RamSnapshot, RamTier
from .same_bytes import SameBytes
from .space_values import SsdSnapshot
from .speeds import Speeds
from .ssd_lease import SsdLease
from .ssd_moves import Move, SsdMoves
from .ssd_stack import AnySsd
from .state_file import StateFile
from .tensors import parse_front
from .warming import Warmer, Warming
from .watch import LoadProgress, Unwatched, Watch

TRIES = 3
"""an entry may be evicted between being ready and being leased; more often than this somebody thrashes"""
CLOSE_S = 5.0
SAFETENSORS = (".safetensors", ".sft")
"""what RAM can hold as tensors, by name"""


@dataclass(frozen=True, slots=True)
class CacheSnapshot:
    ram: RamSnapshot
    ssd: SsdSnapshot
    loading: tuple[str, ...]
    """subjects of the objects that are on their way"""
    restoring: tuple[tuple[str, float | None], ...] = ()
    """of these, what waits for an archive: (subject, seconds left at most)"""


class Cache:
    def __init__(
        self,
        fetcher: Fetcher,
        headers: HeaderReader,
        catalog: Catalog,
        engine: TransferEngine,
        ram: RamTier,
        ssd: AnySsd,
        bus: EventBus,
        clock: Callable[[], float] = time.monotonic,
        *,
        pins: Pins | None = None,
        state: Path | None = None,
        configured: Mapping[str, int | None] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """pins:       those that the tiers honour
        state:      a folder for small things that outlive the process; None: they do not
        configured: the configuration's budget of each tier in bytes, None where it says nothing
        """
        self._fetcher = fetcher
        self._headers = headers
        self._catalog = catalog
        self._engine = engine
        self._ram = ram
        self._ssd = ssd
        self._bus = bus
        self._clock = clock
        self._fetches = Fetches(lambda fetch: fetcher.run(fetch), lambda obj, first: ram.missed(obj, first=first))
        self._ledger = Ledger(wall_clock, Speeds() if fetcher is None else fetcher.speeds)
        budgets = StateFile(None if state is None else state / "budgets.json")
        self._keeping = Keeping(ram, ssd, pins or Pins(), self._ledger, bus, budgets, configured or {})
        self._warmer = Warmer(self._bring, bus)
        if ram is not None and fetcher is not None:
            ram.reload_s = self._reload_s
        self._same = SameBytes(ram, ssd) if fetcher is None else fetcher.same
        self._memory: PolicyMemory | None = None
        self._housekeeping: Housekeeping | None = None
        self._moves: SsdMoves | None = None
        if state is not None:
            self._keeping.take_up_budgets()
            directories = {f"ssd{number or ''}": tier for number, tier in enumerate(ssd.directories())}
            self._memory = PolicyMemory(state / "usage", {RAM: ram, **directories}, bus)
            self._memory.recall()
            jobs: list[Callable[[], None]] = [self._memory.store]
            if len(ssd.directories()) > 1:
                self._moves = SsdMoves(ssd.directories(), bus, lambda: not self._fetches.subjects())
                jobs.append(self._moves.round)
            self._housekeeping = Housekeeping(jobs, bus)
            self._housekeeping.start()

    # -- names -------------------------------------------------------------------------------------------------------
    def path_for(self, obj: RemoteObject) -> str:
        """Where the object's file is or will be.  Lexical, no I/O, stable for one version of one object."""
        self._catalog.remember(obj)
        return str(self._ssd.path_for(obj))

    def file_of(self, obj: RemoteObject) -> str | None:
        """The file that has its bytes now, under whatever name and in whatever directory; None: it is not on the SSD.  It
        may be evicted at any moment: `open_file` gives one that stays."""
        path = self._ssd.file_of(self._same.of(obj))
        return None if path is None else str(path)

    def object_at(self, path: str) -> RemoteObject | None:
        """The object behind a path of `path_for`; None for every other path.  Lexical, no I/O."""
        digest = self._ssd.digest_of(path)
        return None if digest is None else self._catalog.by_digest(digest)

    def is_on_disk(self, obj: RemoteObject) -> bool:
        return self._ssd.lookup(obj) is not None

    def is_in_memory(self, obj: RemoteObject) -> bool:
        return self._ram.holds(obj.id.digest)

    def header(self, obj: RemoteObject) -> SafetensorsHeader:
        """The header alone, from the nearest tier; a small ranged read where no tier has the object.  Blocks."""
        return self._headers.header(self._same.of(obj))

    def in_precision(self, obj: RemoteObject, form: str) -> RemoteObject:
        """The object that ``obj`` becomes in another precision (`recipe.FORMS`): to be opened, pinned, warmed like any other.

        Nothing is made before somebody opens it.  Raises ConfigError for a form that does not exist.
        """
        return self._fetcher.conversions.derive(obj, recipe_for(form))

    # -- opening -----------------------------------------------------------------------------------------------------
    def open_tensors(self, obj: RemoteObject, watch: Watch | None = None) -> OpenTensors:
        """A safetensors object in memory.  Raises the errors of storage.errors and whatever the watch raises."""
        watch = watch or Unwatched()
        started_s = self._clock()
        for attempt in range(TRIES):
            entry = self._ram.get(self._same.of(obj).id.digest)
            if entry is not None:
                return self._tensors(entry, obj, "ram", 0, started_s)
            with Joined(self._fetches, obj, Goal.MEMORY, watch, use=attempt == 0) as (fetch, mine):
                fetch.wait(Goal.MEMORY if fetch.goal is Goal.MEMORY else Goal.DISK, watch)
                wire_bytes = fetch.wire_bytes if mine else 0
                if fetch.entry is not None:
                    return self._tensors(fetch.entry.lease(), fetch.landed_obj, fetch.source, wire_bytes, started_s)
                mapped = self._mapped(fetch, watch, wire_bytes, started_s)
                if mapped is not None:
                    return mapped
        raise self._thrashing(obj)

    def open_file(self, obj: RemoteObject, watch: Watch | None = None) -> OpenFile:
        """A real file on the SSD.  Raises like `open_tensors`."""
        watch = watch or Unwatched()
        started_s = self._clock()
        source, wire_bytes, landed = "ssd", 0, obj
        before: Fetch | None = None
        for _ in range(TRIES):
            lease = self._right_copy(self._same.of(landed), watch, use=before is None)
            if lease is not None:
                if source == "ssd":
                    self._bus.emit(TierHit("ssd", obj.subject, obj.size_bytes, self._clock() - started_s))
                seconds = self._clock() - started_s
                self._ledger.used(lease.obj.id.digest, landed.size_bytes, source, seconds)
                return OpenFile(landed, source, landed.size_bytes, wire_bytes, seconds, lease.release, path=str(lease.path))
            if before is not None:
                before.wait_ended(watch)  # evicted since: joining the same fetch again would find the same nothing
            with Joined(self._fetches, obj, Goal.DISK, watch) as (fetch, mine):
                before = fetch
                fetch.wait(Goal.DISK, watch)
                source, landed = fetch.source, fetch.landed_obj
                wire_bytes = fetch.wire_bytes if mine else 0
        raise self._thrashing(obj)

    # -- looking after it --------------------------------------------------------------------------------------------
    def entries(self, *, other_names: bool = False) -> tuple[CacheEntry, ...]:
        """What RAM and SSD hold, the most recently used first.  From memory.

        other_names: also an entry for each other name of what is kept once; their bytes count with the one it is kept as
        """
        entries = self._keeping.entries()
        if not other_names:
            return entries
        by_digest = {entry.digest: entry for entry in entries}
        twins = [(twin.obj, by_digest.get(twin.kept.id.digest)) for twin in self._same.other_names()]
        return (*entries, *(self._keeping.renamed(entry, obj) for obj, entry in twins if entry is not None))

    def held_back(self) -> dict[str, tuple[int, int]]:
        """Of each tier: bytes of leased entries, bytes of pinned ones.  From memory, for who asks every second."""
        return self._keeping.held_back()

    def pin(self, obj: RemoteObject) -> None:
        """Keeps every version of it in the tiers that have it, also after a restart.  Raises ConfigError where that
        cannot be saved.  Where its bytes are kept under another name, that one is pinned as well."""
        self._keeping.pin(obj)
        kept = self._same.of(obj)
        if kept != obj:
            self._keeping.pin(kept)

    def unpin(self, obj: RemoteObject | Pin) -> None:
        self._keeping.unpin(obj)

    def pins(self) -> tuple[Pin, ...]:
        return self._keeping.pins()

    def evict(self, obj: RemoteObject | CacheEntry, tier: str | None = None) -> EvictOutcome:
        """Out of one tier ("ram", "ssd") or of all.  What is leased, pinned or loaded is refused.

        A ``CacheEntry``: what is cached and no longer listed has no object any more.
        """
        if isinstance(obj, CacheEntry):
            return self._keeping.evict(obj.digest, obj.subject, tier)
        held = self._same.of(obj)
        return self._keeping.evict(held.id.digest, held.subject, tier)

    def verify(self, obj: RemoteObject, watch: Watch | None = None) -> VerifyOutcome:
        """Reads every copy again.  Blocks; raises what the watch raises."""
        return self._keeping.verify(self._same.of(obj), watch or Unwatched())

    def warm(self, objs: Iterable[RemoteObject], tier: str = RAM, priority: Priority = Priority.BACKGROUND) -> Warming:
        """Fetches ahead, a few at a time; returns at once."""
        return self._warmer.start(objs, tier, priority)

    def plan_room(self, size_bytes: int, tier: str) -> EvictionPlan:
        """Who would go to make room for so many bytes more.  Changes nothing."""
        return self._keeping.plan_room(size_bytes, tier)

    def saved(self, days: int = 7, *, bound: bool = False) -> Saved:
        """What the choice of who goes saved, against least recently used, in so many days (8 at most are kept).

        bound: also how little could have been lost at best in the latest uses; takes seconds of CPU, so only in a thread
        of the caller's.
        """
        return self._keeping.saved(days, bound=bound)

    def plan_moves(self) -> tuple[Move, ...]:
        """What the next round of housekeeping would move between the SSD's directories.  Changes nothing."""
        return () if self._moves is None else self._moves.plan()

    def set_budget(self, tier: str, size_bytes: int) -> None:
        """Live, and saved for as long as the configuration says the same.  Evicts what is above it; blocks."""
        self._keeping.set_budget(tier, size_bytes)

    def used(self, obj: RemoteObject, seconds: float = 0.0) -> None:
        """A use that no tier saw: the loaded model itself was still there."""
        kept = self._same.of(obj)
        if not self._ram.used(kept):
            self._ssd.noted(kept)
        self._ledger.used(kept.id.digest, obj.size_bytes, "model", seconds)

    def keep(self, digests: Iterable[str], until_s: float) -> None:
        """Until then (wall time; inf: for as long as a queued prompt needs them; 0: no longer) no tier lets go of these
        while others can go.  Digests that are nowhere yet count from when they come."""
        named = [name for digest in digests for name in self._same.names_of(digest)]
        self._ram.keep(named, until_s)
        self._ssd.keep(named, until_s)

    # -- the rest ------------------------------------------------------------------------------------------------------
    def snapshot(self) -> CacheSnapshot:
        return CacheSnapshot(self._ram.snapshot(), self._ssd.snapshot(), self._fetches.subjects(), self._fetches.restoring())

    def wait_mirrored(self, timeout_s: float | None = None) -> bool:
        """For a process that ends when its work is done: True when every copy for a near origin is made or given up."""
        near = self._fetcher.near
        return near is None or near.mirroring.wait_idle(timeout_s)

    def close(self) -> None:
        """Cancels what is on its way, joins the threads, closes the tiers."""
        threads = self._fetches.cancel()
        self._warmer.close()
        if self._fetcher is not None and self._fetcher.near is not None:
            self._fetcher.near.close()
        self._engine.close()
        for thread in threads:
            thread.join(CLOSE_S)
        if self._housekeeping is not None:
            self._housekeeping.close()
        if self._memory is not None:
            self._memory.store()
        self._ssd.close()
        self._ram.close()

    # -- inside --------------------------------------------------------------------------------------------------------
    def _reload_s(self, obj: RemoteObject) -> float:
        """What an entry of the RAM tier costs to load again: from the SSD, where its copy is or will be."""
        speeds = self._fetcher.speeds
        below = speeds.from_ssd if self._ssd.writable or self._ssd.holds(obj.id.digest) else speeds.from_bucket
        return below.reload_s(obj.size_bytes)

    def _tensors(self, entry: RamEntry, obj: RemoteObject, source: str, wire_bytes: int, started_s: float) -> OpenTensors:
        seconds = self._clock() - started_s
        self._ledger.used(entry.obj.id.digest, obj.size_bytes, source, seconds)
        return OpenTensors(obj, source, obj.size_bytes, wire_bytes, seconds, entry.release, header=entry.header, buffer=entry.buffer)

    def _right_copy(self, obj: RemoteObject, watch: Watch, *, use: bool) -> SsdLease | None:
        """The copy on the SSD for somebody who reads the file himself, checked.  None: there is none, or a damaged one."""
        lease = self._ssd.lease(obj, use=use)
        if lease is None:
            return None
        started_s = shown_s = time.monotonic()

        def progress(done_bytes: int) -> None:
            nonlocal shown_s
            now_s = time.monotonic()
            if now_s - shown_s >= SHOW_S:
                shown_s, rate = now_s, done_bytes / (now_s - started_s)
                watch.progress(LoadProgress(obj.size_bytes, done_bytes, rate, (obj.size_bytes - done_bytes) / rate, "ssd"))

        def should_stop() -> bool:
            watch.check()
            return False

        try:
            self._ssd.verify(lease, progress, should_stop)
        except BaseException as error:
            lease.release()
            if isinstance(error, CorruptObject):
                return None  # said in an event; what is damaged comes from the bucket now
            raise
        return lease

    def _mapped(self, fetch: Fetch, watch: Watch, wire_bytes: int, started_s: float) -> OpenTensors | None:
        """An object that does not fit in RAM: its SSD file, mapped.  Pages are private: nobody can write into the cache."""
        obj = fetch.landed_obj
        lease = self._right_copy(self._same.of(obj), watch, use=False)
        if lease is None:
            return None
        try:
            mapping = map_private(lease.path, obj.subject)
            header = parse_front(memoryview(mapping), obj.subject)
        except BaseException:
            lease.release()
            raise
        seconds = self._clock() - started_s
        self._ledger.used(lease.obj.id.digest, obj.size_bytes, fetch.source, seconds)
        return OpenTensors(obj, fetch.source, obj.size_bytes, wire_bytes, seconds, lease.release, header=header, buffer=mapping)

    def _thrashing(self, obj: RemoteObject) -> ModelStreamError:
        return NoRoom(
            "the object was evicted before it could be used",
            subject=obj.subject,
            cause=f"its {obj.size_bytes / 1e9:.2f} GB were fetched {TRIES} times and displaced each time",
            next_step="raise ram.budget_gb or ssd.budget_gb in the configuration",
        )

    def _bring(self, obj: RemoteObject, tier: str, priority: Priority, watch: Watch) -> int:
        """Gets it into a tier; what RAM cannot hold as tensors goes to the SSD.  Returns the bytes on the wire for it."""
        goal = Goal.MEMORY if tier == RAM and obj.basename.lower().endswith(SAFETENSORS) else Goal.DISK
        for _ in range(TRIES):
            kept = self._same.of(obj)
            if self._ram.holds(kept.id.digest) if goal is Goal.MEMORY else self.is_on_disk(kept):
                return 0
            with Joined(self._fetches, obj, goal, watch, priority) as (fetch, mine):
                fetch.wait(fetch.goal if goal is Goal.MEMORY else Goal.DISK, watch)
                if goal is Goal.DISK or fetch.entry is not None:
                    return fetch.wire_bytes if mine else 0
                if fetch.goal is Goal.MEMORY:
                    step = "raise ram.budget_gb in the configuration, or free models"
                    raise NoRoom("the RAM tier has no room to fetch it ahead", subject=obj.subject, next_step=step)
                fetch.wait_ended(watch)  # it went to the SSD; from there into RAM now
        raise self._thrashing(obj)
