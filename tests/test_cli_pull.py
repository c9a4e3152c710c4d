"""``modelstream pull`` and ``verify``: whole, right, in place, and never outside of the folder."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.cli.pull_files import folded, place_of
from modelstream.cli.stated import DAMAGED, RIGHT, UNKNOWN, Stated, check
from rig.cli import FLOOR, CommandLine, command_line
from rig.faultproxy import FaultProxy
from rig.faults import Corrupt, Gate
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes

SIZES = {"checkpoints/sub/a.safetensors": 300_000, "loras/b.safetensors": 200_000, "vae/c.safetensors": 100_000}


@pytest.fixture
def line(seaweed: Seaweed, bucket: str, tmp_path: Path) -> CommandLine:
    for key, size in SIZES.items():
        seaweed.client().put_object(Bucket=bucket, Key=key, Body=safetensors_bytes(key, size), ChecksumAlgorithm="CRC64NVME")
    return command_line(tmp_path / "comfyui", seaweed.config_toml(bucket=bucket, more=FLOOR))


def results(ended) -> dict[str, str]:
    return {one["subject"].partition(":")[2]: one["result"] for one in ended.json["objects"]}


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# -- pull ----------------------------------------------------------------------------------------------------------------
def test_objects_become_files_under_their_names_and_a_second_run_fetches_nothing(line, tmp_path):
    to = tmp_path / "out"
    planned = line("pull", "*", "--to", str(to), "--dry-run", "--json")
    assert planned.code == 0 and set(results(planned).values()) == {"planned"} and not to.exists()
    ended = line.process("pull", "*", "--to", str(to), "--json")
    assert ended.code == 0, ended.out + ended.err
    assert files(to) == sorted(SIZES)
    for key, size in SIZES.items():
        assert (to / key).read_bytes() == safetensors_bytes(key, size)
        assert (to / key).stat().st_nlink == 1 and (to / key).stat().st_mode & 0o400
    again = line.process("pull", "*", "--to", str(to), "--json")
    assert again.code == 0 and set(results(again).values()) == {"there"} and again.json["wire_bytes"] == 0


def test_a_file_that_differs_is_left_alone_until_told_otherwise(line, tmp_path):
    to = tmp_path / "out"
    (to / "loras").mkdir(parents=True)
    mine = to / "loras" / "b.safetensors"
    mine.write_bytes(b"m" * len(safetensors_bytes("loras/b.safetensors", 200_000)))
    refused = line("pull", "loras", "vae", "--to", str(to), "--json")
    assert refused.code == 1
    assert results(refused) == {"loras/b.safetensors": "refused", "vae/c.safetensors": "fetched"}
    assert mine.read_bytes()[:2] == b"mm"
    assert line("pull", "loras", "--to", str(to), "--overwrite", "--json").code == 0
    assert mine.read_bytes() == safetensors_bytes("loras/b.safetensors", 200_000)


def test_onto_the_ssd_tier_and_what_nothing_fits_is_an_error(line):
    ended = line.process("pull", "b.safetensors", "--json")
    assert ended.code == 0 and results(ended) == {"loras/b.safetensors": "fetched"}
    assert results(line("pull", "b.safetensors", "--json")) == {"loras/b.safetensors": "there"}
    assert {e["subject"] for e in line("cache", "ls", "--json").json["entries"]} == {"bucket:loras/b.safetensors"}
    missing = line("pull", "no-such-model")
    assert missing.code == 2 and "no-such-model" in missing.err


def test_the_same_bytes_under_two_names_become_two_files(line, seaweed, bucket, tmp_path):
    body = safetensors_bytes("twin", 250_000)
    for key in ("loras/one.safetensors", "loras/two.safetensors"):
        seaweed.client().put_object(Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="CRC64NVME")
    to = tmp_path / "out"
    assert line("pull", "one.safetensors", "two.safetensors", "--to", str(to), "--json").code == 0
    assert files(to) == ["loras/one.safetensors", "loras/two.safetensors"]
    assert all((to / name).read_bytes() == body for name in files(to))


def test_names_that_are_no_files_are_refused_and_links_lead_nowhere(line, seaweed, bucket, tmp_path):
    s3 = seaweed.client()
    for key in ("loras/line\nbreak.safetensors", "loras/B.safetensors"):
        s3.put_object(Bucket=bucket, Key=key, Body=safetensors_bytes(key, 5000))
    to, outside = tmp_path / "out", tmp_path / "outside"
    to.mkdir()
    outside.mkdir()
    (to / "vae").symlink_to(outside)
    ended = line("pull", "loras", "vae", "--to", str(to), "--json")
    assert ended.code == 1
    found = results(ended)
    assert found["loras/line\nbreak.safetensors"] == found["vae/c.safetensors"] == "refused"
    assert sorted((found["loras/B.safetensors"], found["loras/b.safetensors"])) == ["fetched", "refused"]
    assert not files(outside)
    (to / "checkpoints").mkdir()
    (to / "checkpoints" / "sub").symlink_to("../../outside")
    assert results(line("pull", "checkpoints", "--to", str(to), "--json")) == {"checkpoints/sub/a.safetensors": "refused"}
    assert not files(outside)


@given(st.text(alphabet="a./\\:\x00 é", max_size=12))
def test_no_name_leads_out_of_the_folder(name):
    path = place_of(Path("/some/folder"), name)
    assert path is None or os.path.normpath(path).startswith("/some/folder/")


def test_names_that_are_one_file_somewhere_are_one_name():
    assert folded("É.safetensors") == folded("e\u0301.SAFETENSORS")


def test_a_pull_that_was_killed_goes_on_where_it_was(seaweed, bucket, tmp_path):
    """The proxy holds the last bytes back; what landed before the kill is not asked for again."""
    size = 80_000_000
    body = safetensors_bytes("big", size)
    seaweed.client().put_object(Bucket=bucket, Key="checkpoints/big.safetensors", Body=body, ChecksumAlgorithm="CRC64NVME")
    to = tmp_path / "out"
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        line = command_line(tmp_path / "comfyui", seaweed.config_toml(bucket=bucket, url=proxy.url, more=FLOOR))
        gate = Gate(after_bytes=0)
        proxy.on(gate, covers=len(body) - 1, times=None)
        command = [sys.executable, "-m", "modelstream", "pull", "*", "--to", str(to), "--comfyui", str(line.comfyui), "--json"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            assert eventually(lambda: journalled(to) > 0, within_s=60)
            process.send_signal(signal.SIGKILL)
        assert not (to / "checkpoints" / "big.safetensors").exists()
        gate.release.set()
        proxy.clear()
        before = proxy.sent_bytes()
        ended = line.process("pull", "*", "--to", str(to), "--json")
        assert ended.code == 0 and proxy.sent_bytes() - before < len(body)
    assert (to / "checkpoints" / "big.safetensors").read_bytes() == body
    assert files(to) == ["checkpoints/big.safetensors"]


def journalled(to: Path) -> int:
    return sum(path.stat().st_size for path in to.glob(".modelstream-pull/cache/partial/*/journal*"))


# -- verify --------------------------------------------------------------------------------------------------------------
def test_objects_of_every_kind_of_checksum_are_right(line, seaweed, bucket):
    s3 = seaweed.client()
    for name in ("CRC32", "CRC32C", "SHA1", "SHA256"):
        s3.put_object(Bucket=bucket, Key=f"kinds/{name}", Body=os.urandom(70_000), ChecksumAlgorithm=name)
    body = os.urandom(90_000)
    s3.put_object(Bucket=bucket, Key="kinds/pushed", Body=body, Metadata={"sha256": hashlib.sha256(body).hexdigest()})
    s3.put_object(Bucket=bucket, Key="kinds/lied", Body=body, Metadata={"sha256": hashlib.sha256(b"other").hexdigest()})
    ended = line.process("verify", "--json")
    assert ended.code == 1
    found = results(ended)
    assert found.pop("kinds/lied") == "damaged" and set(found.values()) == {"right"} and len(found) == len(SIZES) + 5
    assert line("verify", "checkpoints").code == 0


def test_a_multipart_upload_without_a_checksum_is_checked_by_its_etag(line, seaweed, bucket):
    from botocore.config import Config

    s3 = seaweed.client(config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"))
    upload = {"Bucket": bucket, "Key": "parts/x"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    parts = []
    for number, size in ((1, 5 << 20), (2, 5 << 20), (3, 1000)):
        etag = s3.upload_part(PartNumber=number, Body=os.urandom(size), **upload)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
    ended = line("verify", "parts/*", "--json")
    assert ended.code == 0 and results(ended) == {"parts/x": "right"} and ended.json["objects"][0]["by"] == "ETag"


def test_what_arrives_damaged_each_time_is_called_damaged(line, seaweed):
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        line.config.write_text(line.config.read_text().replace(seaweed.endpoint, proxy.url))
        proxy.on(Corrupt(5000), path="b.safetensors", times=None)
        ended = line("verify", "loras", "vae", "--json")
    assert ended.code == 1 and results(ended) == {"loras/b.safetensors": "damaged", "vae/c.safetensors": "right"}


def test_files_of_a_folder_are_compared_with_the_bucket(line, tmp_path):
    to = tmp_path / "out"
    assert line("pull", "*", "--to", str(to), "--json").code == 0
    assert line("verify", "--local", str(to), "--json").code == 0
    with open(to / "loras" / "b.safetensors", "r+b") as file:
        file.seek(1000)
        file.write(b"\xff\xfe\xfd")
    (to / "vae" / "c.safetensors").unlink()
    ended = line.process("verify", "--local", str(to), "--json")
    assert ended.code == 1
    assert results(ended) == {
        "checkpoints/sub/a.safetensors": "right",
        "loras/b.safetensors": "damaged",
        "vae/c.safetensors": "missing",
    }
    assert line("verify", "--local", str(tmp_path / "nowhere")).code == 2


def test_copies_on_the_ssd_are_checked_too(line):
    assert line("pull", "vae", "--json").code == 0
    ended = line("verify", "--ssd", "--json")
    assert ended.code == 0 and [one["result"] for one in ended.json["objects"]] == ["right"]


PARTS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5)


@given(PARTS, st.integers(1, 60))
def test_an_etag_of_parts_is_found_however_the_bytes_come(pieces, part_bytes):
    body = b"".join(pieces)
    parts = [body[at : at + part_bytes] for at in range(0, len(body), part_bytes)]
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    etag = f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"
    assert check(Stated(len(body), etag, {}, part_bytes=part_bytes), pieces) == (RIGHT, "ETag")
    other = [*pieces[:-1], pieces[-1][:-1] + bytes([pieces[-1][-1] ^ 1])]
    assert check(Stated(len(body), etag, {}, part_bytes=part_bytes), other)[0] == UNKNOWN
    assert check(Stated(len(body) + 1, etag, {}, part_bytes=part_bytes), pieces)[0] == DAMAGED
