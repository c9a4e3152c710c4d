"""What the policies know of past use, kept across restarts: loaded once, stored now and then and at the end.

Losing it costs some seconds of loading, so whatever cannot be read or written is said in an event and done without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..storage.events import EventBus, TierDegraded
from .policy_history import Remembered
from .policy_tournament import DAYS, NO_ACCOUNTS, Accounts
from .state_file import StateFile
from .tier_choice import TierChoice

if TYPE_CHECKING:
    from .usage_history import UsageHistory


class Remembers(Protocol):
    """A tier with a policy."""

    @property
    def choice(self) -> TierChoice: ...
    def recall(self, remembered: list[Remembered], accounts: Accounts) -> None: ...


class PolicyMemory:
    """One thread at a time: first whoever opens the cache, then housekeeping, then whoever closes it.

    tiers: by the name that their rows are kept under
    """

    def __init__(self, folder: Path, tiers: Mapping[str, Remembers], bus: EventBus) -> None:
        self._folder = folder
        self._tiers = tiers
        self._bus = bus
        self._accounts = StateFile(folder / "saved.json")
        self._stored = dict.fromkeys(tiers, 0)

    def recall(self) -> None:
        """Gives each tier what it knew.  Opens a database: not for the event loop."""
        from .usage_history import HistoryUnusable

        accounts = _accounts_of(self._accounts.read())
        for name, tier in self._tiers.items():
            rows: tuple[Remembered, ...] = ()
            try:
                with self._history(name) as history:
                    rows = history.load()
            except HistoryUnusable as error:
                self._bus.emit(TierDegraded("cache", "history", str(error)))
            tier.recall(list(rows), accounts.get(name, NO_ACCOUNTS))

    def store(self) -> None:
        """What is new since the last time."""
        from .usage_history import HistoryUnusable

        new = {name: tier.choice.changes for name, tier in self._tiers.items() if tier.choice.changes != self._stored[name]}
        try:
            for name in new:
                with self._history(name) as history:
                    history.store(self._tiers[name].choice.remembered())
            if new:
                self._accounts.write({name: _as_json(tier.choice.accounts()) for name, tier in self._tiers.items()})
        except (HistoryUnusable, OSError) as error:
            cause = str(error) if isinstance(error, HistoryUnusable) else error.strerror or type(error).__name__
            self._bus.emit(TierDegraded("cache", "history", f"what was used cannot be remembered: {cause}"))
        else:
            self._stored |= new

    def _history(self, name: str) -> UsageHistory:
        from .usage_history import UsageHistory

        return UsageHistory(self._folder, name)


def _as_json(accounts: Accounts) -> dict[str, object]:
    days = [[day, *row] for day, row in accounts.days.items()]
    return {"days": days, "recent_s": dict(accounts.recent_s), "leader": accounts.leader}


def _accounts_of(content: object) -> dict[str, Accounts]:
    """What is not exactly as it was written is forgotten."""
    found = {}
    for name, fields in content.items() if isinstance(content, dict) else ():
        try:
            days = {_whole(day): (_loss(own_s), _loss(lru_s)) for day, own_s, lru_s in fields["days"][-DAYS:]}
            recent_s = {str(ranking): _loss(seconds) for ranking, seconds in fields["recent_s"].items()}
            found[name] = Accounts(days, recent_s, str(fields["leader"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


def _whole(value: object) -> int:
    if type(value) is not int:
        raise ValueError
    return value


def _loss(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError
    return float(value)
