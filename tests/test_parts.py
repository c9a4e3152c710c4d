"""Parts, gaps and checksums: pure functions, by properties."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage.checksum import crc64, crc64_of, from_header, joined, to_header
from modelstream.storage.objects import Extent
from modelstream.storage.parts import MIB, Span, missing, part_bytes_for, plan


@st.composite
def held_extents(draw) -> tuple[int, list[Extent]]:
    """A size and sorted, disjoint extents in it."""
    size = draw(st.integers(0, 200 * MIB))
    cuts = sorted(draw(st.sets(st.integers(0, size), max_size=12)))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    return size, [Extent(a, b - a, 0) for a, b in pairs]


@given(held_extents())
def test_gaps_and_held_extents_are_the_whole_object_once(case):
    size, held = case
    pieces = sorted([(e.offset, e.end) for e in held] + [(g.offset, g.end) for g in missing(size, held)])
    at = 0
    for start, end in pieces:
        assert start == at < end
        at = end
    assert at == size


@given(held_extents(), st.integers(1, 64))
def test_parts_cover_the_gaps_front_to_back_and_never_cross_a_border(case, part_mib):
    size, held = case
    gaps = missing(size, held)
    parts = plan(gaps, part_mib * MIB)
    assert [(p.offset, p.end) for p in parts] == sorted((p.offset, p.end) for p in parts)
    assert sum(p.length for p in parts) == sum(g.length for g in gaps)
    borders = {g.offset for g in gaps} | {g.end for g in gaps}
    for part in parts:
        assert 0 < part.length <= part_mib * MIB
        assert part.offset // (part_mib * MIB) == (part.end - 1) // (part_mib * MIB)
        assert part.offset % (part_mib * MIB) == 0 or part.offset in borders
        assert any(g.offset <= part.offset and part.end <= g.end for g in gaps)


@pytest.mark.parametrize(
    "held",
    [[Extent(0, 10, 0), Extent(5, 10, 0)], [Extent(95, 10, 0)], [Extent(3, 0, 0)]],
    ids=["overlap", "past the end", "empty"],
)
def test_impossible_extents_are_refused(held):
    with pytest.raises(ValueError, match="extents"):
        missing(100, held)


@given(st.integers(0, 1 << 44), st.integers(1, 32))
def test_a_part_is_whole_mebibytes_and_there_are_not_too_many(size, connections):
    part = part_bytes_for(size, connections)
    assert part % MIB == 0 and part >= MIB
    assert part & (part - 1) == 0  # so that it divides the 16 MiB chunks of the SSD tier, or they divide it
    assert size <= part * 4096


def test_parts_are_as_long_as_measured_best():
    assert part_bytes_for(2 << 30, 4) == 16 * MIB
    assert part_bytes_for(300 * MIB, 4) == 8 * MIB
    assert part_bytes_for(3 * MIB, 4) == MIB
    assert part_bytes_for(8 << 30, 8, rate_bytes_per_s=1.3e9) == 32 * MIB
    assert part_bytes_for(8 << 30, 8, rate_bytes_per_s=3e9) == 64 * MIB
    assert part_bytes_for(300 * MIB, 4, rate_bytes_per_s=3e9) == 8 * MIB
    assert part_bytes_for(2 << 30, 4, configured_bytes=5 * MIB + 3) == 5 * MIB


@given(st.binary(max_size=5000), st.lists(st.integers(0, 5000), max_size=8), st.randoms(use_true_random=False))
def test_parts_in_any_order_combine_to_the_objects_checksum(body, cuts, shuffle: random.Random):
    borders = sorted({0, len(body), *(c for c in cuts if c < len(body))})
    extents = [Extent(a, b - a, crc64(body[a:b])) for a, b in itertools.pairwise(borders)]
    shuffle.shuffle(extents)
    assert crc64_of(extents, len(body)) == crc64(body)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_a_checksum_goes_on_where_the_last_piece_ended(first, second):
    assert crc64(second, crc64(first)) == crc64(first + second) == joined(crc64(first), crc64(second), len(second))


def test_the_checksum_is_the_one_that_s3_calls_crc64nvme():
    assert crc64(b"123456789") == 0xAE8B14860A799888  # the check value of CRC-64/NVME in the catalogue of CRC algorithms


@pytest.mark.parametrize(
    ("extents", "size"),
    [([Extent(0, 4, 1), Extent(5, 5, 1)], 10), ([Extent(0, 4, 1)], 10), ([Extent(0, 6, 1), Extent(4, 6, 1)], 10), ([], 1)],
    ids=["hole", "short", "overlap", "nothing"],
)
def test_extents_that_are_not_the_object_have_no_checksum(extents, size):
    with pytest.raises(ValueError, match="extents"):
        crc64_of(extents, size)


@given(st.integers(0, (1 << 64) - 1))
def test_a_checksum_survives_its_header(value):
    assert from_header(to_header(value)) == value


@pytest.mark.parametrize("value", ["", "43uRZg==", "43uRZg==-3", to_header(7) + "-2", "not base64 at all!", "AAAA"])
def test_other_checksums_are_not_taken_for_a_crc64(value):
    assert from_header(value) is None


def test_a_span_knows_its_end():
    assert Span(3, 4).end == 7
