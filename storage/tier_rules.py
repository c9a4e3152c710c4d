"""From objects, their use and prices to a plan of moves.  Pure: the clock is an argument, nothing here knows a network.

How often an object is read is estimated from its uses on this machine: (uses + ½) in (months since it was written + 1), and no
more than one and a half in the time in which nobody has used it.  Never nothing: an object that "nobody reads" would go into an
archive whatever somebody may wait, and a prompt may ask for it tomorrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from .config_cost import CostConfig
from .config_tiering import TieringConfig
from .cost import DAYS_A_MONTH, Use, keeping, moving
from .objects import RemoteObject
from .placement import Choice, Placed, choose
from .prices import PriceClass, Prices
from .provider_table import COPY, LIFECYCLE, Provider, provider_of
from .restore import ARCHIVES
from .tier_plan import Move, TierPlan

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Used:
    """uses: ever, on this machine; last_s: wall time, 0: never"""

    uses: int = 0
    last_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """One origin for a plan.  versioned: old versions stay in the bucket, and are billed, after a move"""

    name: str
    preset: str
    prefix: str = ""
    versioned: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """choice None: nothing can be said, ``why`` says why; month: what it costs there now, None without a price"""

    obj: RemoteObject
    choice: Choice | None
    move: Move | None
    why: str
    month: float | None


def reads_per_month(used: Used, written_s: float, now_s: float, settings: TieringConfig) -> float:
    months = max(0.0, now_s - written_s) / DAY_S / DAYS_A_MONTH
    idle_months = max(0.0, now_s - (used.last_s or written_s)) / DAY_S / DAYS_A_MONTH
    rate = (used.uses + 0.5) / (months + 1)
    if idle_months > 1:
        rate = min(rate, 1.5 / idle_months)
    return rate * settings.machines * settings.share_from_bucket


class Rules:
    """Of one configuration.  ``held``: a word why nobody may touch an object ("pinned", "in use"), or ""."""

    def __init__(
        self,
        settings: TieringConfig,
        cost: CostConfig,
        prices: Prices,
        places: Iterable[Place],
        *,
        uses: Callable[[RemoteObject], Used],
        held: Callable[[RemoteObject], str],
        now_s: float,
    ) -> None:
        self.settings = settings
        self.now_s = now_s
        self._prices = prices
        self._cost = cost
        self._uses = uses
        self._held = held
        self._places = {place.name: place for place in places}
        self._rows: dict[str, tuple[PriceClass, ...]] = {name: priced(prices, cost, place) for name, place in self._places.items()}

    def rows(self, origin: str) -> tuple[PriceClass, ...]:
        """The prices of one origin, the owner's own put in."""
        return self._rows[origin]

    def plan(self, objects: Iterable[RemoteObject]) -> tuple[TierPlan, list[Planned]]:
        """The plan, the greatest saving first, and what was decided about every object."""
        decided = [self.decide(obj) for obj in objects]
        moves = sorted((one.move for one in decided if one.move is not None), key=lambda move: (-move.saves, move.subject))
        stays = Counter(one.why for one in decided if one.move is None)
        plan = TierPlan(
            made_s=self.now_s,
            currency=self._prices.currency,
            prices_read=self._prices.read,
            life_days=self.settings.life_days,
            moves=tuple(moves),
            objects=len(decided),
            stays=tuple(stays.most_common()),
            notes=tuple(self._notes(moves)),
        )
        return plan, decided

    def decide(self, obj: RemoteObject) -> Planned:
        place, rows = self._places[obj.origin], self._rows[obj.origin]
        provider = provider_of(place.preset)
        now = current(rows, obj.storage_class)
        use = self.use_of(obj, place)
        if now is None:
            return Planned(
                obj, None, None, f"no price is known for {obj.storage_class}" if rows else "no price list for this provider", None
            )
        month = a_month(use, now)
        folder = self.settings.folder_of(obj.id.key.removeprefix(place.prefix))
        if not provider.ways:
            return Planned(obj, None, None, "its provider has one class", month)
        used = self._uses(obj)
        if now.restore_s > self.use_of(obj, place).allowed_wait_s and not used.uses:
            return Planned(obj, None, None, "it is in an archive, and nobody here has used it", month)
        held = "kept where it is by the configuration" if folder is not None and folder.keep else self._held(obj)
        if held:
            return Planned(obj, None, None, held, month)
        levels = self.settings.levels if folder is None or folder.levels is None else folder.levels
        allowed = provider.candidates(levels, self.settings.classes)
        candidates = [row for row in rows if row.storage_class in allowed or row.storage_class == now.storage_class]
        age_days = max(0.0, self.now_s - obj.modified_s) / DAY_S
        min_age = self.settings.min_age_days if folder is None or folder.min_age_days is None else folder.min_age_days
        choice = choose(Placed(obj.subject, use, now, age_days), candidates, keep_days=min_age)
        if not choice.moves:
            return Planned(obj, choice, None, choice.reason, month)
        return self._worth_it(obj, choice, provider, place, month)

    def use_of(self, obj: RemoteObject, place: Place) -> Use:
        settings, folder = self.settings, self.settings.folder_of(obj.id.key.removeprefix(place.prefix))
        reads = None if folder is None else folder.reads_per_month
        if reads is None:
            reads = reads_per_month(self._uses(obj), obj.modified_s, self.now_s, settings)
        life = settings.life_days if folder is None or folder.life_days is None else folder.life_days
        wait = settings.allowed_restore_hours
        if folder is not None and folder.allowed_restore_hours is not None:
            wait = folder.allowed_restore_hours
        stall = (self._cost.gpu_per_hour or 0.0) / 3600
        return Use(obj.size_bytes, reads, life, settings.leaves_region, allowed_wait_s=wait * 3600, stall_per_s=stall)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _worth_it(self, obj: RemoteObject, choice: Choice, provider: Provider, place: Place, month: float) -> Planned:
        use, now, to = choice.placed.use, choice.placed.now, choice.to
        colder = _coldness(provider, to.storage_class) > _coldness(provider, now.storage_class)
        idle_days = (self.now_s - self._uses(obj).last_s) / DAY_S
        if colder and idle_days < self.settings.min_idle_days:
            return Planned(obj, choice, None, f"it was used within {self.settings.min_idle_days:g} days", month)
        after = a_month(use, to)
        in_time = now.restore_s <= use.allowed_wait_s
        if in_time and month - after < self.settings.min_saving:
            return Planned(obj, choice, None, f"a move would save less than {self.settings.min_saving:g} a month", month)
        age_days = choice.placed.age_days
        move = Move(
            obj.origin,
            obj.id.key,
            obj.id.version,
            obj.size_bytes,
            obj.modified_s,
            now.storage_class,
            to.storage_class,
            self._way(provider, place, colder),
            use.reads_per_month,
            month,
            after,
            moving(use, now, to, served_days=age_days).total,
            choice.break_even_days,
            to.restore_s,
            max(0.0, now.min_days - age_days),
            choice.reason,
        )
        return Planned(obj, choice, move, choice.reason, month)

    def _way(self, provider: Provider, place: Place, colder: bool) -> str:
        """A rule of the bucket only ever makes colder; where old versions stay it is the way that leaves none behind."""
        if not colder or LIFECYCLE not in provider.ways or self.settings.way == COPY:
            return COPY
        return LIFECYCLE if self.settings.way == LIFECYCLE or place.versioned else COPY

    def _notes(self, moves: list[Move]) -> Iterable[str]:
        for name in sorted({move.origin for move in moves if move.way == COPY and self._places[move.origin].versioned}):
            yield f"{name} keeps old versions: each copy leaves one behind, billed in its old class until the bucket's rules remove it"
        if any(move.from_class in ARCHIVES for move in moves):
            yield "what is in an archive has to be restored before it can be moved (modelstream restore)"


def priced(prices: Prices, cost: CostConfig, place: Place) -> tuple[PriceClass, ...]:
    """The provider's rows with the owner's own prices of this origin put in."""
    egress, storage = cost.egress_per_gb.get(place.name), cost.storage_per_gb_month.get(place.name)
    rows = []
    for row in prices.of(place.preset):
        row = row if egress is None else replace(row, egress_per_gb=egress)
        rows.append(replace(row, store_per_gb_month=storage) if storage is not None and row.storage_class == "STANDARD" else row)
    if not rows and storage is not None:
        rows.append(PriceClass("own", place.preset or "own", "STANDARD", storage, "own", "the configuration", egress_per_gb=egress or 0.0))
    return tuple(rows)


def current(rows: Iterable[PriceClass], storage_class: str) -> PriceClass | None:
    """The row of a class as a listing names it, with its cheapest way back."""
    same = [row for row in rows if row.storage_class == (storage_class or "STANDARD")]
    return min(same, key=lambda row: (row.retrieve_per_gb, row.restore_per_1k), default=None)


def a_month(use: Use, kept: PriceClass) -> float:
    """Of a month in which no minimum duration is owed any more."""
    return keeping(replace(use, life_days=DAYS_A_MONTH), kept, served_days=kept.min_days).total


def _coldness(provider: Provider, storage_class: str) -> int:
    order: Mapping[str, int] = {name: i for i, name in enumerate(n for names in provider.classes.values() for n in names)}
    return order.get(storage_class, 0)
