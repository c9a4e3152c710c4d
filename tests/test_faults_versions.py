"""Faults of truth: objects that change, vanish or arrive damaged.  Numbers are those of the fault matrix."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import pytest
from boto3.s3.transfer import TransferConfig as UploadConfig
from botocore.config import Config as BotoConfig

from modelstream.storage.errors import CorruptObject, ObjectArchived, ObjectChanged, ObjectMissing
from modelstream.storage.events import CorruptionFound, Unverified
from rig import faults
from rig.transfers import MIB, BufferZone, TransferRig, finished, made_up, transfer_rig

KEY = "versions/model.safetensors"
SIZE = 6 * MIB
OLD, NEW = made_up("old", SIZE), made_up("new", SIZE)
SPOT = 2 * MIB + 77


@pytest.fixture
def rig(seaweed) -> Iterator[TransferRig]:
    with transfer_rig(seaweed) as rig:
        yield rig


def put_without_checksum(rig: TransferRig, key: str, body: bytes):
    client = rig.server.client(config=BotoConfig(request_checksum_calculation="when_required", s3={"addressing_style": "path"}))
    client.put_object(Bucket=rig.server.bucket, Key=key, Body=body)
    return rig.object(key)


def test_an_object_deleted_on_the_way_ends_in_a_clean_error(rig):
    """Case 14."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.First(lambda: rig.delete(KEY)), covers=SPOT)
    rig.fails(obj, ObjectMissing)


def test_an_object_that_is_not_there_is_missing_at_once(rig):
    """Case 14 and 46, before the start; a delete marker answers the same."""
    obj = rig.put(KEY, OLD)
    rig.delete(KEY)
    rig.fails(obj, ObjectMissing)
    assert len(rig.proxy.requests(None, KEY)) <= 3


def test_an_object_overwritten_on_the_way_starts_again_once_as_the_new_version(rig):
    """Case 15."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.First(lambda: rig.put(KEY, NEW)), covers=SPOT)
    zone = BufferZone()
    result = rig.load(obj, NEW, zone=zone)
    assert [head.etag for head in zone.heads] == [obj.id.version, rig.object(KEY).id.version]
    assert result.head.etag == rig.object(KEY).id.version


def test_an_object_that_changes_again_and_again_is_an_error(rig):
    """Case 15, the second change."""
    obj = rig.put(KEY, OLD)
    numbers = itertools.count()
    rig.proxy.on(faults.First(lambda: rig.put(KEY, made_up(f"version {next(numbers)}", SIZE))), covers=SPOT, times=None)
    error = rig.fails(obj, ObjectChanged)
    assert "chang" in str(error)
    assert next(numbers) <= 3


def test_a_server_that_ignores_if_match_cannot_mix_two_versions(rig):
    """Case 16: a 206 of the new version is known by its ETag."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.First(lambda: rig.put(KEY, NEW), then=faults.Without(("if-match",))), covers=SPOT)
    rig.proxy.on(faults.Without(("if-match",)), path=KEY, times=None)
    rig.load(obj, NEW)


@pytest.mark.parametrize("size", [SIZE - 3 * MIB, SIZE + MIB + 1, 5, 0], ids=["shrinks", "grows", "to 5 bytes", "to nothing"])
@pytest.mark.parametrize("pinned", [True, False], ids=["if-match", "if-match ignored"])
def test_an_object_that_grows_or_shrinks_on_the_way_arrives_whole(rig, size, pinned):
    """Case 48, between HEAD and GET."""
    obj = rig.put(KEY, OLD)
    body = made_up("resized", size)
    then = None if pinned else faults.Without(("if-match",))
    rig.proxy.on(faults.First(lambda: rig.put(KEY, body), then=then), path=KEY, ranged=True)
    if not pinned:
        rig.proxy.on(faults.Without(("if-match",)), path=KEY, times=None)
    rig.load(obj, body)


def test_an_object_that_changed_since_it_was_listed_arrives_as_what_it_is_now(rig):
    """Case 48, between LIST and HEAD."""
    obj = rig.put(KEY, OLD)
    rig.put(KEY, NEW[:-5])
    zone = BufferZone()
    rig.load(obj, NEW[:-5], zone=zone)
    assert zone.heads[-1].size_bytes == SIZE - 5


@pytest.mark.parametrize("action", [faults.Corrupt(500_000, bit=5), faults.Zeros()], ids=["one bit", "zeros"])
def test_a_body_damaged_on_the_way_is_found_and_only_it_is_replaced(rig, action):
    """Case 22, once."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(action, covers=SPOT)
    result = rig.load(obj, OLD)
    assert result.verified == "crc64nvme"
    assert [e.where for e in rig.events_of(CorruptionFound)] == ["wire"]
    assert rig.fetched_bytes(obj) <= 2 * SIZE + MIB


def test_a_body_that_is_always_damaged_never_passes_for_the_object(rig):
    """Case 22, for ever."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.Corrupt(1000), covers=SPOT, times=None)
    rig.fails(obj, CorruptObject)
    assert rig.events_of(CorruptionFound)
    assert rig.fetched_bytes(obj) <= 3 * SIZE


def test_two_damaged_parts_are_both_found(rig):
    """Case 22, twice."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.Corrupt(1000), covers=SPOT)
    rig.proxy.on(faults.Corrupt(70_000), covers=5 * MIB + 5)
    rig.load(obj, OLD)


@pytest.mark.parametrize("told", ["0", str(SIZE - MIB)], ids=["nothing", "less"])
@pytest.mark.parametrize("checksum", [True, False], ids=["checksum", "no checksum"])
def test_a_head_that_lies_about_the_size_is_not_believed(rig, told, checksum):
    """Case 48: some gateways answer HEAD with Content-Length 0.  Never a shorter object that passes for the whole one."""
    obj = rig.put(KEY, OLD) if checksum else put_without_checksum(rig, KEY, OLD)
    rig.proxy.on(faults.with_header("Content-Length", told), method="HEAD", path=KEY, times=None)
    assert rig.load(obj, OLD).verified == ("crc64nvme" if checksum else "size_only")


def test_an_object_without_bytes_and_with_a_wrong_checksum_is_an_error_and_no_standstill(rig):
    """Cases 22 and 47: there is nothing to read a second time."""
    obj = rig.put(KEY, b"")
    rig.proxy.on(faults.with_header("x-amz-checksum-crc64nvme", "AAAAAAAAAAE="), method="HEAD", path=KEY, times=None)
    rig.fails(obj, CorruptObject)


def test_an_object_without_a_checksum_is_checked_by_size_and_says_so(rig):
    """Case 23."""
    obj = put_without_checksum(rig, KEY, OLD)
    result = rig.load(obj, OLD)
    assert result.verified == "size_only"
    assert result.crc64 is not None
    rig.load(obj, OLD)
    assert len(rig.events_of(Unverified)) >= 1


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_a_composite_checksum_is_never_compared_as_if_it_covered_the_object(rig, algorithm):
    """Case 24: what boto3's multipart upload leaves by default."""
    upload = UploadConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    source = itertools.chain([OLD])
    rig.direct.upload_fileobj(_File(source), rig.server.bucket, KEY, Config=upload, ExtraArgs={"ChecksumAlgorithm": algorithm})
    obj = rig.object(KEY)
    assert "-" in obj.id.version  # case 25: this ETag is no MD5
    result = rig.load(obj, OLD)
    assert result.verified in ("parts", "size_only")


def test_a_whole_object_checksum_of_a_multipart_upload_is_used(rig):
    """Case 24's other half."""
    upload = UploadConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    rig.direct.upload_fileobj(
        _File(itertools.chain([OLD])), rig.server.bucket, KEY, Config=upload, ExtraArgs={"ChecksumAlgorithm": "CRC64NVME"}
    )
    obj = rig.object(KEY)
    assert rig.load(obj, OLD).verified == "crc64nvme"


def test_an_opaque_etag_is_only_a_version(rig):
    """Case 25: an ETag that is no MD5 of anything, the same on every answer."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.First(lambda: None, then=_opaque()), path=KEY, method=None, times=None)
    rig.load(obj, OLD)


def test_an_archived_object_says_that_it_has_to_be_restored(rig):
    """Case 45, with canned answers: 403 InvalidObjectState, and what HEAD tells of the restore."""
    obj = rig.put(KEY, OLD)
    rig.proxy.on(faults.with_header("x-amz-storage-class", "GLACIER"), method="HEAD", path=KEY, times=None)
    rig.proxy.on(faults.Status(403, "InvalidObjectState"), path=KEY, times=None)
    error = rig.fails(obj, ObjectArchived)
    assert "restore" in str(error).lower()
    assert len(rig.proxy.requests(None, KEY)) <= 6


def test_an_object_that_is_being_restored_says_so(rig):
    """Case 45: the restore is on its way."""
    obj = rig.put(KEY, OLD)

    def restoring(answer) -> None:
        answer.put("x-amz-storage-class", "GLACIER")
        answer.put("x-amz-restore", 'ongoing-request="true"')

    rig.proxy.on(faults.Edit(restoring), method="HEAD", path=KEY, times=None)
    rig.proxy.on(faults.Status(403, "InvalidObjectState"), path=KEY, times=None)
    error = rig.fails(obj, ObjectArchived)
    assert "restor" in str(error).lower()


@pytest.fixture
def versioned(seaweed, bucket) -> Iterator[TransferRig]:
    """A bucket that keeps old versions."""
    s3 = seaweed.client()
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    server = copy.copy(seaweed)
    server.bucket = bucket
    with transfer_rig(server) as rig:
        yield rig
    for kind in ("Versions", "DeleteMarkers"):
        for row in s3.list_object_versions(Bucket=bucket).get(kind, ()):
            s3.delete_object(Bucket=bucket, Key=row["Key"], VersionId=row["VersionId"])
    s3.close()


def test_a_version_that_is_pinned_by_its_id_arrives_although_it_was_overwritten(versioned):
    """Case 46: with versioning the old version is still there."""
    obj = versioned.put(KEY, OLD)
    versioned.proxy.on(faults.First(lambda: versioned.put(KEY, NEW)), covers=SPOT)
    versioned.load(obj, OLD)
    assert all("versionId" in r.query for r in versioned.proxy.requests("GET", KEY) if r.range and r.range[1])


def test_a_delete_marker_means_deleted_but_not_for_a_load_that_has_begun(versioned):
    """Case 46."""
    obj = versioned.put(KEY, OLD)
    versioned.proxy.on(faults.First(lambda: versioned.delete(KEY)), covers=SPOT)
    versioned.load(obj, OLD)
    versioned.proxy.clear()
    versioned.fails(obj, ObjectMissing)
    marker = (("x-amz-delete-marker", "true"),)  # AWS says why; SeaweedFS does not
    versioned.proxy.on(faults.Status(404, "NoSuchKey", headers=marker), method=None, times=None)
    assert "delete marker" in str(versioned.fails(obj, ObjectMissing))


@pytest.mark.parametrize("body", [b"", b"x"], ids=["nothing", "one byte"])
def test_an_object_of_no_or_one_byte_arrives(rig, body):
    """Case 47."""
    obj = rig.put(KEY + ".small", body)
    zone, transfer = rig.start(obj)
    finished(transfer)
    assert bytes(zone.buffer) == body


def _opaque() -> faults.Edit:
    def change(answer) -> None:
        answer.put("ETag", '"not-an-md5-but-kms"')

    return faults.Edit(change)


class _File:
    """A readable that boto3 cannot seek."""

    def __init__(self, pieces) -> None:
        self._bytes = b"".join(pieces)
        self._at = 0

    def read(self, count: int = -1) -> bytes:
        piece = self._bytes[self._at :] if count < 0 else self._bytes[self._at : self._at + count]
        self._at += len(piece)
        return piece
