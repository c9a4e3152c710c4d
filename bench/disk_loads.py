"""Ways from a file on the local disk to tensors in memory.  Used by ``bench ssd``; options "path" and "warm_path" say which file."""

from __future__ import annotations

import mmap
import os
import queue
import threading
from pathlib import Path
from typing import Any

from .jobs import Client, Job, Loaded, Target
from .limits import warm_memory

MIB = 1 << 20


class SsdTierLoad(Client):
    """Ours: an object that the SSD tier has, opened through the whole cache.  No bucket is asked, none is configured."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._cache: Any = None

    def warm(self) -> None:
        """Another object of the same size, loaded and dropped: its memory is what the measured one lands in."""
        self._read(self.job.options["warm_version"])

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        opened, tensors = self._read(self.job.options["version"])
        return Loaded([tensors], details={"sources": [opened.source]})

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def _read(self, version: str) -> tuple[Any, dict[str, Any]]:
        if self._cache is None:
            self._cache = self._open()
        with self._cache.open_tensors(stored_object(version, self.job.size_bytes)) as opened:
            return opened, opened.state_dict()

    def _open(self) -> Any:
        from modelstream.cache.arena import Arena
        from modelstream.cache.fetcher import Fetcher
        from modelstream.cache.headers import HeaderReader
        from modelstream.cache.ram import RamTier
        from modelstream.cache.ssd import SsdTier
        from modelstream.cache.store import Cache
        from modelstream.storage.catalog import Catalog
        from modelstream.storage.config import Config
        from modelstream.storage.engine import TransferEngine
        from modelstream.storage.events import EventBus

        bus, config = EventBus(), Config()
        catalog = Catalog((), config.catalog, bus, snapshot=Path(self.job.directory) / "catalog", fingerprint="")
        engine = TransferEngine(config.transfer, bus)
        ram = RamTier(Arena(int(self.job.size_bytes * 1.1), bus), bus)
        ssd = SsdTier(Path(self.job.options["root"]), None, 0, bus)
        ssd.start()
        return Cache(Fetcher({}, catalog, engine, ram, ssd, bus), HeaderReader({}, ram, ssd), catalog, engine, ram, ssd, bus)


def stored_object(version: str, size_bytes: int) -> Any:
    from modelstream.storage.objects import ObjectId, RemoteObject

    return RemoteObject("bench", ObjectId("http://127.0.0.1", "bench", "checkpoints/model.safetensors", version), size_bytes, 1.0)


def store(root: Path, version: str, source: Path) -> Path:
    """Puts a file into the SSD tier, as a download would; returns where it is."""
    from awscrt.checksums import crc64nvme

    from modelstream.cache.ssd import SsdTier
    from modelstream.storage.events import EventBus
    from modelstream.storage.objects import Extent, ObjectHead

    obj = stored_object(version, source.stat().st_size)
    ssd = SsdTier(root, None, 0, EventBus())
    ssd.start()
    try:
        partial = ssd.begin(obj, ObjectHead(obj.size_bytes, version))
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping, memoryview(mapping) as view:
            whole = crc64nvme(view)
            partial.write_behind(view, Extent(0, obj.size_bytes, whole))
            partial.commit(whole)
        return ssd.path_for(obj)
    finally:
        ssd.close()


class RawDirect(Client):
    """The limit of who keeps the bytes: ``threads`` threads, 16 MiB O_DIRECT reads into memory that is there already."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        whole = -(-job.size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = warm_memory(whole)

    def warm(self) -> None:
        return None

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        offsets: queue.SimpleQueue[int] = queue.SimpleQueue()
        for offset in range(0, len(self._memory), 16 * MIB):
            offsets.put(offset)
        fd = os.open(self.job.options["path"], os.O_RDONLY | os.O_DIRECT)

        def serve() -> None:
            while True:
                try:
                    offset = offsets.get_nowait()
                except queue.Empty:
                    return
                os.preadv(fd, [self._memory[offset : offset + 16 * MIB]], offset)

        threads = [threading.Thread(target=serve) for _ in range(int(self.job.options["threads"]))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(fd)
        return Loaded(buffers=[self._memory[: self.job.size_bytes]])


class RawDiscarded(Client):
    """The disk alone, as disk benchmarks read it: each thread's bytes land in the same 4 MiB again and again, and are lost."""

    def warm(self) -> None:
        return None

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        fd = os.open(self.job.options["path"], os.O_RDONLY | os.O_DIRECT)
        offsets = iter(range(0, self.job.size_bytes, 4 * MIB))

        def serve(memory: memoryview) -> None:
            while (offset := next(offsets, None)) is not None:
                os.preadv(fd, [memory], offset)

        threads = [threading.Thread(target=serve, args=(warm_memory(4 * MIB),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.close(fd)
        return Loaded()


class Safetensors(Client):
    """``load_file`` of whichever version is on the path; option "backend": "mmap" (its default) or "pread"."""

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        import safetensors
        from safetensors.torch import load_file

        tensors = load_file(self.job.options["path"], backend=self.job.options["backend"])
        return Loaded([tensors], details={"version": safetensors.__version__})


class FastSafetensors(Client):
    """CPU mode: no GPU Direct Storage, device "cpu"."""

    def load(self, targets: tuple[Target, ...]) -> Loaded:
        from fastsafetensors import fastsafe_open

        opened = fastsafe_open([self.job.options["path"]], device="cpu", nogds=True)
        return Loaded([{name: opened.get_tensor(name) for name in opened.keys()}])  # noqa: SIM118


CLIENTS: dict[str, type[Client]] = {
    "SSD tier": SsdTierLoad,
    "raw O_DIRECT": RawDirect,
    "disk alone": RawDiscarded,
    "safetensors": Safetensors,
    "safetensors next": Safetensors,
    "fastsafetensors": FastSafetensors,
}
