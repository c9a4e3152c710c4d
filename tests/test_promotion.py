"""An object that a load reads from a cold class, where the owner lets it come back."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from modelstream.hooks.runtime import Places, Runtime
from modelstream.storage.config import Config
from modelstream.storage.events import Event, EventBus
from modelstream.storage.events_restore import ClassChanged, ClassChangeFailed
from modelstream.storage.landing import Priority
from modelstream.storage.objects import RemoteObject
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes

BODY = safetensors_bytes("promoted", 300_000)
KEY = "checkpoints/cold.safetensors"
BUSY = '[[tiering.folders]]\nprefix = "checkpoints/"\nreads_per_month = 1000\n'


def toml(server: Any, bucket: str, more: str) -> str:
    """AWS's classes and prices on a server that keeps the class as a label."""
    return (
        f'[profiles.p]\npreset = "aws"\nregion = "us-east-1"\naddressing = "path"\nendpoint = "{server.url}"\nallow_http = true\n'
        f'access_key_id = "{server.access_key}"\nsecret_access_key = "{server.secret_key}"\n'
        f'[[origins]]\nname = "o"\nbucket = "{bucket}"\nprofile = "p"\n[ram]\nbudget_gb = 0.1\n[ssd]\nfree_floor_gb = 0.1\n'
        f"[tiering]\nmin_age_days = 0\nmin_saving = 0\n{more}"
    )


class Opened:
    def __init__(self, server: Any, bucket: str, folder: Path, more: str) -> None:
        self.events: list[Event] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.runtime = Runtime(Config.from_text(toml(server, bucket, more)), Places(folder / "state", folder / "ssd"), bus)
        self.runtime.start(())
        self.runtime.catalog.refresh(wait=True)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.runtime.close()

    @property
    def obj(self) -> RemoteObject:
        return next(o for o in self.runtime.catalog.objects() if o.id.key == KEY)

    def load(self) -> None:
        """And waits for what the promoter decides about it."""
        self.runtime.cache.open_tensors(self.obj).close()
        assert eventually(lambda: not any(thread.name == "modelstream-promote" for thread in threading.enumerate()))

    def told(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def storage_class(seaweed: Seaweed, bucket: str) -> str:
    return seaweed.client().head_object(Bucket=bucket, Key=KEY).get("StorageClass", "STANDARD")


@pytest.fixture
def cold(seaweed: Seaweed, bucket: str) -> str:
    seaweed.client().put_object(Bucket=bucket, Key=KEY, Body=BODY, StorageClass="GLACIER_IR", ChecksumAlgorithm="CRC64NVME")
    return bucket


def test_it_comes_back_where_its_use_pays_for_it_and_keeps_every_cached_copy(seaweed: Seaweed, cold: str, tmp_path: Path):
    with Opened(seaweed, cold, tmp_path, "promote = true\n" + BUSY) as opened:
        obj = opened.obj
        opened.runtime.cache.open_tensors(obj).close()
        assert eventually(lambda: opened.told(ClassChanged))
        (changed,) = opened.told(ClassChanged)
        assert (changed.subject, changed.from_class, changed.to_class) == (f"o:{KEY}", "GLACIER_IR", "STANDARD")
        assert storage_class(seaweed, cold) == "STANDARD"
        opened.runtime.catalog.refresh(wait=True)
        assert opened.obj.id == obj.id, "the same version: what is cached stays valid"
        with opened.runtime.cache.open_tensors(opened.obj) as again:
            assert again.source == "ram"


@pytest.mark.parametrize(
    "more",
    [
        "promote = false\n" + BUSY,
        'promote = true\n[[tiering.folders]]\nprefix = "checkpoints/"\nreads_per_month = 0.001\n',
        'promote = true\n[[tiering.folders]]\nprefix = "checkpoints/"\nreads_per_month = 1000\nkeep = true\n',
    ],
    ids=["not allowed", "does not pay", "kept"],
)
def test_it_stays_where_the_owner_or_the_price_says_so(seaweed: Seaweed, cold: str, tmp_path: Path, more: str):
    with Opened(seaweed, cold, tmp_path, more) as opened:
        opened.load()
    assert opened.told(ClassChanged) == opened.told(ClassChangeFailed) == []
    assert storage_class(seaweed, cold) == "GLACIER_IR"


def test_what_is_only_fetched_ahead_or_pinned_is_no_reason(seaweed: Seaweed, cold: str, tmp_path: Path):
    with Opened(seaweed, cold, tmp_path, "promote = true\n" + BUSY) as opened:
        assert opened.runtime.cache.warm([opened.obj], "ssd", Priority.BACKGROUND).wait(20)
    assert storage_class(seaweed, cold) == "GLACIER_IR"
    with Opened(seaweed, cold, tmp_path / "other", "promote = true\n" + BUSY) as opened:
        opened.runtime.cache.pin(opened.obj)
        opened.load()
    assert storage_class(seaweed, cold) == "GLACIER_IR"


def test_a_key_that_may_not_write_is_asked_once_and_loads_go_on(tmp_path: Path):
    reader = {"accessKey": "AKIAREADER0000000001", "secretKey": "readersecret00000000000000000001"}
    identity = {"name": "ro", "credentials": [reader], "actions": ["Read:models", "List:models"]}
    with Seaweed(identities=[identity]) as server:
        s3 = server.client()
        for name in ("a", "b"):
            key, body = f"checkpoints/{name}.safetensors", safetensors_bytes(name, 200_000)
            s3.put_object(Bucket="models", Key=key, Body=body, StorageClass="GLACIER_IR")
        server.access_key, server.secret_key = reader["accessKey"], reader["secretKey"]
        with Opened(server, "models", tmp_path, "promote = true\n" + BUSY) as opened:
            for obj in sorted(opened.runtime.catalog.objects(), key=lambda o: o.id.key):
                opened.runtime.cache.open_tensors(obj).close()
                assert eventually(lambda: opened.told(ClassChangeFailed))
            assert [event.code for event in opened.told(ClassChangeFailed)] == ["denied"]
