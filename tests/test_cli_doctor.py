"""``modelstream doctor`` against real servers, broken configurations, the fault proxy, and ComfyUI's own source."""

from __future__ import annotations

import json
import re
import shutil
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from modelstream.cli.doctor_comfyui import PLACES
from modelstream.storage.config import profile_from
from modelstream.storage.config_problems import config_problems
from modelstream.storage.credentials import CredentialSource
from rig.checkpoints import comfyui_path
from rig.cli import FLOOR, CommandLine, Ended, command_line
from rig.faultproxy import FaultProxy
from rig.faults import with_header
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def line(seaweed: Seaweed, bucket: str, tmp_path: Path) -> CommandLine:
    body = safetensors_bytes("a", 300_000)
    seaweed.client().put_object(Bucket=bucket, Key="checkpoints/a.safetensors", Body=body, ChecksumAlgorithm="CRC64NVME")
    return command_line(tmp_path, seaweed.config_toml(bucket=bucket, more=FLOOR))


def by_check(ended: Ended) -> dict[tuple[str, str], dict]:
    return {(finding["part"], finding["check"]): finding for finding in ended.json["findings"]}


def statuses(ended: Ended) -> dict[str, str]:
    return {check: finding["status"] for (part, check), finding in by_check(ended).items() if part == "bucket"}


def test_a_bucket_that_is_fine_passes_and_nothing_is_left_in_it(line, seaweed, bucket):
    ended = line.process("doctor", "--write", "--seconds", "1", "--json")
    assert ended.code == 0, ended.out
    found = statuses(ended)
    fine = ("credentials", "server", "clock", "list", "head", "get", "checksums", "latency", "rate")
    assert all(found[check] == "ok" for check in fine), found
    assert all(found[check] == "ok" for check in ("put", "put if absent", "multipart", "delete", "set lifecycle")), found
    checks = by_check(ended)
    assert checks["bucket", "latency"]["value"] > 0 and checks["bucket", "rate"]["value"] > 0
    assert "SeaweedFS" in checks["bucket", "server"]["found"]
    assert checks["machine", "SSD rate"]["value"]["read_bytes_per_s"] > 0 and checks["machine", "RAM"]["value"]["budget_bytes"] > 0
    s3 = seaweed.client()
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["checkpoints/a.safetensors"]
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    with pytest.raises(Exception, match="NoSuchLifecycle"):
        s3.get_bucket_lifecycle_configuration(Bucket=bucket)
    assert not list(line.config.parent.glob("**/.modelstream-doctor-*"))


def test_a_lifecycle_that_is_there_stays_as_it_is(line, seaweed, bucket):
    rule = {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
    s3 = seaweed.client()
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert line("doctor", "--write", "--quick", "--json").code == 0
    rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [(r["ID"], r["Expiration"]["Days"]) for r in rules] == [("mine", 3)]


def test_the_table_names_every_check_and_no_secret(line, seaweed):
    ended = line.process("doctor", "--quick")
    assert ended.code == 0 and "0 errors" in ended.out and "latency" in ended.out
    for secret in (seaweed.secret_key, seaweed.access_key):
        assert secret not in ended.out + ended.err


def test_every_problem_of_the_file_is_told_at_once_with_its_key(line):
    line.config.write_text(
        "nonsense = 1\n[ssd]\nbudget_gb = -3\n[transfer]\nretrys = 4\n[profiles.one]\nendpoint = 'ftp://x'\n"
        "[profiles.two]\nendpoint = 'http://127.0.0.1:1'\naccess_key_id = 'only-half'\n[[origins]]\nbucket = 'a/b'\nprofile = 'one'\n"
    )
    ended = line("doctor", "--json")
    assert ended.code == 1
    text = " ".join(finding["found"] for finding in ended.json["findings"])
    for key in ("nonsense", "ssd.budget_gb", "retrys", "profiles.one.endpoint", "profiles.two.secret_access_key"):
        assert key in text, (key, text)
    assert ended.json["errors"] == 5
    assert len(config_problems(line.config)) == 5


def test_a_file_that_is_not_there_not_toml_or_open_to_others_is_one_clear_error(line, tmp_path):
    line.config.chmod(0o644)
    assert "other users may read it" in line("doctor").out
    line.config.write_text("[[")
    assert "not valid TOML" in line("doctor").out
    missing = command_line(tmp_path / "elsewhere", "")
    missing.config.unlink()
    ended = missing("doctor")
    assert ended.code == 1 and "there is no" in ended.out and "--config" in ended.out
    missing.config.touch(0o600)
    assert "no bucket is configured" in missing("doctor").out


def test_a_reader_may_read_and_every_right_it_lacks_is_named(tmp_path):
    identity = {"name": "reader", "credentials": [{"accessKey": "READER", "secretKey": "reader-secret"}]}
    with Seaweed(identities=[{**identity, "actions": ["Read:models", "List:models"]}]) as server:
        server.client().put_object(Bucket="models", Key="loras/x.safetensors", Body=safetensors_bytes("x", 5000))
        config = server.config_toml().replace(server.access_key, "READER").replace(server.secret_key, "reader-secret")
        line = command_line(tmp_path, config + FLOOR)
        reading = line("doctor", "--quick", "--json")
        assert reading.code == 0 and statuses(reading)["get"] == "ok"
        writing = line("doctor", "--quick", "--write", "--json")
        assert writing.code == 1
        found = statuses(writing)
        assert found["list"] == found["get"] == "ok" and found["put"] == found["multipart"] == "error"
        assert len(server.client().list_objects_v2(Bucket="models")["Contents"]) == 1


def test_wrong_keys_and_servers_that_are_not_there_are_errors_of_their_origin_only(line, seaweed):
    right = line.config.read_text()
    line.config.write_text(right.replace(seaweed.secret_key, "wrong"))
    wrong = line("doctor", "--quick", "--json")
    assert wrong.code == 1 and statuses(wrong)["list"] == "error"
    gone = '[profiles.gone]\nendpoint = "http://127.0.0.1:9"\naccess_key_id = "a"\nsecret_access_key = "b"\n'
    line.config.write_text(right + gone + '[[origins]]\nname = "gone"\nbucket = "gone"\nprofile = "gone"\n')
    ended = line("doctor", "--quick", "--json")
    assert ended.code == 1 and by_check(ended)["gone", "reach"]["status"] == "error" and statuses(ended)["get"] == "ok"
    assert line("doctor", "--quick", "--origin", "bucket", "--json").code == 0
    assert line("doctor", "--origin", "nobody").code == 2


@pytest.mark.parametrize(("ahead_s", "status", "code"), [(0, "ok", 0), (120, "warning", 0), (-1200, "error", 1), (86400, "error", 1)])
def test_a_clock_that_differs_from_the_servers_is_measured(line, seaweed, ahead_s, status, code):
    """The server's Date is moved by the proxy; the request itself reaches the real server."""
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        line.config.write_text(line.config.read_text().replace(seaweed.endpoint, proxy.url))
        proxy.on(with_header("Date", formatdate(time.time() - ahead_s, usegmt=True)), method="HEAD", times=None)
        ended = line("doctor", "--quick", "--json")
    clock = by_check(ended)["bucket", "clock"]
    assert (clock["status"], ended.code) == (status, code)
    assert abs(clock["value"] - ahead_s) < 30
    if ahead_s:
        assert ("ahead of" if ahead_s > 0 else "behind") in clock["found"] and "NTP" in clock["next_step"]


def test_objects_without_a_checksum_and_an_empty_bucket_are_notes(line, seaweed, bucket):
    s3 = seaweed.client()
    s3.delete_object(Bucket=bucket, Key="checkpoints/a.safetensors")
    empty = line("doctor", "--quick", "--json")
    assert empty.code == 0 and by_check(empty)["bucket", "head, get"]["status"] == "note"
    s3.put_object(Bucket=bucket, Key="loras/\x1b[31mx.safetensors", Body=b"x" * 100, ChecksumAlgorithm="SHA256")
    ended = line("doctor", "--quick", "--json")
    assert by_check(ended)["bucket", "checksums"]["value"] == ["sha256"]
    assert "\x1b" not in line("doctor", "--quick").out


def test_an_ssd_that_everybody_may_write_to_or_that_is_full_is_told(line, tmp_path):
    unsafe = tmp_path / "unsafe"
    unsafe.mkdir()
    unsafe.chmod(0o777)
    line.config.write_text(line.config.read_text().replace("[ssd]", f'[ssd]\ndirectory = "{unsafe}"'))
    ended = line("doctor", "--quick", "--json")
    assert ended.code == 1 and by_check(ended)["machine", "SSD"]["status"] == "error"
    text = line.config.read_text().replace("free_floor_gb = 0.1", "free_floor_gb = 900000")
    line.config.write_text(text.replace(str(unsafe), str(tmp_path / "s")))
    full = line("doctor", "--quick", "--json")
    assert full.code == 0 and by_check(full)["machine", "SSD"]["status"] == "warning"


def test_every_place_that_is_looked_at_is_a_seams_and_fits_the_real_comfyui(line, tmp_path):
    names = {m for path in (ROOT / "hooks").glob("*.py") for m in re.findall(r'^    name = "(\w+)"', path.read_text(), re.M)}
    assert {place.seam for place in PLACES} <= names
    copy = tmp_path / "comfy copy"
    for file in {place.file for place in PLACES} | {"comfyui_version.py"}:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(comfyui_path() / file, copy / file)
    shutil.copytree(line.config.parent, copy / "user" / "__modelstream")
    other = CommandLine(copy)
    right = by_check(other("doctor", "--quick", "--json"))
    assert right["ComfyUI", "version"]["status"] == "ok" and len(right["ComfyUI", "seams"]["value"]) == len(PLACES)
    source = copy / "folder_paths.py"
    source.write_text(source.read_text().replace("def get_full_path(folder_name", "def get_full_path(folder"))
    (copy / "comfy" / "sd1_clip.py").write_text("def load_embed(:")
    ended = other("doctor", "--quick", "--json")
    assert ended.code == 1
    wrong = by_check(ended)
    assert wrong["ComfyUI", "seam resolving"]["status"] == "error" and wrong["ComfyUI", "seam embeddings"]["status"] == "warning"


def test_a_comfyui_that_does_not_answer_is_an_error(line):
    ended = line("doctor", "--quick", "--url", "http://127.0.0.1:9", "--json")
    assert ended.code == 1 and by_check(ended)["ComfyUI", "running"]["status"] == "error"
    assert line("doctor", "--quick", "--url", "file:///etc/hosts", "--json").code == 1


def test_where_credentials_come_from_is_said_and_when_they_end(tmp_path, monkeypatch):
    script = tmp_path / "keys.sh"
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    keys = {"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": until}
    script.write_text(f"#!/bin/sh\necho '{json.dumps(keys)}'\n")
    script.chmod(0o700)
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = {script}\nregion = us-east-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    said = CredentialSource(profile_from({"preset": "aws", "aws_profile": "p"}, "x")).described()
    assert "credential_process" in said.source and said.renewed and 3000 < said.expires_s - time.time() < 4000
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert CredentialSource(profile_from({"preset": "aws"}, "x")).described().source == "the environment"
    assert "AKIA" not in repr(said)
