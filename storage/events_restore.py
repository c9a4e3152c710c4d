"""Events about storage classes: objects that come back from an archive (``cache/restores.py``) or change their class on use
(``cache/promotion.py``)."""

from __future__ import annotations

from dataclasses import dataclass

from .events import Event

NO_PRICE = -1.0


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RestoreStarted(Event):
    """An archived object is on its way back.

    expected_s: the longest the provider names for this class and tier, from when it was asked; 0: not known
    cost:       by the price list; NO_PRICE: none is known, or somebody else had asked already
    ours:       False: a restore was under way already
    """

    subject: str
    size_bytes: int
    storage_class: str
    tier: str
    days: int
    expected_s: float
    cost: float
    ours: bool


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RestoreFinished(Event):
    """The object can be read.  seconds: since it was asked back, as far as this process knows; until_s: wall time, 0: not known"""

    subject: str
    size_bytes: int
    seconds: float
    until_s: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RestoreFailed(Event):
    """It could not be asked back, or nobody can say any more how far it is."""

    subject: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ClassChanged(Event):
    """An object was moved inside its bucket.  fee: of the move, by the price list"""

    subject: str
    size_bytes: int
    from_class: str
    to_class: str
    fee: float


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ClassChangeFailed(Event):
    """It stays where it is; loads are not concerned."""

    subject: str
    code: str
    message: str
