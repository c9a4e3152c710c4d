"""The whole cache behind the fault proxy: catalog, transfer engine, RAM and SSD tier, put together as the extension does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelstream.cache.arena import Arena
from modelstream.cache.fetcher import Fetcher
from modelstream.cache.headers import HeaderReader
from modelstream.cache.opened import OpenTensors
from modelstream.cache.pins import Pins
from modelstream.cache.ram import RamTier
from modelstream.cache.restores import Restores
from modelstream.cache.restores_asked import AskedBack
from modelstream.cache.same_bytes import SameBytes
from modelstream.cache.ssd import SsdTier
from modelstream.cache.state_file import StateFile
from modelstream.cache.store import Cache
from modelstream.cache.tier_choice import TierChoice
from modelstream.storage.catalog import Catalog
from modelstream.storage.config import Config
from modelstream.storage.engine import TransferEngine
from modelstream.storage.errors import ModelStreamError
from modelstream.storage.events import Event, EventBus
from modelstream.storage.objects import ObjectId, RemoteObject
from modelstream.storage.origin import Origin, open_origins

from .faultproxy import FaultProxy
from .invariants import NothingLeaks, eventually, explains_itself, holds_no_secret, is_one_version, nothing_partial_is_shown
from .transfers import MIB, QUICK

RAM_BYTES = 96 * MIB
SSD_BYTES = 512 * MIB


@dataclass
class Parts:
    """What `open_parts` made, in one hand."""

    config: Config
    bus: EventBus
    events: list[Event]
    origin: Origin
    catalog: Catalog
    engine: TransferEngine
    ram: RamTier
    ssd: SsdTier
    cache: Cache
    restores: Restores

    def close(self) -> None:
        """Any number of times."""
        self.cache.close()
        self.catalog.close()
        client = self.origin._client
        if client is not None:
            client.close()


def cache_toml(server: Any, url: str, *, ram_bytes: int = RAM_BYTES, transfer: str = QUICK.replace("[transfer]", "")) -> str:
    return (
        f"[ram]\nbudget_gb = {ram_bytes / (1 << 30)}\n[ssd]\nbudget_gb = {SSD_BYTES / (1 << 30)}\nfree_floor_gb = 0.1\n"
        f"[transfer]\n{transfer}\n[catalog]\nrefresh_s = 0\n"
        f'[profiles.test]\nendpoint = "{url}"\naccess_key_id = "{server.access_key}"\nsecret_access_key = "{server.secret_key}"\n'
        "connect_timeout_s = 1\nread_timeout_s = 1\nmax_attempts = 1\n"
        f'[[origins]]\nname = "rig"\nbucket = "{server.bucket}"\nprofile = "test"\n'
    )


def open_parts(toml: str, ssd: Path) -> Parts:
    config = Config.from_text(toml)
    bus = EventBus()
    events: list[Event] = []
    bus.subscribe(events.append)
    origins = {origin.name: origin for origin in open_origins(config)}
    catalog = Catalog(tuple(origins.values()), config.catalog, bus, snapshot=ssd.parent / "catalog.json", fingerprint="rig")
    engine = TransferEngine(config.transfer, bus)
    assert config.ram.budget_bytes is not None
    pins = Pins(StateFile(ssd.parent / "pins.json"))
    ram = RamTier(Arena(config.ram.budget_bytes, bus), bus, choice=TierChoice(policy=config.cache.for_ram, pins=pins))
    choice = TierChoice(policy=config.cache.for_ssd, pins=pins)
    tier = SsdTier(ssd, config.ssd.budget_bytes, config.ssd.free_floor_bytes, bus, hold_s=0.0, choice=choice)
    tier.start()
    headers = HeaderReader(origins, ram, tier)
    same = SameBytes(ram, tier, StateFile(ssd.parent / "same.json"))
    restores = Restores(config.restore, origins, bus, AskedBack(StateFile(ssd.parent / "restores.json")))
    fetcher = Fetcher(origins, catalog, engine, ram, tier, bus, same=same, restores=restores)
    configured = {"ram": config.ram.budget_bytes, "ssd": config.ssd.budget_bytes}
    cache = Cache(fetcher, headers, catalog, engine, ram, tier, bus, pins=pins, state=ssd.parent, configured=configured)
    return Parts(config, bus, events, origins["rig"], catalog, engine, ram, tier, cache, restores)


class CacheRig:
    """One cache on one folder behind one proxy, that can be restarted."""

    def __init__(self, server: Any, proxy: FaultProxy, folder: Path, versions: tuple[bytes, ...], ram_bytes: int, more: str) -> None:
        self.server = server
        self.proxy = proxy
        self.folder = folder
        self.direct = server.client()
        self.secrets = [server.secret_key]
        self._versions = versions
        self._toml = cache_toml(server, proxy.url, ram_bytes=ram_bytes) + more
        self.parts = open_parts(self._toml, folder)

    def restart(self) -> None:
        """As if the process had ended: memory is gone, the disk stays."""
        self.check_and_close()
        self.parts = open_parts(self._toml, self.folder)
        self.parts.catalog._read_snapshot()

    # -- objects -------------------------------------------------------------------------------------------------------
    def put(self, key: str, body: bytes, **more: Any) -> RemoteObject:
        self.direct.put_object(Bucket=self.server.bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME", **more)
        return self.object(key)

    def knows(self, body: bytes) -> None:
        """One more whole file that may appear on the SSD: what was made of an object on the way in."""
        self._versions = (*self._versions, body)

    def delete(self, key: str) -> None:
        self.direct.delete_object(Bucket=self.server.bucket, Key=key)

    def object(self, key: str) -> RemoteObject:
        listed = self.direct.list_objects_v2(Bucket=self.server.bucket, Prefix=key)["Contents"]
        row = next(r for r in listed if r["Key"] == key)
        version = ObjectId(self.parts.origin.endpoint, self.server.bucket, key, row["ETag"].strip('"'))
        return RemoteObject("rig", version, row["Size"], row["LastModified"].timestamp(), row["StorageClass"])

    # -- loads ---------------------------------------------------------------------------------------------------------
    def load(self, obj: RemoteObject, body: bytes) -> OpenTensors:
        """Opens, checks every byte (I1), closes, and waits for the copy on the SSD."""
        opened = self.parts.cache.open_tensors(obj)
        try:
            self.check_bytes(opened, body)
        finally:
            opened.close()
        assert eventually(lambda: not self.parts.cache.snapshot().loading), "the load does not end"
        return opened

    def check_bytes(self, opened: OpenTensors, body: bytes) -> None:
        """The raw bytes, and the tensors over them."""
        is_one_version(memoryview(opened.buffer).cast("B")[: opened.size_bytes].tobytes(), body)
        state = opened.state_dict()
        split = state["bytes"].numel()
        assert bytes(state["bytes"].numpy()) == body[len(body) - split - 2 * state["halves"].numel() :][:split]

    def fails(self, obj: RemoteObject, kind: type[ModelStreamError]) -> ModelStreamError:
        with pytest.raises(ModelStreamError) as caught:
            self.parts.cache.open_tensors(obj)
        assert isinstance(caught.value, kind), repr(caught.value)
        explains_itself(caught.value, obj.id.key, self.secrets)
        assert eventually(lambda: not self.parts.cache.snapshot().loading)
        return caught.value.with_traceback(None)

    def landed_bytes(self, key: str) -> int:
        """How much of the object has arrived and passed its checks."""
        return max((t.progress().landed_bytes for t in self.parts.engine.active() if t.obj.id.key == key), default=0)

    # -- the end -------------------------------------------------------------------------------------------------------
    def check_and_close(self) -> None:
        """I2, I4 and I6, then the end."""
        assert eventually(lambda: not self.parts.cache.snapshot().loading), "a load does not end"
        nothing_partial_is_shown(self.folder, *self._versions)
        assert eventually(lambda: not self.parts.engine.active()), "a transfer is still counted as active"

        def in_use() -> int:
            ram = self.parts.cache.snapshot().ram
            return ram.used_bytes - sum(entry.size_bytes for entry in ram.entries)

        # Regions are whole pages, so a few bytes more than the objects are right.
        # A chunk that is being written is held until the disk has it, however slow the disk is.
        assert eventually(lambda: in_use() < 64 << 10, within_s=20), f"memory is still held: {self.parts.cache.snapshot().ram}"
        assert all(entry.leases == 0 for entry in self.parts.cache.snapshot().ram.entries), "a lease was not given back"
        assert self.parts.cache.snapshot().ssd.leases == 0, "a lease was not given back"
        assert self.parts.cache.snapshot().ssd.reserved_bytes == 0, "room is still reserved"
        self.parts.close()
        holds_no_secret([repr(event) for event in self.parts.events], self.secrets)
        assert self.parts.bus.subscriber_errors == 0


@contextlib.contextmanager
def cache_rig(server: Any, folder: Path, *versions: bytes, ram_bytes: int = RAM_BYTES, more: str = "") -> Iterator[CacheRig]:
    """``versions``: every version of every object that the test puts; nothing else may appear on the SSD.
    more: further configuration
    """
    with NothingLeaks(), FaultProxy(server.host, server.port) as proxy:
        rig = CacheRig(server, proxy, folder, versions, ram_bytes, more)
        try:
            yield rig
        except BaseException:
            rig.parts.close()
            raise
        rig.check_and_close()
        rig.direct.close()
        del rig.parts
