"""One worker of a fleet: ready → go → loaded → end → counted, a JSON line each.  Loads its models one after another."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from .jobs import Job
from .product import GIB, Product

CONFIG = """
[ram]
budget_gb = {ram_gb}
[ssd]
directory = "{directory}/ssd"
budget_gb = {ssd_gb}
free_floor_gb = 1
[catalog]
refresh_s = 0
[profiles.far]
endpoint = "{endpoint}"
allow_http = true
access_key_id = "{access_key}"
secret_access_key = "{secret_key}"
{near}
[[origins]]
name = "far"
bucket = "{bucket}"
profile = "far"
"""
NEAR = """
[profiles.near]
endpoint = "{endpoint}"
allow_http = true
access_key_id = "{access_key}"
secret_access_key = "{secret_key}"
[[origins]]
name = "near"
bucket = "{bucket}"
prefix = "{prefix}"
profile = "near"
mirror = true
"""


class Worker(Product):
    def _write_config(self) -> None:
        job, near = self.job, self.job.options["near"]
        self._path.touch(0o600)
        self._path.write_text(
            CONFIG.format(
                ram_gb=job.size_bytes * 1.2 / GIB,
                ssd_gb=job.size_bytes * 1.5 / GIB + 1,
                directory=job.directory,
                endpoint=job.endpoint,
                access_key=job.access_key,
                secret_key=job.secret_key,
                bucket=job.bucket,
                near=NEAR.format(**near) if near else "",
            )
        )

    def ready(self) -> None:
        self._open()
        self._runtime.catalog.refresh(wait=True)
        self._runtime.cache.snapshot()
        self.heard: list[Any] = []
        self._runtime.bus.subscribe(self.heard.append)

    def load_all(self) -> dict[str, Any]:
        from awscrt.checksums import crc64nvme

        opened = []
        for target in self.job.targets:
            obj = self._runtime.catalog.find(self._view, target.key.partition("/")[2])
            one = self._runtime.cache.open_tensors(obj)
            one.state_dict()
            opened.append((one, target))
        ended_s = time.monotonic()
        right = all(crc64nvme(memoryview(one.buffer).cast("B")[: one.size_bytes]) == target.crc_object for one, target in opened)
        for one, _ in opened:
            one.close()
        return {"ended_s": ended_s, "right": right}

    def counted(self) -> dict[str, Any]:
        from modelstream.storage.events import TransferFinished
        from modelstream.storage.events_near import Mirrored, NearWaited

        self._settle()
        self._runtime.cache.wait_mirrored(60.0)
        bytes_from: dict[str, int] = {}
        for event in self.heard:
            if isinstance(event, TransferFinished):
                origin = event.subject.partition(":")[0]
                bytes_from[origin] = bytes_from.get(origin, 0) + event.wire_bytes
        copies = sum(isinstance(event, Mirrored) for event in self.heard)
        return {"bytes_from": bytes_from, "copies": copies, "waits": sum(isinstance(event, NearWaited) for event in self.heard)}


def main() -> None:
    worker = Worker(Job.read(json.loads(sys.stdin.readline())))
    worker.ready()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    print(json.dumps(worker.load_all()), flush=True)
    sys.stdin.readline()
    print(json.dumps(worker.counted()), flush=True)
    worker.close()
    os._exit(0)


if __name__ == "__main__":
    main()
