"""What killed pushes left: unfinished uploads in the bucket, whose parts are paid for, and journals in the state folder.

A plan is a value: shown first, then carried out.  Ours is what a journal of this machine names; other people's unfinished
uploads under the prefix are shown too, and go only when that is asked for.  Never touched: what a living process is
pushing, and what is younger than the limit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ModelStreamError
from .origin import Origin
from .publish_bucket import Bucket, Pending
from .publish_journal import Kept, kept_journals

CLOCKS_S = 300.0
"""the server's clock and ours may differ by so much"""


@dataclass(frozen=True, slots=True)
class Leftover:
    """An unfinished upload.  why: "goes", or the reason for which it stays: "busy", "young", "not ours"."""

    origin: str
    key: str
    upload_id: str
    age_s: float
    ours: bool
    why: str

    @property
    def goes(self) -> bool:
        return self.why == "goes"


@dataclass(frozen=True, slots=True)
class GcPlan:
    """journals: those that go; stale ones, and those of the uploads that go"""

    uploads: tuple[Leftover, ...]
    journals: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class GcOutcome:
    """failed: (upload, what was said)"""

    removed: tuple[Leftover, ...]
    failed: tuple[tuple[Leftover, str], ...]
    journals: int


def plan_gc(origins: Sequence[Origin], state: Path, *, older_than_s: float, others: bool, now_s: float) -> GcPlan:
    """Asks every origin for its unfinished uploads.  Raises ModelStreamError.  now_s: wall time"""
    journals = list(kept_journals(state))
    uploads: list[Leftover] = []
    for origin in origins:
        uploads += [_judged(origin, p, journals, older_than_s, others, now_s) for p in Bucket(origin).pending()]
    going = {u.upload_id for u in uploads if u.goes}
    staying = {u.upload_id for u in uploads if not u.goes}
    asked = {(origin.endpoint, origin.bucket) for origin in origins}
    return GcPlan(tuple(uploads), tuple(k.file for k in journals if _is_stale(k, going, staying, asked, older_than_s, now_s)))


def carry_out(plan: GcPlan, origins: Iterable[Origin]) -> GcOutcome:
    """Failures are told, not raised: one origin's must not keep the others' parts."""
    buckets = {origin.name: Bucket(origin) for origin in origins}
    removed: list[Leftover] = []
    failed: list[tuple[Leftover, str]] = []
    for upload in plan.uploads:
        if upload.goes:
            try:
                buckets[upload.origin].abort(upload.key, upload.upload_id)
                removed.append(upload)
            except ModelStreamError as error:
                failed.append((upload, str(error)))
    journals = 0
    for file in plan.journals if not failed else ():
        with contextlib.suppress(OSError):
            file.unlink()
            journals += 1
    return GcOutcome(tuple(removed), tuple(failed), journals)


def _judged(origin: Origin, pending: Pending, journals: Sequence[Kept], older_than_s: float, others: bool, now_s: float) -> Leftover:
    mine = next((kept for kept in journals if _names(kept, origin, pending)), None)
    age_s = max(0.0, now_s - pending.begun_s)
    why = "goes"
    if mine is not None and mine.busy:
        why = "busy"
    elif age_s < older_than_s:
        why = "young"
    elif mine is None and not others:
        why = "not ours"
    return Leftover(origin.name, pending.key, pending.upload_id, age_s, mine is not None, why)


def _names(kept: Kept, origin: Origin, pending: Pending) -> bool:
    """By its upload id; or, where the process was killed before it had one, by key and time."""
    begun = kept.begun
    if begun is None or (begun.endpoint, begun.bucket, begun.key) != (origin.endpoint, origin.bucket, pending.key):
        return False
    return begun.upload_id == pending.upload_id or (not begun.upload_id and pending.begun_s >= begun.begun_s - CLOCKS_S)


def _is_stale(kept: Kept, going: set[str], staying: set[str], asked: set[tuple[str, str]], older_than_s: float, now_s: float) -> bool:
    if kept.busy:
        return False
    begun = kept.begun
    if begun is None:
        return now_s - kept.modified_s >= older_than_s
    if (begun.endpoint, begun.bucket) not in asked or begun.upload_id in staying:
        return False
    # an upload that the bucket does not list any more cannot be gone on with
    return begun.upload_id in going or bool(begun.upload_id) or now_s - kept.modified_s >= older_than_s
