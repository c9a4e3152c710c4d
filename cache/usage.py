"""Who is on the SSD, how big, used when: the table that eviction plans are made from.  No file is touched here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set

from .entries import Found
from .policy import Entry, TierSpeed
from .tier_choice import TierChoice

CLOCK_S = 1e-3
"""a file system's times may be rounded to this; what is later than a use of ours by more was a use of somebody else"""


class UsageTable:
    """Not thread-safe: its owner holds a lock.

    Times are seconds since the epoch, since they outlive the process.  A clock that leaps does little harm: a time
    in the future counts as now, and within this process order of use is kept whatever the clock does.
    """

    def __init__(self) -> None:
        self._entries: dict[str, Found] = {}
        self._leases: Counter[str] = Counter()
        self._latest_s = 0.0

    @property
    def used_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self._entries.values())

    @property
    def leased(self) -> Set[str]:
        return self._leases.keys()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, digest: object) -> bool:
        return digest in self._entries

    def entries(self) -> list[Found]:
        return list(self._entries.values())

    def get(self, digest: str) -> Found | None:
        return self._entries.get(digest)

    def scanned(self, found: Iterable[Found], now_s: float) -> list[tuple[Found, bool]]:
        """Replaces the table by what is on the disk; a later use that only this process knows of is kept.

        Returns what was used or brought by somebody else since the last scan, and whether it was here before.
        """
        entries, news = {}, []
        for entry in found:
            known = self._entries.get(entry.digest)
            known_s = known.last_used_s if known else 0.0
            seen_s = entry.last_used_s if entry.last_used_s <= now_s else known_s or now_s  # now only once, not at every scan
            last_used_s = max(seen_s, known_s)
            entries[entry.digest] = Found(entry.digest, entry.size_bytes, last_used_s)
            if last_used_s > known_s + CLOCK_S:
                news.append((entries[entry.digest], known is not None))
        self._entries = entries
        return news

    def used(self, digest: str, size_bytes: int, now_s: float) -> float:
        """Notes a use (or a new entry); returns the time that counts for it."""
        self._latest_s = max(now_s, self._latest_s + 1e-6)
        self._entries[digest] = Found(digest, size_bytes, self._latest_s)
        return self._latest_s

    def gone(self, digest: str) -> None:
        self._entries.pop(digest, None)

    def lease(self, digest: str) -> None:
        self._leases[digest] += 1

    def release(self, digest: str) -> None:
        self._leases[digest] -= 1
        if self._leases[digest] <= 0:
            del self._leases[digest]

    def entries_for(self, choice: TierChoice, spared: Set[str], speed: TierSpeed) -> dict[str, Entry]:
        """For a plan.  ``spared``: digests leased elsewhere, or that could not be moved away; those leased here are spared anyway."""
        return {
            e.digest: choice.entry(
                e.digest,
                e.size_bytes,
                speed.reload_s(e.size_bytes),
                leased=e.digest in self._leases or e.digest in spared,
                last_used_s=e.last_used_s,
            )
            for e in self._entries.values()
        }

    def idle(self, spared: Set[str]) -> list[Found]:
        """What may go, least recently used first."""
        idle = [e for e in self._entries.values() if e.digest not in self._leases and e.digest not in spared]
        return sorted(idle, key=lambda e: (e.last_used_s, e.digest))
