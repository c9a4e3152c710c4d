"""A fleet behind a near origin: two buckets of one real server, each behind a proxy of its own, and workers on their own disks.

Workers are whole runtimes, as ComfyUI's extension makes them; the proxies count what was read from which origin.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelstream.cache.near import Mirror
from modelstream.hooks.runtime import Places, Runtime
from modelstream.storage.config import Config
from modelstream.storage.events import Event, EventBus
from modelstream.storage.layout import FolderView
from modelstream.storage.objects import RemoteObject

from .faultproxy import FaultProxy
from .invariants import eventually, holds_no_secret, is_one_version
from .transfers import MIB

CHECKPOINTS = FolderView("checkpoints", ("checkpoints",), frozenset({".safetensors"}))
NEAR_PREFIX, FAR_PREFIX = "cache/", "models/"
SECONDS = 30.0

TOML = """
[ram]
budget_gb = 0.12
[ssd]
budget_gb = 0.5
free_floor_gb = 0.1
[transfer]
connections_max = 3
part_size_mb = 1
deadline_s = 20
no_progress_s = 8
low_speed_kib_s = 64
low_speed_s = 5
stall_s = 3
retries = 3
{more}
[catalog]
refresh_s = 0
[profiles.near]
endpoint = "{near}"
access_key_id = "{key}"
secret_access_key = "{secret}"
connect_timeout_s = 2
read_timeout_s = 8
max_attempts = 1
[profiles.far]
endpoint = "{far}"
access_key_id = "{key}"
secret_access_key = "{secret}"
connect_timeout_s = 2
read_timeout_s = 8
max_attempts = 1
{near_origin}
[[origins]]
name = "far"
bucket = "{far_bucket}"
profile = "far"
prefix = "{far_prefix}"
"""

NEAR_TOML = """
[[origins]]
name = "near"
bucket = "{bucket}"
profile = "near"
prefix = "{prefix}"
mirror = true
{budget}
"""


class Worker:
    def __init__(self, toml: str, folder: Path) -> None:
        self.bus = EventBus()
        self.events: list[Event] = []
        self.bus.subscribe(self.events.append)
        self.folder = folder
        self.runtime = Runtime(Config.from_text(toml), Places(state=folder, ssd=folder / "ssd"), self.bus)
        self.runtime.start((CHECKPOINTS,))
        assert self.runtime.catalog.refresh(wait=True, timeout_s=SECONDS)

    @property
    def mirror(self) -> Mirror:
        near = self.runtime.cache._fetcher.near
        assert near is not None
        return near.mirrors["far"]

    def find(self, name: str) -> RemoteObject:
        found = self.runtime.catalog.find(CHECKPOINTS, name)
        assert found is not None, f"{name} is not in the catalog"
        return found

    def load(self, name: str, *bodies: bytes) -> Any:
        """Opens, checks every byte, closes.  Not waiting for what goes on behind the load."""
        with self.runtime.cache.open_tensors(self.find(name)) as opened:
            is_one_version(memoryview(opened.buffer).cast("B")[: opened.size_bytes].tobytes(), *bodies)
        return opened

    def settle(self) -> None:
        """Until every load has ended and every copy was made or given up."""
        assert eventually(lambda: not self.runtime.cache.snapshot().loading), "a load does not end"
        near = self.runtime.cache._fetcher.near
        assert near is not None and near.mirroring.wait_idle(SECONDS), "a copy does not come to its end"

    def drop(self, name: str) -> None:
        self.runtime.cache.evict(self.find(name))

    def refresh(self) -> None:
        assert self.runtime.catalog.refresh(wait=True, timeout_s=SECONDS)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Fleet:
    """near, far: the proxies"""

    def __init__(self, server: Any, near: FaultProxy, far: FaultProxy, folder: Path, near_bucket: str, far_bucket: str, more: str) -> None:
        self.server, self.near, self.far, self.folder = server, near, far, folder
        self.near_bucket, self.far_bucket = near_bucket, far_bucket
        self.has_near, self.more = True, more
        self.direct = server.client()
        self.workers: list[Worker] = []

    def worker(self, *, budget_bytes: int | None = None, near_url: str = "") -> Worker:
        made = Worker(self.toml(budget_bytes=budget_bytes, near_url=near_url), self.folder / str(len(self.workers)))
        self.workers.append(made)
        return made

    def toml(self, *, budget_bytes: int | None = None, near_url: str = "") -> str:
        budget = "" if budget_bytes is None else f"mirror_budget_gb = {budget_bytes / (1 << 30)}"
        return TOML.format(
            near=near_url or self.near.url,
            far=self.far.url,
            key=self.server.access_key,
            secret=self.server.secret_key,
            far_bucket=self.far_bucket,
            far_prefix=FAR_PREFIX,
            near_origin=NEAR_TOML.format(bucket=self.near_bucket, prefix=NEAR_PREFIX, budget=budget) if self.has_near else "",
            more=self.more,
        )

    def put_far(self, name: str, body: bytes) -> None:
        key = f"{FAR_PREFIX}checkpoints/{name}"
        self.direct.put_object(Bucket=self.far_bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")

    def put_near(self, name: str, body: bytes, **more: Any) -> None:
        self.direct.put_object(Bucket=self.near_bucket, Key=self.near_key(name), Body=body, **more)

    def near_key(self, name: str) -> str:
        return f"{NEAR_PREFIX}checkpoints/{name}"

    def near_body(self, name: str) -> bytes | None:
        try:
            return bytes(self.direct.get_object(Bucket=self.near_bucket, Key=self.near_key(name))["Body"].read())
        except self.direct.exceptions.NoSuchKey:
            return None

    def near_keys(self) -> list[str]:
        return [row["Key"] for row in self.direct.list_objects_v2(Bucket=self.near_bucket).get("Contents", ())]

    def markers(self) -> list[str]:
        return [key for key in self.near_keys() if "/fetching/" in key]

    def far_bytes(self, name: str) -> int:
        return self.far.sent_bytes(f"{FAR_PREFIX}checkpoints/{name}")

    def near_bytes(self, name: str) -> int:
        return self.near.sent_bytes(self.near_key(name))

    def uploads_left(self) -> int:
        return len(self.direct.list_multipart_uploads(Bucket=self.near_bucket).get("Uploads", ()))

    def close(self) -> None:
        for worker in self.workers:
            worker.runtime.close()
            holds_no_secret([repr(event) for event in worker.events], [self.server.secret_key])
            assert worker.bus.subscriber_errors == 0
        for bucket in (self.near_bucket, self.far_bucket):
            for row in self.direct.list_objects_v2(Bucket=bucket).get("Contents", ()):
                self.direct.delete_object(Bucket=bucket, Key=row["Key"])
            self.direct.delete_bucket(Bucket=bucket)
        self.direct.close()


@contextlib.contextmanager
def near_fleet(server: Any, folder: Path, *, near: bool = True, more: str = "") -> Iterator[Fleet]:
    """near: whether the workers have the near origin; more: lines of [transfer]"""
    name = uuid.uuid4().hex[:10]
    with FaultProxy(server.host, server.port) as front, FaultProxy(server.host, server.port) as far:
        fleet = Fleet(server, front, far, folder, f"near-{name}", f"far-{name}", more)
        fleet.has_near = near
        for bucket in (fleet.near_bucket, fleet.far_bucket):
            fleet.direct.create_bucket(Bucket=bucket)
        try:
            yield fleet
        finally:
            fleet.close()


__all__ = ["CHECKPOINTS", "MIB", "Fleet", "Worker", "near_fleet"]
