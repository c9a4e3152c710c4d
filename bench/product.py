"""Model Stream itself, driven as a loader node drives it: configuration → origins → catalog → cache → tensors.

Nothing is imported before ``load``: in a fresh process all of it is on the clock, the catalog's snapshot included.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

from .jobs import Client, Job, Loaded, Target

GIB = 1 << 30
SNAPSHOT = "catalog.bin"
SETTLE_S = 120.0

CONFIG = """
[ram]
budget_gb = {ram_gb}
[ssd]
directory = "{ssd}"
budget_gb = {ssd_gb}
free_floor_gb = 1
[catalog]
refresh_s = 0
[transfer]
connections_max = {connections}
part_size_mb = {part_mb}
compressed = "{compressed}"
[profiles.bench]
endpoint = "{endpoint}"
allow_http = true
access_key_id = "{access_key}"
secret_access_key = "{secret_key}"
[[origins]]
name = "bench"
bucket = "{bucket}"
profile = "bench"
"""


class Product(Client):
    """options: "ssd" (False turns the tier off), "connections" and "part_mb" (0: the product decides, its default)."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._runtime: Any = None
        self._view: Any = None
        self._path = Path(job.directory) / "config.toml"
        self._write_config()
        if job.state:
            shutil.copy(Path(job.state) / SNAPSHOT, Path(job.directory) / SNAPSHOT)

    def warm(self) -> None:
        """Loads other objects of the same sizes and drops them: what stays is the process and its memory.

        The RAM budget holds one set only, so the first set is evicted for the second and its memory is used again.
        """
        if not self.job.warm_targets:
            self._open()
            self._runtime.catalog.refresh(wait=True)
            return
        self._read(self.job.warm_targets)
        self._settle()

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        opened = self._read(targets)
        wire_bytes = sum(one.wire_bytes for one, _ in opened)
        sources = sorted({one.source for one, _ in opened})
        return Loaded([tensors for _, tensors in opened], wire_bytes=wire_bytes, settle=self._settle, details={"sources": sources})

    def close(self) -> None:
        if self._runtime is not None:
            self._runtime.close()

    def _read(self, targets: tuple[Target, ...]) -> list[tuple[Any, dict[str, Any]]]:
        if self._runtime is None:
            self._open()
        if len(targets) == 1:
            return [self._one(targets[0])]
        results: dict[int, tuple[Any, dict[str, Any]]] = {}

        def serve(index: int) -> None:
            results[index] = self._one(targets[index])

        threads = [threading.Thread(target=serve, args=(index,)) for index in range(len(targets))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [results[index] for index in range(len(targets))]

    def _one(self, target: Target) -> tuple[Any, dict[str, Any]]:
        obj = self._runtime.catalog.find(self._view, target.key.partition("/")[2])
        if obj is None:
            raise LookupError(f"{target.key} is not in the catalog's snapshot")
        with self._runtime.cache.open_tensors(obj) as opened:
            return opened, opened.state_dict()

    def _settle(self) -> None:
        """Waits until nothing is on its way any more, the SSD included."""
        pause = threading.Event()
        for _ in range(int(SETTLE_S / 0.02)):
            if not self._runtime.cache.snapshot().loading:
                return
            pause.wait(0.02)
        raise TimeoutError("the SSD tier is still writing")

    def _write_config(self) -> None:
        job, options = self.job, self.job.options
        text = CONFIG.format(
            ram_gb=job.total_bytes_largest * 1.1 / GIB,
            ssd=options.get("ssd_directory", Path(job.directory) / "ssd"),
            ssd_gb=4 * job.total_bytes_largest / GIB + 1 if options.get("ssd", True) else 0,
            connections=options.get("connections", 0),
            part_mb=options.get("part_mb", 0),
            compressed=options.get("compressed", "auto"),
            endpoint=job.endpoint,
            bucket=job.bucket,
            access_key=job.access_key,
            secret_key=job.secret_key,
        )
        self._path.touch(0o600)
        self._path.write_text(text)

    def _open(self) -> None:
        """What ``hooks.boot`` does at start, without ComfyUI."""
        from modelstream.hooks.runtime import Places, Runtime
        from modelstream.storage.config import load_config
        from modelstream.storage.events import EventBus
        from modelstream.storage.layout import FolderView

        self._view = FolderView("checkpoints", ("checkpoints",), frozenset({".safetensors"}))
        directory = self._path.parent
        self._runtime = Runtime(load_config(self._path), Places(state=directory, ssd=directory / "ssd"), EventBus())
        self._runtime.start((self._view,))
        self._runtime.open_ahead()


CLIENTS: dict[str, type[Client]] = {"Model Stream": Product}
