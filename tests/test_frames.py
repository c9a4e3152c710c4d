"""The compressed form: what is written is read back, and nothing else passes."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from modelstream.cache import planes
from modelstream.cache.compressing import Compressor, estimate
from modelstream.cache.forms import price
from modelstream.cache.frame_zone import FrameZone
from modelstream.storage.checksum import crc64, crc64_of
from modelstream.storage.errors import CorruptObject
from modelstream.storage.events_forms import FormRead, FormRefused
from modelstream.storage.frames import END_BYTES, PLANES_2, RAW, SUFFIX, Frame, Original, Table, end_bytes, read_end, write_end
from modelstream.storage.objects import Extent, ObjectHead
from rig import faults
from rig.near_fleet import FAR_PREFIX, MIB, Fleet, near_fleet
from rig.tiny_models import safetensors_bytes
from rig.transfers import BufferZone

NAME = "model.safetensors"


def weights(count: int, seed: int = 1) -> bytes:
    """bf16 numbers as trained weights have them: bell-shaped, scales that differ from layer to layer."""
    random = numpy.random.default_rng(seed)
    scales = numpy.repeat(numpy.geomspace(0.005, 0.08, 16), -(-count // 16))[:count]
    return bytes((random.standard_normal(count) * scales).astype(numpy.float32).view(numpy.uint32).__rshift__(16).astype(numpy.uint16))


def model(size_bytes: int, seed: int = 1) -> bytes:
    """A safetensors file of one bf16 tensor."""
    body = weights(size_bytes // 2, seed)
    header = b'{"w":{"dtype":"BF16","shape":[%d],"data_offsets":[0,%d]}}' % (len(body) // 2, len(body))
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + body


BODY = model(9 * MIB)


# -- one frame -----------------------------------------------------------------------------------------------------------
@given(st.one_of(st.binary(max_size=5000), st.integers(1, 40_000).map(lambda n: weights(n)), st.integers(1, 9000).map(bytes)))
@settings(max_examples=60, deadline=None)
def test_what_was_encoded_decodes_to_the_same_and_is_never_longer(chunk: bytes) -> None:
    method, stored = planes.encode(chunk)
    assert len(stored) <= len(chunk)
    place = memoryview(bytearray(len(chunk)))
    planes.decode(Frame(0, len(stored), 0, len(chunk), method, crc64(chunk)), memoryview(stored), place, "it")
    assert bytes(place) == chunk


def test_bf16_weights_shrink_to_two_thirds_and_noise_is_stored_as_it_is() -> None:
    method, stored = planes.encode(weights(1 << 20))
    assert method == PLANES_2 and 0.6 < len(stored) / (2 << 20) < 0.7
    assert planes.encode(numpy.random.default_rng(1).bytes(1 << 20))[0] == RAW


@given(st.integers(0, 10**9), st.integers(0, 7))
@settings(max_examples=80, deadline=None)
def test_a_flipped_bit_anywhere_in_a_frame_is_found(at: int, bit: int) -> None:
    chunk = weights(20_000)
    method, stored = planes.encode(chunk)
    wrong = bytearray(stored)
    wrong[at % len(wrong)] ^= 1 << bit
    frame = Frame(0, len(stored), 0, len(chunk), method, crc64(chunk))
    place = memoryview(bytearray(len(chunk)))
    try:
        planes.decode(frame, memoryview(wrong), place, "it")
    except CorruptObject:
        return
    assert bytes(place) == chunk, "a bit that zstd does not use may be any"


def bomb(size: int, *, says: bool) -> bytes:
    """A plane of ``size`` zeros in a handful of bytes."""
    return zstandard.ZstdCompressor(write_content_size=says).compress(bytes(size))


@pytest.mark.parametrize("plane", [bomb(1 << 30, says=True), bomb(1 << 30, says=False), bomb(3, says=True), b"", b"no zstd at all"])
def test_a_plane_that_would_expand_to_anything_but_its_place_is_refused_before_it_does(plane: bytes) -> None:
    count = 1 << 20
    stored = struct.pack("<II", len(plane), len(plane)) + plane + plane
    frame = Frame(0, len(stored), 0, 2 * count, PLANES_2, 0)
    with pytest.raises(CorruptObject):
        planes.decode(frame, memoryview(stored), memoryview(bytearray(2 * count)), "it")


@pytest.mark.parametrize("lengths", [(0xFFFFFFFF, 4), (8, 9), (0, 0)])
def test_planes_that_do_not_fill_their_frame_are_refused(lengths: tuple[int, int]) -> None:
    stored = struct.pack("<II", *lengths) + bytes(16)
    with pytest.raises(CorruptObject):
        planes.decode(Frame(0, len(stored), 0, 64, PLANES_2, 0), memoryview(stored), memoryview(bytearray(64)), "it")


# -- the table -----------------------------------------------------------------------------------------------------------
CHUNK = 1000
ROWS = [(1000, RAW, 5), (300, PLANES_2, 6), (250, RAW, 7)]
ORIGINAL = Original(2250, "etag-1", 99, bytes(range(32)))
STORED = sum(row[0] for row in ROWS)


def read(end: bytes, stored: int = STORED) -> Table:
    assert end_bytes(end[-END_BYTES:], stored + len(end), "it") == len(end)
    return read_end(end, stored + len(end), "it")


def test_a_table_is_read_as_it_was_written() -> None:
    table = read(write_end(ORIGINAL, CHUNK, ROWS))
    assert table.original == ORIGINAL and table.frames_bytes == STORED
    assert [(f.offset, f.length, f.start, f.size, f.method, f.crc64) for f in table.frames] == [
        (0, 1000, 0, 1000, RAW, 5),
        (1000, 300, 1000, 1000, PLANES_2, 6),
        (1300, 250, 2000, 250, RAW, 7),
    ]


@pytest.mark.parametrize(
    ("original", "chunk", "rows"),
    [
        (ORIGINAL, CHUNK, ROWS[:2]),  # too few
        (ORIGINAL, CHUNK, [*ROWS, (1, RAW, 1)]),  # too many
        (ORIGINAL, 0, ROWS),
        (ORIGINAL, 1 << 31, ROWS[:1]),  # a chunk as large as memory
        (ORIGINAL, CHUNK, [(1001, RAW, 5), *ROWS[1:]]),  # longer than what it decodes to
        (ORIGINAL, CHUNK, [(0, PLANES_2, 5), *ROWS[1:]]),
        (ORIGINAL, CHUNK, [(999, RAW, 5), *ROWS[1:]]),  # raw, and shorter
        (ORIGINAL, CHUNK, [(1000, 3, 5), *ROWS[1:]]),  # no such method
        (replace(ORIGINAL, size_bytes=1 << 60), CHUNK, ROWS),
    ],
)
def test_a_table_that_is_whole_and_wrong_is_refused(original: Original, chunk: int, rows: list[tuple[int, int, int]]) -> None:
    end = write_end(original, chunk, rows)
    with pytest.raises(CorruptObject):
        read(end, sum(row[0] for row in rows))


def test_frames_that_do_not_fill_the_form_are_refused() -> None:
    for stored in (STORED - 1, STORED + 1):
        with pytest.raises(CorruptObject):
            read(write_end(ORIGINAL, CHUNK, ROWS), stored)


@given(st.integers(0, 10**6), st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_a_flipped_bit_anywhere_in_the_table_is_found(at: int, bit: int) -> None:
    end = bytearray(write_end(ORIGINAL, CHUNK, ROWS))
    end[at % len(end)] ^= 1 << bit
    with pytest.raises(CorruptObject):
        length = end_bytes(bytes(end[-END_BYTES:]), STORED + len(end), "it")
        read_end(bytes(end[-length:]), STORED + len(end), "it")


@given(st.binary(max_size=300))
def test_no_text_is_taken_for_a_table(text: bytes) -> None:
    with pytest.raises(CorruptObject):
        read_end(text, STORED + len(text), "it")


# -- landing -------------------------------------------------------------------------------------------------------------
@given(st.integers(1, 5), st.randoms(use_true_random=False), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_parts_in_any_order_and_of_any_size_decode_to_the_object(parts: int, random: Any, resumed: int) -> None:
    body, chunk = weights(26_000), 10_000
    stored, rows = b"", []
    for start in range(0, len(body), chunk):
        method, packed = planes.encode(body[start : start + chunk])
        stored += packed
        rows.append((len(packed), method, crc64(body[start : start + chunk])))
    end = write_end(Original(len(body), "v", crc64(body), bytes(32)), chunk, rows)
    form = stored + end
    held = min(resumed * 7_000, len(body))
    inner = BufferZone([Extent(0, held, crc64(body[:held]))] if held else [], body[:held])
    head = ObjectHead(len(body), "v")
    zone = FrameZone(inner, read_end(end, len(form), "it"), ObjectHead(len(form), "f"), head, "it")
    place = zone.prepare(ObjectHead(len(form), "f"))
    cuts = sorted({0, len(form), *(random.randrange(len(form)) for _ in range(parts))})
    spans = list(itertools.pairwise(cuts))
    random.shuffle(spans)
    for start, stop in spans:
        place[start:stop] = form[start:stop]
        zone.landed(Extent(start, stop - start, 0))
    zone.check()
    assert bytes(inner.buffer) == body and inner.is_covered_once()
    assert crc64_of([*inner.resumed, *inner.landed_extents], len(body)) == crc64(body)


def test_a_form_pays_on_a_slow_link_and_not_on_one_that_is_faster_than_the_codec() -> None:
    gigabyte = 10**9
    assert price(gigabyte, gigabyte * 2 // 3, 62.5e6, 1.6e9).pays
    assert not price(gigabyte, gigabyte * 2 // 3, 2.5e9, 1.6e9).pays
    assert not price(gigabyte, gigabyte * 98 // 100, 62.5e6, 1.6e9).pays


# -- through the whole cache -----------------------------------------------------------------------------------------------
@pytest.fixture
def fleet(seaweed: Any, tmp_path: Path) -> Iterator[Fleet]:
    with near_fleet(seaweed, tmp_path, near=False, more='compressed = "always"') as made:
        made.put_far(NAME, BODY)
        yield made


def form_key(name: str = NAME) -> str:
    return f"{FAR_PREFIX}checkpoints/{name}{SUFFIX}"


def compress(fleet: Fleet, tmp_path: Path, **options: Any) -> Any:
    worker = fleet.worker()
    made = Compressor(worker.runtime.origins["far"], tmp_path / "passing").compress(worker.find(NAME), lambda done: None, **options)
    worker.runtime.close()
    return made


def test_the_form_is_read_in_place_of_the_object_and_is_no_name_of_its_own(fleet: Fleet, tmp_path: Path) -> None:
    made = compress(fleet, tmp_path)
    assert made.outcome == "compressed" and made.ratio < 0.7
    worker = fleet.worker()
    from rig.near_fleet import CHECKPOINTS

    assert worker.runtime.catalog.names(CHECKPOINTS) == (NAME,)
    plain_before = fleet.far_bytes(NAME) - fleet.far_bytes(NAME + SUFFIX)
    opened = worker.load(NAME, BODY)
    assert opened.wire_bytes == made.stored_bytes < 0.7 * len(BODY)
    assert [(e.size_bytes, e.stored_bytes) for e in worker.of(FormRead)] == [(len(BODY), made.stored_bytes)]
    assert fleet.far_bytes(NAME) - fleet.far_bytes(NAME + SUFFIX) == plain_before, "of the plain object not one byte was read"


def test_a_flipped_byte_in_a_frame_means_the_plain_object(fleet: Fleet, tmp_path: Path) -> None:
    compress(fleet, tmp_path)
    stored = bytearray(fleet.direct.get_object(Bucket=fleet.far_bucket, Key=form_key())["Body"].read())
    stored[len(stored) // 2] ^= 1
    fleet.direct.put_object(Bucket=fleet.far_bucket, Key=form_key(), Body=bytes(stored))
    worker = fleet.worker()
    worker.load(NAME, BODY)
    assert [e.reason for e in worker.of(FormRefused)] == ["damaged"] and worker.of(FormRead) == []


def test_a_form_of_another_version_is_not_used(fleet: Fleet, tmp_path: Path) -> None:
    compress(fleet, tmp_path)
    other = model(9 * MIB, seed=2)
    fleet.put_far(NAME, other)
    worker = fleet.worker()
    worker.load(NAME, other)
    assert [e.reason for e in worker.of(FormRefused)] == ["stale"]


def test_a_form_whose_server_fails_half_way_is_gone_on_from_by_the_plain_object(fleet: Fleet, tmp_path: Path) -> None:
    compress(fleet, tmp_path)
    fleet.far.on(faults.Status(404, "NoSuchKey"), path=NAME + SUFFIX, skip=4, times=None)
    worker = fleet.worker()
    worker.load(NAME, BODY)
    assert [e.reason for e in worker.of(FormRefused)] == ["failed"]


def test_what_hardly_shrinks_gets_no_form(fleet: Fleet, tmp_path: Path) -> None:
    fleet.put_far(NAME, safetensors_bytes("noise", 5 * MIB))
    assert compress(fleet, tmp_path).outcome == "pointless"
    assert "Contents" not in fleet.direct.list_objects_v2(Bucket=fleet.far_bucket, Prefix=form_key())


def test_an_estimate_from_samples_is_near_the_truth(fleet: Fleet, tmp_path: Path) -> None:
    worker = fleet.worker()
    guessed = estimate(worker.runtime.origins["far"], worker.find(NAME))
    assert abs(guessed.ratio - compress(fleet, tmp_path).ratio) < 0.02
