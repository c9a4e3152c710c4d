"""A file into a real bucket: what arrives, what is said of it, and what happens when something else is there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from modelstream.storage.errors import (
    CorruptObject,
    InvalidSafetensors,
    ModelStreamError,
    NameTaken,
    PickleRefused,
    PublishRefused,
    SourceChanged,
)
from modelstream.storage.publish import key_for
from modelstream.storage.publish_plan import Labels
from rig.certificates import make_authority
from rig.faults import Gate
from rig.invariants import eventually
from rig.publishing import KEY, MIB, PublishRig, publish_rig, safetensors_file, sha256


@pytest.fixture
def rig(seaweed, bucket, tmp_path):
    with publish_rig(seaweed, bucket, tmp_path) as made:
        yield made


def test_a_file_arrives_whole_with_its_checksum_and_what_is_known_of_it(rig: PublishRig):
    path, content = rig.file(12 * MIB)
    labels = Labels(version="1.2", source_url="https://example.com/a?b=ü", licence="openrail++")
    published = rig.push(path, labels=labels)
    assert rig.stored() == content
    assert (published.how, published.verified, published.size_bytes) == ("uploaded", "crc64nvme", len(content))
    head = rig.direct.head_object(Bucket=rig.bucket, Key=KEY, ChecksumMode="ENABLED")
    assert head["ChecksumType"] == "FULL_OBJECT" and head["ChecksumCRC64NVME"]
    known = head["Metadata"]
    assert known["sha256"] == published.sha256 == sha256(content)
    assert (known["type"], known["version"], known["licence"]) == ("checkpoints", "1.2", "openrail++")
    assert known["source-url"] == "https://example.com/a?b=%C3%BC"
    assert len(rig.proxy.requests("PUT")) == 3
    rig.nothing_is_left()
    assert {what for what, _, _ in rig.seen} == {"hash", "send"} and rig.seen[-1][1] == len(content)


def test_the_same_file_again_is_known_without_sending_it(rig: PublishRig):
    path, content = rig.file()
    rig.push(path)
    before = rig.put_requests()
    again = rig.push(path)
    assert (again.how, again.verified) == ("unchanged", "crc64nvme") and rig.put_requests() == before
    assert rig.stored() == content
    rig.nothing_is_left()


def test_another_file_of_that_name_is_refused_before_a_byte_is_sent(rig: PublishRig):
    path, content = rig.file()
    rig.push(path)
    for size, seed in ((12 * MIB, "other"), (6 * MIB, "smaller")):
        other, _ = rig.file(size, seed, name="b.safetensors")
        before = rig.put_requests()
        rig.fails(NameTaken, other)
        assert rig.put_requests() == before
    assert rig.stored() == content
    rig.nothing_is_left()


def test_overwriting_replaces_exactly_the_version_that_was_found(rig: PublishRig):
    path, _ = rig.file()
    rig.push(path)
    newer, content = rig.file(7 * MIB, "newer", name="b.safetensors")
    assert rig.push(newer, overwrite=True).how == "uploaded"
    assert rig.stored() == content
    gate = Gate()
    rig.proxy.on(gate, method="PUT", times=1)
    third, _ = rig.file(8 * MIB, "third", name="c.safetensors")
    errors: list[ModelStreamError] = []
    pushing = threading.Thread(target=lambda: errors.append(rig.fails(NameTaken, third, overwrite=True)))
    pushing.start()
    assert gate.reached.wait(10)
    rig.direct.put_object(Bucket=rig.bucket, Key=KEY, Body=b"somebody else's")
    gate.release.set()
    pushing.join(20)
    assert errors and rig.stored() == b"somebody else's"
    rig.nothing_is_left()
    rig.fails(NameTaken, third, if_match="no-such-version")
    etag = rig.direct.head_object(Bucket=rig.bucket, Key=KEY)["ETag"]
    assert rig.push(third, if_match=etag).how == "uploaded"


def test_of_two_who_push_to_one_name_exactly_one_wins_and_the_other_leaves_nothing(rig: PublishRig, tmp_path: Path):
    files = [rig.file(6 * MIB, f"racer {n}", name=f"{n}.safetensors") for n in range(2)]
    gate = Gate()
    rig.proxy.on(gate, method="POST", query="uploadId", times=1)  # the first to end its upload waits for the second
    outcome: dict[int, str] = {}

    def push(number: int) -> None:
        try:
            outcome[number] = rig.push(files[number][0]).how
        except NameTaken:
            outcome[number] = "taken"

    racers = [threading.Thread(target=push, args=(n,)) for n in range(2)]
    racers[0].start()
    assert gate.reached.wait(15)
    racers[1].start()
    racers[1].join(30)
    gate.release.set()
    racers[0].join(30)
    assert sorted(outcome.values()) == ["taken", "uploaded"]
    winner = next(n for n, how in outcome.items() if how == "uploaded")
    assert rig.stored() == files[winner][1]
    rig.nothing_is_left()


@pytest.mark.parametrize("how", ["written to", "replaced", "shortened", "removed"])
def test_a_file_that_changes_while_it_is_pushed_is_given_up(rig: PublishRig, tmp_path: Path, how: str):
    path, _ = rig.file(14 * MIB)
    gate = Gate()
    rig.proxy.on(gate, method="PUT", times=1)

    def change() -> None:
        gate.reached.wait(10)
        if how == "written to":
            with path.open("r+b") as file:
                file.seek(1000)
                file.write(b"!")
        elif how == "replaced":
            fresh = tmp_path / "fresh"
            safetensors_file(fresh, 14 * MIB, "fresh")
            fresh.replace(path)
        elif how == "shortened":
            os.truncate(path, 1 * MIB)
        else:
            path.unlink()
        gate.release.set()

    changing = threading.Thread(target=change)
    changing.start()
    rig.fails(SourceChanged, path)
    changing.join()
    assert not rig.exists()
    rig.nothing_is_left()


def test_the_same_bytes_under_another_name_are_copied_inside_the_bucket(rig: PublishRig):
    path, content = rig.file()
    rig.push(path)
    before = rig.put_requests()
    copied = rig.push(path, "loras/b.safetensors", others=rig.listed)
    assert (copied.how, copied.copied_from) == ("copied", f"rig:{KEY}")
    bodies = [int(r.headers.get("content-length", 0)) for r in rig.proxy.requests("PUT")[before:]]
    assert sum(bodies) == 0 and rig.stored("loras/b.safetensors") == content
    assert rig.direct.head_object(Bucket=rig.bucket, Key="loras/b.safetensors")["Metadata"]["type"] == "loras"
    error = rig.fails(NameTaken, path, "loras/c.safetensors", others=rig.listed, same="refuse")
    assert KEY in str(error)
    assert rig.push(path, "loras/d.safetensors", others=rig.listed, same="upload").how == "uploaded"
    rig.nothing_is_left()


def test_a_copy_larger_than_the_servers_limit_is_made_in_parts(rig: PublishRig, monkeypatch):
    monkeypatch.setattr("modelstream.storage.publish_bucket.COPY_WHOLE_MAX_BYTES", 6 * MIB)
    monkeypatch.setattr("modelstream.storage.publish_bucket.COPY_PART_BYTES", 5 * MIB)
    path, content = rig.file()
    rig.push(path)
    assert rig.push(path, "loras/b.safetensors", others=rig.listed).how == "copied"
    assert rig.stored("loras/b.safetensors") == content
    rig.nothing_is_left()


def test_what_only_claims_to_be_the_same_is_never_handed_on(rig: PublishRig, tmp_path: Path):
    path, content = rig.file()
    forged = safetensors_file(tmp_path / "forged.safetensors", 12 * MIB, "forged")
    claim = {"sha256": sha256(content)}
    rig.direct.put_object(Bucket=rig.bucket, Key="loras/forged.safetensors", Body=forged, Metadata=claim)
    assert rig.push(path, others=rig.listed).how == "uploaded"
    assert rig.stored() == content


def test_reading_everything_back_finds_what_the_server_damaged(rig: PublishRig):
    path, content = rig.file()
    assert rig.push(path, verify="full").verified == "full"
    damaged = bytearray(content)
    damaged[5 * MIB] ^= 1
    rig.direct.put_object(Bucket=rig.bucket, Key=KEY, Body=bytes(damaged), Metadata={"sha256": sha256(content)})
    rig.fails(CorruptObject, path, verify="full")


def test_where_metadata_can_be_changed_in_place_the_file_is_hashed_while_it_is_sent(rig: PublishRig, monkeypatch):
    monkeypatch.setattr("modelstream.storage.publish_late.LATE_BYTES_LEAST", 1 * MIB)
    path, content = rig.file(12 * MIB)
    published = rig.push(path, labels=Labels(licence="mit"), others=rig.listed)
    assert (published.how, published.verified, published.sha256) == ("uploaded", "crc64nvme", sha256(content))
    assert published.labels["sha256"] == sha256(content) and published.labels["licence"] == "mit"
    head = rig.direct.head_object(Bucket=rig.bucket, Key=KEY, ChecksumMode="ENABLED")
    assert head["Metadata"]["sha256"] == sha256(content) and head["ContentType"] == "application/octet-stream"
    assert rig.stored() == content and rig.seen[0][0] == "send", "nothing waits for the hash"
    assert rig.push(path).how == "unchanged"
    # where there may be a twin, the hashes have to come first
    assert rig.push(path, "loras/b.safetensors", others=rig.listed).how == "copied"
    rig.nothing_is_left()


def test_a_version_that_is_kept_gets_its_hash_before_and_not_another_version(seaweed, tmp_path, monkeypatch):
    monkeypatch.setattr("modelstream.storage.publish_late.LATE_BYTES_LEAST", 1 * MIB)
    client = seaweed.client()
    client.create_bucket(Bucket="push-versions")
    client.put_bucket_versioning(Bucket="push-versions", VersioningConfiguration={"Status": "Enabled"})
    with publish_rig(seaweed, "push-versions", tmp_path) as rig:
        path, content = rig.file()
        assert rig.push(path).labels["sha256"] == sha256(content)
        assert len(client.list_object_versions(Bucket="push-versions")["Versions"]) == 1
    client.close()


def test_it_goes_through_tls_too(seaweed, bucket, tmp_path):
    authority = make_authority(tmp_path)
    extra = f'ca_bundle = "{authority.ca_bundle}"'
    with publish_rig(seaweed, bucket, tmp_path, tls=authority.server_context(), extra=extra) as rig:
        path, content = rig.file()
        assert rig.push(path).verified == "crc64nvme"
        assert rig.stored() == content


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.safetensors", b"not one at all, really", InvalidSafetensors),
        ("a.safetensors", b"PK\x03\x04" + bytes(100), InvalidSafetensors),
        ("a.ckpt", b"PK\x03\x04" + bytes(100), PickleRefused),
        ("a.pt", b"\x80\x02" + bytes(100), PickleRefused),
        ("a.txt", b"\x80\x04" + bytes(100), PickleRefused),
        ("a.txt", b"hello", PublishRefused),
        ("a.gguf", b"GGUF" + bytes(100), PublishRefused),
        ("a.gguf", b"nothing of the kind", PublishRefused),
        ("a.safetensors", b"", PublishRefused),
    ],
)
def test_what_is_no_model_is_refused_and_nothing_is_asked_of_the_bucket(rig: PublishRig, tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    rig.fails(kind, path, f"checkpoints/{name}")
    assert rig.proxy.requests(None) == []


def test_a_pickle_goes_where_the_owner_allows_it(rig: PublishRig, tmp_path):
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"PK\x03\x04" + bytes(6 * MIB))
    assert rig.push(path, "checkpoints/a.ckpt", allow_pickle=True).how == "uploaded"


def test_a_gguf_file_goes_where_something_loads_it(rig: PublishRig, tmp_path):
    path = tmp_path / "a.gguf"
    key = b"general.architecture"
    head = b"GGUF" + (3).to_bytes(4, "little") + (5).to_bytes(8, "little") + (1).to_bytes(8, "little")
    path.write_bytes(
        head + len(key).to_bytes(8, "little") + key + (8).to_bytes(4, "little") + (4).to_bytes(8, "little") + b"flux" + bytes(99)
    )
    rig.fails(PublishRefused, path, "loras/a.gguf")
    assert rig.push(path, "diffusion_models/a.gguf").labels["architecture"] == "flux"


PLAIN = [
    "Ünïcødé 模型.safetensors",
    "sub dir/a b.safetensors",
    "a+b=c&d.safetensors",
    "e\u0301.safetensors",
    "\u00e9.safetensors",
    "100%.safetensors",
]
REFUSED = [
    *("../x.safetensors", "a/../b.safetensors", "./x.safetensors", "a//b.safetensors", "C:\\win.safetensors", "C:/win.safetensors"),
    *("new\nline.safetensors", "nul\0.safetensors", "<img src=x>.safetensors", "CON.safetensors", "a./b.safetensors", "x" * 1100),
]


@pytest.mark.parametrize("name", PLAIN)
def test_a_key_of_any_plain_kind_arrives_under_exactly_that_name(rig: PublishRig, name: str):
    path, content = rig.file(100_000)
    key = f"loras/{name}"
    assert rig.push(path, key).verified == "crc64nvme"
    assert rig.exists(key) and rig.stored(key) == content


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: ascii(name)[:20])
def test_a_key_that_no_loader_could_show_is_refused_before_anything_is_sent(rig: PublishRig, name: str):
    path, _ = rig.file(100_000)
    with pytest.raises(PublishRefused):
        rig.push(path, f"loras/{name}")
    assert rig.proxy.requests(None) == []


def test_where_a_file_goes_follows_from_what_is_said_and_from_the_origins_rules(rig: PublishRig):
    assert key_for(rig.origin, "", "a.safetensors", "loras") == "loras/a.safetensors"
    assert key_for(rig.origin, "vae/", "a.safetensors") == "vae/a.safetensors"
    assert key_for(rig.origin, "vae/b.safetensors", "a.safetensors") == "vae/b.safetensors"
    with pytest.raises(PublishRefused):
        key_for(rig.origin, "", "a.safetensors", "")


def test_a_file_that_another_push_has_in_hand_is_refused(rig: PublishRig):
    path, content = rig.file()
    gate = Gate()
    rig.proxy.on(gate, method="PUT", times=1)
    first = threading.Thread(target=lambda: rig.push(path))
    first.start()
    assert gate.reached.wait(10)
    rig.fails(PublishRefused, path)
    gate.release.set()
    first.join(20)
    assert eventually(lambda: rig.exists()) and rig.stored() == content
    rig.nothing_is_left()
