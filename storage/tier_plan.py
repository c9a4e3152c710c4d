"""A plan of moves between storage classes, as a value: printed, saved, looked at, and only then applied.

Frozen: what was planned for one version of an object is never done to another.  The file is JSON and read strictly; nothing in
it names an endpoint, a bucket or a credential: an origin is a name in the configuration, and an unknown one is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .provider_table import COPY, LIFECYCLE

FORM = "modelstream-tiering-1"
MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Move:
    """One object of one version into another class.

    before, after:   a month, the fee of the move not in it; fee: once
    break_even_days: None: it is no question of money (the object could not be read in time where it was)
    restore_s:       how long a reader waits in the new class; 0: not at all
    early_days:      of the old class's minimum duration, what is left and paid for in the fee
    """

    origin: str
    key: str
    etag: str
    size_bytes: int
    modified_s: float
    from_class: str
    to_class: str
    way: str
    reads_per_month: float
    before: float
    after: float
    fee: float
    break_even_days: float | None
    restore_s: float
    early_days: float
    reason: str

    @property
    def subject(self) -> str:
        return f"{self.origin}:{self.key}"

    @property
    def saves(self) -> float:
        """A month."""
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class TierPlan:
    """made_s: wall time; stays: {why: how many objects stay where they are}; notes: what somebody should know before"""

    made_s: float
    currency: str
    prices_read: str
    life_days: float
    moves: tuple[Move, ...]
    objects: int
    stays: tuple[tuple[str, int], ...]
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The same for the same plan: a journal belongs to it."""
        return hashlib.sha256(to_json(self).encode()).hexdigest()[:16]

    @property
    def saves(self) -> float:
        return sum(move.saves for move in self.moves)

    @property
    def fee(self) -> float:
        return sum(move.fee for move in self.moves)


def to_json(plan: TierPlan) -> str:
    return json.dumps({"form": FORM, **dataclasses.asdict(plan)}, indent=1, sort_keys=True)


def read_plan(path: Path, origins: Iterable[str]) -> TierPlan:
    """Raises ConfigError for whatever `to_json` would not have written, and for an origin that is not configured."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
        document = json.loads(raw) if len(raw) <= MAX_BYTES else None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read", cause=error.strerror or "") from None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.pop("form", None) != FORM:
        raise ConfigError(f"{path.name} is no plan of this version", next_step="make one with `modelstream plan --out FILE`")
    known = set(origins)
    moves = document.get("moves")
    rows = [_strict(Move, row, f"{path.name}: moves[{i}]") for i, row in enumerate(moves if isinstance(moves, list) else [])]
    for move in rows:
        if move.origin not in known:
            raise ConfigError(f"{path.name} names an origin that is not configured", cause=move.origin[:64])
        if move.way not in (COPY, LIFECYCLE) or not move.to_class.replace("_", "").isalnum():
            raise ConfigError(f"{path.name} has a move that no plan makes", cause=move.way[:64])
    stays = tuple((str(why), int(count)) for why, count in document.get("stays", ()))
    return _strict(TierPlan, {**document, "moves": tuple(rows), "stays": stays, "notes": tuple(document.get("notes", ()))}, path.name)


_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "float | None": (int, float, type(None))}


def _strict(cls: Any, row: Any, where: str) -> Any:
    fields = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    if not isinstance(row, dict) or set(row) != set(fields):
        raise ConfigError(f"{where} has not the fields of a plan", next_step="make a new one with `modelstream plan --out FILE`")
    for name, kind in fields.items():
        value, wanted = row[name], _KINDS.get(kind)
        fits = wanted is None or (isinstance(value, wanted) and not isinstance(value, bool))
        if not fits or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{where}.{name} cannot be that", next_step="make a new plan with `modelstream plan --out FILE`")
    return cls(**row)
