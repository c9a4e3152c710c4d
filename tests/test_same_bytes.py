"""The same bytes under two names or in two buckets are kept once; what only looks the same is not."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3.s3.transfer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from modelstream.cache.same_bytes import MIB, SameBytes, has_etag
from modelstream.cache.state_file import StateFile
from modelstream.storage.events import SameBytesFound, TransferFailed, TransferFinished
from rig.cached_loads import Rig, assert_equal, tensors
from rig.invariants import eventually


@pytest.fixture
def rig(seaweed: Any, bucket: str, tmp_path: Path) -> Iterator[Rig]:
    """Two buckets, two origins, one cache."""
    made = Rig(seaweed, bucket, tmp_path)
    made.client.create_bucket(Bucket=f"{bucket}-b")
    made.restart(made.toml + f'[[origins]]\nname = "other"\nbucket = "{bucket}-b"\nprofile = "test"\n')
    yield made
    made.parts.close()
    for listed in made.client.list_objects_v2(Bucket=f"{bucket}-b").get("Contents", ()):
        made.client.delete_object(Bucket=f"{bucket}-b", Key=listed["Key"])
    made.client.delete_bucket(Bucket=f"{bucket}-b")


def wire_bytes(rig: Rig) -> int:
    return sum(event.wire_bytes for event in rig.parts.events if isinstance(event, TransferFinished))


def found(rig: Rig) -> list[SameBytesFound]:
    return [event for event in rig.parts.events if isinstance(event, SameBytesFound)]


def put(rig: Rig, bucket: str, key: str, body: bytes, *, part_mib: int = 0) -> Any:
    """``part_mib``: as a multipart upload."""
    if part_mib:
        import io

        config = boto3.s3.transfer.TransferConfig(multipart_threshold=part_mib * MIB, multipart_chunksize=part_mib * MIB)
        rig.client.upload_fileobj(io.BytesIO(body), bucket, key, Config=config)
    else:
        rig.client.put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")
    rig.parts.catalog.refresh(wait=True)
    return next(o for o in rig.parts.catalog.objects() if o.id.key == key and o.id.bucket == bucket)


def on_ssd(rig: Rig) -> list[Path]:
    return [path for path in (rig.folder / "ssd" / "objects").rglob("*") if path.is_file() and path.name != "record.json"]


@pytest.mark.parametrize("part_mib", [0, 8])
def test_the_same_bytes_in_two_buckets_cross_the_network_once_and_lie_once_in_memory_and_on_the_disk(rig: Rig, part_mib: int) -> None:
    wanted = tensors(1, 24)
    body = save(wanted)
    near = put(rig, rig.bucket, "checkpoints/a.safetensors", body)
    far = put(rig, f"{rig.bucket}-b", "models/renamed.safetensors", body, part_mib=part_mib)
    assert near.id.digest != far.id.digest
    cache = rig.parts.cache
    cache.open_tensors(near).close()
    rig.wait_on_disk(near)
    with cache.open_tensors(far) as opened:
        assert (opened.source, opened.wire_bytes, opened.obj) == ("ram", 0, far)
        assert_equal(opened.state_dict(), wanted)
    assert found(rig) == [SameBytesFound(far.subject, near.subject, len(body))]
    assert wire_bytes(rig) == len(body) and not [e for e in rig.parts.events if isinstance(e, TransferFailed)]
    assert cache.snapshot().ram.used_bytes < len(body) + 2 * MIB and len(on_ssd(rig)) == 1
    with cache.open_file(far) as file:
        assert Path(file.path).read_bytes() == body and (file.source, file.wire_bytes) == ("ssd", 0)
    assert cache.file_of(far) == str(on_ssd(rig)[0])
    cache.keep([far.id.digest], math.inf)
    assert all(far_or_near in rig.parts.ram.choice._keep_until_s for far_or_near in (far.id.digest, near.id.digest))
    cache.keep([far.id.digest], 0.0)
    assert rig.parts.ram.choice._keep_until_s == {} == rig.parts.ssd.choice._keep_until_s
    cache.pin(far)
    assert [entry.subject for entry in cache.entries()] == [near.subject] and cache.entries()[0].pinned
    also = cache.entries(other_names=True)[1]
    assert (also.digest, also.subject, also.name) == (far.id.digest, far.subject, "renamed.safetensors")
    assert (also.tiers, also.kept_as, also.pinned) == (("ram", "ssd"), near.subject, True)
    rig.restart(rig.toml + f'[[origins]]\nname = "other"\nbucket = "{rig.bucket}-b"\nprofile = "test"\n')
    with rig.parts.cache.open_tensors(far) as opened:
        assert (opened.source, opened.wire_bytes) == ("ssd", 0)
        assert_equal(opened.state_dict(), wanted)
    assert rig.transfers() == 0


def test_what_is_only_on_the_ssd_or_only_in_memory_is_found_too_and_what_went_is_fetched_again(rig: Rig) -> None:
    body = save(tensors(2, 8))
    a = put(rig, rig.bucket, "vae/a.safetensors", body)
    b = put(rig, f"{rig.bucket}-b", "vae/b.safetensors", body)
    c = put(rig, f"{rig.bucket}-b", "vae/c.safetensors", body)
    cache = rig.parts.cache
    cache.open_tensors(a).close()
    rig.wait_on_disk(a)
    assert eventually(lambda: not cache.snapshot().loading)
    cache.evict(a, "ram")
    with cache.open_tensors(b) as opened:
        assert (opened.source, opened.wire_bytes) == ("ssd", 0)
    assert eventually(lambda: not cache.snapshot().loading)
    assert cache.evict(b, "ssd").freed_bytes == {"ssd": len(body)}, "the name stands for what is kept"
    with cache.open_file(c) as file:
        assert (file.source, file.wire_bytes) == ("ram", 0) and Path(file.path).read_bytes() == body
    assert wire_bytes(rig) == len(body) and len(on_ssd(rig)) == 1
    del opened  # it holds the memory
    cache.evict(a)
    assert cache.entries() == ()
    with cache.open_tensors(b) as opened:
        assert opened.wire_bytes == len(body), "nothing is here any more: its own bucket has it"


def test_a_forged_checksum_is_not_enough(rig: Rig) -> None:
    """Same size, same CRC64NVME, other bytes: what an attacker can put into a bucket that he may write to."""
    wanted = tensors(3, 8)
    body = save(wanted)
    forged = bytearray(body)
    forged[len(body) // 2 : len(body) // 2 + 16] = random.Random(1).randbytes(16)
    right = put(rig, rig.bucket, "loras/right.safetensors", body)
    evil = put(rig, f"{rig.bucket}-b", "loras/evil.safetensors", bytes(forged))
    cache = rig.parts.cache
    cache.open_tensors(evil).close()
    assert eventually(lambda: not cache.snapshot().loading)
    same = cache._same
    entry = cache._ram.peek(evil.id.digest)
    from modelstream.storage.objects import ObjectHead

    head = ObjectHead(right.size_bytes, right.id.version, crc64nvme=entry.crc64)  # the CRC as if it had been forged
    entry.release()
    assert same.alike(right, head, lambda at, length: b"") == (evil,)
    assert same.proven(right, head, (evil,), lambda: False) is None
    with cache.open_tensors(right) as opened:
        assert_equal(opened.state_dict(), wanted)
        assert opened.wire_bytes == len(body)
    assert found(rig) == []


def test_files_of_one_size_that_differ_and_files_of_another_kind_are_fetched(rig: Rig) -> None:
    one, two = save(tensors(4, 4)), save(tensors(5, 4))
    assert len(one) == len(two)
    a = put(rig, rig.bucket, "loras/a.safetensors", one)
    b = put(rig, rig.bucket, "loras/b.safetensors", two)
    renamed = put(rig, rig.bucket, "loras/a.gguf", one)
    cache = rig.parts.cache
    for obj in (a, b):
        cache.open_tensors(obj).close()
    cache.open_file(renamed).close()
    assert wire_bytes(rig) == 3 * len(one) and found(rig) == []


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20 * MIB), st.sampled_from([0, 5, 8, 16]), st.integers(0, 2))
def test_an_etag_is_proven_by_the_bytes_and_by_nothing_else(size_bytes: int, part_mib: int, flipped: int) -> None:
    pattern = random.Random(size_bytes).randbytes(1 << 16)
    body = bytearray(pattern * (size_bytes // len(pattern) + 1))[:size_bytes]
    if part_mib:
        parts = [hashlib.md5(body[at : at + part_mib * MIB]).digest() for at in range(0, size_bytes, part_mib * MIB)]
        etag = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    else:
        etag = hashlib.md5(body).hexdigest()
    if flipped:
        body[(size_bytes - 1) // flipped] ^= 1
    assert has_etag(etag, size_bytes, lambda at, length: bytes(body[at : at + length])) == (not flipped)
    for other in ("", "0" * 32, "not an MD5", f"{'0' * 32}-3", f"{'0' * 32}-0"):
        assert not has_etag(other, size_bytes, lambda at, length: bytes(body[at : at + length]))


def test_a_damaged_memory_of_twins_is_forgotten(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "twins.json"
    for text in ("", "{}", '{"form":1,"content":[[1,2],[["a","b","c","d","e",1],["a"]],7]}', '{"form":2,"content":[]}'):
        path.write_text(text)
        same = SameBytes(rig.parts.ram, rig.parts.ssd, StateFile(path))
        assert same.other_names() == ()
