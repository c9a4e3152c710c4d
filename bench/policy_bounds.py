"""What no policy can beat, and what a feasible one that sees the future reaches.  Offline: for comparison only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelstream.cache.policy import Entry
from modelstream.cache.policy_bound import Interval, most_saved

from .policy_mixes import Request
from .policy_replay import Tier, entries_of

NEVER = 1 << 60


def belady_cost(at: Tier, requests: Sequence[Request], first: int, sizes: Mapping[str, float]) -> float:
    """Seconds lost by the greedy that evicts the least seconds per byte and distance to the next use.  Feasible."""
    entries = entries_of(sizes, at.below)
    coming = _coming(requests)
    resident: dict[str, Entry] = {}
    next_use: dict[str, int] = {}
    used_bytes, lost_s = 0, 0.0
    for number, request in enumerate(requests):
        for place, file in enumerate(request.files):
            entry = entries[file]
            hit = file in resident
            next_use[file] = coming[number, file]
            if hit:
                continue
            lost_s += entry.reload_s if number >= first else 0.0
            if entry.size_bytes > at.capacity_bytes:
                continue

            def value(one: str, number: int = number) -> float:
                return entries[one].reload_s / entries[one].size_bytes / max(next_use[one] - number, 0.5)

            resident[file] = entry
            used_bytes += entry.size_bytes
            if used_bytes > at.capacity_bytes:
                order = sorted((one for one in resident if one == file or one not in request.files[: place + 1]), key=value, reverse=True)
                while used_bytes > at.capacity_bytes and order:
                    used_bytes -= resident.pop(order.pop()).size_bytes
            if used_bytes > at.capacity_bytes:
                used_bytes -= resident.pop(file).size_bytes
    return lost_s


def _coming(requests: Sequence[Request]) -> dict[tuple[int, str], int]:
    """For each use, the number of the request that uses the file next."""
    coming, after = {}, {}
    for number in range(len(requests) - 1, -1, -1):
        for file in requests[number].files:
            coming[number, file] = after.get(file, NEVER)
            after[file] = number
    return coming


def foo_bound(at: Tier, requests: Sequence[Request], first: int, sizes: Mapping[str, float]) -> float:
    """What no policy can beat (`cache.policy_bound`).  What the tier held before the first measured request is free to
    choose, which only lowers the bound."""
    total_s, intervals = _intervals(requests, first, entries_of(sizes, at.below), at.capacity_bytes)
    return total_s - most_saved(intervals, at.capacity_bytes)


def _intervals(requests: Sequence[Request], first: int, entries: Mapping[str, Entry], capacity_bytes: int) -> tuple[float, list[Interval]]:
    last: dict[str, int] = {}
    total_s, intervals = 0.0, []
    for number, request in enumerate(requests):
        for file in request.files:
            if number >= first:
                total_s += entries[file].reload_s
                if file in last and entries[file].size_bytes <= capacity_bytes:
                    intervals.append(Interval(max(last[file], first - 1), number, entries[file].size_bytes, entries[file].reload_s))
            last[file] = number
    return total_s, intervals
