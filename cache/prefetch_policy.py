"""What is fetched ahead, in which order, into which tier: over plain values, no clock, no file, no socket.

What the queue names is certain: it is fetched in the order in which it will be wanted, the near prompts into RAM as far
as they fit there together, everything else onto the SSD.  Nothing that is wanted sooner is displaced by something that
is wanted later, because only what fits together is planned, and what is planned is kept.

What is only probable is fetched when ``p × seconds saved > seconds lost by what it displaces + λ × seconds of transfer``
(docs/prefetch.md says where the numbers come from).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..storage.landing import Priority
from ..storage.objects import RemoteObject
from .operations import RAM, SSD
from .policy import TierSpeed
from .predict_price import worth

SMALL_BYTES = 256 << 20
LANES_MAX = 4


@dataclass(frozen=True, slots=True)
class Wish:
    """An object that will be wanted.

    prompts_ahead: 0 for the prompt that runs
    memory:        its loader takes it from RAM; False: it opens a file
    certain:       False: its node runs only if a lazy input asks for it
    source:        who says so: "queue", "boot" or "graph"
    """

    obj: RemoteObject
    prompts_ahead: int = 0
    memory: bool = True
    certain: bool = True
    source: str = "queue"

    @property
    def digest(self) -> str:
        return self.obj.id.digest


@dataclass(frozen=True, slots=True)
class Step:
    """One fetch to do: the more urgent ones come first.  from_bucket: False: it is on the SSD and goes to RAM"""

    obj: RemoteObject
    tier: str
    priority: Priority
    source: str
    reason: str
    p: float = 1.0
    prompts_ahead: int = 0
    from_bucket: bool = True

    @property
    def digest(self) -> str:
        return self.obj.id.digest


@dataclass(frozen=True, slots=True)
class Skipped:
    obj: RemoteObject
    source: str
    reason: str
    p: float = 1.0


@dataclass(frozen=True, slots=True)
class Tiers:
    """What the tiers have, at one moment.

    ram_taken_bytes: of the budget, held by what cannot go although nobody wishes for it: pinned, or used at this moment
    ssd_budget_bytes: 0: there is no SSD tier
    loaded:          digests that need no load as long as their warm model lives → bytes of RAM that it holds
    """

    in_ram: Collection[str]
    on_ssd: Collection[str]
    ram_budget_bytes: int
    ssd_budget_bytes: int
    ram_taken_bytes: int = 0
    loaded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Depth:
    """How far the queue is looked ahead.  quiet: only the running and the next prompt."""

    prompts_in_ram: int = 4
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """A value: making it changes nothing.  keep: by tier, what has to stay because it is wanted, soonest first."""

    steps: tuple[Step, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    keep: Mapping[str, tuple[RemoteObject, ...]] = field(default_factory=dict)


def plan_queue(wishes: Iterable[Wish], tiers: Tiers, depth: Depth) -> QueuePlan:
    """wishes: soonest first; an object that is named twice counts once, where it is wanted first."""
    steps: list[Step] = []
    skipped: list[Skipped] = []
    keep: dict[str, list[RemoteObject]] = {RAM: [], SSD: []}
    left = {RAM: tiers.ram_budget_bytes - tiers.ram_taken_bytes, SSD: tiers.ssd_budget_bytes}
    seen: set[str] = set()
    for wish in wishes:
        if wish.digest in seen:
            continue
        seen.add(wish.digest)
        size = wish.obj.size_bytes
        if wish.digest in tiers.loaded and tiers.loaded[wish.digest] <= left[RAM]:
            left[RAM] -= tiers.loaded[wish.digest]
            keep[RAM].append(wish.obj)
            skipped.append(Skipped(wish.obj, wish.source, "loaded already"))
            continue
        if depth.quiet and wish.prompts_ahead > 1:
            skipped.append(Skipped(wish.obj, wish.source, "quiet"))
            continue
        tier, reason = _tier_for(wish, size, left, depth)
        if not tier:
            skipped.append(Skipped(wish.obj, wish.source, reason))
            continue
        left[tier] -= size
        keep[tier].append(wish.obj)
        if wish.digest in tiers.in_ram or (tier == SSD and wish.digest in tiers.on_ssd):
            skipped.append(Skipped(wish.obj, wish.source, "there already"))
            continue
        near = wish.prompts_ahead <= depth.prompts_in_ram
        priority = Priority.QUEUED if near and wish.certain else Priority.BACKGROUND
        from_bucket = wish.digest not in tiers.on_ssd
        steps.append(Step(wish.obj, tier, priority, wish.source, reason, 1.0, wish.prompts_ahead, from_bucket))
    return QueuePlan(tuple(steps), tuple(skipped), {tier: tuple(objects) for tier, objects in keep.items()})


def _tier_for(wish: Wish, size: int, left: Mapping[str, int], depth: Depth) -> tuple[str, str]:
    """(tier, why); an empty tier: nowhere."""
    when = "the running prompt" if wish.prompts_ahead == 0 else f"{wish.prompts_ahead} prompts ahead"
    if wish.source != "queue":
        when = wish.source
    why_not_ram = ""
    if not wish.memory:
        why_not_ram = "its loader opens a file"
    elif not wish.certain:
        why_not_ram = "perhaps not wanted"
    elif wish.prompts_ahead > depth.prompts_in_ram:
        why_not_ram = "far back"
    elif size > left[RAM]:
        why_not_ram = "RAM is full of what is wanted sooner"
    if not why_not_ram:
        return RAM, when
    if size <= left[SSD]:
        return SSD, f"{when}; {why_not_ram}"
    return "", f"{why_not_ram}; the SSD has no room"


def lanes(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Those that should be under way at once: the first gets nearly the whole link, the second starts beside it, and
    small ones (whose time is mostly waiting for answers) up to four."""
    chosen: list[Step] = []
    small = 0
    for step in steps:
        small += step.obj.size_bytes
        if len(chosen) >= LANES_MAX or (len(chosen) >= 2 and small - chosen[0].obj.size_bytes > SMALL_BYTES):
            break
        chosen.append(step)
    return tuple(chosen)


# -- the probable ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Guess:
    """An object and the chance that it is wanted soon."""

    obj: RemoteObject
    p: float


@dataclass(frozen=True, slots=True)
class Prices:
    """second_price: λ; ram: loading into RAM from the SSD; bucket: from the bucket"""

    second_price: float
    ssd: TierSpeed
    bucket: TierSpeed
    from_bucket: bool = False
    per_prompt: int = 2
    budget_left_bytes: int = 0


def price_guesses(
    guesses: Iterable[Guess],
    tiers: Tiers,
    prices: Prices,
    displaced_s: Callable[[RemoteObject, str], float | None],
) -> tuple[tuple[Step, ...], tuple[Skipped, ...]]:
    """Which guesses are worth their price, likeliest first.

    displaced_s: seconds that are expected to be lost when room is made for an object in a tier; None: it cannot be made
    without displacing what is leased, pinned or queued.
    """
    steps: list[Step] = []
    skipped: list[Skipped] = []
    left = prices.budget_left_bytes
    for guess in sorted(guesses, key=lambda g: (-g.p, g.obj.id.digest)):
        digest, size = guess.obj.id.digest, guess.obj.size_bytes
        if digest in tiers.loaded or digest in tiers.in_ram:
            continue
        on_ssd = digest in tiers.on_ssd
        if len(steps) >= prices.per_prompt:
            skipped.append(Skipped(guess.obj, "learned", "enough guesses for one prompt", guess.p))
            continue
        tier, seconds = (RAM, prices.ssd.reload_s(size)) if on_ssd else (SSD, prices.bucket.reload_s(size))
        why = _not_worth(guess, tier, seconds, prices, left, displaced_s)
        if why:
            skipped.append(Skipped(guess.obj, "learned", why, guess.p))
            continue
        left -= 0 if on_ssd else size
        steps.append(
            Step(guess.obj, tier, Priority.BACKGROUND, "learned", f"p {guess.p:.2f} × {seconds:.1f} s saved", guess.p, 1, not on_ssd)
        )
    return tuple(steps), tuple(skipped)


def _not_worth(
    guess: Guess, tier: str, seconds: float, prices: Prices, left_bytes: int, displaced_s: Callable[[RemoteObject, str], float | None]
) -> str:
    if tier == SSD and not prices.from_bucket:
        return "a guess is not fetched from a bucket"
    if tier == SSD and guess.obj.size_bytes > left_bytes:
        return "this hour's budget is used up"
    lost_s = displaced_s(guess.obj, tier)
    if lost_s is None:
        return "there is no room that nobody needs"
    gain_s, cost_s = guess.p * seconds, lost_s + prices.second_price * seconds
    return "" if worth(guess.p, seconds, lost_s, prices.second_price) else f"{gain_s:.2f} s expected gain, {cost_s:.2f} s price"
