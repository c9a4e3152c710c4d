"""One of several processes that ask for the same object: ready → go → answer, a JSON line each."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from .jobs import Job
from .product import Product


class Asker(Product):
    """The product on a directory that it shares with other processes."""

    def open(self) -> Any:
        self._open()
        obj = self._runtime.catalog.find(self._view, self.job.targets[0].key.partition("/")[2])
        if obj is None:
            raise LookupError("the object is not in the catalog's snapshot")
        self._runtime.cache.snapshot()  # makes it, tiers and threads
        import torch

        torch.zeros(8192, dtype=torch.uint8)[::4096].sum()  # a ComfyUI has it, and has used it, by then

        return obj

    def ask(self, obj: Any) -> dict[str, Any]:
        from awscrt.checksums import crc64nvme

        cache, target = self._runtime.cache, self.job.targets[0]
        began_s = time.monotonic()
        if self.job.options["way"] == "file":
            with cache.open_file(obj) as opened:
                seconds = time.monotonic() - began_s
                crc = crc64nvme(Path(opened.path).read_bytes())
        else:
            with cache.open_tensors(obj) as opened:
                touched(opened.state_dict())
                seconds = time.monotonic() - began_s
                crc = crc64nvme(memoryview(opened.buffer).cast("B")[: opened.size_bytes])
        return {
            "seconds": seconds,
            "ended_s": began_s + seconds,
            "wire_bytes": opened.wire_bytes,
            "source": opened.source,
            "right": crc == target.crc_object,
        }


def touched(tensors: dict[str, Any]) -> None:
    """One byte of each 4 KiB page of each tensor, as in `bench cold`: a mapping that has read nothing yet has nothing."""
    import torch

    for tensor in tensors.values():
        tensor.flatten().view(torch.uint8)[::4096].sum()


def main() -> None:
    plain = json.loads(sys.stdin.readline())
    job = Job.read(plain)
    if not job.options["locks"]:
        from modelstream.cache import ssd_flight

        ssd_flight._lock = lambda fd: None
    asker = Asker(job)
    obj = asker.open()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    answer = asker.ask(obj)
    asker._settle()
    asker.close()
    print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
