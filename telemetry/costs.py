"""What running costs and what the caches save, day by day.  Estimates, from events and prices; thread-safe.

GPU: seconds of executions × the price of the GPUs of this machine.  Egress, retrieval and requests: what transfers read,
at the price of the origin.  Storage: what an origin holds, a thirtieth of a month's price a day.  Saved: bytes not read ×
that price, and seconds not waited × the GPU's price.  A part without a known price is None, never 0.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

DAYS = 400
PARTS = ("gpu", "egress", "requests", "storage")


@dataclass(frozen=True, slots=True)
class OriginPrice:
    """Of one origin: per byte read (egress and retrieval), per request, and its storage's price a day.  None: not known."""

    read_byte: float | None = None
    request: float | None = None
    storage_day: float | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """money None: no price is known for any of it"""

    seconds: float = 0.0
    bytes: float = 0.0
    money: float | None = None

    def __add__(self, other: Saved) -> Saved:
        known = [m for m in (self.money, other.money) if m is not None]
        return Saved(self.seconds + other.seconds, self.bytes + other.bytes, sum(known) if known else None)


@dataclass(slots=True)
class Day:
    name: str
    parts: dict[str, float] = field(default_factory=dict)
    saved: Saved = field(default_factory=Saved)
    executions: int = 0

    @property
    def total(self) -> float | None:
        return sum(self.parts.values()) if self.parts else None


def day_of(at_s: float) -> str:
    """The local day."""
    return time.strftime("%Y-%m-%d", time.localtime(at_s))


class Costs:
    def __init__(self, gpu_per_second: Callable[[], float | None], origin_price: Callable[[str], OriginPrice]) -> None:
        """gpu_per_second: of all GPUs of this machine together; both may be called from any thread and must be quick."""
        self._gpu_per_second = gpu_per_second
        self._origin_price = origin_price
        self._lock = threading.Lock()
        self._days: OrderedDict[str, Day] = OrderedDict()
        self._dirty: set[str] = set()

    def executed(self, seconds: float, at_s: float) -> float | None:
        """Its cost."""
        price = self._gpu_per_second()
        with self._lock:
            self._day(at_s).executions += 1
        return None if price is None else self._add("gpu", seconds * price, at_s)

    def transferred(self, origin: str, wire_bytes: int, requests: int, at_s: float) -> dict[str, float]:
        """Its cost by part; parts without a known price are not in it."""
        price = self._origin_price(origin)
        amounts = {}
        if price.read_byte is not None:
            amounts["egress"] = self._add("egress", wire_bytes * price.read_byte, at_s)
        if price.request is not None:
            amounts["requests"] = self._add("requests", requests * price.request, at_s)
        return amounts

    def keeps(self, origins: Iterable[str], at_s: float) -> None:
        """Called now and then: today's storage of these origins."""
        known = [p for p in (self._origin_price(name).storage_day for name in origins) if p is not None]
        if known:
            with self._lock:
                day = self._day(at_s)
                if day.parts.get("storage") != sum(known):
                    day.parts["storage"] = sum(known)
                    self._dirty.add(day.name)

    def saved(self, origin: str, seconds: float, size_bytes: int, at_s: float) -> Saved:
        """origin empty: only seconds were saved."""
        gpu, read = self._gpu_per_second(), self._origin_price(origin).read_byte if origin else None
        money = [amount for amount in (gpu and seconds * gpu, read and size_bytes * read) if amount is not None]
        saved = Saved(seconds, size_bytes, sum(money) if money else None)
        with self._lock:
            day = self._day(at_s)
            day.saved += saved
            self._dirty.add(day.name)
        return saved

    # -- reading -------------------------------------------------------------------------------------------------------
    def days(self) -> tuple[Day, ...]:
        """Newest first."""
        with self._lock:
            copies = [Day(d.name, dict(d.parts), d.saved, d.executions) for d in self._days.values()]
        return tuple(sorted(copies, key=lambda d: d.name, reverse=True))

    def today(self, now_s: float) -> Day:
        return next((d for d in self.days() if d.name == day_of(now_s)), Day(day_of(now_s)))

    def saved_since(self, days: int, now_s: float) -> Saved:
        first = day_of(now_s - (days - 1) * 86_400)
        return sum((d.saved for d in self.days() if d.name >= first), Saved())

    def projected_month(self, now_s: float) -> float | None:
        """Thirty times the mean of the last seven days on which something happened, today taken as a whole day when it is over
        half; None without a price."""
        recent = [d.total for d in self.days()[:7] if d.total is not None]
        return sum(recent) / len(recent) * 30 if recent else None

    # -- over a restart ------------------------------------------------------------------------------------------------
    def take_dirty(self) -> list[Day]:
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            return [Day(d.name, dict(d.parts), d.saved, d.executions) for name in dirty if (d := self._days.get(name))]

    def mark_dirty(self, names: Iterable[str]) -> None:
        with self._lock:
            self._dirty.update(names)

    def restore(self, days: Mapping[str, Day]) -> None:
        with self._lock:
            for name, day in sorted(days.items()):
                self._days.setdefault(name, day)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _add(self, part: str, amount: float, at_s: float) -> float:
        with self._lock:
            day = self._day(at_s)
            day.parts[part] = day.parts.get(part, 0.0) + amount
            self._dirty.add(day.name)
        return amount

    def _day(self, at_s: float) -> Day:
        name = day_of(at_s)
        found = self._days.get(name)
        if found is None:
            found = self._days[name] = Day(name)
            while len(self._days) > DAYS:
                del self._days[min(self._days)]
        self._dirty.add(name)
        return found
