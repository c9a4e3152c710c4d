"""Puts the near origins of a configuration together; None where there are none, and then nothing of them is in the way."""

from __future__ import annotations

from collections.abc import Sequence

from ..storage.catalog import Catalog
from ..storage.config import Config
from ..storage.engine import TransferEngine
from ..storage.events import EventBus
from ..storage.origin import Origin
from .local_bytes import LocalBytes
from .mirror_budget import MirrorBudget
from .mirroring import Mirroring
from .near import Mirror, Near, mirrors_of
from .speeds import Speeds


def open_near(
    config: Config,
    origins: Sequence[Origin],
    catalog: Catalog,
    engine: TransferEngine,
    local: LocalBytes,
    bus: EventBus,
    speeds: Speeds,
) -> Near | None:
    """origins: near to far.  Touches no network."""
    if not any(origin.config.mirror for origin in origins):
        return None

    budget = open_budget(config, catalog, bus, speeds)
    return Near(origins, bus, Mirroring(local, engine, budget, bus), lambda size_bytes: speeds.from_bucket.reload_s(size_bytes))


def open_budget(config: Config, catalog: Catalog, bus: EventBus, speeds: Speeds) -> MirrorBudget:
    policy = config.cache.for_ssd
    return MirrorBudget(catalog, bus, policy=policy, reload_s=lambda size_bytes: speeds.from_bucket.reload_s(size_bytes))


def open_mirrors(origins: Sequence[Origin], bus: EventBus) -> list[Mirror]:
    """Each near origin once, for who copies by himself."""
    return list({mirror.bucket.name: mirror for mirror in mirrors_of(origins, lambda origin: Mirror(origin, bus)).values()}.values())
