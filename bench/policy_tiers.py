"""The whole hierarchy: VRAM 22, RAM 48, SSD 200 GB above a bucket; seconds of loading, all tiers together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from modelstream.cache.policy import ADAPTIVE, FROM_BUCKET, FROM_SSD, Entry, TierSpeed, make_policy

from .policy_mixes import Request
from .policy_replay import Replay, entries_of

VRAM_BYTES, RAM_BYTES, SSD_BYTES = 22 * 10**9, 48 * 10**9, 200 * 10**9
FROM_RAM = TierSpeed(latency_s=0.02, bytes_per_s=12e9)
"""PCIe, pinned host memory"""


class Vram:
    """Least recently used, as ComfyUI with dynamic VRAM does it; says what it let go."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.held: OrderedDict[str, Entry] = OrderedDict()
        self._entries = entries

    def use(self, file: str) -> bool:
        if file in self.held:
            self.held.move_to_end(file)
            return True
        return False

    def take(self, file: str, in_use: frozenset[str]) -> list[str]:
        entry = self._entries[file]
        gone = []
        for oldest in list(self.held):
            if self._bytes() + entry.size_bytes <= VRAM_BYTES:
                break
            if oldest not in in_use:
                del self.held[oldest]
                gone.append(oldest)
        if self._bytes() + entry.size_bytes <= VRAM_BYTES:
            self.held[file] = entry
        return gone

    def _bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.held.values())


def hierarchy(name: str, exclusive: bool, requests: Sequence[Request], first: int, sizes: Mapping[str, float]) -> float:
    """Seconds lost.  name: policy of RAM and SSD.  exclusive: what sits in VRAM is not kept in RAM; it moves down instead."""
    from_ssd, from_bucket, from_ram = (entries_of(sizes, speed) for speed in (FROM_SSD, FROM_BUCKET, FROM_RAM))
    vram = Vram(from_ram)
    # an exclusive pair holds as much as both together, and so do the shadows
    seen = RAM_BYTES + (VRAM_BYTES if exclusive and name == ADAPTIVE else 0)
    ram = Replay(make_policy(name, seen), RAM_BYTES, from_ssd)
    ssd = Replay(make_policy(name, SSD_BYTES), SSD_BYTES, from_bucket)
    lost_s = 0.0
    for number, request in enumerate(requests):
        for place, file in enumerate(request.files):
            in_use = frozenset(request.files[: place + 1])
            in_vram, in_ram = vram.use(file), file in ram.resident
            if exclusive:
                ram.policy.used(from_ssd[file], request.time_s, hit=in_vram or in_ram, in_use=in_use)
            if in_vram:
                continue
            seconds = from_ram[file].reload_s
            if not in_ram:
                seconds += from_ssd[file].reload_s
                if not ssd.use(file, request.time_s, in_use):
                    seconds += from_bucket[file].reload_s
            lost_s += seconds if number >= first else 0.0
            if not exclusive:
                ram.use(file, request.time_s, in_use)
            gone = vram.take(file, in_use)
            if exclusive:
                if in_ram and file in vram.held:
                    ram.drop(file)
                for one in (*gone, *(() if file in vram.held or in_ram else (file,))):
                    if one not in ram.resident and from_ssd[one].size_bytes <= RAM_BYTES:
                        ram.keep(from_ssd[one], request.time_s, in_use)
    return lost_s
