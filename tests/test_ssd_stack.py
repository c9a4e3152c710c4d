"""Several SSD directories as one tier, and a shared one that is only read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from awscrt.checksums import crc64nvme

from modelstream.cache.disk import Disk
from modelstream.cache.ssd import SsdTier
from modelstream.cache.ssd_stack import SsdStack, open_ssd
from modelstream.storage.config import Config
from modelstream.storage.errors import ConfigError, CorruptObject, DiskFailed, NoRoom
from modelstream.storage.events import CorruptionFound, EventBus
from rig.ssd_parts import CHUNK, OPEN_BYTES, Heard, content, empty, fill, head_of, remote, shown, store, tier

BIG = remote("big.safetensors", 9 * CHUNK)


def one(root: Path, heard: Heard, budget_bytes: int = OPEN_BYTES, *, shared: bool = False, disk: Disk | None = None) -> SsdTier:
    return SsdTier(root, budget_bytes, 0, heard.bus, chunk_bytes=CHUNK, shared=shared, disk=disk)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def opened():
    """Starts stacks and closes them."""
    stacks: list[SsdStack] = []

    def start(*own: SsdTier, shared: tuple[SsdTier, ...] = ()) -> SsdStack:
        stack = SsdStack(own, shared)
        stack.start()
        stacks.append(stack)
        return stack

    yield start
    for stack in stacks:
        stack.close()


def read(ssd, obj) -> bytes:
    with ssd.lease(obj) as lease:
        view = empty(obj.size_bytes)
        ssd.read_into(lease, view)
        ssd.verify(lease)
        return bytes(view)


def test_the_fast_directory_fills_up_first_then_the_slow_one_then_the_oldest_goes(tmp_path: Path, heard, opened) -> None:
    a, b, c, d = (remote(f"{n}.safetensors") for n in "abcd")
    stack = opened(one(tmp_path / "fast", heard, a.size_bytes + 5), one(tmp_path / "slow", heard, 2 * a.size_bytes + 5))
    bodies = {obj: store(stack, obj) for obj in (a, b, c)}
    assert [len(shown(tmp_path / n)) for n in ("fast", "slow")] == [1, 2]
    assert all(read(stack, obj) == body and stack.lookup(obj) for obj, body in bodies.items())
    assert store(stack, d) == read(stack, d)
    assert stack.lookup(a) is None and stack.lookup(b) and stack.lookup(c), "room is made in the first directory"
    both = stack.snapshot()
    assert (both.entries, both.used_bytes, both.budget_bytes) == (3, 3 * a.size_bytes, 3 * a.size_bytes + 10)
    assert [s.entries for s in stack.snapshots()] == [1, 2]


def test_a_path_names_an_object_wherever_its_file_is(tmp_path: Path, heard, opened) -> None:
    small = remote("small.safetensors")
    stack = opened(one(tmp_path / "fast", heard, small.size_bytes), one(tmp_path / "slow", heard))
    for obj in (small, BIG):
        before = stack.path_for(obj)
        store(stack, obj)
        assert stack.path_for(obj) == before and str(before).startswith(str(tmp_path / "fast"))
        with stack.lease(obj) as lease:
            assert stack.digest_of(str(lease.path)) == stack.digest_of(str(before)) == obj.id.digest
    assert shown(tmp_path / "slow")
    assert stack.digest_of("/elsewhere/x") is None


def test_an_object_larger_than_every_directory_is_refused_with_the_figures_of_the_first(tmp_path: Path, heard, opened) -> None:
    stack = opened(one(tmp_path / "fast", heard, CHUNK), one(tmp_path / "slow", heard, 2 * CHUNK))
    with pytest.raises(NoRoom, match="a budget of"):
        stack.begin(BIG, head_of(BIG))
    assert stack.snapshot().reserved_bytes == 0


def test_an_unfinished_object_goes_on_in_the_directory_where_it_is(tmp_path: Path, heard, opened) -> None:
    body = content(BIG)
    with tier(tmp_path / "slow") as before:
        partial = before.begin(BIG, head_of(BIG))
        fill(partial, body[: 3 * CHUNK])
        before._tools.writer.wait(partial)
        partial.abandon(keep=True)
    full = one(tmp_path / "fast", heard, BIG.size_bytes)
    stack = opened(full, one(tmp_path / "slow", heard))
    store(full, remote("other.safetensors"))
    partial = stack.begin(BIG, head_of(BIG))
    done = partial.resume_into(empty(BIG.size_bytes))
    assert len(done) == 3
    fill(partial, body, done)
    partial.commit(crc64nvme(body))
    assert read(stack, BIG) == body


def test_a_directory_that_fails_hands_over_to_the_next(tmp_path: Path, heard, opened) -> None:
    class Broken(Disk):
        broken = False

        def mkdir(self, path: Path) -> None:
            if self.broken:
                raise OSError(5, "pretended")
            super().mkdir(path)

    disk = Broken()
    stack = opened(one(tmp_path / "fast", heard, disk=disk), one(tmp_path / "slow", heard))
    disk.broken = True
    assert store(stack, BIG) == read(stack, BIG)
    assert not shown(tmp_path / "fast") and shown(tmp_path / "slow")


def snapshot_of(root: Path) -> list[tuple[str, int, int]]:
    return sorted((str(p), p.stat().st_mtime_ns, p.stat().st_size if p.is_file() else 0) for p in root.rglob("*"))


def test_a_shared_directory_is_read_and_never_written_to(tmp_path: Path, heard, opened) -> None:
    with tier(tmp_path / "theirs") as theirs:
        body = store(theirs, BIG)
    before = snapshot_of(tmp_path / "theirs")
    stack = opened(one(tmp_path / "ours", heard), shared=(one(tmp_path / "theirs", heard, shared=True),))
    assert read(stack, BIG) == body
    assert str(stack.path_for(BIG)).startswith(str(tmp_path / "ours"))
    mine = remote("mine.safetensors")
    assert store(stack, mine) == read(stack, mine)
    stack.close()
    assert snapshot_of(tmp_path / "theirs") == before
    assert len(shown(tmp_path / "ours")) == 1
    with pytest.raises(DiskFailed):
        one(tmp_path / "theirs", heard, shared=True).begin(mine, head_of(mine))


def test_a_damaged_copy_in_a_shared_directory_stays_there_and_its_right_chunks_are_used(tmp_path: Path, heard, opened) -> None:
    with tier(tmp_path / "theirs") as theirs:
        body = store(theirs, BIG)
        path = theirs.path_for(BIG)
    path.write_bytes(body[:CHUNK] + bytes([body[CHUNK] ^ 1]) + body[CHUNK + 1 :])
    before = snapshot_of(tmp_path / "theirs")
    stack = opened(one(tmp_path / "ours", heard), shared=(one(tmp_path / "theirs", heard, shared=True),))
    with stack.lease(BIG) as lease, pytest.raises(CorruptObject, match="chunk 1"):
        stack.verify(lease)
    assert stack.lease(BIG) is None and stack.lookup(BIG) is None, "it is not offered again"
    partial = stack.begin(BIG, head_of(BIG))
    done = partial.resume_into(empty(BIG.size_bytes))
    assert [e.offset // CHUNK for e in done] == [0, *range(2, 9)]
    fill(partial, body, done)
    partial.commit(crc64nvme(body))
    assert read(stack, BIG) == body
    assert snapshot_of(tmp_path / "theirs") == before
    assert len(heard.of(CorruptionFound)) == 1


def test_a_shared_directory_that_is_not_there_is_an_event_and_nothing_else(tmp_path: Path, heard, opened) -> None:
    stack = opened(one(tmp_path / "ours", heard), shared=(one(tmp_path / "gone", heard, shared=True),))
    assert store(stack, BIG) == read(stack, BIG)
    assert len(heard.events) >= 1 and not (tmp_path / "gone").exists()


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_shared_directory_that_everybody_can_write_to_is_refused(tmp_path: Path, heard) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    with pytest.raises(ConfigError, match="every user"):
        one(tmp_path / "theirs", heard, shared=True).start()


def test_the_configuration_decides_between_one_directory_and_several(tmp_path: Path) -> None:
    assert isinstance(open_ssd(Config.from_text("").ssd, tmp_path, EventBus()), SsdTier)
    several = Config.from_text(f'[ssd]\nshared = ["{(tmp_path / "theirs").as_posix()}"]')
    stack = open_ssd(several.ssd, tmp_path / "ours", EventBus())
    assert isinstance(stack, SsdStack)
    stack.start()
    assert str(stack.path_for(BIG)).startswith(str(tmp_path / "ours"))
    stack.close()
