"""Real servers that are not like AWS: listing and transfer have to work, and to say what they could not check."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from boto3.s3.transfer import TransferConfig as UploadConfig

from modelstream.storage.errors import AccessDenied, CredentialsExpired, ObjectArchived
from modelstream.storage.events import Unverified
from rig.awkward import MINISTACK, AwkwardServer, juicefs_gateway, ministack_server, rclone_server
from rig.invariants import eventually
from rig.transfers import MIB, BufferZone, TransferRig, made_up, transfer_rig

KEY = "checkpoints/SD 1.5/model.safetensors"
SIZE = 6 * MIB + 3
BODY = made_up("awkward", SIZE)


@pytest.fixture(scope="module", params=["rclone", "juicefs"])
def server(request, tmp_path_factory) -> Iterator[AwkwardServer]:
    start = {"rclone": rclone_server, "juicefs": juicefs_gateway}[request.param]
    with start(tmp_path_factory.mktemp(request.param)) as server:
        client = server.client()
        # In parts: this is where rclone gives LIST and HEAD different ETags for one version.
        parts = UploadConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
        client.upload_fileobj(io.BytesIO(BODY), server.bucket, KEY, Config=parts, ExtraArgs={"Metadata": {"licence": "mit"}})
        client.put_object(Bucket=server.bucket, Key="loras/empty.safetensors", Body=b"")
        yield server


@pytest.fixture
def rig(server) -> Iterator[TransferRig]:
    with transfer_rig(server) as rig:
        yield rig


def listed(rig: TransferRig) -> dict:
    return {obj.id.key: obj for page in rig.origin.list_pages() for obj in page if not obj.id.key.startswith("many/")}


def test_its_objects_are_listed(rig):
    assert {key: obj.size_bytes for key, obj in listed(rig).items()} == {KEY: SIZE, "loras/empty.safetensors": 0}


def test_an_object_as_it_was_listed_streams_in_parallel_parts(rig):
    """Cases 18, 23 and 25: 200 with Content-Range, no checksum to compare with, LIST and HEAD differ about the ETag."""
    obj = listed(rig)[KEY]
    zone = BufferZone()
    result = rig.load(obj, BODY, zone=zone)
    assert len(zone.heads) == 1
    assert result.verified == "size_only"
    assert len(rig.events_of(Unverified)) == 1
    assert rig.proxy.sent_bytes(KEY) == SIZE
    assert len([r for r in rig.proxy.requests("GET", KEY) if r.range]) > 3


def test_that_nothing_could_be_verified_is_said_once_an_origin(rig):
    obj = listed(rig)[KEY]
    rig.load(obj, BODY)
    rig.load(obj, BODY)
    assert len(rig.events_of(Unverified)) <= 2


def test_an_object_of_no_bytes_arrives(rig):
    zone, transfer = rig.start(listed(rig)["loras/empty.safetensors"])
    assert transfer.wait(10)
    transfer.result()
    assert bytes(zone.buffer) == b""


def test_a_large_page_of_keys_is_taken_whole(server, rig):
    client = server.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.put_object(Bucket=server.bucket, Key=f"many/{number:04}", Body=b"x"), range(1100)))
    client.close()
    keys = [obj.id.key for page in rig.origin.list_pages() for obj in page if obj.id.key.startswith("many/")]
    assert keys == [f"many/{number:04}" for number in range(1100)]


def test_an_overwrite_between_listing_and_loading_gives_one_version(server, rig):
    """Case 16: here nobody honours If-Match or everybody does; the bytes are one version either way."""
    obj = listed(rig)[KEY]
    new = made_up("awkward new", SIZE - MIB)
    client = server.client()
    client.put_object(Bucket=server.bucket, Key=KEY, Body=new)
    try:
        rig.load(obj, new)
    finally:
        client.put_object(Bucket=server.bucket, Key=KEY, Body=BODY)


def test_wrong_keys_are_refused_in_words(server):
    profile = f'endpoint = "{server.url}"\naccess_key_id = "AKIAWRONG"\nsecret_access_key = "wrongsecretwrongsecret"\n'
    with transfer_rig(server, profile=profile) as rig:
        rig.secrets.append("wrongsecret")
        rig.listing_fails((AccessDenied, CredentialsExpired))


@pytest.mark.skipif(not MINISTACK.exists(), reason="MiniStack is not installed in .venv/ministack")
def test_an_archived_object_is_refused_until_it_is_restored(tmp_path):
    """Case 45 on a server that archives: the error names the class, then the restore under way, then the object streams."""
    with ministack_server(tmp_path) as server, transfer_rig(server) as rig:
        client = server.client()
        client.put_object(Bucket=server.bucket, Key=KEY, Body=BODY, StorageClass="GLACIER")
        obj = listed(rig)[KEY]
        assert obj.storage_class == "GLACIER"
        error = rig.fails(obj, ObjectArchived)
        assert "GLACIER" in str(error)
        client.restore_object(Bucket=server.bucket, Key=KEY, RestoreRequest={"Days": 1})
        under_way = rig.fails(obj, ObjectArchived)
        assert str(under_way) != str(error)

        def restored() -> bool:
            return 'ongoing-request="false"' in client.head_object(Bucket=server.bucket, Key=KEY).get("Restore", "")

        assert eventually(restored, within_s=15)
        rig.load(obj, BODY)
        client.close()
