"""Replays requests through the policy module of the cache: the bytes are imaginary, the decisions are the product's."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelstream.cache.policy import FROM_BUCKET, FROM_SSD, Entry, RankedPolicy, TierSpeed, make_policy

from .policy_mixes import Request


@dataclass(frozen=True, slots=True)
class Tier:
    """A cache and what a miss in it costs."""

    name: str
    capacity_bytes: int
    below: TierSpeed


def tier(kind: str, gb: int) -> Tier:
    return Tier(f"{kind} {gb}", gb * 10**9, FROM_SSD if kind == "RAM" else FROM_BUCKET)


@dataclass(frozen=True, slots=True)
class Outcome:
    lost_s: float
    misses: int
    policy_s: float
    """CPU time inside the policy"""
    uses: int


def read_trace(path: Path) -> tuple[tuple[Request, ...], int]:
    """The requests and the index of the first dated one.

    Undated requests are spread evenly before it, at the mean distance of the dated ones.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    first = next((index for index, row in enumerate(rows) if row["t_s"]), len(rows))
    dated = len(rows) - first
    if not dated:
        raise ValueError(f"{path.name} has no row with a time (t_s): nothing would be measured")
    gap_s = (float(rows[-1]["t_s"]) - float(rows[first]["t_s"])) / dated or 1.0
    start_s = float(rows[first]["t_s"])
    requests = []
    for index, row in enumerate(rows):
        time_s = float(row["t_s"]) if row["t_s"] else start_s + (index - first) * gap_s
        loras = dict.fromkeys(f"lora:{code}" for code in row["loras"].split(";") if code)
        requests.append(Request(time_s, (f"checkpoint:{row['base']}", *loras)))
    return tuple(requests), first


def files_of(requests: Iterable[Request]) -> list[str]:
    return sorted({file for request in requests for file in request.files})


class Replay:
    """One cache under one policy, as a tier drives it: used → (miss) plan_room → removed …, admitted."""

    def __init__(self, policy: RankedPolicy, capacity_bytes: int, entries: Mapping[str, Entry]) -> None:
        self.policy = policy
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.resident: dict[str, Entry] = {}
        self.policy_s = 0.0
        self._entries = entries

    def use(self, file: str, now_s: float, in_use: frozenset[str]) -> bool:
        """Whether it was there."""
        entry = self._entries[file]
        hit = file in self.resident
        began = time.thread_time()
        self.policy.used(entry, now_s, hit=hit, in_use=in_use)
        self.policy_s += time.thread_time() - began
        if not hit and entry.size_bytes <= self.capacity_bytes:
            self.keep(entry, now_s, in_use)
        return hit

    def keep(self, entry: Entry, now_s: float, in_use: frozenset[str]) -> None:
        needed = self.used_bytes + entry.size_bytes - self.capacity_bytes
        if needed > 0:
            leased = [file for file in in_use if file in self.resident]
            for file in leased:
                self.resident[file] = replace(self._entries[file], leased=True)
            began = time.thread_time()
            plan = self.policy.plan_room(self.resident, needed, now_s, entry)
            self.policy_s += time.thread_time() - began
            for file in leased:
                self.resident[file] = self._entries[file]
            if not plan.enough or not plan.admit:
                return
            for victim in plan.victims:
                self.drop(victim.digest)
        self.resident[entry.digest] = entry
        self.used_bytes += entry.size_bytes
        self.policy.admitted(entry.digest)

    def drop(self, file: str) -> None:
        self.used_bytes -= self.resident.pop(file).size_bytes
        self.policy.removed(file)


def entries_of(sizes: Mapping[str, float], below: TierSpeed) -> dict[str, Entry]:
    return {file: Entry(file, int(size), below.reload_s(int(size))) for file, size in sizes.items()}


def replay(name: str, at: Tier, requests: Sequence[Request], first: int, sizes: Mapping[str, float]) -> Outcome:
    """Every request; what is lost counts from number ``first`` on.  A request's files are leased once they are loaded."""
    entries = entries_of(sizes, at.below)
    cache = Replay(make_policy(name, at.capacity_bytes), at.capacity_bytes, entries)
    lost_s, misses, uses = 0.0, 0, 0
    for number, request in enumerate(requests):
        for place, file in enumerate(request.files):
            in_use = frozenset(request.files[: place + 1])
            uses += 1
            if not cache.use(file, request.time_s, in_use) and number >= first:
                lost_s += entries[file].reload_s
                misses += 1
    return Outcome(lost_s, misses, cache.policy_s, uses)
