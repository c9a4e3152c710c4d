"""The SSD tier as the cache uses it: in, out, damage, room, leases."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme

from modelstream.cache import room as room_module
from modelstream.storage.errors import ConfigError, CorruptObject, DiskFailed, NoRoom, TransferCancelled
from modelstream.storage.events import CorruptionFound, Evicted, Stored, TierDegraded
from rig.ssd_parts import CHUNK, Heard, content, drop_dead, empty, fill, head_of, remote, shown, store, tier

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")


def read(ssd, obj) -> bytes:
    with ssd.lease(obj) as lease:
        view = empty(obj.size_bytes)
        ssd.read_into(lease, view)
        return bytes(view)


@pytest.mark.parametrize("size_bytes", [0, 1, CHUNK, CHUNK + 1, 4096 * 3, 5 * CHUNK + 777, 9 * CHUNK])
def test_what_was_stored_is_read_again_and_its_file_is_the_object(tmp_path: Path, size_bytes: int) -> None:
    heard = Heard()
    obj = remote(size_bytes=size_bytes)
    with tier(tmp_path / "ssd", heard) as ssd:
        assert ssd.lookup(obj) is None
        assert ssd.lease(obj) is None
        body = store(ssd, obj)
        record = ssd.lookup(obj)
        assert record is not None and record.crc64 == crc64nvme(body) and record.id == obj.id
        assert ssd.path_for(obj).read_bytes() == body
        assert ssd.path_for(obj).name == "a.safetensors"
        assert read(ssd, obj) == body
        assert not list((tmp_path / "ssd" / "partial").iterdir())
        assert ssd.snapshot().used_bytes == size_bytes and ssd.snapshot().reserved_bytes == 0
    assert [e.size_bytes for e in heard.of(Stored)] == [size_bytes]
    with tier(tmp_path / "ssd") as again:
        assert again.snapshot().entries == 1 and again.snapshot().used_bytes == size_bytes
        assert read(again, obj) == body


@posix
def test_nobody_else_can_read_or_write_what_is_stored(tmp_path: Path) -> None:
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, remote())
    for path in (tmp_path / "ssd", *(tmp_path / "ssd").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("mapped", [False, True])
def test_an_unfinished_object_has_no_final_name(tmp_path: Path, mapped: bool) -> None:
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        partial = ssd.begin(obj, head_of(obj))
        if mapped:
            partial.landing()
        assert not shown(tmp_path / "ssd") and ssd.lookup(obj) is None
        with pytest.raises(DiskFailed, match="not complete"):
            partial.commit(None)
        partial.abandon(keep=True)
        assert not shown(tmp_path / "ssd")
        assert not list((tmp_path / "ssd" / "partial").iterdir())
        assert ssd.snapshot().reserved_bytes == 0


def test_a_copy_that_is_not_what_the_transfer_checked_is_never_made_final(tmp_path: Path) -> None:
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        partial = ssd.begin(obj, head_of(obj))
        fill(partial, content(obj))
        with pytest.raises(CorruptObject):
            partial.commit(crc64nvme(content(obj)) ^ 1)
        assert ssd.lookup(obj) is None and not shown(tmp_path / "ssd")


@pytest.mark.parametrize("at", [0, CHUNK - 1, 5 * CHUNK + 776])
def test_a_flipped_bit_on_the_disk_is_found_named_and_set_aside(tmp_path: Path, at: int) -> None:
    heard = Heard()
    obj = remote()
    with tier(tmp_path / "ssd", heard) as ssd:
        body = store(ssd, obj)
        path = ssd.path_for(obj)
        path.write_bytes(body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :])
        with pytest.raises(CorruptObject, match=f"chunk {at // CHUNK}"):
            read(ssd, obj)
        assert len(heard.of(CorruptionFound)) == 1
        assert ssd.lookup(obj) is None and not shown(tmp_path / "ssd")
        assert len(list((tmp_path / "ssd" / "quarantine").iterdir())) == 1
        assert store(ssd, obj) == read(ssd, obj)


def test_a_file_that_lost_its_end_is_a_miss_and_is_replaced(tmp_path: Path) -> None:
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, obj)
        os.truncate(ssd.path_for(obj), CHUNK)
        assert ssd.lookup(obj) is None and ssd.lease(obj) is None
        assert store(ssd, obj) == read(ssd, obj)


def test_a_file_that_shrinks_while_it_is_read_is_corrupt(tmp_path: Path) -> None:
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, obj)
        lease = ssd.lease(obj)
        os.truncate(lease.path, CHUNK)
        with pytest.raises(CorruptObject, match="too short"):
            ssd.read_into(lease, empty(obj.size_bytes))
        lease.release()
        assert ssd.snapshot().leases == 0


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"record": 1}', b'{"record": true}', b"\xff" * 40])
def test_an_entry_with_a_damaged_record_is_a_miss_and_is_replaced(tmp_path: Path, damage: bytes) -> None:
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, obj)
        (ssd.path_for(obj).parent / "record.json").write_bytes(damage)
        assert ssd.lookup(obj) is None
        assert store(ssd, obj) == read(ssd, obj)


def test_an_entry_of_a_newer_version_is_ignored_and_neither_deleted_nor_replaced(tmp_path: Path) -> None:
    obj, other = remote(), remote("b.safetensors")
    with tier(tmp_path / "ssd", budget_bytes=obj.size_bytes + 10) as ssd:
        body = store(ssd, obj)
        record = ssd.path_for(obj).parent / "record.json"
        record.write_bytes(b'{"record": 2}')
        assert ssd.lookup(obj) is None
        with pytest.raises(NoRoom):
            store(ssd, other)
        assert ssd.path_for(obj).read_bytes() == body
    with tier(tmp_path / "ssd") as ssd, pytest.raises(DiskFailed, match="newer version"):
        store(ssd, obj)
    assert record.read_bytes() == b'{"record": 2}'
    assert not list((tmp_path / "ssd" / "partial").iterdir())


@posix
@pytest.mark.parametrize("what", ["file", "record", "entry", "above", "hard link"])
def test_a_planted_link_is_refused(tmp_path: Path, what: str) -> None:
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, obj)
        path = ssd.path_for(obj)
        if what == "hard link":
            os.link(path, tmp_path / "second name")
        else:
            target = {"file": path, "record": path.parent / "record.json", "entry": path.parent, "above": path.parent.parent}[what]
            target.rename(tmp_path / "elsewhere")
            target.symlink_to(tmp_path / "elsewhere")
        assert ssd.lookup(obj) is None and ssd.lease(obj) is None


@posix
def test_a_link_planted_in_a_partial_is_never_written_through(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        partial = ssd.begin(obj, head_of(obj))
        fill(partial, content(obj)[: 2 * CHUNK])
        drop_dead(partial)
        ssd._partials.release(partial.directory)
        (left,) = (tmp_path / "ssd" / "partial").iterdir()
        data = left / "entry" / "a.safetensors"
        canary.write_bytes(data.read_bytes())
        before = canary.read_bytes()
        data.unlink()
        data.symlink_to(canary)
        ssd._space._active.clear()
        assert store(ssd, obj) == read(ssd, obj)
    assert canary.read_bytes() == before


@posix
def test_a_root_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "open"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(ConfigError, match="every user"), tier(root):
        pass
    root.chmod(0o1777)
    with tier(root) as ssd:
        assert ssd.writable


@pytest.mark.root
def test_a_root_of_another_user_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    root.mkdir(mode=0o700)
    os.chown(root, 65534, 65534)
    with pytest.raises(ConfigError, match="belongs to user 65534"), tier(root):
        pass


def test_the_least_recently_used_entry_makes_room(tmp_path: Path) -> None:
    heard = Heard()
    now = [1000.0]
    a, b, c = (remote(f"{n}.safetensors") for n in "abc")
    with tier(tmp_path / "ssd", heard, budget_bytes=2 * a.size_bytes + 5, clock=lambda: now[0]) as ssd:
        for obj in (a, b):
            store(ssd, obj)
            now[0] += 1
        read(ssd, a)
        store(ssd, c)
        assert ssd.lookup(a) and ssd.lookup(c) and not ssd.lookup(b)
        assert [e.subject for e in heard.of(Evicted)] == [b.subject]
        assert ssd.snapshot().used_bytes == 2 * a.size_bytes
        assert not list((tmp_path / "ssd" / "trash").iterdir())


def test_the_order_of_use_survives_a_restart_and_a_clock_that_leaps(tmp_path: Path) -> None:
    a, b, c = (remote(f"{n}.safetensors") for n in "abc")
    now = [100_000.0]
    with tier(tmp_path / "ssd", clock=lambda: now[0]) as ssd:
        store(ssd, a)
        store(ssd, b)
        now[0] -= 86_400
        read(ssd, a)
    now[0] = 100_500.0
    with tier(tmp_path / "ssd", budget_bytes=2 * a.size_bytes, clock=lambda: now[0]) as ssd:
        store(ssd, c)
        assert ssd.lookup(a) and not ssd.lookup(b)


def test_a_leased_entry_is_not_evicted_by_this_or_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RESCAN_S", -1.0)
    a, b = remote("a.safetensors"), remote("b.safetensors")
    with tier(tmp_path / "ssd") as first, tier(tmp_path / "ssd", budget_bytes=a.size_bytes) as second:
        store(first, a)
        lease = first.lease(a)
        again = first.lease(a)
        with pytest.raises(NoRoom, match="in use"):
            second.begin(b, head_of(b))
        again.release()
        again.release()
        with pytest.raises(NoRoom):
            second.begin(b, head_of(b))
        lease.release()
        assert not list((tmp_path / "ssd" / "leases").iterdir())
        second.begin(b, head_of(b)).abandon(keep=False)
        assert first.lookup(a) is None


def test_a_lease_taken_while_its_entry_is_being_evicted_gets_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RESCAN_S", -1.0)
    a, b = remote("a.safetensors"), remote("b.safetensors")
    with tier(tmp_path / "ssd") as first, tier(tmp_path / "ssd", budget_bytes=a.size_bytes) as second:
        store(first, a)
        take_out = second._entries.take_out

        def lease_at_the_last_moment(digest: str) -> Path:
            first._space.take_lease(digest, writable=True)
            return take_out(digest)

        monkeypatch.setattr(second._entries, "take_out", lease_at_the_last_moment)
        with pytest.raises(NoRoom):
            second.begin(b, head_of(b))
        assert first.lookup(a) is not None


def test_the_lease_of_a_dead_process_does_not_keep_its_entry(tmp_path: Path) -> None:
    a, b = remote("a.safetensors"), remote("b.safetensors")
    with tier(tmp_path / "ssd", budget_bytes=a.size_bytes) as ssd:
        store(ssd, a)
        (tmp_path / "ssd" / "leases" / f"{a.id.digest}.free-0-0-00000000").touch()
        store(ssd, b)
        assert ssd.lookup(b) and not ssd.lookup(a)


@posix
def test_a_reader_keeps_what_it_has_mapped_when_another_process_evicts_it(tmp_path: Path) -> None:
    a, b = remote("a.safetensors"), remote("b.safetensors")
    with tier(tmp_path / "ssd", budget_bytes=a.size_bytes) as ssd:
        body = store(ssd, a)
        with open(ssd.path_for(a), "rb") as file:
            store(ssd, b)
            assert not ssd.path_for(a).exists()
            assert file.read() == body


def test_no_room_says_the_figures_and_deletes_nothing(tmp_path: Path) -> None:
    small, large = remote("small.safetensors"), remote("large.safetensors", size_bytes=100 * CHUNK)
    with tier(tmp_path / "ssd", budget_bytes=50 * CHUNK) as ssd:
        store(ssd, small)
        with pytest.raises(NoRoom) as raised:
            ssd.begin(large, head_of(large))
        assert ssd.lookup(small) is not None
        assert large.subject in str(raised.value) and str(tmp_path) not in str(raised.value)


def test_what_is_on_its_way_counts_until_it_is_given_up(tmp_path: Path) -> None:
    a, b = remote("a.safetensors"), remote("b.safetensors")
    with tier(tmp_path / "ssd", budget_bytes=a.size_bytes + 10) as ssd:
        partial = ssd.begin(a, head_of(a))
        assert ssd.snapshot().reserved_bytes == a.size_bytes
        with pytest.raises(NoRoom):
            ssd.begin(b, head_of(b))
        partial.abandon(keep=False)
        partial.abandon(keep=False)
        assert ssd.snapshot().reserved_bytes == 0
        store(ssd, b)


def test_the_free_space_floor_holds_without_a_budget(tmp_path: Path) -> None:
    obj = remote()
    with tier(tmp_path / "ssd", budget_bytes=None, free_floor_bytes=1 << 60) as ssd, pytest.raises(NoRoom, match="stay free"):
        ssd.begin(obj, head_of(obj))


def test_unfinished_downloads_make_room_before_any_entry_does(tmp_path: Path) -> None:
    whole, half, new = (remote(f"{n}.safetensors") for n in ("whole", "half", "new"))
    with tier(tmp_path / "ssd", budget_bytes=2 * whole.size_bytes + 3 * CHUNK) as ssd:
        store(ssd, whole)
        partial = ssd.begin(half, head_of(half))
        fill(partial, content(half))
        ssd._tools.writer.wait(partial)
        partial.abandon(keep=True)
        assert ssd.snapshot().leftover_bytes >= half.size_bytes
        store(ssd, new)
        assert ssd.lookup(whole) and ssd.lookup(new)
        assert not list((tmp_path / "ssd" / "partial").iterdir())


def test_reading_stops_when_it_is_asked_to_and_shows_how_far_it_is(tmp_path: Path) -> None:
    obj = remote(size_bytes=64 * CHUNK)
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, obj)
        seen: list[int] = []
        with ssd.lease(obj) as lease:
            ssd.read_into(lease, empty(obj.size_bytes), seen.append)
            assert seen[-1] == obj.size_bytes and seen == sorted(seen)
            with pytest.raises(TransferCancelled):
                ssd.read_into(lease, empty(obj.size_bytes), should_stop=lambda: True)

            def interrupt(done_bytes: int) -> None:
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                ssd.read_into(lease, empty(obj.size_bytes), interrupt)
        assert ssd.lookup(obj) is not None


def test_entries_are_counted_without_reading_a_record(tmp_path: Path) -> None:
    with tier(tmp_path / "ssd") as ssd:
        store(ssd, remote("real.safetensors"))
        for i in range(300):
            entry = ssd.path_for(remote(f"{i}.safetensors")).parent
            entry.mkdir(parents=True)
            (entry / "record.json").write_bytes(b"not even read")
            (entry / f"{i}.safetensors").write_bytes(b"1234")
        ssd.scan()
        assert ssd.snapshot().entries == 301
        assert ssd.snapshot().used_bytes == remote().size_bytes + 1200


@pytest.mark.root
def test_a_directory_that_cannot_be_written_to_still_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    obj = remote()
    with tier(tmp_path / "ssd") as ssd:
        body = store(ssd, obj)

    def refuse(directory: Path) -> None:
        raise PermissionError(13, "Permission denied", str(directory))

    monkeypatch.setattr("modelstream.cache.ssd.make_private", refuse)
    with tier(tmp_path / "ssd", heard) as ssd:
        assert not ssd.writable and len(heard.of(TierDegraded)) == 1
        assert read(ssd, obj) == body
        with pytest.raises(DiskFailed, match="cannot be written"):
            ssd.begin(remote("b.safetensors"), head_of(obj))


def test_paths_lead_back_to_their_digest_whatever_the_slash(tmp_path: Path) -> None:
    obj = remote("deep/er/name with space.safetensors")
    with tier(tmp_path / "ssd") as ssd:
        path = str(ssd.path_for(obj))
        assert ssd.digest_of(path) == obj.id.digest
        assert ssd.digest_of(path.replace("/", "\\")) == obj.id.digest
        assert ssd.digest_of(str(tmp_path / "x" / path.rsplit("/ssd/", 1)[1])) is None
        assert ssd.digest_of(str(Path(path).parent)) is None
        assert ssd.digest_of(path + "/..") is None
        assert ssd.digest_of(str(Path(path).parent) + "/..") is None


def test_the_table_is_read_again_when_other_processes_may_have_filled_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "RESCAN_S", -1.0)
    a, b, c = (remote(f"{n}.safetensors") for n in "abc")
    with tier(tmp_path / "ssd") as other, tier(tmp_path / "ssd", budget_bytes=2 * a.size_bytes) as ssd:
        store(other, a)
        store(other, b)
        store(ssd, c)
        assert ssd.snapshot().entries == 2 and ssd.lookup(c)
