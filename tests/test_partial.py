"""An object on its way: order of arrival, resume, a disk that fails."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import random
import subprocess
import threading
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme

from modelstream.cache import pages
from modelstream.cache import partial as partial_module
from modelstream.cache.disk import Disk
from modelstream.cache.partial import PartialFile
from modelstream.cache.partials import STALE_S
from modelstream.storage.errors import DiskFailed, NoRoom
from modelstream.storage.events import TierDegraded
from modelstream.storage.objects import Extent, ObjectHead
from rig.ssd_parts import (
    CHUNK,
    Heard,
    Mortal,
    aligned,
    content,
    drop_dead,
    empty,
    extents,
    fill,
    head_of,
    remote,
    shown,
    store,
    tier,
)

STEPS = [1000, CHUNK // 2, CHUNK, 3 * CHUNK + 5, 1 << 30]


def left_half_done(root: Path, obj, chunks: int = 3) -> None:
    """A process wrote some chunks and was killed."""
    owners = Mortal()
    with tier(root, owners=owners) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = aligned(content(obj))
        for extent in extents(content(obj), CHUNK)[:chunks]:
            partial.write_behind(view, extent)
        ssd._tools.writer.wait(partial)
        drop_dead(partial)
        ssd._partials.release(partial.directory)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("buffer", ["aligned", "unaligned", "read-only"])
def test_extents_of_any_size_in_any_order_become_the_object(tmp_path: Path, step: int, buffer: str) -> None:
    obj = remote()
    body = content(obj)
    shift = memoryview(bytearray(b"x" + body))[1:]
    view = {"aligned": aligned(body), "unaligned": shift, "read-only": memoryview(body)}[buffer]
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        todo = extents(body, step)
        random.Random(step).shuffle(todo)
        for extent in todo:
            partial.write_behind(view, extent)
        partial.commit(crc64nvme(body))
        assert ssd.path_for(obj).read_bytes() == body


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("system", ["gives pages back", "does not"])
def test_an_object_can_land_on_the_disk_without_passing_through_ram(
    tmp_path: Path, step: int, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "does not":
        monkeypatch.setattr(pages, "CAN_DISCARD", False)
    obj = remote()
    body = content(obj)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = partial.landing()
        for extent in extents(body, step):
            view[extent.offset : extent.end] = body[extent.offset : extent.end]
            partial.landed(extent)
        assert partial.commit(crc64nvme(body)).crc64 == crc64nvme(body)
        assert ssd.path_for(obj).read_bytes() == body


@pytest.mark.parametrize("mapped", [False, True])
def test_what_a_killed_process_wrote_is_not_fetched_again(tmp_path: Path, mapped: bool) -> None:
    obj = remote()
    body = content(obj)
    left_half_done(tmp_path, obj)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = partial.landing() if mapped else empty(obj.size_bytes)
        done = partial.resume_into(view)
        assert [(e.offset, e.end) for e in done] == [(0, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, 3 * CHUNK)]
        assert all(crc64nvme(body[e.offset : e.end]) == e.crc64 for e in done)
        assert mapped or bytes(view[: 3 * CHUNK]) == body[: 3 * CHUNK]
        view[3 * CHUNK :] = body[3 * CHUNK :]
        for extent in extents(body, CHUNK)[3:]:
            partial.landed(extent) if mapped else partial.write_behind(view, extent)
        partial.commit(crc64nvme(body))
        assert ssd.path_for(obj).read_bytes() == body
        assert not list((tmp_path / "partial").iterdir())


@pytest.mark.parametrize("journal", ["torn", "lies", "noise", "gone", "out of range", "empty"])
def test_the_journal_is_only_a_claim(tmp_path: Path, journal: str) -> None:
    obj = remote()
    body = content(obj)
    left_half_done(tmp_path, obj)
    (left,) = (tmp_path / "partial").iterdir()
    path = left / "journal"
    lines = path.read_bytes()
    wrong = {
        "torn": lines[:-5], "lies": lines + b"4 %016x %d\n" % (crc64nvme(body[4 * CHUNK : 5 * CHUNK]), CHUNK),
        "noise": os.urandom(100) + b"\n" + lines,
        "out of range": b"99999 0000000000000000 65536\n-1 0000000000000000 1\n", "empty": b"", "gone": b"",
    }[journal]  # fmt: skip
    path.write_bytes(wrong)
    if journal == "gone":
        path.unlink()
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = empty(obj.size_bytes)
        done = partial.resume_into(view)
        assert all(bytes(view[e.offset : e.end]) == body[e.offset : e.end] for e in done)
        assert len(done) == {"torn": 2, "lies": 3, "noise": 3}.get(journal, 0)
        fill(partial, body, done)
        partial.commit(crc64nvme(body))
        assert ssd.path_for(obj).read_bytes() == body


def test_a_chunk_that_rotted_meanwhile_is_fetched_again(tmp_path: Path) -> None:
    obj = remote()
    body = content(obj)
    left_half_done(tmp_path, obj)
    (data,) = (tmp_path / "partial").glob("*/entry/*")
    rotten = bytearray(data.read_bytes())
    rotten[CHUNK + 5] ^= 1
    data.write_bytes(rotten)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        done = partial.resume_into(empty(obj.size_bytes))
        assert [e.offset for e in done] == [0, 2 * CHUNK]
        fill(partial, body, done)
        partial.commit(crc64nvme(body))
        assert ssd.path_for(obj).read_bytes() == body


def test_a_partial_that_nobody_read_back_is_not_trusted(tmp_path: Path) -> None:
    obj = remote()
    left_half_done(tmp_path, obj)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        with pytest.raises(DiskFailed, match="0 of 6"):
            partial.commit(None)


def test_a_partial_of_another_etag_or_size_is_not_adopted(tmp_path: Path) -> None:
    obj = remote()
    for head in (
        ObjectHead(obj.size_bytes, "other"),
        ObjectHead(obj.size_bytes, obj.id.version, version_id="7"),
        ObjectHead(obj.size_bytes + 1, "v1"),
    ):
        left_half_done(tmp_path, obj)
        with tier(tmp_path) as ssd:
            partial = ssd.begin(obj, head)
            assert partial.resume_into(empty(head.size_bytes)) == []
            partial.abandon(keep=False)
            assert not list((tmp_path / "partial").iterdir())


def test_what_was_given_up_is_taken_up_again_by_the_same_process(tmp_path: Path) -> None:
    obj = remote()
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        fill(partial, content(obj))
        ssd._tools.writer.wait(partial)
        partial.abandon(keep=True)
        again = ssd.begin(obj, head_of(obj))
        assert len(again.resume_into(empty(obj.size_bytes))) == 6
        again.commit(crc64nvme(content(obj)))
        assert ssd.lookup(obj) is not None


def test_a_partial_of_a_live_process_is_left_to_it(tmp_path: Path) -> None:
    obj = remote()
    body = content(obj)
    with tier(tmp_path) as first, tier(tmp_path) as second:
        a = first.begin(obj, head_of(obj))
        fill(a, body)
        b = second.begin(obj, head_of(obj))
        assert b.resume_into(empty(obj.size_bytes)) == [] and a.directory != b.directory
        fill(b, body)
        assert a.commit(crc64nvme(body)) == first.lookup(obj)
        assert b.commit(crc64nvme(body)) == first.lookup(obj)
        assert shown(tmp_path) == [first.path_for(obj)]
        assert not list((tmp_path / "partial").iterdir())


def test_of_many_processes_that_want_a_dead_partial_one_gets_it(tmp_path: Path) -> None:
    obj = remote()
    left_half_done(tmp_path, obj)
    resumed: list[int] = []
    with contextlib.ExitStack() as stack:
        tiers = [stack.enter_context(tier(tmp_path)) for _ in range(6)]
        gate = threading.Barrier(len(tiers))

        def take(ssd) -> None:
            gate.wait()
            partial = ssd.begin(obj, head_of(obj))
            resumed.append(len(partial.resume_into(empty(obj.size_bytes))))
            fill(partial, content(obj))
            partial.commit(crc64nvme(content(obj)))

        threads = [threading.Thread(target=take, args=(ssd,)) for ssd in tiers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(resumed) == [0, 0, 0, 0, 0, 3]
        assert tiers[0].path_for(obj).read_bytes() == content(obj)
    assert not list((tmp_path / "partial").iterdir()) and not list((tmp_path / "trash").iterdir())


def test_stale_partials_and_those_of_replaced_versions_are_removed_at_start(tmp_path: Path) -> None:
    old, new, other, live = remote(version="old"), remote(version="new"), remote("b.pt"), remote("live.pt")
    for obj in (old, new, other):
        left_half_done(tmp_path, obj)
    for path in (tmp_path / "partial").glob(f"{old.id.digest}*/**/*"):
        os.utime(path, (1e9, 1e9))
    for path in (tmp_path / "partial").glob(f"{old.id.digest}*"):
        os.utime(path, (1e9, 1e9))
    with tier(tmp_path) as keeper:
        partial = keeper.begin(live, head_of(live))
        report = keeper.sweep()
        names = {p.name[:64] for p in (tmp_path / "partial").iterdir()}
        assert names == {new.id.digest, other.id.digest, live.id.digest}
        assert old.id.digest not in names and report.failed == 0
        now = os.stat(next(iter((tmp_path / "partial").iterdir()))).st_mtime + STALE_S + 100
        with tier(tmp_path, clock=lambda: now) as later:
            later.sweep()
        assert {p.name[:64] for p in (tmp_path / "partial").iterdir()} == {live.id.digest}
        fill(partial, content(live))
        partial.commit(crc64nvme(content(live)))


def test_what_a_dead_process_had_begun_to_delete_is_deleted_at_start(tmp_path: Path) -> None:
    with tier(tmp_path):
        pass
    half = tmp_path / "trash" / ("ab" * 32 + ".free-0-0-00000000")
    (half / "entry").mkdir(parents=True)
    (half / "entry" / "x").write_bytes(b"x")
    with tier(tmp_path) as ssd:
        ssd.sweep()
        assert not half.exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("call", ["pwrite", "write"])
def test_a_disk_error_while_writing_behind_is_told_once_and_the_transfer_goes_on(tmp_path: Path, number: int, call: str) -> None:
    class Full(Disk):
        broken = False

        def pwrite(self, fd: int, view: memoryview, offset: int) -> int:
            return self._answer("pwrite") or super().pwrite(fd, view, offset)

        def write(self, fd: int, content: bytes) -> None:
            self._answer("write")
            super().write(fd, content)

        def _answer(self, name: str) -> int:
            if self.broken and name == call:
                raise OSError(number, os.strerror(number), str(tmp_path))
            return 0

    heard, disk, obj = Heard(), Full(), remote()
    with tier(tmp_path, heard, disk=disk) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        disk.broken = True
        fill(partial, content(obj))
        ssd._tools.writer.wait(partial)
        assert partial.failed and len(heard.of(TierDegraded)) == 1
        with pytest.raises(DiskFailed if number in (errno.EIO, errno.EROFS) else NoRoom) as raised:
            partial.commit(crc64nvme(content(obj)))
        assert str(tmp_path) not in str(raised.value) + heard.of(TierDegraded)[0].cause and raised.value.next_step
        disk.broken = False
        assert not list((tmp_path / "partial").iterdir()) and ssd.snapshot().reserved_bytes == 0
        assert store(ssd, obj) == ssd.path_for(obj).read_bytes()


def fill_landing(partial: PartialFile, body: bytes) -> None:
    view = partial.landing()
    for extent in extents(body):
        view[extent.offset : extent.end] = body[extent.offset : extent.end]
        partial.landed(extent)


def one_way_in(ssd, obj, mapped: bool) -> None:
    body = content(obj)
    partial = ssd.begin(obj, head_of(obj))
    try:
        if not mapped:
            done = partial.resume_into(empty(obj.size_bytes))
            fill(partial, body, done)
        else:
            view = partial.landing()
            partial.resume_into(view)
            view[:] = body
            for extent in extents(body):
                partial.landed(extent)
        partial.commit(crc64nvme(body))
    except BaseException:
        partial.abandon(keep=True)
        raise


def _other_process(root: str, gate, chosen: int) -> None:
    obj = remote()
    with tier(Path(root)) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        partial.resume_into(empty(obj.size_bytes))
        fill(partial, content(obj), step=CHUNK // chosen)
        gate.wait()
        partial.commit(crc64nvme(content(obj)))


def test_processes_that_commit_the_same_object_at_once_leave_one_right_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(3)
    processes = [context.Process(target=_other_process, args=(str(tmp_path), gate, n + 1)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0]
    with tier(tmp_path) as ssd:
        assert shown(tmp_path) == [ssd.path_for(remote())]
        assert ssd.path_for(remote()).read_bytes() == content(remote())
    assert not list((tmp_path / "partial").iterdir())


@pytest.mark.root
@pytest.mark.parametrize("mapped", [False, True])
def test_a_disk_that_really_fills_up_costs_the_copy_and_nothing_else(tmp_path: Path, mapped: bool) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", str(small)], capture_output=True).returncode:
        pytest.skip("this machine may not mount a tmpfs")
    try:
        heard = Heard()
        obj, little = remote("big.pt", 3 << 20), remote("little.pt", CHUNK)
        with tier(small / "ssd", heard) as ssd:
            partial = ssd.begin(obj, head_of(obj))
            (small / "ballast").write_bytes(bytes(2 << 20))
            with pytest.raises(NoRoom, match="full"):
                fill_landing(partial, content(obj)) if mapped else fill(partial, content(obj))
                partial.commit(None)
            partial.abandon(keep=False)
            assert not list((small / "ssd" / "partial").iterdir()) and ssd.snapshot().reserved_bytes == 0
            assert store(ssd, little) == ssd.path_for(little).read_bytes()
            with pytest.raises(NoRoom, match="GB free"):
                ssd.begin(obj, head_of(obj))
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_bytes_that_are_replaced_after_everything_landed_are_replaced_in_the_file(tmp_path: Path, pieces: int) -> None:
    """The transfer read the object a second time and found one part damaged; most of the buffer is gone by then."""
    obj = remote()
    body = content(obj)
    wrong = bytearray(body)
    for at in range(CHUNK // 2, CHUNK // 2 * (pieces + 1), CHUNK // 2):
        wrong[at + 7] ^= 1
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = partial.landing()
        for extent in extents(bytes(wrong)):
            view[extent.offset : extent.end] = wrong[extent.offset : extent.end]
            partial.landed(extent)
        for extent in extents(body):
            if crc64nvme(view[extent.offset : extent.end]) != extent.crc64:
                view[extent.offset : extent.end] = body[extent.offset : extent.end]
                partial.replaced(extent)
        assert partial.commit(crc64nvme(body)).crc64 == crc64nvme(body)
        assert ssd.path_for(obj).read_bytes() == body


def test_who_lands_faster_than_the_disk_writes_waits_and_is_let_go_when_the_transfer_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(Disk):
        def __init__(self) -> None:
            self.go_on = threading.Event()

        def pwrite(self, fd: int, view: memoryview, offset: int) -> int:
            self.go_on.wait()
            return super().pwrite(fd, view, offset)

    monkeypatch.setattr(partial_module, "UNWRITTEN_MAX_BYTES", 2 * CHUNK)
    disk, obj, asked = Hanging(), remote(), threading.Event()
    body = content(obj)
    with tier(tmp_path, disk=disk) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = partial.landing()
        view[:] = body
        landed, stop = [], threading.Event()

        def stopped() -> bool:
            asked.set()
            return stop.is_set()

        def lane() -> None:
            for extent in extents(body, CHUNK):
                partial.landed(extent, stopped)
                landed.append(extent)

        thread = threading.Thread(target=lane)
        thread.start()
        assert asked.wait(10) and len(landed) == 2
        stop.set()
        thread.join(10)
        assert not thread.is_alive() and len(landed) == 6
        disk.go_on.set()
        partial.commit(crc64nvme(body))
        assert ssd.path_for(obj).read_bytes() == body


def test_memory_that_only_passes_is_given_back_as_it_is_written(tmp_path: Path) -> None:
    if not pages.CAN_DISCARD:
        pytest.skip("this system cannot give single pages back")
    obj = remote(size_bytes=8 * CHUNK + 5)
    body = content(obj)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        view = partial.landing()
        for extent in extents(body, CHUNK)[:-1]:
            view[extent.offset : extent.end] = body[extent.offset : extent.end]
            partial.landed(extent)
        ssd._tools.writer.wait(partial)
        assert bytes(view[: 8 * CHUNK]) == bytes(8 * CHUNK)
        partial.abandon(keep=False)


def test_a_whole_object_from_ram_is_one_extent(tmp_path: Path) -> None:
    obj = remote()
    body = content(obj)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, head_of(obj))
        partial.write_behind(aligned(body), Extent(0, len(body), crc64nvme(body)))
        assert partial.commit(crc64nvme(body), "ram").verified == "ram"


@pytest.mark.parametrize(("known", "verified"), [(True, "crc64nvme"), (False, "size_only")])
def test_the_record_says_how_far_the_object_was_compared(tmp_path: Path, known: bool, verified: str) -> None:
    obj = remote()
    body = content(obj)
    with tier(tmp_path) as ssd:
        partial = ssd.begin(obj, ObjectHead(obj.size_bytes, "etag", crc64nvme=crc64nvme(body) if known else None))
        fill(partial, body)
        assert partial.commit(crc64nvme(body)).verified == verified


def test_no_thread_stays_when_nothing_is_to_be_written(tmp_path: Path) -> None:
    with tier(tmp_path) as ssd:
        store(ssd, remote())
        ssd._sweeper.join()
        for thread in threading.enumerate():
            if thread.name == "modelstream-ssd-write":
                thread.join(5)
        assert not [t for t in threading.enumerate() if t.name.startswith("modelstream-ssd")]
