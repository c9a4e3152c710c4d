"""What a plan of moves is made from: the listing, how this ComfyUI used its models, and what is pinned or in use at this moment."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .places import read_config, state_directory
from .ssd_look import SsdLook

if TYPE_CHECKING:
    from ..storage.objects import RemoteObject
    from ..storage.origin import Origin
    from ..storage.tier_plan import Move
    from ..storage.tier_rules import Rules, Used

HISTORIES = ("ram", "ssd")


def plan_path(options: argparse.Namespace) -> Path:
    """Where the last plan lies, for ``apply`` without a file."""
    return state_directory(options.comfyui) / "tiering" / "plan.json"


def rules_for(options: argparse.Namespace, origins: Sequence[Origin]) -> Rules:
    """Raises ModelStreamError, also for a price list with nonsense."""
    from ..storage.prices import load_prices
    from ..storage.tier_rules import Place, Rules

    config, uses, held = read_config(options), uses_by_digest(options), HeldNow(options)
    nothing = _nothing()
    return Rules(
        config.tiering,
        config.cost,
        load_prices(config.cost.price_file),
        [Place(o.name, o.profile.preset, o.prefix, is_versioned(o)) for o in origins],
        uses=lambda obj: uses.get(obj.id.digest, nothing),
        held=held.of,
        now_s=time.time(),
    )


def uses_by_digest(options: argparse.Namespace) -> dict[str, Used]:
    """From the history of the RAM and SSD policies.  What cannot be read is no use: a plan then thinks everything idle, and says so
    by its reads a month."""
    from ..cache.usage_history import HistoryUnusable, UsageHistory
    from ..storage.tier_rules import Used

    folder = state_directory(options.comfyui) / "usage"
    found: dict[str, Used] = {}
    if not folder.is_dir():
        return found
    for name in HISTORIES:
        try:
            with UsageHistory(folder, name) as history:
                rows = history.load()
        except HistoryUnusable:
            continue
        for row in rows:
            known = found.get(row.digest, Used())
            found[row.digest] = Used(max(known.uses, row.uses), max(known.last_s, row.used_s))
    return found


def is_versioned(origin: Origin) -> bool:
    """Whether old versions stay.  A server that does not say, or a key that may not ask, counts as no."""
    from ..storage.provider_table import provider_of

    provider = provider_of(origin.profile.preset)
    if not provider.ways or not provider.versions:
        return False
    try:
        return bool(origin.control().get_bucket_versioning(Bucket=origin.bucket).get("Status"))
    except Exception:  # it only decides which way is proposed
        return False


class HeldNow:
    """Pinned here, or leased by a process that shares the SSD tier."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._look = SsdLook(options)

    def of(self, obj: RemoteObject) -> str:
        if self._look.pins.holds(obj):
            return "it is pinned"
        return "it is in use" if self._look.in_use(obj.id.digest) else ""

    def of_move(self, move: Move, origin: Origin) -> str:
        """Asked anew, just before something is done."""
        from ..storage.objects import ObjectId

        if self._look.pins.holds_key(move.origin, move.key):
            return "it is pinned"
        self._look.look_for_leases()
        digest = ObjectId(origin.endpoint, origin.bucket, move.key, move.etag).digest
        return "it is in use" if self._look.in_use(digest) else ""


def _nothing() -> Used:
    from ..storage.tier_rules import Used

    return Used()
