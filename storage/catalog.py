"""What all origins hold, in memory: listing models never waits for a network.

Readers take one reference to an immutable ``_Contents`` and work on that, without a lock; a refresh builds the
next one in the catalog's thread and swaps it in.  An outage is not a deletion: only a listing that was read to
its end takes names away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from .breath import equal, merged
from .catalog_snapshot import SnapshotUnreadable, read_snapshot, write_snapshot
from .config import CatalogConfig, OriginConfig
from .errors import BadAnswer, ModelStreamError
from .events import CatalogRefreshed, CatalogRefreshFailed, CatalogTrimmed, EventBus, TierDegraded, TlsNotVerified
from .layout import FORM, FolderView, Source, lookup_name, sources
from .listing import Listing, ListingBuilder, difference
from .objects import RemoteObject

__all__ = ["Catalog", "FolderView", "OriginState"]

_HANDED_OUT_MAX = 20_000
_FIRST_RETRY_S = 15.0
_LET_START_S = 5.0
"""with a snapshot of every origin the first listing waits so long: the names are there, and the machine is busy importing
torch and streaming the first model, which boto3's import (0.2 s CPU) would slow down"""
_FULL_PAGE = 1000
_REST_AFTER_PAGE = 3.0
"""times what a full page took (10 ms of work in Python): so much longer everybody else, ComfyUI's event loop first, has the interpreter"""
_PAGE_REST_MAX_S = 0.05
_SNAPSHOT_AT_ONCE_BYTES = 4 << 20
"""about 36,000 objects, read in 50 ms"""
_BUSY_SHARE = 20
"""a listing that takes long is repeated more seldom: it never costs more than a twentieth of the time"""


class Listable(Protocol):
    """What the catalog needs of an ``Origin``."""

    @property
    def config(self) -> OriginConfig: ...
    @property
    def endpoint(self) -> str: ...
    def list_pages(self) -> Iterator[Sequence[RemoteObject]]: ...


@dataclass(frozen=True, slots=True)
class OriginState:
    """listed_s: wall time of the last complete listing, None before the first; error: why the last attempt failed, else None."""

    name: str
    objects: int = 0
    skipped: int = 0
    cut: bool = False
    listed_s: float | None = None
    error: ModelStreamError | None = None
    refreshing: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Contents:
    """One generation.  The two dictionaries are caches: filled by whoever asks first, each item set once."""

    generation: int
    listings: Mapping[str, Listing]
    names: dict[FolderView, tuple[str, ...]] = field(default_factory=dict)
    digests: dict[str, tuple[Listing, int]] = field(default_factory=dict)


class Catalog:
    """Any thread may call anything.  ``names``, ``find`` and ``generation`` read memory only and take no lock.

    Lock order: ``_refreshing`` (one listing at a time) before ``_lock`` (the swap; held for microseconds).
    """

    def __init__(
        self,
        origins: Sequence[Listable],
        settings: CatalogConfig,
        bus: EventBus,
        *,
        snapshot: Path | None = None,
        fingerprint: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """snapshot: file that keeps the listing over a restart; fingerprint: ``Config.listing_fingerprint()``."""
        self._origins = {origin.config.name: origin for origin in origins}
        self._settings = settings
        self._bus = bus
        self._snapshot = snapshot
        self._fingerprint = fingerprint
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._turn = threading.Condition(threading.Lock())
        self._asked = self._done = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._contents = _Contents(0, {})
        self._saved: _Contents | None = self._contents
        self._handed_out: dict[str, RemoteObject] = {}
        self._states = {name: OriginState(name) for name in self._origins}
        self._snapshot_read = False
        self._told: set[object] = set()
        self._sources_of: dict[FolderView, tuple[tuple[str, Source], ...]] = {}

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Grows with every change."""
        return self._contents.generation

    def names(self, view: FolderView) -> tuple[str, ...]:
        """Names in the folder, sorted; the same tuple until something changes."""
        contents = self._contents
        found = contents.names.get(view)
        if found is None:
            found = contents.names[view] = self._names_in(contents, view)
        return found

    def find(self, view: FolderView, name: str, *, origin: str = "") -> RemoteObject | None:
        """The object of that name in the nearest origin, or in the one named.  "\\" and "/" both separate."""
        name = lookup_name(name)
        contents = self._contents
        for holder, source in self._sources(view):
            listing = contents.listings.get(holder) if origin in ("", holder) else None
            found = listing.find(view, source, name) if listing else None
            if found is not None:
                self.remember(found)
                return found
        return None

    def entries(self, view: FolderView) -> Iterator[tuple[str, RemoteObject]]:
        """(name, object) of everything in the folder, unsorted; for lists with sizes.  Not remembered: nobody asked for one."""
        contents, seen = self._contents, set[str]()
        for origin, source in self._sources(view):
            listing = contents.listings.get(origin)
            for name in listing.names(view, source) if listing else ():
                if name not in seen and (obj := listing.find(view, source, name) if listing else None) is not None:
                    seen.add(name)
                    yield name, obj

    def form_of(self, obj: RemoteObject) -> RemoteObject | None:
        """The compressed form that lies beside it, of whatever version it is one."""
        listing = self._contents.listings.get(obj.origin)
        row = listing.row(obj.id.key + FORM) if listing else None
        return None if listing is None or row is None else listing.object(row)

    def expect(self, views: Iterable[FolderView]) -> None:
        """Views that will be asked for: their names are built with each listing, off the caller's thread.  Before ``start``."""
        for view in views:
            self.names(view)

    def by_digest(self, digest: str) -> RemoteObject | None:
        """The object whose id has this digest: one that was handed out (also when it is overwritten or gone by now), or a
        listed one.  The first miss among those handed out hashes the whole catalog once (0.3 s for 100,000 objects): not
        for the event loop.
        """
        found = self._handed_out.get(digest)
        if found is not None:
            return found
        contents = self._contents
        if not contents.digests:
            index = {one.object_id(row).digest: (one, row) for one in contents.listings.values() for row in range(len(one))}
            contents.digests.update(index)
        at = contents.digests.get(digest)
        return at[0].object(at[1]) if at else None

    def is_listed(self, obj: RemoteObject) -> bool:
        """Whether the latest listing of its origin has this very version."""
        listing = self._contents.listings.get(obj.origin)
        row = listing.row(obj.id.key) if listing else None
        return listing is not None and row is not None and listing.versions[row] == obj.id.version

    def remember(self, obj: RemoteObject) -> None:
        """Keeps ``obj`` resolvable by digest whatever happens to it in the bucket (the latest 20,000 are kept)."""
        digest = obj.id.digest
        if digest in self._handed_out:
            return
        with self._lock:
            self._handed_out[digest] = obj
            while len(self._handed_out) > _HANDED_OUT_MAX:
                del self._handed_out[next(iter(self._handed_out))]

    def objects(self) -> Iterable[RemoteObject]:
        """Everything that is listed, near origins first.  Made one by one."""
        listings = self._contents.listings
        return (obj for name in self._origins if name in listings for obj in listings[name].objects())

    def listings(self) -> tuple[Listing, ...]:
        """What each origin holds, in columns, near to far; of one generation."""
        listings = self._contents.listings
        return tuple(listings[name] for name in self._origins if name in listings)

    def states(self) -> tuple[OriginState, ...]:
        """Near to far."""
        return tuple(self._states.values())

    def replace(self, old: RemoteObject, new: RemoteObject) -> None:
        """A transfer found that the object is another version now.  Without effect when the listing knows better than ``old``."""
        self.remember(old)
        self.remember(new)
        with self._lock:
            listing = self._contents.listings.get(old.origin)
            row = listing.row(old.id.key) if listing else None
            if listing is None or row is None or listing.versions[row] != old.id.version or new.id.key != old.id.key:
                return
            renewed = {**self._contents.listings, old.origin: listing.with_object(new)}
            # The names stay as they are: only a version changed.
            self._contents = _Contents(self._contents.generation + 1, renewed, dict(self._contents.names))

    # -- refreshing ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Reads the snapshot (a large one is left to the thread) and starts the thread, which lists at once (a little
        later where the snapshot has every origin) and then every ``refresh_s``.
        """
        if self._thread is None and not self._closed and self._origins:
            for name, origin in self._origins.items():
                if not origin.config.profile.verify_tls:
                    self._bus.emit(TlsNotVerified(name))
            self._read_snapshot(at_most_bytes=_SNAPSHOT_AT_ONCE_BYTES)
            self._thread = threading.Thread(target=self._run, name="modelstream-catalog", daemon=True)
            self._thread.start()

    def refresh(self, *, wait: bool = False, timeout_s: float | None = None) -> bool:
        """Asks for a listing that begins after this call; many who ask at once share one.

        With ``wait``: True when that listing is over, well or badly (see ``states``); False at the timeout or when
        closed.  Before ``start`` a waiting caller lists in its own thread.
        """
        if self._thread is None:
            if wait and not self._closed:
                self._refresh_all()
            return wait
        with self._turn:
            self._asked += 1
            wanted = self._asked
            self._turn.notify_all()
            if not wait:
                return False
            self._turn.wait_for(lambda: self._done >= wanted or self._closed, timeout_s)
            return self._done >= wanted

    def close(self) -> None:
        """Stops the thread; a request under way is not waited for longer than a second (the thread is a daemon)."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        self._read_snapshot()
        failures = 0
        with self._turn:
            known = all(name in self._contents.listings for name in self._origins)
            self._turn.wait_for(lambda: self._closed or self._asked > self._done, _LET_START_S if known else 0.0)
        while not self._closed:
            with self._turn:
                serving = self._asked
            began_s = self._clock()
            failures = 0 if self._refresh_all() else failures + 1
            with self._turn:
                self._done = serving
                self._turn.notify_all()
                pause_s = self._pause_s(self._clock() - began_s, failures)
                self._turn.wait_for(lambda: self._closed or self._asked > self._done, pause_s)

    def _pause_s(self, took_s: float, failures: int) -> float | None:
        """Until the next listing nobody asked for; None: never."""
        regular_s = self._settings.refresh_s
        if failures:
            return float(min(regular_s or 300.0, _FIRST_RETRY_S * 2 ** min(failures - 1, 10)))
        return max(regular_s, took_s * _BUSY_SHARE) if regular_s else None

    def _refresh_all(self) -> bool:
        with self._refreshing:
            good = [self._refresh_one(name, origin) for name, origin in self._origins.items() if not self._closed]
            self._write_snapshot()
            return all(good)

    def _refresh_one(self, name: str, origin: Listable) -> bool:
        began_s = self._clock()
        self._states[name] = replace(self._states[name], refreshing=True)
        before = self._contents.listings.get(name)
        try:
            listing = self._list(name, origin)
        except ModelStreamError as error:
            self._failed(name, error)
            return False
        except Exception as error:
            self._failed(name, BadAnswer("the listing failed in an unforeseen way", subject=name, cause=type(error).__name__))
            return False
        if listing is None:  # closed meanwhile
            return False
        self._publish(listing)
        self._states[name] = OriginState(name, len(listing), listing.skipped, listing.cut, listing.listed_s)
        added, removed = difference(before, listing)
        self._bus.emit(CatalogRefreshed(name, len(listing), added, removed, self._clock() - began_s))
        if listing.skipped or listing.cut:
            self._tell_once(CatalogTrimmed(name, listing.skipped, listing.cut))
        return True

    def _failed(self, name: str, error: ModelStreamError) -> None:
        self._states[name] = replace(self._states[name], error=error, refreshing=False)
        self._bus.emit(CatalogRefreshFailed(name, error.code, str(error)))

    def _list(self, name: str, origin: Listable) -> Listing | None:
        config = origin.config
        builder = ListingBuilder(name, origin.endpoint, config.bucket, config.prefix)
        show_at = 0 if name not in self._contents.listings else self._settings.max_objects
        began_s = self._clock()
        for page in origin.list_pages():
            builder.add(page)
            if len(page) >= _FULL_PAGE:
                with self._turn:
                    self._turn.wait_for(lambda: self._closed, min(_REST_AFTER_PAGE * (self._clock() - began_s), _PAGE_REST_MAX_S))
            began_s = self._clock()
            if self._closed:
                return None
            if len(builder) >= self._settings.max_objects:
                return builder.build(listed_s=self._wall_clock(), cut=True)
            if len(builder) > show_at:
                # The very first listing is shown while it grows; each step doubles, so that all steps together cost one.
                show_at = 2 * len(builder)
                self._publish(builder.build(listed_s=0.0))
        return builder.build(listed_s=self._wall_clock())

    def _publish(self, listing: Listing) -> None:
        """Builds the next generation outside the lock, names of all known folders included, and swaps it in."""
        while True:
            now = self._contents
            before = now.listings.get(listing.origin)
            same = before is not None and before.same_rows(listing)
            if before is not None and same and before.listed_s:
                return
            # The same rows, complete only now: the next contents, but no new generation.
            following = _Contents(now.generation + (not same), {**now.listings, listing.origin: listing})
            for view in tuple(now.names):
                names = self._names_in(following, view)
                following.names[view] = now.names[view] if equal(names, now.names[view]) else names
            with self._lock:
                if self._contents is now:  # else ``replace`` came in between: build on that
                    self._contents = following
                    return

    def _names_in(self, contents: _Contents, view: FolderView) -> tuple[str, ...]:
        parts = [listing.names(view, source) for origin, source in self._sources(view) if (listing := contents.listings.get(origin))]
        parts = [part for part in parts if part]
        if len(parts) == 1:  # the usual case is sorted and unique already
            return tuple(parts[0])
        return tuple(merged(parts))

    def _sources(self, view: FolderView) -> tuple[tuple[str, Source], ...]:
        """(origin, prefix) pairs that feed a view, nearest first.  Fixed by the configuration, so made once a view.

        Origins with copies come last: what a farther one holds is that one's object, wherever its bytes are read from.
        """
        found = self._sources_of.get(view)
        if found is None:
            configs = {name: o.config for name, o in sorted(self._origins.items(), key=lambda item: item[1].config.mirror)}
            found = tuple((name, source) for name, c in configs.items() for source in sources(view, c.prefix, c.folders))
            self._sources_of[view] = found
        return found

    # -- the snapshot --------------------------------------------------------------------------------------------

    def _read_snapshot(self, at_most_bytes: int | None = None) -> None:
        if self._snapshot is None or self._snapshot_read:
            return
        prefixes = {name: origin.config.prefix for name, origin in self._origins.items()}
        try:
            if at_most_bytes is not None and self._snapshot.stat().st_size > at_most_bytes:
                return
        except OSError:
            pass  # absent or unreadable: read_snapshot says so
        self._snapshot_read = True
        try:
            listings = read_snapshot(self._snapshot, self._fingerprint, prefixes)
        except SnapshotUnreadable:
            return  # it is listed again in a moment
        for one in listings:
            if one.origin not in self._contents.listings:
                self._publish(one)
                self._states[one.origin] = OriginState(one.origin, len(one), one.skipped, one.cut, one.listed_s or None)
        self._saved = self._contents

    def _write_snapshot(self) -> None:
        contents = self._contents
        if self._snapshot is None or contents is self._saved or self._closed:
            return
        try:
            write_snapshot(self._snapshot, self._fingerprint, contents.listings.values())
        except OSError as error:
            self._tell_once(TierDegraded("catalog", "snapshot", error.strerror or type(error).__name__))
        else:
            self._saved = contents

    def _tell_once(self, event: CatalogTrimmed | TierDegraded) -> None:
        if event not in self._told:
            self._told.add(event)
            self._bus.emit(event)
