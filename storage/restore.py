"""Asking an archived object back, and how far that is: one request each, no waiting.

AWS: GLACIER and DEEP_ARCHIVE need it, and the two archive tiers inside INTELLIGENT_TIERING.  Google's ARCHIVE class and AWS's
GLACIER_IR are read at once and are no archive in this sense.  Any thread; each call is one or two requests and blocks.
"""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config_restore import RestoreConfig
from .errors import ConfigError, ObjectArchived
from .prices import PriceClass, Prices

if TYPE_CHECKING:
    from .origin import Origin

ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""classes, as a listing names them, whose objects cannot be read as they are"""
READABLE, ARCHIVED, ONGOING, RESTORED = "readable", "archived", "ongoing", "restored"

_EXPIRY = re.compile(r'expiry-date="([^"]{1,64})"')
_NO_ARCHIVE = frozenset({"MethodNotAllowed", "NotImplemented", "UnsupportedOperation", "InvalidRequest"})


@dataclass(frozen=True, slots=True)
class ArchiveState:
    """What HEAD says.

    phase:     READABLE (in no archive), ARCHIVED, ONGOING, or RESTORED: a copy can be read until ``expires_s``
    expires_s: seconds since the epoch; 0: not known
    """

    phase: str
    storage_class: str
    size_bytes: int
    etag: str
    expires_s: float = 0.0

    @property
    def can_be_read(self) -> bool:
        return self.phase in (READABLE, RESTORED)


def archive_state(origin: Origin, key: str) -> ArchiveState:
    """Raises ModelStreamError."""
    try:
        return state_of(origin.control().head_object(Bucket=origin.bucket, Key=key))
    except Exception as error:
        raise origin.translate(error, origin.subject(key)) from None


def state_of(head: Mapping[str, Any]) -> ArchiveState:
    """From boto3's answer to HeadObject."""
    headers = head.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    storage_class = str(head.get("StorageClass") or headers.get("x-goog-storage-class") or "STANDARD")
    phase, expires_s = phase_of(storage_class, head.get("Restore"), head.get("ArchiveStatus"))
    return ArchiveState(phase, storage_class, int(head.get("ContentLength", 0)), str(head.get("ETag", "")).strip('"'), expires_s)


def phase_of(storage_class: str, restore: str | None, archive_status: str | None = None) -> tuple[str, float]:
    """(phase, expiry) from the three headers; what cannot be read of them counts as not said."""
    if storage_class not in ARCHIVES and not archive_status:
        return READABLE, 0.0
    said = restore or ""
    if 'ongoing-request="true"' in said:
        return ONGOING, 0.0
    if 'ongoing-request="false"' not in said:
        return ARCHIVED, 0.0
    found = _EXPIRY.search(said)
    try:
        return RESTORED, email.utils.parsedate_to_datetime(found.group(1)).timestamp() if found else 0.0
    except (TypeError, ValueError, OverflowError):
        return RESTORED, 0.0


def ask_back(origin: Origin, key: str, state: ArchiveState, *, days: int, tier: str) -> tuple[str, bool]:
    """Starts the restore, or lets a restored copy stay longer.  (the phase afterwards, whether it was this request that did it).

    Raises ModelStreamError.
    """
    if tier == "Expedited" and state.storage_class == "DEEP_ARCHIVE":  # some servers take it and do as they like
        raise ConfigError("this object cannot be asked back so fast", subject=origin.subject(key), next_step=_WHO_RESTORES)
    request: dict[str, Any] = {"GlacierJobParameters": {"Tier": tier}}
    if state.storage_class in ARCHIVES:  # what Intelligent-Tiering gives back stays
        request["Days"] = days
    try:
        origin.control().restore_object(Bucket=origin.bucket, Key=key, RestoreRequest=request)
    except Exception as error:
        return _not_asked(origin, key, error, tier), False
    return RESTORED if state.phase == RESTORED else ONGOING, True


def _not_asked(origin: Origin, key: str, error: Exception, tier: str) -> str:
    response = getattr(error, "response", None)
    code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""
    subject = origin.subject(key)
    if code == "RestoreAlreadyInProgress":
        return ONGOING
    if code == "ObjectAlreadyInActiveTierError":
        return READABLE
    if code == "GlacierExpeditedRetrievalNotAvailable":
        step = "ask again later, or with the tier Standard"
        raise ObjectArchived(
            "no fast restore is to be had at the moment", subject=subject, cause=f"the server answered {code}", next_step=step
        )
    if code in _NO_ARCHIVE or code == "405":
        cause = f"the server answered {code} to a restore with the tier {tier}"
        raise ConfigError("this object cannot be asked back", subject=subject, cause=cause, next_step=_WHO_RESTORES)
    told = origin.translate(error, subject)
    if told.code == "denied":
        told = type(told)(told.problem, subject=subject, cause=told.cause, next_step="the key needs s3:RestoreObject for it")
    raise told from None


_WHO_RESTORES = "check class and tier: DEEP_ARCHIVE knows no Expedited, and only AWS and servers like it have archives"


# -- how long, how much --------------------------------------------------------------------------------------------------
def archive_row(prices: Prices, preset: str, storage_class: str, tier: str) -> PriceClass | None:
    """The price list's row for asking back from a class; AWS's where the provider has none, for its durations."""
    rows = [c for c in prices.of(preset) or prices.of("aws") if c.storage_class == storage_class and c.is_archive]
    return next((c for c in rows if c.restore_tier == tier), None)


def expected_s(prices: Prices, preset: str, storage_class: str, tier: str, size_bytes: int = 0) -> float:
    """The longest that the provider names; 0 where nobody says."""
    row = archive_row(prices, preset, storage_class, tier)
    if row is None or (row.restore_max_bytes and size_bytes > row.restore_max_bytes):
        return 0.0
    return row.restore_s


def restore_cost(prices: Prices, preset: str, state: ArchiveState, settings: RestoreConfig) -> float | None:
    """Retrieval, the request, and the copy that is kept in the standard class for so many days.  None: no price is known."""
    row = archive_row(prices, preset, state.storage_class, settings.tier) if prices.of(preset) else None
    standard = prices.current(preset, "STANDARD")
    if row is None or standard is None:
        return None
    gb = state.size_bytes / 1e9
    return gb * row.retrieve_per_gb + row.restore_per_1k / 1000 + gb * standard.store_per_gb_month * settings.days / 30
