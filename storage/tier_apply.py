"""Carrying out a plan of moves: object by object, each looked at again just before, with a journal so that it can go on.

Applying a plan a second time, or one that was half applied, does what is left: an object in its new class is done, one that
has changed meanwhile is skipped and said.  Nothing is ever deleted.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ModelStreamError, ObjectArchived, ObjectChanged, TransferCancelled
from .provider_table import LIFECYCLE, provider_of
from .tier_copy import Mover
from .tier_lifecycle import TagMover
from .tier_plan import Move, TierPlan

if TYPE_CHECKING:
    from .origin import Origin

AT_ONCE = 4
MOVED, MARKED, ALREADY, CHANGED, HELD, ARCHIVED, FAILED, STOPPED = (
    "moved",
    "marked",
    "already",
    "changed",
    "held",
    "archived",
    "failed",
    "stopped",
)
GOOD = frozenset({MOVED, MARKED, ALREADY})


@dataclass(frozen=True, slots=True)
class Outcome:
    """MARKED: tagged, the provider moves it.  etag: of the object now, "" where it was not touched"""

    move: Move
    state: str
    note: str = ""
    etag: str = ""


class Journal:
    """Lines in a file, one a fact, each on the disk before the next step.  Thread-safe.  ``path`` None: nothing is remembered."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._torn = False
        self.etags: dict[tuple[str, str], str] = {}
        """of what was moved: a copy may have another ETag than its original"""
        self.uploads: dict[tuple[str, str], str] = {}
        for origin, key, what, value in self._read():
            if what == "upload":
                self.uploads[origin, key] = value
            else:
                self.etags[origin, key] = value

    def upload(self, origin: str, key: str, upload_id: str) -> None:
        self.uploads[origin, key] = upload_id
        self._write([origin, key, "upload", upload_id])

    def ended(self, outcome: Outcome) -> None:
        if outcome.state in GOOD:
            self.etags[outcome.move.origin, outcome.move.key] = outcome.etag
            self._write([outcome.move.origin, outcome.move.key, outcome.state, outcome.etag])

    def _read(self) -> Iterator[tuple[str, str, str, str]]:
        if self._path is None or not self._path.exists():
            return
        text = self._path.read_text("utf-8", "replace")
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines():
            try:
                origin, key, what, value = json.loads(line)
            except (ValueError, TypeError):
                continue  # the line that was being written when the process ended
            yield str(origin), str(key), str(what), str(value)

    def _write(self, fact: list[str]) -> None:
        if self._path is None:
            return
        with self._lock:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(fd, "ab") as file:
                # a line that a killed process began stays a line of its own
                file.write(b"\n" * self._torn + json.dumps(fact).encode() + b"\n")
                self._torn = False
                file.flush()
                os.fsync(fd)


class Applier:
    """held: asked before each move; a word why nobody may touch the object now, or ""."""

    def __init__(
        self,
        origins: Mapping[str, Origin],
        journal: Journal,
        *,
        held: Callable[[Move], str],
        stopped: Callable[[], bool] = lambda: False,
        copied: Callable[[Move, int], None] = lambda move, done_bytes: None,
        mover: Callable[..., Mover] = Mover,
    ) -> None:
        self._origins = origins
        self._journal = journal
        self._held = held
        self._stopped = stopped
        self._copied = copied
        self._halted = False
        self._mover = mover
        self._movers: dict[str, Mover] = {}
        self._taggers: dict[str, TagMover] = {}

    def apply(self, plan: TierPlan) -> Iterator[Outcome]:
        """One outcome a move, as they end, a few at once.  Raises ModelStreamError where a bucket's rules cannot be set."""
        for name, origin in self._origins.items():
            left = {key: upload for (owner, key), upload in self._journal.uploads.items() if owner == name and upload}

            def remember(key: str, upload_id: str, name: str = name) -> None:
                self._journal.upload(name, key, upload_id)

            self._movers[name] = self._mover(origin, remember=remember, left=left, stopped=self._stops)
            classes = {move.to_class for move in plan.moves if move.origin == name and move.way == LIFECYCLE}
            if classes:
                self._taggers[name] = TagMover(origin)
                self._taggers[name].prepare(classes)
        todo = iter(plan.moves)
        running: set[Future[Outcome]] = set()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="modelstream-tier") as pool:
            try:
                while True:
                    while len(running) < AT_ONCE and not self._stops() and (move := next(todo, None)) is not None:
                        running.add(pool.submit(self._one, move))
                    if not running:
                        break
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            except BaseException:
                self._halted = True  # Ctrl-C: what is being copied ends with its part, and the journal knows where to go on
                raise
        yield from (Outcome(move, STOPPED) for move in todo)

    def _stops(self) -> bool:
        return self._halted or self._stopped()

    def _one(self, move: Move) -> Outcome:
        outcome = self._tried(move)
        self._journal.ended(outcome)
        return outcome

    def _tried(self, move: Move) -> Outcome:
        origin = self._origins[move.origin]
        if not move.key.startswith(origin.prefix) or not provider_of(origin.profile.preset).level_of(move.to_class):
            return Outcome(move, FAILED, "no plan of this configuration moves that")
        held = self._held(move)
        if held:
            return Outcome(move, HELD, held)
        try:
            etag = self._journal.etags.get((move.origin, move.key), move.etag)
            if move.way == LIFECYCLE:
                moved = self._taggers[move.origin].move(move.key, etag, move.to_class)
                return Outcome(move, ALREADY if moved.already else MARKED, etag=moved.etag)
            moved = self._movers[move.origin].move(move.key, etag, move.to_class, lambda count: self._copied(move, count))
            return Outcome(move, ALREADY if moved.already else MOVED, etag=moved.etag)
        except ObjectChanged as error:
            return Outcome(move, CHANGED, str(error))
        except ObjectArchived as error:
            return Outcome(move, ARCHIVED, str(error))
        except TransferCancelled as error:
            return Outcome(move, STOPPED, str(error))
        except ModelStreamError as error:
            return Outcome(move, FAILED, str(error))


def summary(outcomes: list[Outcome]) -> dict[str, int]:
    return dict(Counter(outcome.state for outcome in outcomes))
