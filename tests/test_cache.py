"""The cache against a real S3 server: which tier answers, who joins whom, what is left behind."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from modelstream.cache.watch import LoadProgress
from modelstream.storage.errors import InvalidSafetensors, TransferCancelled
from rig.cached_loads import MIB, Rig, assert_equal, tensors
from rig.invariants import eventually, nothing_partial_is_shown


@pytest.fixture
def rig(seaweed: Any, bucket: str, tmp_path: Path) -> Iterator[Rig]:
    made = Rig(seaweed, bucket, tmp_path)
    yield made
    made.parts.close()


def test_a_first_load_comes_from_the_bucket_the_second_from_ram_and_one_after_a_restart_from_the_ssd(rig: Rig) -> None:
    wanted = tensors(1, 24)
    obj = rig.put("checkpoints/a.safetensors", save(wanted, {"who": "me"}))
    with rig.parts.cache.open_tensors(obj) as first:
        assert (first.source, first.wire_bytes) == ("bucket", obj.size_bytes)
        assert_equal(first.state_dict(), wanted)
        assert first.metadata == {"who": "me"}
    with rig.parts.cache.open_tensors(obj) as second:
        assert (second.source, second.wire_bytes) == ("ram", 0)
        assert_equal(second.state_dict(), wanted)
    rig.wait_on_disk(obj)
    rig.restart()
    with rig.parts.cache.open_tensors(rig.find(obj.id.key)) as third:
        assert (third.source, third.wire_bytes) == ("ssd", 0)
        assert_equal(third.state_dict(), wanted)
    assert rig.transfers() == 0
    nothing_partial_is_shown(rig.folder / "ssd", save(wanted, {"who": "me"}))


def test_many_who_ask_at_once_share_one_transfer_and_only_one_of_them_counts_the_wire_bytes(rig: Rig) -> None:
    wanted = tensors(2, 16)
    obj = rig.put("loras/b.safetensors", save(wanted))
    barrier, opened = threading.Barrier(6), []

    def load() -> None:
        barrier.wait()
        opened.append(rig.parts.cache.open_tensors(obj))

    threads = [threading.Thread(target=load) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert rig.transfers() == 1
    assert sum(o.wire_bytes for o in opened) == obj.size_bytes
    for o in opened:
        assert_equal(o.state_dict(), wanted)
        o.close()


def test_a_file_is_the_object_byte_for_byte_under_its_own_name(rig: Rig) -> None:
    body = bytes(range(256)) * (MIB // 64)
    obj = rig.put("upscale_models/x/RealThing 4x.gguf", body)
    with rig.parts.cache.open_file(obj) as opened:
        assert Path(opened.path).name == "RealThing 4x.gguf"
        assert Path(opened.path).read_bytes() == body
        assert opened.path == rig.parts.cache.path_for(obj)
        assert rig.parts.cache.object_at(opened.path) == obj
    assert rig.parts.ram.snapshot().entries == ()


def test_an_object_that_is_only_in_ram_reaches_the_ssd_without_the_network(rig: Rig) -> None:
    wanted = tensors(3, 8)
    obj = rig.put("vae/c.safetensors", save(wanted))
    rig.parts.cache.open_tensors(obj).close()
    rig.wait_on_disk(obj)
    started = rig.transfers()
    shutil.rmtree(Path(rig.parts.cache.path_for(obj)).parent)  # as another process's eviction would
    with rig.parts.cache.open_file(obj) as opened:
        assert opened.source == "ram"
        assert Path(opened.path).read_bytes() == save(wanted)
    assert rig.transfers() == started


def test_an_object_larger_than_the_ram_budget_is_mapped_from_the_ssd(rig: Rig) -> None:
    wanted = tensors(4, 48)
    obj = rig.put("checkpoints/big.safetensors", save(wanted))
    rig.restart(rig.toml.replace("[ram]\nbudget_gb = ", "[ram]\nbudget_gb = 0.02 # "))
    with rig.parts.cache.open_tensors(obj) as opened:
        got = opened.state_dict()
        assert opened.source == "bucket"
    shutil.rmtree(Path(rig.parts.cache.path_for(obj)).parent)  # as another process's eviction would
    assert_equal(got, wanted)
    got["c"].add_(1)
    assert rig.parts.ram.snapshot().used_bytes == 0


class StopsAfter:
    """A watch that interrupts once so many bytes are there."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.seen: list[LoadProgress] = []

    def progress(self, progress: LoadProgress) -> None:
        self.seen.append(progress)

    def check(self) -> None:
        if self.seen and self.seen[-1].done_bytes >= self.size_bytes:
            raise KeyboardInterrupt


def test_an_interrupted_load_stops_the_transfer_and_is_resumed_by_chunk_in_the_same_process(rig: Rig) -> None:
    wanted = tensors(5, 64)
    obj = rig.put("checkpoints/i.safetensors", save(wanted))
    rig.restart(rig.toml.replace("[transfer]\n", "[transfer]\nrate_limit_mbit = 400\n", 1))
    with pytest.raises(KeyboardInterrupt):
        rig.parts.cache.open_tensors(obj, StopsAfter(40 * MIB))
    assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    assert rig.parts.engine.active() == ()
    assert not rig.parts.cache.is_on_disk(obj)
    with rig.parts.cache.open_tensors(obj) as opened:
        assert opened.wire_bytes < obj.size_bytes
        assert_equal(opened.state_dict(), wanted)
    rig.wait_on_disk(obj)


def test_who_still_waits_keeps_the_transfer_alive_when_another_is_interrupted(rig: Rig) -> None:
    wanted = tensors(6, 32)
    obj = rig.put("checkpoints/k.safetensors", save(wanted))
    rig.restart(rig.toml.replace("[transfer]\n", "[transfer]\nrate_limit_mbit = 400\n", 1))
    kept: list[Any] = []
    other = threading.Thread(target=lambda: kept.append(rig.parts.cache.open_tensors(obj)))
    other.start()
    assert eventually(lambda: bool(rig.parts.cache.snapshot().loading))
    with pytest.raises(KeyboardInterrupt):
        rig.parts.cache.open_tensors(obj, StopsAfter(4 * MIB))
    other.join()
    assert_equal(kept[0].state_dict(), wanted)
    assert rig.transfers() == 1


def test_a_file_that_breaks_the_format_is_refused_and_leaves_nothing(rig: Rig) -> None:
    obj = rig.put("checkpoints/evil.safetensors", b"\x10\0\0\0\0\0\0\0" + b'{"a":{"dtype":1}' + b"x" * MIB)
    with pytest.raises(InvalidSafetensors, match=r"models.*evil|evil\.safetensors"):
        rig.parts.cache.open_tensors(obj)
    assert eventually(lambda: not rig.parts.cache.snapshot().loading)
    assert not rig.parts.cache.is_on_disk(obj)
    assert rig.parts.ram.snapshot().entries == ()


def test_a_header_alone_costs_no_transfer(rig: Rig) -> None:
    wanted = tensors(7, 8)
    obj = rig.put("checkpoints/h.safetensors", save(wanted, {"modelspec.title": "x"}))
    header = rig.parts.cache.header(obj)
    assert header.metadata == {"modelspec.title": "x"}
    assert set(header.tensors) == set(wanted)
    assert rig.transfers() == 0


def test_closing_while_an_object_is_on_its_way_ends_the_waiting(rig: Rig) -> None:
    obj = rig.put("checkpoints/z.safetensors", save(tensors(8, 64)))
    rig.restart(rig.toml.replace("[transfer]\n", "[transfer]\nrate_limit_mbit = 80\n", 1))
    errors: list[BaseException] = []

    def load() -> None:
        try:
            rig.parts.cache.open_tensors(obj)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    assert eventually(lambda: bool(rig.parts.engine.active()))
    rig.parts.cache.close()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(errors[0], TransferCancelled)
