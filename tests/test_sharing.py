"""Several processes that want one object at the same time have one copy of it in memory, and nobody can change it for the others.

Two caches in one process stand for two processes: flock holds between open files, and a private mapping is private either way.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from modelstream.cache.arena import Arena
from modelstream.cache.disk import Disk
from modelstream.cache.mapped_file import map_private
from modelstream.cache.paths import Layout
from modelstream.cache.sharing import can_share
from modelstream.cache.ssd_flight import FlightLocks
from modelstream.storage.errors import InvalidSafetensors, NoRoom
from modelstream.storage.events import EventBus
from rig import faults
from rig.invariants import eventually, shown_files
from rig.tiny_models import safetensors_bytes
from rig.transfers import LIMIT_S, MIB
from rig.whole_cache import CacheRig, Parts, cache_rig, open_parts

KEY = "checkpoints/model.safetensors"
LONG = safetensors_bytes("shared", 40 * MIB)
BROKEN = (1 << 40).to_bytes(8, "little") + bytes(40 * MIB)
DIGEST = "ab" * 32
needs_flock = pytest.mark.skipif(sys.platform == "win32", reason="nobody is seen waiting there")


# -- the arena and memory that is not its own --------------------------------------------------------------------------
def mapped(folder: Path, size_bytes: int) -> mmap.mmap:
    path = folder / f"{size_bytes}.bin"
    path.write_bytes(b"\x5a" * size_bytes)
    return map_private(path, "it")


def test_borrowed_memory_counts_until_its_last_holder_is_gone_and_is_never_given_to_anybody_else(tmp_path: Path) -> None:
    arena = Arena(16 * MIB, EventBus())
    buffer = arena.borrow(mapped(tmp_path, 5 * MIB + 1))
    assert arena.is_borrowed(buffer) and ctypes.sizeof(buffer) == 5 * MIB + 1
    assert arena.used_bytes == 5 * MIB + mmap.PAGESIZE and arena.warm_free_bytes == 0
    own = arena.allocate(4 * MIB)
    assert not arena.is_borrowed(own.buffer)
    view = memoryview(buffer)
    del buffer
    assert arena.used_bytes == 9 * MIB + mmap.PAGESIZE
    del view
    assert arena.used_bytes == 4 * MIB
    fresh = arena.allocate(5 * MIB)
    assert bytes(fresh.buffer[:100]) == bytes(100)


def test_borrowed_memory_needs_room_like_any_other_and_pushes_free_memory_out(tmp_path: Path) -> None:
    arena = Arena(8 * MIB, EventBus())
    own = arena.allocate(4 * MIB)
    with pytest.raises(NoRoom):
        arena.borrow(mapped(tmp_path, 5 * MIB))
    assert arena.used_bytes == 4 * MIB
    del own
    buffer = arena.borrow(mapped(tmp_path, 6 * MIB))
    figures = arena.figures()
    assert figures.used_bytes == 6 * MIB and figures.used_bytes + figures.warm_free_bytes <= 8 * MIB
    arena.close()
    assert bytes(buffer[:4]) == b"\x5a" * 4, "what is in use stays valid"
    del buffer
    assert arena.used_bytes == 0


# -- who waits ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[FlightLocks, FlightLocks]]:
    layout = Layout(tmp_path)
    layout.locks.mkdir()
    yield FlightLocks(Disk(), layout), FlightLocks(Disk(), layout)
    assert not list(layout.locks.iterdir())


@needs_flock
def test_who_fetches_sees_that_somebody_waits_and_that_nobody_does_any_more(locks: tuple[FlightLocks, FlightLocks]) -> None:
    one, other = locks
    flight = one.take(DIGEST)
    assert flight is not None and not flight.awaited()
    stop, joined = threading.Event(), []

    def wait() -> None:
        joined.append(other.join(DIGEST, lambda: None, lambda done: None, lambda: False, stop.is_set))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert eventually(flight.awaited)
    one._forget_waiters(DIGEST)  # a process that ends its own fetch removes the file under those who wait for another
    assert eventually(flight.awaited)
    stop.set()
    waiting.join(LIMIT_S)
    assert joined[0].waited and not flight.awaited()
    flight.release()


@needs_flock
def test_those_who_wait_go_on_together_when_the_object_is_there(locks: tuple[FlightLocks, FlightLocks]) -> None:
    one, other = locks
    flight = one.take(DIGEST)
    assert flight is not None
    there, waited = threading.Event(), []

    def wait() -> None:
        waited.append(other.join(DIGEST, lambda: None, lambda done: None, lambda: False, there.is_set).waited)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert eventually(flight.awaited)
    there.set()
    for thread in threads:
        thread.join(LIMIT_S)
    assert waited == [True] * 3, "none of them needed the lock, which is still held"
    flight.release()


# -- where files may be mapped for long --------------------------------------------------------------------------------
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is shared there")
def test_only_files_on_a_disk_of_this_machine_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    def mounts(*kinds: tuple[str, str]) -> None:
        found = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in kinds]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)

    inside, beside = str(tmp_path / "ssd"), str(tmp_path / "ssd-2")
    file = tmp_path / "ssd" / "objects" / "model.safetensors"
    mounts(("/", "nfs4"), (inside, "ext4"), (beside, "nfs4"))
    assert can_share(file)
    mounts(("/", "ext4"), (inside, "nfs4"))
    assert not can_share(file)
    mounts(("/", "ext4"), (inside, "nfs4"), (inside, "xfs"))
    assert can_share(file), "what was mounted last is what is there"
    mounts(("/", "ext4"), (inside, "fuse.sshfs"))
    assert not can_share(file)
    mounts()
    assert not can_share(file)


# -- the whole cache ---------------------------------------------------------------------------------------------------
@pytest.fixture
def rig(seaweed, tmp_path) -> Iterator[CacheRig]:
    with cache_rig(seaweed, tmp_path / "ssd", LONG, BROKEN) as rig:
        yield rig


class Asking(threading.Thread):
    """Opens the object and keeps it open until `close`."""

    def __init__(self, parts: Parts, obj) -> None:
        super().__init__()
        self.parts, self.obj = parts, obj
        self.opened = self.error = None
        self.start()

    def run(self) -> None:
        try:
            self.opened = self.parts.cache.open_tensors(self.obj)
        except Exception as error:
            self.error = error

    def bytes(self) -> bytes:
        return memoryview(self.opened.buffer).cast("B")[: len(LONG)].tobytes()

    @property
    def borrowed(self) -> bool:
        return self.parts.ram._arena.is_borrowed(self.opened.buffer)

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()
        self.opened = self.parts = None


def together(rig: CacheRig, obj, gate: faults.Gate, other: Parts) -> list[Asking]:
    """The first stands at the gate until the second waits for it; both to their end."""
    first = Asking(rig.parts, obj)
    try:
        assert gate.reached.wait(LIMIT_S)
        second = Asking(other, obj)
        assert eventually(lambda: rig.parts.ssd._flights._awaited(obj.id.digest))
    finally:
        gate.release.set()
    for asking in (first, second):
        asking.join(LIMIT_S)
    assert eventually(lambda: not rig.parts.cache.snapshot().loading and not other.cache.snapshot().loading)
    return [first, second]


@pytest.fixture
def other(rig: CacheRig) -> Iterator[Parts]:
    parts = open_parts(rig._toml, rig.folder)
    yield parts
    parts.close()


@needs_flock
@pytest.mark.parametrize("when", ["before the first byte", "in the middle"])
def test_two_that_want_it_at_once_have_one_copy_and_cannot_write_into_each_others(rig: CacheRig, other: Parts, when: str) -> None:
    obj = rig.put(KEY, LONG)
    early = when == "before the first byte"
    gate = faults.Gate() if early else faults.Gate(after_bytes=1000)
    if early:
        rig.proxy.on(gate, method="HEAD")
    else:
        rig.proxy.on(gate, ranged=True)
    both = together(rig, obj, gate, other)
    try:
        assert [a.error for a in both] == [None, None]
        assert [a.bytes() == LONG for a in both] == [True, True]
        assert [a.borrowed for a in both] == [early, True], "who had begun in memory of his own stays there"
        assert [a.opened.source for a in both] == ["bucket", "ssd"]
        for asking in both:
            asking.opened.state_dict()["bytes"].zero_()
        for asking in both:
            assert asking.bytes() != LONG
        assert [p.read_bytes() == LONG for p in shown_files(rig.folder)] == [True]
        assert all(a.parts.ram.holds(obj.id.digest) for a in both), "the next load is answered from RAM"
        assert rig.proxy.sent_bytes(KEY) < 1.5 * len(LONG)
    finally:
        for asking in both:
            asking.close()


@needs_flock
def test_the_mapped_bytes_outlive_the_entry_on_the_ssd(rig: CacheRig, other: Parts) -> None:
    obj = rig.put(KEY, LONG)
    gate = faults.Gate()
    rig.proxy.on(gate, method="HEAD")
    both = together(rig, obj, gate, other)
    try:
        assert both[1].borrowed
        assert rig.parts.cache.evict(obj, "ssd").freed_bytes["ssd"] == len(LONG)
        assert [a.bytes() == LONG for a in both] == [True, True]
    finally:
        for asking in both:
            asking.close()


@needs_flock
def test_a_file_that_breaks_the_format_is_refused_after_its_first_part_also_when_somebody_waits(rig: CacheRig, other: Parts) -> None:
    obj = rig.put(KEY, BROKEN)
    gate = faults.Gate()
    rig.proxy.on(gate, method="HEAD")
    both = together(rig, obj, gate, other)
    assert all(isinstance(a.error, InvalidSafetensors) for a in both)
    assert not shown_files(rig.folder)
    for asking in both:
        asking.close()


@needs_flock
def test_without_room_on_the_ssd_each_has_it_in_memory_of_its_own(rig: CacheRig, other: Parts) -> None:
    for parts in (rig.parts, other):
        parts.ssd.set_budget(MIB)
    obj = rig.put(KEY, LONG)
    gate = faults.Gate()
    rig.proxy.on(gate, method="HEAD")
    both = together(rig, obj, gate, other)
    try:
        assert [a.bytes() == LONG for a in both] == [True, True]
        assert [a.borrowed for a in both] == [False, False]
    finally:
        for asking in both:
            asking.close()
