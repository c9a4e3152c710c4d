"""How an entry is read: in blocks, past the page cache or through it, and what is no damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from modelstream.cache import disk_read, ssd_reader
from modelstream.cache.disk import O_DIRECT, Disk
from modelstream.storage.errors import CorruptObject, DiskFailed
from modelstream.storage.events import CorruptionFound, TierDegraded
from rig.ssd_parts import CHUNK, Heard, content, empty, remote, shown, store, tier

SIZES = [1, 4096, CHUNK - 1, CHUNK, CHUNK + 4096, 5 * CHUNK + 777]


class Watched(Disk):
    """Notes how the file was opened to be read; refuses direct reads where told to."""

    def __init__(self, refused: int = 0) -> None:
        self.direct: list[bool] = []
        self.refused = refused
        self.fails = 0

    def open(self, path: Path, flags: int) -> int:
        if flags == os.O_RDONLY | O_DIRECT and path.suffix != ".json":
            self.direct.append(bool(flags & O_DIRECT))
            if self.fails or self.refused:
                raise OSError(self.fails or self.refused, "pretended")
        elif flags == os.O_RDONLY and path.suffix == ".safetensors":
            self.direct.append(False)
            if self.fails:
                raise OSError(self.fails, "pretended")
        return super().open(path, flags)


@pytest.mark.parametrize("block_bytes", [4096, 3 * 4096, 1 << 20])
@pytest.mark.parametrize("way", ["direct", "refused", "hot"])
def test_every_size_arrives_whole_whatever_the_block_and_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, way: str
) -> None:
    monkeypatch.setattr(disk_read, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(ssd_reader, "is_hot", lambda path, size: way == "hot")
    disk = Watched(errno.EINVAL if way == "refused" else 0)
    with tier(tmp_path, disk=disk) as ssd:
        for size_bytes in SIZES:
            obj = remote(f"{size_bytes}.safetensors", size_bytes)
            body = store(ssd, obj)
            disk.direct.clear()
            for shift in (0, 1):
                view = empty(size_bytes + 2)[shift : shift + size_bytes]
                with ssd.lease(obj) as lease:
                    ssd.read_into(lease, view)
                assert bytes(view) == body
            if O_DIRECT:
                assert set(disk.direct) == {"direct": {True}, "refused": {True, False}, "hot": {False}}[way]


@pytest.mark.parametrize("at", [0, 4095, CHUNK + 5000, 5 * CHUNK + 776])
@pytest.mark.parametrize("kept", [True, False])
def test_a_flipped_bit_is_found_in_whichever_block_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, kept: bool) -> None:
    monkeypatch.setattr(disk_read, "BLOCK_BYTES", 4096)
    obj = remote()
    heard = Heard()
    with tier(tmp_path, heard) as ssd:
        store(ssd, obj)
        with open(ssd.path_for(obj), "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
        with ssd.lease(obj) as lease, pytest.raises(CorruptObject, match=f"chunk {at // CHUNK}"):
            ssd.read_into(lease, empty(obj.size_bytes)) if kept else ssd.verify(lease)
        assert len(heard.of(CorruptionFound)) == 1 and ssd.lookup(obj) is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_this_process_lacks_does_not_cost_the_copy(tmp_path: Path, number: int) -> None:
    obj, disk, heard = remote(), Watched(), Heard()
    with tier(tmp_path, heard, disk=disk) as ssd:
        store(ssd, obj)
        disk.fails = number
        with ssd.lease(obj) as lease, pytest.raises(DiskFailed) as caught:
            ssd.read_into(lease, empty(obj.size_bytes))
        assert caught.value.cause and caught.value.next_step and caught.value.subject == obj.subject
        assert not heard.of(CorruptionFound) and len(heard.of(TierDegraded)) == 1
        disk.fails = 0
        view = empty(obj.size_bytes)
        with ssd.lease(obj) as lease:
            ssd.read_into(lease, view)
        assert bytes(view) == content(obj) and shown(tmp_path) == [ssd.path_for(obj)]


def test_no_memory_for_a_block_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obj, heard = remote(), Heard()

    def none(size_bytes: int) -> memoryview:
        raise MemoryError

    with tier(tmp_path, heard) as ssd:
        store(ssd, obj)
        monkeypatch.setattr(disk_read, "_block_memory", none)
        monkeypatch.setattr(ssd_reader, "is_hot", lambda path, size: False)
        with ssd.lease(obj) as lease, pytest.raises(DiskFailed):
            ssd.read_into(lease, empty(obj.size_bytes))
        assert not heard.of(CorruptionFound) and ssd.lookup(obj) is not None
