"""The SSD tier of a ComfyUI, opened beside it or without it: its own locks and leases decide what may go."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..storage.errors import ObjectMissing
from .output import warn
from .places import read_config, state_directory
from .select import Selection

if TYPE_CHECKING:
    from ..cache.pins import Pins
    from ..cache.ssd import SsdTier
    from ..cache.ssd_stack import SsdStack
    from ..storage.config import OriginConfig
    from ..storage.objects import RemoteObject


@dataclass(frozen=True, slots=True)
class SsdEntry:
    """One entry of one directory.  tier: "ssd", "ssd1", …; obj: None where its record cannot be read"""

    digest: str
    tier: str
    directory: SsdTier
    obj: RemoteObject | None
    size_bytes: int
    last_used_s: float
    pinned: bool
    in_use: bool

    @property
    def subject(self) -> str:
        return self.obj.subject if self.obj is not None else self.digest

    @property
    def state(self) -> str:
        return " ".join(word for word, so in (("pinned", self.pinned), ("in use", self.in_use)) if so)


@dataclass(frozen=True, slots=True)
class OpenSsd:
    ssd: SsdTier | SsdStack
    pins: Pins
    origins: tuple[OriginConfig, ...]

    def entries(self) -> list[SsdEntry]:
        """Of our own directories, the most recently used first."""
        found = []
        for number, directory in enumerate(self.ssd.directories()):
            directory.name_all()
            in_use = directory.leased_anywhere()
            for held in directory.held():
                obj = directory.named(held.digest)
                pinned = obj is not None and self.pins.holds(obj)
                tier = f"ssd{number or ''}"
                used_s = held.last_used_s
                found.append(SsdEntry(held.digest, tier, directory, obj, held.size_bytes, used_s, pinned, held.digest in in_use))
        return sorted(found, key=lambda entry: (-entry.last_used_s, entry.subject))

    def chosen(self, selection: Selection) -> list[SsdEntry]:
        """Those that fit; by a part of the digest too.  Raises ObjectMissing for a pattern that nothing fits."""
        entries = self.entries()
        for pattern in selection.patterns:
            if not any(self._fits(entry, Selection((pattern,))) for entry in entries):
                raise ObjectMissing("nothing on the SSD fits", subject=pattern, next_step="`modelstream cache ls` shows what there is")
        return [entry for entry in entries if self._fits(entry, selection)]

    def _fits(self, entry: SsdEntry, selection: Selection) -> bool:
        if any(len(pattern) >= 8 and entry.digest.startswith(pattern) for pattern in selection.patterns):
            return True
        if entry.obj is None:
            return not selection.patterns and not selection.folder
        config = next((one for one in self.origins if one.name == entry.obj.origin), None)
        # an origin that is configured no longer has no prefix that we know
        return selection.test(config or _unknown(entry.obj, self.origins))(entry.obj.id.key)


@contextlib.contextmanager
def opened_ssd(options: argparse.Namespace) -> Iterator[OpenSsd]:
    """Raises ConfigError where its directory is not safe to use."""
    from ..cache.pins import Pins
    from ..cache.ssd_stack import open_ssd
    from ..cache.state_file import StateFile
    from ..storage.events import Event, EventBus, TierDegraded

    state, config, bus = state_directory(options.comfyui), read_config(options), EventBus()

    def told(event: Event) -> None:
        if isinstance(event, TierDegraded):
            warn(f"modelstream: {event.cause}")

    bus.subscribe(told)
    pins = Pins(StateFile(state / "pins.json"))
    ssd = open_ssd(config.ssd, state / "cache", bus, policy=config.cache.for_ssd, pins=pins)
    try:
        ssd.start()
        yield OpenSsd(ssd, pins, config.origins)
    finally:
        ssd.close()


def _unknown(obj: RemoteObject, origins: Sequence[OriginConfig]) -> OriginConfig:
    from ..storage.config import OriginConfig

    return OriginConfig(obj.origin, obj.id.bucket, origins[0].profile, "", (), ())
