"""`record.json` is data, parsed strictly."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cache.chunks import ChunkTally
from modelstream.cache.record import Record, RecordFromNewer, RecordUnreadable, parse_record, whole_crc64
from modelstream.storage.objects import Extent

BODY = bytes(range(256)) * 10
CHUNK = 1000


def a_record(**changes: object) -> Record:
    crcs = tuple(crc64nvme(BODY[at : at + CHUNK]) for at in range(0, len(BODY), CHUNK))
    fields: dict = {
        "origin": "here", "endpoint": "https://s3", "bucket": "b", "key": "lo/ra\u00e9.safetensors", "version": "v", "etag": "e",
        "version_id": None, "size_bytes": len(BODY), "crc64": crc64nvme(BODY), "verified": "parts", "chunk_bytes": CHUNK,
        "chunk_crc64s": crcs, "created_s": 12.5,
    }  # fmt: skip
    return Record(**{**fields, **changes})


@pytest.mark.parametrize("record", [a_record(), a_record(version_id="x"), a_record(size_bytes=0, crc64=0, chunk_crc64s=())])
def test_a_record_comes_back_as_it_was_written(record: Record) -> None:
    assert parse_record(record.to_json()) == record


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("record", 0), ("record", "1"), ("record", True), ("record", None), ("size_bytes", -1), ("size_bytes", 1.5), ("size_bytes", True),
        ("size_bytes", 10**6), ("chunk_bytes", 0), ("chunk_crc64s", []), ("chunk_crc64s", "x"), ("crc64", 7), ("crc64", "F" * 16),
        ("crc64", "0" * 16), ("key", None), ("version_id", 3), ("created_s", "now"), ("created_s", True), ("verified", 1),
    ],
)  # fmt: skip
def test_a_value_that_breaks_a_rule_makes_the_record_unreadable(field: str, value: object) -> None:
    fields = {**json.loads(a_record().to_json()), field: value}
    with pytest.raises(RecordUnreadable):
        parse_record(json.dumps(fields).encode())


def test_one_changed_chunk_checksum_does_not_fit_the_whole() -> None:
    fields = json.loads(a_record().to_json())
    fields["chunk_crc64s"][1] = "0" * 16
    with pytest.raises(RecordUnreadable, match="fit together"):
        parse_record(json.dumps(fields).encode())


def test_a_record_of_a_later_version_is_told_apart_from_a_damaged_one() -> None:
    with pytest.raises(RecordFromNewer):
        parse_record(b'{"record": 2, "anything": []}')


@given(st.binary(max_size=200))
def test_bytes_that_are_no_record_raise_only_unreadable(noise: bytes) -> None:
    with pytest.raises((RecordUnreadable, RecordFromNewer)):
        parse_record(noise)


@given(st.integers(0, len(a_record().to_json()) - 1))
def test_a_torn_record_is_unreadable(length: int) -> None:
    with pytest.raises(RecordUnreadable):
        parse_record(a_record().to_json()[:length])


@given(
    size=st.integers(0, 400),
    chunk=st.integers(1, 90),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    extra=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=4),
    random=st.randoms(use_true_random=False),
)
def test_every_chunk_is_completed_once_and_only_when_all_its_bytes_landed(size, chunk, cuts, extra, random) -> None:
    body = bytes(i * 7 % 251 for i in range(size))
    edges = sorted({0, size, *(c for c in cuts if c < size)})
    spans = list(pairwise(edges)) + [(min(a, b, size), min(max(a, b), size)) for a, b in extra]
    random.shuffle(spans)
    tally = ChunkTally(size, chunk)
    landed: set[int] = set()
    crcs: dict[int, int] = {}
    for start, end in spans:
        completed = tally.add(Extent(start, end - start, crc64nvme(body[start:end])))
        landed |= set(range(start, end))
        for index, crc64 in completed:
            a, b = tally.bounds(index)
            assert index not in crcs and set(range(a, b)) <= landed
            crcs[index] = crc64nvme(body[a:b])
            assert crc64 in (None, crcs[index])
    assert sorted(crcs) == list(range(tally.count))
    assert whole_crc64(tuple(crcs[i] for i in range(tally.count)), size, chunk) == crc64nvme(body)


def test_an_extent_outside_of_the_object_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        ChunkTally(10, 4).add(Extent(8, 3, 0))
