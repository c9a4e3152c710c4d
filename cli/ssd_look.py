"""What lies on the SSD, for commands that only look: nothing is started, written or locked."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .places import read_config, state_directory

if TYPE_CHECKING:
    from ..storage.objects import RemoteObject


class SsdLook:
    """As the disk was when it was made: reading 10,000 entries takes a fraction of a second."""

    def __init__(self, options: argparse.Namespace) -> None:
        from ..cache.pins import Pins
        from ..cache.ssd_stack import open_ssd
        from ..cache.state_file import StateFile
        from ..storage.events import EventBus

        state = state_directory(options.comfyui)
        config = read_config(options).ssd
        self.pins = Pins(StateFile(state / "pins.json"))
        self._ssd = open_ssd(config, state / "cache", EventBus(), pins=self.pins)
        self._looks_at_shared = bool(config.shared)
        for directory in self._ssd.directories():
            directory.scan()
        self._nothing = not self._looks_at_shared and not any(directory.held() for directory in self._ssd.directories())
        self._leased: set[str] = set()
        self.look_for_leases()

    def look_for_leases(self) -> None:
        """Which entries somebody reads at this moment."""
        self._leased = {digest for directory in self._ssd.directories() for digest in directory.leased_anywhere()}

    def in_use(self, digest: str) -> bool:
        return digest in self._leased

    def tiers(self, obj: RemoteObject) -> tuple[str, ...]:
        """ "ssd", "ssd1", … for the directories that have this version of it, "shared" for one of somebody else."""
        if self._nothing:
            return ()  # spares a digest for each object of a large listing
        digest = obj.id.digest
        found = tuple(f"ssd{n or ''}" for n, directory in enumerate(self._ssd.directories()) if directory.holds(digest))
        if not found and self._looks_at_shared and self._ssd.lookup(obj) is not None:
            return ("shared",)
        return found
