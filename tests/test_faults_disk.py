"""Faults of the disk under the SSD tier: cases 29 to 40 of the fault matrix, by number.

Real faults where this machine can make them (a small tmpfs, rlimits, read-only mounts, other users, killed processes);
only an I/O error and a power loss are pretended, at the one place where the tier calls the system.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme

from modelstream.cache import room as room_module
from modelstream.cache import ssd_flight
from modelstream.cache.partials import STALE_S
from modelstream.storage.errors import DiskFailed, ModelStreamError, NoRoom
from modelstream.storage.events import CorruptionFound, Evicted, TierDegraded
from rig import faults
from rig.invariants import eventually, no_temporary_files, shown_files
from rig.losing_disk import LosingDisk
from rig.ssd_parts import CHUNK, Heard, content, empty, extents, fill, head_of, remote, store, tier
from rig.tiny_models import safetensors_bytes
from rig.transfers import LIMIT_S, MIB
from rig.whole_cache import CacheRig, cache_rig, open_parts

KEY = "checkpoints/model.safetensors"
FILE = "upscale_models/model.gguf"
LONG = safetensors_bytes("long disk", 40 * MIB)
"""three chunks of the SSD tier"""
NEW = safetensors_bytes("new disk", 40 * MIB + 4096)
CHUNK_BYTES = 16 * MIB


@pytest.fixture
def rig(seaweed, tmp_path) -> Iterator[CacheRig]:
    with cache_rig(seaweed, tmp_path / "ssd", LONG, NEW) as rig:
        yield rig


@contextlib.contextmanager
def mounted(where: Path, options: str) -> Iterator[Path]:
    where.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "none", str(where)], capture_output=True).returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], capture_output=True, check=False)


def read(ssd, obj) -> bytes:
    with ssd.lease(obj) as lease:
        view = empty(obj.size_bytes)
        ssd.read_into(lease, view)
        return bytes(view)


# -- 29, 30, 31: no place ------------------------------------------------------------------------------------------------
@pytest.mark.root
@pytest.mark.parametrize("landing", [False, True])
def test_29_a_disk_that_fills_up_in_the_middle_costs_an_old_entry_and_the_new_one_is_whole(tmp_path: Path, landing: bool) -> None:
    old, new = remote("old.pt", 40 * CHUNK), remote("new.pt", 60 * CHUNK)
    with mounted(tmp_path / "small", "size=16m") as small:
        heard = Heard()
        with tier(small / "ssd", heard) as ssd:
            store(ssd, old)
            partial = ssd.begin(new, head_of(new))
            body = content(new)
            ballast = small / "ballast"
            free = shutil.disk_usage(small).free
            ballast.write_bytes(bytes(free - 30 * CHUNK))
            if landing:
                view = partial.landing()
                for extent in extents(body):
                    view[extent.offset : extent.end] = body[extent.offset : extent.end]
                    partial.landed(extent)
            else:
                fill(partial, body)
            partial.commit(crc64nvme(body))
            assert ssd.path_for(new).read_bytes() == body
            assert [e.subject for e in heard.of(Evicted)] == [old.subject]
            assert ssd.snapshot().reserved_bytes == 0 and not list((small / "ssd" / "partial").iterdir())


@pytest.mark.root
def test_29_without_anything_to_evict_the_copy_is_given_up_and_small_writes_still_work(tmp_path: Path) -> None:
    new, little = remote("new.pt", 60 * CHUNK), remote("little.pt", 100)
    with mounted(tmp_path / "small", "size=8m") as small:
        heard = Heard()
        with tier(small / "ssd", heard) as ssd:
            partial = ssd.begin(new, head_of(new))
            (small / "ballast").write_bytes(bytes(shutil.disk_usage(small).free - 20 * CHUNK))
            fill(partial, content(new))
            with pytest.raises(NoRoom, match="full"):
                partial.commit(None)
            assert len(heard.of(TierDegraded)) == 1
            assert not list((small / "ssd" / "partial").iterdir()) and ssd.snapshot().reserved_bytes == 0
            assert store(ssd, little) == ssd.path_for(little).read_bytes()


@pytest.mark.root
def test_29_without_a_place_on_the_disk_the_object_is_served_from_memory(seaweed, tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=8m") as small, cache_rig(seaweed, small / "ssd", LONG) as rig:
        obj = rig.put(KEY, LONG)
        assert rig.load(obj, LONG).source == "bucket"
        assert rig.load(obj, LONG).source == "ram"
        degraded = [e for e in rig.parts.events if isinstance(e, TierDegraded)]
        assert [e.code for e in degraded] == ["no_room"]
        error = None
        file = rig.put(FILE, LONG)
        try:
            rig.parts.cache.open_file(file)
        except ModelStreamError as caught:
            error = caught
        assert isinstance(error, NoRoom) and error.cause and error.next_step


@pytest.mark.root
@pytest.mark.parametrize("evictable", [False, True])
def test_30_a_disk_without_inodes_says_so_or_is_helped_by_an_eviction(tmp_path: Path, evictable: bool) -> None:
    old = [remote(f"{n}.pt", 10) for n in range(4)]
    new = remote("new.pt", 100)
    with mounted(tmp_path / "small", "size=16m,nr_inodes=80") as small, tier(small / "ssd") as ssd:
        for obj in old if evictable else ():
            store(ssd, obj)
        ssd._sweeper.join()
        with contextlib.suppress(OSError):
            for n in range(100):
                (small / str(n)).touch()
        if evictable:
            assert store(ssd, new) == ssd.path_for(new).read_bytes()
        else:
            with pytest.raises(NoRoom, match="inodes"):
                ssd.begin(new, head_of(new))
            assert ssd.snapshot().reserved_bytes == 0
            for n in range(20):
                (small / str(n)).unlink()
            assert store(ssd, new) == ssd.path_for(new).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="needs rlimits")
def test_31_a_file_larger_than_this_process_may_write_says_so(tmp_path: Path) -> None:
    obj, little = remote("big.pt", 4 * MIB), remote("little.pt", 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with tier(tmp_path) as ssd:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 * MIB, hard))
        try:
            with pytest.raises(NoRoom, match="as large as this"):
                ssd.begin(obj, head_of(obj))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list((tmp_path / "partial").iterdir()) and ssd.snapshot().reserved_bytes == 0
        assert store(ssd, little) == ssd.path_for(little).read_bytes()


# -- 32, 33: damage ------------------------------------------------------------------------------------------------------
def test_32_a_file_that_the_disk_cannot_read_is_set_aside_and_fetched_again(rig: CacheRig, monkeypatch: pytest.MonkeyPatch) -> None:
    obj = rig.put(KEY, LONG)
    rig.load(obj, LONG)
    rig.restart()
    disk = rig.parts.ssd._disk
    bad = rig.parts.ssd.path_for(obj).stat().st_ino
    pread = disk.pread

    def broken(fd: int, view: memoryview, offset: int) -> int:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(fd, view, offset)

    monkeypatch.setattr(disk, "pread", broken)
    rig.proxy.clear()
    assert rig.load(obj, LONG).source == "bucket"
    assert len(LONG) <= rig.proxy.sent_bytes(KEY) < len(LONG) + 4 * MIB
    assert [e.where for e in rig.parts.events if isinstance(e, CorruptionFound)] == ["ssd"]
    assert any(isinstance(e, TierDegraded) and e.tier == "ssd" for e in rig.parts.events)
    assert len(list((rig.folder / "quarantine").iterdir())) == 1
    assert [p.stat().st_ino != bad for p in shown_files(rig.folder)] == [True]


def damage(path: Path, how: str) -> int:
    """Returns how many bytes of the file are still right."""
    if how == "truncated":
        os.truncate(path, 2 * CHUNK_BYTES + 5)
        return 2 * CHUNK_BYTES
    with open(path, "r+b") as file:
        file.seek(CHUNK_BYTES + 12345)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 16]))
    return path.stat().st_size - CHUNK_BYTES


@pytest.mark.parametrize("way", ["memory", "file"])
def test_33_only_the_damaged_chunk_comes_from_the_bucket_and_the_old_file_is_not_written_to(rig: CacheRig, way: str) -> None:
    key = KEY if way == "memory" else FILE
    obj = rig.put(key, LONG)
    if way == "memory":
        rig.load(obj, LONG)
    else:
        rig.parts.cache.open_file(obj).close()
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    rig.restart()
    right_bytes = damage(rig.parts.ssd.path_for(obj), "flipped")
    path = rig.parts.ssd.path_for(obj)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        before = bytes(mapped)
        rig.proxy.clear()
        if way == "memory":
            assert rig.load(obj, LONG).source == "bucket"
        else:
            with rig.parts.cache.open_file(obj) as opened:
                assert Path(opened.path).read_bytes() == LONG
            assert eventually(lambda: not rig.parts.cache.snapshot().loading)
        assert bytes(mapped) == before != LONG, "somebody may have it mapped"
    damaged_bytes = len(LONG) - right_bytes
    assert damaged_bytes <= rig.proxy.sent_bytes(key) < damaged_bytes + 4 * MIB, "a slow part may have been asked for twice"
    assert path.read_bytes() == LONG
    assert [e.where for e in rig.parts.events if isinstance(e, CorruptionFound)] == ["ssd"]
    rig.restart()
    rig.proxy.clear()
    if way == "memory":
        assert rig.load(obj, LONG).source == "ssd"
    else:
        rig.parts.cache.open_file(obj).close()
    assert not rig.proxy.requests("GET", key)


@pytest.mark.parametrize("way", ["memory", "file"])
def test_33_a_damaged_copy_of_an_object_that_changed_meanwhile_is_fetched_whole(rig: CacheRig, way: str) -> None:
    key = KEY if way == "memory" else FILE
    obj = rig.put(key, LONG)
    with rig.parts.cache.open_file(obj) as opened:
        assert Path(opened.path).read_bytes() == LONG
    assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    rig.restart()
    damage(rig.parts.ssd.path_for(obj), "flipped")
    rig.put(key, NEW)
    rig.proxy.clear()
    if way == "memory":
        rig.load(obj, NEW)
    else:
        with rig.parts.cache.open_file(obj) as opened:
            assert Path(opened.path).read_bytes() == NEW
        assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    assert len(NEW) <= rig.proxy.sent_bytes(key) < len(NEW) + 4 * MIB


def test_33_a_file_that_lost_its_end_while_it_was_leased_is_completed_from_the_bucket(rig: CacheRig) -> None:
    obj = rig.put(KEY, LONG)
    rig.load(obj, LONG)
    rig.restart()
    lease = rig.parts.ssd.lease(obj)
    right_bytes = damage(lease.path, "truncated")
    view = empty(len(LONG))
    with pytest.raises(ModelStreamError, match="too short"):
        rig.parts.ssd.read_into(lease, view)
    lease.release()
    del view
    rig.proxy.clear()
    rig.load(obj, LONG)
    damaged_bytes = len(LONG) - right_bytes
    assert damaged_bytes <= rig.proxy.sent_bytes(KEY) < damaged_bytes + 4 * MIB


def test_33_a_file_that_was_right_once_is_not_read_again_to_check_it(rig: CacheRig, monkeypatch: pytest.MonkeyPatch) -> None:
    obj = rig.put(FILE, LONG)
    rig.parts.cache.open_file(obj).close()
    assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    rig.restart()
    reads = []
    disk = rig.parts.ssd._disk
    pread = disk.pread
    monkeypatch.setattr(disk, "pread", lambda fd, view, offset: reads.append(offset) or pread(fd, view, offset))
    rig.parts.cache.open_file(obj).close()
    once = len(reads)
    rig.parts.cache.open_file(obj).close()
    assert once >= 3 and len(reads) == once
    damage(rig.parts.ssd.path_for(obj), "flipped")
    with rig.parts.cache.open_file(obj) as opened:
        assert Path(opened.path).read_bytes() == LONG
    assert eventually(lambda: not rig.parts.cache.snapshot().loading)


# -- 34: records ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("what", ["deleted", "torn", "of another object", "of a newer version"])
def test_34_a_record_that_is_lost_makes_a_miss_and_one_from_the_future_is_left_alone(rig: CacheRig, what: str) -> None:
    obj, other = rig.put(KEY, LONG), rig.put("checkpoints/other.safetensors", NEW)
    rig.load(obj, LONG)
    rig.load(other, NEW)
    record = rig.parts.ssd.path_for(obj).parent / "record.json"
    good = record.read_bytes()
    if what == "deleted":
        record.unlink()
    else:
        foreign = (rig.parts.ssd.path_for(other).parent / "record.json").read_bytes()
        record.write_bytes({"torn": good[:100], "of another object": foreign, "of a newer version": b'{"record": 99}'}[what])
    if what == "deleted":
        rig.parts.close()  # the invariants want a record beside every file
        rig.parts = open_parts(rig._toml, rig.folder)
    else:
        rig.restart()
    assert rig.parts.cache.snapshot().ssd.used_bytes == len(LONG) + len(NEW)
    rig.load(obj, LONG)
    assert rig.parts.cache.snapshot().ssd.used_bytes == len(LONG) + len(NEW)
    assert (record.read_bytes() == b'{"record": 99}') == (what == "of a newer version")
    rig.restart()
    assert rig.load(obj, LONG).source == ("bucket" if what == "of a newer version" else "ssd")


# -- 36: power loss ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("names", ["kept", "lost"])
@pytest.mark.parametrize("landing", [False, True])
def test_36_after_a_power_loss_at_any_call_the_entry_is_whole_or_absent(tmp_path: Path, names: str, landing: bool) -> None:
    obj = remote(size_bytes=2 * CHUNK + 5)
    body = content(obj)
    at, whole = 0, 0
    while not whole:
        at += 1
        root = tmp_path / f"{at}"
        with tier(root):
            pass
        disk = LosingDisk(root)
        finished = False
        with tier(root, disk=disk) as ssd:
            ssd._sweeper.join()
            disk.calls, disk.at = 0, at
            with contextlib.suppress(ModelStreamError):
                partial = ssd.begin(obj, head_of(obj))
                if landing:
                    view = partial.landing()
                    view[:] = body
                    for extent in extents(body):
                        partial.landed(extent)
                else:
                    fill(partial, body)
                partial.commit(crc64nvme(body))
                finished = True
            disk.after_the_loss(root, tmp_path / f"{at} after", names)
            disk.at = 1 << 30
        disk.close_all()
        with tier(tmp_path / f"{at} after") as ssd:
            found = ssd.lookup(obj)
            assert found is None or read(ssd, obj) == body
            assert found is not None or not finished, "an entry that was committed is lost"
            whole = at if finished else 0
            assert store(ssd, obj) == read(ssd, obj)
        shutil.rmtree(root)
        shutil.rmtree(tmp_path / f"{at} after")
    assert whole > 15


# -- 37: two processes ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("way", ["memory", "file"])
@pytest.mark.parametrize("locks", [True, False])
def test_37_two_caches_on_one_disk_fetch_an_object_once_and_without_locks_both_are_right(
    rig: CacheRig, way: str, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two caches in one process: flock holds between open files, so they are to each other what two processes are."""
    if not locks:
        monkeypatch.setattr(ssd_flight, "_lock", lambda fd: None)
    key = KEY if way == "memory" else FILE
    obj = rig.put(key, LONG)
    other = open_parts(rig._toml, rig.folder)
    gate = faults.Gate(after_bytes=1000)
    rig.proxy.on(gate, ranged=True)
    answers: dict[str, bytes] = {}

    def ask(name: str, parts) -> None:
        if way == "memory":
            with parts.cache.open_tensors(obj) as opened:
                answers[name] = memoryview(opened.buffer).cast("B")[: opened.size_bytes].tobytes()
        else:
            with parts.cache.open_file(obj) as opened:
                answers[name] = Path(opened.path).read_bytes()

    threads = [threading.Thread(target=ask, args=pair) for pair in (("first", rig.parts), ("second", other))]
    try:
        threads[0].start()
        assert gate.reached.wait(LIMIT_S)
        threads[1].start()
        if locks:
            assert eventually(lambda: bool(other.cache.snapshot().loading))
        else:
            threads[1].join(LIMIT_S)
            assert answers["second"] == LONG
        gate.release.set()
        for thread in threads:
            thread.join(LIMIT_S)
        assert answers == {"first": LONG, "second": LONG}
        assert eventually(lambda: not rig.parts.cache.snapshot().loading and not other.cache.snapshot().loading)
        sent = rig.proxy.sent_bytes(key)  # a part that stood at the gate may have been asked for again
        assert len(LONG) <= sent < 1.5 * len(LONG) if locks else sent >= 2 * len(LONG)
        assert [p.read_bytes() == LONG for p in shown_files(rig.folder)] == [True]
        no_temporary_files(rig.folder)
        assert not list((rig.folder / "locks").iterdir()) and not list((rig.folder / "partial").iterdir())
    finally:
        gate.release.set()
        for thread in threads:
            thread.join(LIMIT_S)
        other.close()


def test_37_who_waits_can_stop_and_does_not_wait_for_one_that_gets_no_further(rig: CacheRig, monkeypatch: pytest.MonkeyPatch) -> None:
    obj = rig.put(KEY, LONG)
    held = rig.parts.ssd._flights.take(obj.id.digest)
    assert held is not None
    calls: list[int] = []
    with pytest.raises(ModelStreamError, match="stopped"), rig.parts.ssd.flight(obj, calls.append, lambda: True):
        pass
    monkeypatch.setattr(ssd_flight, "STALL_S", 0.2)
    assert rig.load(obj, LONG).source == "bucket"
    held.release()
    rig.parts.ssd.sweep()
    assert not list((rig.folder / "locks").iterdir())


# -- 38: evicted under somebody ------------------------------------------------------------------------------------------
def _lease_and_wait(root: str, ready, done) -> None:
    obj = remote("a.safetensors")
    with tier(Path(root)) as ssd:
        lease = ssd.lease(obj)
        with open(lease.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            ready.set()
            done.wait(30)
            assert bytes(mapped) == content(obj)


@pytest.mark.skipif(os.name == "nt", reason="a mapped file cannot be removed there")
def test_38_the_lease_of_another_process_keeps_its_entry_and_a_killed_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RESCAN_S", -1.0)
    a, b = remote("a.safetensors"), remote("b.safetensors")
    context = multiprocessing.get_context("spawn")
    with tier(tmp_path, budget_bytes=a.size_bytes) as ssd:
        store(ssd, a)
        for end in ("finishes", "is killed"):
            ready, done = context.Event(), context.Event()
            process = context.Process(target=_lease_and_wait, args=(str(tmp_path), ready, done))
            process.start()
            assert ready.wait(30)
            with pytest.raises(NoRoom, match="GB are lacking"):
                ssd.begin(b, head_of(b))
            if end == "finishes":
                os.rename(ssd.path_for(a).parent, tmp_path / "away")  # what an evictor without leases would do
                shutil.rmtree(tmp_path / "away")
                done.set()
                process.join(30)
                assert process.exitcode == 0, "it did not read on"
                store(ssd, a)
            else:
                os.kill(process.pid, signal.SIGKILL)
                process.join(30)
        assert store(ssd, b) == ssd.path_for(b).read_bytes()
        assert ssd.lookup(a) is None and not list((tmp_path / "leases").iterdir())


# -- 39: the directory itself ----------------------------------------------------------------------------------------------
@pytest.mark.root
def test_39_a_disk_that_becomes_read_only_serves_on_and_takes_nothing(tmp_path: Path) -> None:
    a, b = remote("a.pt"), remote("b.pt")
    with mounted(tmp_path / "small", "size=16m") as small, tier(small / "ssd") as ssd:
        body = store(ssd, a)
        partial = ssd.begin(b, head_of(b))
        partial.abandon(keep=False)
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        assert ssd.lookup(a) is not None and read(ssd, a) == body
        with pytest.raises(DiskFailed, match="Read-only"):
            ssd.begin(b, head_of(b))
        ssd.sweep()
        assert ssd.snapshot().reserved_bytes == 0 and ssd.snapshot().leases == 0
        subprocess.run(["mount", "-o", "remount,rw", str(small)], check=True)
        assert store(ssd, b) == ssd.path_for(b).read_bytes()


@pytest.mark.root
def test_39_a_disk_that_is_taken_away_is_not_replaced_by_the_one_below_it(tmp_path: Path) -> None:
    a, b = remote("a.pt"), remote("b.pt")
    with mounted(tmp_path / "small", "size=16m") as small:
        (small / "ssd").mkdir(mode=0o700)
        with tier(small / "ssd") as ssd:
            store(ssd, a)
            partial = ssd.begin(b, head_of(b))
            subprocess.run(["umount", "-l", str(small)], check=True)
            (small / "ssd").mkdir(mode=0o700)
            assert ssd.lookup(a) is None and ssd.lease(a) is None
            fill(partial, content(b))
            with pytest.raises(DiskFailed):
                partial.commit(None)
            with pytest.raises(DiskFailed, match="not there any more"):
                ssd.begin(b, head_of(b))
            assert not list((small / "ssd").iterdir()) and ssd.snapshot().reserved_bytes == 0
        (small / "ssd").rmdir()


def test_39_a_directory_that_somebody_deletes_while_it_is_used_is_made_again(rig: CacheRig) -> None:
    obj, other = rig.put(KEY, LONG), rig.put("checkpoints/other.safetensors", NEW)
    rig.load(obj, LONG)
    shutil.rmtree(rig.folder)
    assert rig.load(obj, LONG).source == "ram"
    rig.load(other, NEW)
    assert [p.read_bytes() == NEW for p in shown_files(rig.folder)] == [True]


def _as_nobody(root: str, answers) -> None:
    os.setuid(65534)
    heard = Heard()
    obj = remote("a.pt")
    with tier(Path(root), heard) as ssd:
        answers.put((ssd.writable, read(ssd, obj) == content(obj), [e.code for e in heard.of(TierDegraded)]))


@pytest.mark.root
def test_39_a_process_without_the_right_to_write_reads_what_is_there_and_says_so() -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    base = Path(tempfile.mkdtemp())
    try:
        base.chmod(0o711)
        root = base / "ssd"
        with tier(root) as ssd:
            store(ssd, remote("a.pt"))
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534)
            path.chmod(0o500 if path.is_dir() else 0o400)
        process = context.Process(target=_as_nobody, args=(str(root), answers))
        process.start()
        writable, right, codes = answers.get(timeout=60)
        process.join(30)
        assert (process.exitcode, writable, right) == (0, False, True)
        assert codes == ["disk"]
    finally:
        shutil.rmtree(base)


# -- 40: the clock -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("leap_s", [86400.0, -86400.0, 30 * 86400.0])
def test_40_a_clock_that_leaps_evicts_nothing_and_keeps_nothing_for_ever(tmp_path: Path, leap_s: float) -> None:
    a, b, c, d = (remote(f"{n}.safetensors") for n in "abcd")
    now = [1_000_000_000.0]
    with tier(tmp_path, budget_bytes=3 * a.size_bytes + 10, clock=lambda: now[0]) as ssd:
        for obj in (a, b):
            store(ssd, obj)
        on_its_way = ssd.begin(c, head_of(c))
        now[0] += leap_s
        ssd.sweep()
        assert ssd.lookup(a) and ssd.lookup(b)
        fill(on_its_way, content(c))
        on_its_way.commit(None)
        read(ssd, a)
    now[0] -= leap_s
    with tier(tmp_path, budget_bytes=3 * a.size_bytes + 10, clock=lambda: now[0]) as ssd:
        assert all(ssd.lookup(obj) for obj in (a, b, c))
        now[0] += 1
        read(ssd, b)
        read(ssd, c)
        store(ssd, d)
        assert ssd.lookup(a) is None and ssd.lookup(b) and ssd.lookup(c), "a use in the future outranks those of now"


def test_40_an_unfinished_download_survives_a_clock_that_leaps_a_day(tmp_path: Path) -> None:
    obj = remote()
    now = [os.stat(tmp_path).st_mtime]
    with tier(tmp_path, clock=lambda: now[0]) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        fill(partial, content(obj)[: 3 * CHUNK])
        ssd._tools.writer.wait(partial)
        partial.abandon(keep=True)
    for leap_s in (86400.0, -2 * 86400.0):
        now[0] += leap_s
        with tier(tmp_path, clock=lambda: now[0]) as ssd:
            ssd.sweep()
            assert len(list((tmp_path / "partial").iterdir())) == 1
    now[0] += 2 * 86400.0 + STALE_S
    with tier(tmp_path, clock=lambda: now[0]) as ssd:
        ssd.sweep()
        assert not list((tmp_path / "partial").iterdir())
