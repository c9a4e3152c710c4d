"""Which variant of a model is loaded: one pure function over values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..storage.errors import NoRoom, ObjectMissing
from ..storage.people import size_text
from ..storage.variant_rules import AT_MOST, BEST, SMALLEST, THIS
from .fit import EVICT, OFFLOAD, WHOLE, Verdict


@dataclass(frozen=True, slots=True)
class Variant:
    """bits: of a weight, as far as they count here: what the file has, or what ComfyUI will hold where that is less
    problem: why it cannot be loaded here; such a one is never chosen, but by "this one", whose loader then says so"""

    name: str
    format: str
    bits: float
    size_bytes: int
    verdict: Verdict
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """why: one line for people, with figures; others: name and why not, of the rest"""

    variant: Variant
    rule: str
    why: str
    others: tuple[tuple[str, str], ...] = ()


def choose_variant(variants: Iterable[Variant], picked: str, rule: str, bits_most: float = 8.0) -> Choice:
    """Deterministic: the same values give the same choice, in whatever order they come.

    "best that fits": the most bits of those that fit whole, others sent away if need be; where none does, what costs the fewest
    seconds a step; of equal bits the one that was picked, then the fewest bytes.  Raises NoRoom where nothing fits, ObjectMissing
    where nothing has so few bits.
    """
    every = sorted(variants, key=lambda one: one.name)
    own = next(one for one in every if one.name == picked)
    if rule == THIS:
        return _choice(own, rule, "it was asked for", every)
    able = [one for one in every if not one.problem]
    if not able:
        raise NoRoom("none of the variants can be loaded", subject=picked, cause="; ".join(f"{one.name}: {one.problem}" for one in every))
    if rule == SMALLEST:
        found = min(able, key=lambda one: (one.size_bytes, one.name != picked, one.name))
        return _choice(found, rule, f"with {size_text(found.size_bytes)} it is the smallest of {len(able)}", every)
    if rule == AT_MOST:
        few = [one for one in able if one.bits <= bits_most]
        if not few:
            least = min(able, key=lambda one: one.bits)
            raise ObjectMissing(
                f"no variant has at most {bits_most:g} bits", subject=picked, next_step=f"{least.name} has the fewest: {least.bits:g}"
            )
        found = min(few, key=lambda one: _quality(one, picked))
        return _choice(found, rule, f"{found.bits:g} bits a weight are the most below {bits_most:g}", every)
    return _best(able, picked, every)


def _best(able: list[Variant], picked: str, every: list[Variant]) -> Choice:
    whole = [one for one in able if one.verdict.kind in (WHOLE, EVICT)]
    if whole:
        found = min(whole, key=lambda one: _quality(one, picked))
        after = f" after {', '.join(found.verdict.going)} left" if found.verdict.kind == EVICT else ""
        return _choice(found, BEST, f"of those that fit whole{after} it has the most bits a weight: {found.bits:g}", every)
    partly = [one for one in able if one.verdict.kind == OFFLOAD]
    if partly:
        found = min(partly, key=lambda one: (one.verdict.offload_bytes, *_quality(one, picked)))
        off = size_text(found.verdict.offload_bytes)
        return _choice(found, BEST, f"none fits whole; of it the least stays in host memory: {off}", every)
    unknown = [one for one in able if one.verdict.kind not in (WHOLE, EVICT, OFFLOAD, "no")]
    if unknown:
        own = next((one for one in unknown if one.name == picked), min(unknown, key=lambda one: one.size_bytes))
        return _choice(own, BEST, "nobody can say what fits: " + own.verdict.reason, every)
    least = min(able, key=lambda one: (one.verdict.missing_bytes, one.name))
    raise NoRoom(
        "none of the variants fits",
        subject=picked,
        cause=f"{least.name} comes nearest: {size_text(least.verdict.missing_bytes)} of {least.verdict.reason} are missing",
        next_step="choose a smaller picture, free memory, or publish a smaller variant",
    )


def _quality(one: Variant, picked: str) -> tuple[float, bool, int, str]:
    """The best first."""
    return (-one.bits, one.name != picked, one.size_bytes, one.name)


def _choice(found: Variant, rule: str, why: str, every: list[Variant]) -> Choice:
    return Choice(found, rule, why, tuple((one.name, _why_not(one)) for one in every if one is not found))


def _why_not(one: Variant) -> str:
    if one.problem:
        return one.problem
    fits = {
        WHOLE: "fits whole",
        EVICT: "fits after others leave",
        OFFLOAD: f"{size_text(one.verdict.offload_bytes)} would stay in host memory",
    }
    said = fits.get(one.verdict.kind, "does not fit" if one.verdict.kind == "no" else "nobody can say whether it fits")
    return f"{one.format}, {one.bits:g} bits, {size_text(one.size_bytes)}: {said}"
