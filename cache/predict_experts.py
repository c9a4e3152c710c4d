"""The experts: a dozen simple opinions about which files the next prompt will newly need.  Pure; bounded.

    popular    what is newly needed, by anybody            file       what followed each file of this prompt
    set        what followed this set of files             lead       what followed a prompt with this largest file
    pair       what followed this set after the one before own set,   the same two, by this person alone
    own        what this person newly needs                own pair
    hour       what is newly needed at this time of the day, on a weekday or a week-end
    own use    by how long ago and how often this person used it
    any use    by how long ago anybody used it, and its folder
    return     by whether it belongs to the set before, and how long this one has lasted

The first nine are counts per context (order-1 and order-2 transitions, popularity, co-use), the last three running rates.
A prompt's own files are no candidates: they are there already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .predict_counts import Rates, Successors, Table, stretch
from .predict_mix import LEVELS, level
from .predict_stream import Stream

TABLES = {
    "popular": 0.998,
    "file": 0.998,
    "lead": 0.995,
    "set": 0.99,
    "pair": 1.0,
    "own set": 0.9,
    "own pair": 1.0,
    "own": 0.95,
    "hour": 0.99,
}
"""what is left of a count after one more use of its context; chosen on the first part of the recorded requests"""
RATES = ("own use", "any use", "return")
EXPERTS = (*TABLES, *RATES)
SHARED = 3
"""of the moment, the same for all candidates: length of the run, how often this person switches, how new he is"""
PER_EXPERT = 16
MAX_STREAMS = 2_000
MAX_FILES = 20_000
_FILES_OF_SET = 12
_SWITCHING = (0.1, 0.2, 0.35, 0.5, 0.7)
DAY_S, HOUR_S = 86400.0, 3600.0


@dataclass(frozen=True, slots=True)
class UsedFile:
    digest: str
    size_bytes: int
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """One prompt: everything it needed, in loading order.  at_s: wall time; only its hour and weekday count.

    stream: who asked, where several people share a ComfyUI (any stable text); "" where that is not known.
    """

    at_s: float
    files: tuple[UsedFile, ...]
    stream: str = ""


@dataclass(slots=True)
class Known:
    size_bytes: int
    folder: str
    used_at: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """opinions: log odds per expert, 0 where it has none (level 0); simple: order-1 with popularity behind it"""

    digest: str
    opinions: tuple[float, ...]
    levels: tuple[int, ...]
    buckets: tuple[tuple[object, ...], ...]
    simple: float


@dataclass(frozen=True, slots=True)
class Forecast:
    candidates: tuple[Candidate, ...]
    shared: tuple[int, ...]


class Experts:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._tables = {name: Table(keep) for name, keep in TABLES.items()}
        self._rates = {name: Rates() for name in RATES}
        self.streams: dict[str, Stream] = {}
        self.known: dict[str, Known] = {}
        self.at = 0
        """prompts so far"""

    # -- what happened ---------------------------------------------------------------------------------------------------
    def note(self, use: Use) -> None:
        """One more prompt.  O(files of two prompts)."""
        self.at += 1
        stream = self._stream(use.stream)
        files = tuple(dict.fromkeys(file.digest for file in use.files))
        if stream.prompts:
            new = [digest for digest in files if digest not in stream.files]
            for name, contexts in self._contexts(use.stream, stream, use.at_s).items():
                for context in contexts:
                    self._tables[name].note(context, new)
        for file in use.files:
            self._know(file)
        lead = max(use.files, key=lambda file: file.size_bytes).digest
        stream.used(files, lead)

    def truth(self, forecast: Forecast, new: frozenset[str]) -> None:
        """Before `note`: which of the forecast's candidates were needed."""
        for candidate in forecast.candidates:
            needed = candidate.digest in new
            for name, bucket in zip(RATES, candidate.buckets, strict=True):
                self._rates[name].note(bucket, needed)

    # -- what may come -----------------------------------------------------------------------------------------------------
    def forecast(self, name: str, at_s: float) -> Forecast | None:
        """None for somebody who has not been seen."""
        stream = self.streams.get(name)
        if stream is None or not stream.prompts:
            return None
        tables = self._tables
        seen = {
            kind: [found for context in contexts if (found := tables[kind].get(context)) is not None]
            for kind, contexts in self._contexts(name, stream, at_s).items()
        }
        names: dict[str, None] = {}
        for contexts in seen.values():
            for context in contexts:
                names.update(dict.fromkeys(context.best(PER_EXPERT)))
        names.update(dict.fromkeys(list(stream.recent)[-PER_EXPERT:]))
        levels = {kind: level(sum(context.seen for context in contexts)) if contexts else 0 for kind, contexts in seen.items()}
        candidates = tuple(self._candidate(digest, stream, seen, levels) for digest in names if digest not in stream.files)
        shared = (_log_level(stream.run), _switch_level(stream.switching), min(stream.prompts, LEVELS - 1))
        return Forecast(candidates, shared)

    def _candidate(self, digest: str, stream: Stream, seen: dict[str, list[Successors]], levels: dict[str, int]) -> Candidate:
        opinions = []
        for contexts in seen.values():
            if not contexts:
                opinions.append(0.0)
                continue
            count = total = 0.0
            for context in contexts:
                count += context.count(digest)
                total += context.seen
            opinions.append(stretch((count + 0.02) / (total + 0.5)))
        buckets = self._buckets(digest, stream)
        opinions += [stretch(self._rates[name].get(bucket)) for name, bucket in zip(RATES, buckets, strict=True)]
        return Candidate(digest, tuple(opinions), (*levels.values(), 1, 1, 1), buckets, _simple(digest, seen))

    def _contexts(self, name: str, stream: Stream, at_s: float) -> dict[str, Sequence[object]]:
        files = hash(stream.files)
        pair = (hash(stream.previous), files)
        return {
            "popular": ("",),
            "file": sorted(stream.files)[:_FILES_OF_SET],
            "lead": (stream.lead,),
            "set": (files,),
            "pair": (pair,),
            "own set": ((name, files),),
            "own pair": ((name, pair),),
            "own": (name,),
            "hour": (_hour(at_s),),
        }

    def _buckets(self, digest: str, stream: Stream) -> tuple[tuple[object, ...], ...]:
        last, uses = stream.recent.get(digest, (None, 0))
        ago = -1 if last is None else _log_level(stream.prompts - last)
        known = self.known.get(digest)
        anybody = -1 if known is None else int(math.log2(self.at - known.used_at + 1))
        folder = "" if known is None else known.folder
        return (ago, min(uses, 5)), (anybody, folder), (ago, digest in stream.previous, _log_level(stream.run))

    def _stream(self, name: str) -> Stream:
        stream = self.streams.pop(name, None)
        if stream is None:
            stream = Stream()
            if len(self.streams) >= MAX_STREAMS:
                del self.streams[next(iter(self.streams))]
        self.streams[name] = stream
        return stream

    def _know(self, file: UsedFile) -> None:
        self.known.pop(file.digest, None)
        if len(self.known) >= MAX_FILES:
            del self.known[next(iter(self.known))]
        self.known[file.digest] = Known(file.size_bytes, file.folder, self.at)


def _simple(digest: str, seen: dict[str, list[Successors]]) -> float:
    """The baseline that anything cleverer has to beat: what followed this set, with popularity where it was rarely seen."""
    popular = sum(context.count(digest) for context in seen["popular"]) / (sum(context.seen for context in seen["popular"]) + 1.0)
    count = sum(context.count(digest) for context in seen["set"])
    return (count + 2.0 * popular) / (sum(context.seen for context in seen["set"]) + 2.0)


def _log_level(count: int) -> int:
    return min(int(math.log2(count + 1)), LEVELS - 1)


def _switch_level(switching: float) -> int:
    return next((number for number, edge in enumerate(_SWITCHING) if switching <= edge), len(_SWITCHING))


def hour_and_weekday(at_s: float) -> tuple[float, int]:
    """Hour of the day and weekday (0: Monday), in UTC, which a habit does not mind; a time that is none is midnight on a Monday."""
    day, of_day_s = divmod(at_s, DAY_S) if math.isfinite(at_s) else (4.0, 0.0)
    return of_day_s / HOUR_S, int(day + 3) % 7


def _hour(at_s: float) -> tuple[bool, int]:
    """Week-end or not, and which three hours of the day."""
    hour, weekday = hour_and_weekday(at_s)
    return weekday >= 5, int(hour // 3)
