"""Publishing when things go wrong: on the wire, at the server, with the keys, and with the process itself."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modelstream.storage.errors import (
    AccessDenied,
    CredentialsExpired,
    DeadlineExceeded,
    NameTaken,
    PublishRefused,
    QuotaExceeded,
    SourceChanged,
    Throttled,
)
from modelstream.storage.publish import publish
from modelstream.storage.publish_gc import GcPlan, carry_out, plan_gc
from modelstream.storage.publish_plan import PublishRequest
from modelstream.storage.publish_small import put_bytes
from rig.faults import CutBefore, First, Gate, Status
from rig.invariants import holds_no_secret
from rig.publishing import KEY, MIB, FlippedBody, LostAnswer, PublishRig, publish_rig
from rig.seaweed import Seaweed

HOUR_S = 3600.0


READER, SECOND = ("AKIAREADONLY0001", "readonlysecret00000001"), ("AKIASECONDKEY001", "secondsecret0000000001")


@pytest.fixture(scope="module")
def guarded():
    """A server that knows a reader and a second writer."""

    def identity(name: str, keys: tuple[str, str], *actions: str) -> dict:
        return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": list(actions)}

    reader = identity("ro", READER, "Read:models", "List:models")
    second = identity("second", SECOND, "Admin", "Read", "List", "Tagging", "Write")
    with Seaweed(identities=[reader, second]) as server:
        yield server


@pytest.fixture
def rig(seaweed, bucket, tmp_path):
    with publish_rig(seaweed, bucket, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (CutBefore(reset=True), 1),
        (CutBefore(reset=False), 2),
        (Status(500, "InternalError"), 2),
        (Status(503, "SlowDown"), 3),
        (Status(400, "RequestTimeout"), 1),
        (LostAnswer(), 2),
        (FlippedBody(), 1),
    ],
    ids=lambda value: getattr(value, "code", type(value).__name__),
)
def test_a_part_that_fails_is_sent_again_and_what_arrives_is_right(rig: PublishRig, fault, times):
    path, content = rig.file(14 * MIB)
    rig.proxy.on(fault, method="PUT", skip=1, times=times)
    published = rig.push(path)
    assert published.how == "uploaded" and published.verified == "crc64nvme"
    assert rig.put_requests() == 3 + times and published.retries <= times  # a kept connection that died is replaced without a word
    assert rig.stored() == content
    rig.nothing_is_left()


def test_a_server_that_says_nothing_is_left_for_a_new_connection(rig: PublishRig, monkeypatch):
    monkeypatch.setattr("modelstream.storage.publish_send.ANSWER_TIMEOUT_S", 0.5)
    path, content = rig.file()
    rig.proxy.on(Gate(), method="PUT", times=1)
    assert rig.push(path).retries == 1
    assert rig.stored() == content


def test_an_end_whose_answer_is_lost_is_recognised_as_ours(rig: PublishRig):
    path, content = rig.file()
    rig.proxy.on(LostAnswer(), method="POST", query="uploadId", times=None)
    assert rig.push(path).how == "uploaded"
    assert rig.stored() == content
    rig.nothing_is_left()


def test_killed_between_the_end_and_its_label_the_next_push_writes_the_label(rig: PublishRig, monkeypatch):
    monkeypatch.setattr("modelstream.storage.publish_late.LATE_BYTES_LEAST", 1 * MIB)
    path, content = rig.file()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("modelstream.storage.publish_bucket.Bucket.relabel", killed)
        with pytest.raises(KeyboardInterrupt):
            rig.push(path)
    assert rig.exists() and len(rig.journals()) == 1
    again = rig.push(path)
    assert again.how == "resumed" and again.wire_bytes == 0 and again.labels["sha256"] == again.sha256
    assert rig.stored() == content
    rig.nothing_is_left()


def test_an_upload_that_hashes_late_goes_on_after_an_interruption_and_sees_a_change(rig: PublishRig, monkeypatch):
    monkeypatch.setattr("modelstream.storage.publish_late.LATE_BYTES_LEAST", 1 * MIB)
    path, content = rig.file(14 * MIB)
    stop_after_one_part(rig, path)
    again = rig.push(path)
    assert again.how == "resumed" and again.resumed_bytes == 5 * MIB and rig.stored() == content
    assert again.labels["sha256"] == again.sha256 and again.sha256
    other, _ = rig.file(14 * MIB, "other", name="b.safetensors")
    rig.proxy.on(First(lambda: os.utime(other, (0, 0))), method="PUT", skip=1, times=1)
    rig.fails(SourceChanged, other, "loras/b.safetensors")
    rig.nothing_is_left()


def test_a_server_without_crc64nvme_gets_an_md5_with_each_part(rig: PublishRig):
    path, content = rig.file()
    rig.proxy.on(Status(400, "InvalidRequest"), method="POST", query="uploads", times=1)
    published = rig.push(path)
    assert published.verified == "md5" and rig.stored() == content
    parts = rig.proxy.requests("PUT")
    assert all("content-md5" in r.headers and "x-amz-checksum-crc64nvme" not in r.headers for r in parts)
    rig.proxy.on(FlippedBody(), method="PUT", times=1)
    rig.proxy.on(Status(501, "NotImplemented"), method="POST", query="uploads", times=1)
    assert rig.push(path, "loras/b.safetensors").retries == 1
    assert rig.stored("loras/b.safetensors") == content


def test_throttled_for_ever_it_gives_up_and_the_next_push_goes_on(rig: PublishRig):
    path, content = rig.file(14 * MIB)
    rig.proxy.on(Status(503, "SlowDown"), method="PUT", skip=1, times=None)
    error = rig.fails((Throttled, DeadlineExceeded), path)  # type: ignore[arg-type]
    assert "503" in str(error) and len(rig.pending()) == len(rig.journals()) == 1
    rig.proxy.clear()
    again = rig.push(path)
    assert again.how == "resumed" and again.resumed_bytes == 5 * MIB and again.wire_bytes == len(content) - 5 * MIB
    assert rig.stored() == content
    rig.nothing_is_left()


def test_keys_that_expire_are_read_again_and_the_upload_goes_on(guarded: Seaweed, tmp_path):
    with publish_rig(guarded, "models", tmp_path) as rig:
        path, content = rig.file(14 * MIB)
        old = rig.config.origins[0].profile
        access, secret = SECOND
        rig.rotated_to = dataclasses.replace(old, access_key_id=access, secret_access_key=secret)
        # the first part arrives, then the old keys are refused for good
        rig.proxy.on(Status(403, "ExpiredToken"), method=None, signed_by=old.access_key_id, query="uploadId", skip=1, times=None)
        published = rig.push(path, "checkpoints/rotated.safetensors", settings=rig.with_settings(connections_max=1))
        assert published.how == "uploaded" and published.retries == 1
        assert rig.stored("checkpoints/rotated.safetensors") == content
        parts = rig.proxy.requests("PUT")
        assert old.access_key_id in parts[0].headers["authorization"] and access in parts[-1].headers["authorization"]


def test_keys_that_stay_expired_are_told_and_the_upload_can_go_on_later(rig: PublishRig):
    path, content = rig.file(14 * MIB)
    stop_after_one_part(rig, path)
    assert len(rig.pending()) == 1
    again = rig.push(path)
    assert again.how == "resumed" and again.resumed_bytes == 5 * MIB and rig.stored() == content


def stop_after_one_part(rig: PublishRig, path: Path) -> None:
    """An upload of which the server has one part, and we a journal."""
    rig.proxy.on(Status(403, "ExpiredToken"), method="PUT", skip=1, times=None)
    with pytest.raises(CredentialsExpired):
        rig.push(path, settings=rig.with_settings(connections_max=1))
    rig.proxy.clear()


@pytest.mark.parametrize(
    "answer", [Status(507, "InsufficientStorage"), Status(403, "QuotaExceeded"), Status(400, "XMinioAdminBucketQuotaExceeded")]
)
@pytest.mark.parametrize("where", ["part", "end"])
def test_a_full_bucket_is_told_and_no_part_is_left_in_it(rig: PublishRig, answer: Status, where: str):
    path, _ = rig.file(14 * MIB)
    if where == "part":
        rig.proxy.on(answer, method="PUT", skip=1, times=None)
    else:
        rig.proxy.on(answer, method="POST", query="uploadId", times=None)
    error = rig.fails(QuotaExceeded, path)
    assert "room" in str(error)
    assert not rig.exists()
    rig.nothing_is_left()


def test_keys_that_may_only_read_are_told_so_before_anything_is_sent(guarded: Seaweed, tmp_path, monkeypatch):
    with publish_rig(guarded, "models", tmp_path, keys=READER) as rig:
        path, _ = rig.file()
        error = rig.fails(AccessDenied, path)
        assert "s3:PutObject" in error.next_step and rig.put_requests() == 0
        monkeypatch.setattr("modelstream.storage.publish.ASK_FIRST_BYTES", 1 * MIB)
        rig.seen.clear()
        rig.fails(AccessDenied, path)
        assert rig.seen == [], "a large file is not even hashed"
        rig.nothing_is_left()


def test_an_upload_that_somebody_else_gave_up_is_begun_anew(rig: PublishRig):
    path, content = rig.file(14 * MIB)
    stop_after_one_part(rig, path)
    for row in rig.direct.list_multipart_uploads(Bucket=rig.bucket)["Uploads"]:
        rig.direct.abort_multipart_upload(Bucket=rig.bucket, Key=row["Key"], UploadId=row["UploadId"])
    assert rig.push(path).how == "uploaded" and rig.stored() == content
    rig.nothing_is_left()


def test_an_upload_that_is_given_up_while_it_runs_is_told(rig: PublishRig):
    path, _ = rig.file(14 * MIB)

    def give_up() -> None:
        for row in rig.direct.list_multipart_uploads(Bucket=rig.bucket)["Uploads"]:
            rig.direct.abort_multipart_upload(Bucket=rig.bucket, Key=row["Key"], UploadId=row["UploadId"])

    rig.proxy.on(First(give_up), method="PUT", skip=1, times=1)
    rig.fails(PublishRefused, path)
    rig.nothing_is_left()


def test_a_file_that_changed_since_the_interruption_is_sent_anew_and_the_old_parts_go(rig: PublishRig):
    path, _ = rig.file(14 * MIB)
    stop_after_one_part(rig, path)
    _, content = rig.file(13 * MIB, "another")
    again = rig.push(path)
    assert again.how == "uploaded" and again.resumed_bytes == 0 and rig.stored() == content
    rig.nothing_is_left()


def test_a_part_that_the_server_has_otherwise_than_noted_is_sent_again(rig: PublishRig):
    path, content = rig.file(14 * MIB)
    stop_after_one_part(rig, path)
    upload = rig.direct.list_multipart_uploads(Bucket=rig.bucket)["Uploads"][0]["UploadId"]
    for number in (1, 2):
        rig.direct.upload_part(
            Bucket=rig.bucket, Key=KEY, UploadId=upload, PartNumber=number, Body=bytes(5 * MIB), ChecksumAlgorithm="CRC64NVME"
        )
    # some servers keep both and go by the ETag when the upload is ended
    assert rig.push(path).verified == "crc64nvme" and rig.stored() == content


def test_ctrl_c_leaves_what_the_next_push_goes_on_with(rig: PublishRig):
    path, content = rig.file(14 * MIB)

    def interrupt(what: str, done: int, total: int) -> None:
        if what == "send" and done > 5 * MIB:  # with one connection the first part is there by then
            raise KeyboardInterrupt

    gate = Gate()
    rig.proxy.on(gate, method="PUT", skip=1, times=None)
    with pytest.raises(KeyboardInterrupt):
        publish(rig.origin, PublishRequest(path, KEY), rig.with_settings(connections_max=1), show=interrupt)
    gate.release.set()
    rig.proxy.clear()
    assert len(rig.journals()) == 1
    again = rig.push(path)
    assert again.how == "resumed" and again.resumed_bytes == 5 * MIB and rig.stored() == content
    rig.nothing_is_left()


def test_without_a_state_folder_an_interrupted_push_leaves_nothing_at_all(rig: PublishRig):
    path, _ = rig.file(14 * MIB)
    rig.proxy.on(Status(403, "ExpiredToken"), method="PUT", skip=1, times=None)
    with pytest.raises(CredentialsExpired):
        rig.push(path, settings=rig.with_settings(state=None))
    rig.nothing_is_left()


# -- a few bytes at once -----------------------------------------------------------------------------------------------
def put(rig: PublishRig, key: str, content: bytes) -> str:
    return put_bytes(rig.origin, key, content, content_type="image/png", metadata={"made-by": "test"}, settings=rig.config.transfer)


@pytest.mark.parametrize(
    "fault", [LostAnswer(), CutBefore(), Status(503, "SlowDown"), FlippedBody(), Status(500, "InternalError")], ids=repr
)
def test_a_picture_is_put_once_whatever_happens_to_the_first_try(rig: PublishRig, fault):
    rig.proxy.on(fault, method="PUT", times=1)
    etag = put(rig, "results/a.png", b"picture" * 1000)
    head = rig.direct.head_object(Bucket=rig.bucket, Key="results/a.png")
    assert (head["ETag"].strip('"'), head["ContentType"], head["Metadata"]) == (etag, "image/png", {"made-by": "test"})
    with pytest.raises(NameTaken):
        put(rig, "results/a.png", b"another")
    assert rig.stored("results/a.png") == b"picture" * 1000


def test_a_server_that_refuses_the_checksum_gets_an_md5(rig: PublishRig):
    rig.proxy.on(Status(400, "InvalidArgument"), method="PUT", times=2)
    put(rig, "results/b.png", b"picture")
    assert "content-md5" in rig.proxy.requests("PUT")[-1].headers and rig.stored("results/b.png") == b"picture"


# -- killed ------------------------------------------------------------------------------------------------------------
class Child:
    """``modelstream push`` in a process of its own."""

    def __init__(self, rig: PublishRig, tmp_path: Path) -> None:
        self.rig = rig
        self.base = tmp_path / "comfyui"
        self.state = self.base / "user" / "__modelstream"
        self.state.mkdir(parents=True)
        config = self.state / "config.toml"
        config.touch(0o600)
        config.write_text(rig.toml + "\n[publish]\nconnections_max = 2\npart_size_mb = 5\n")
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "modelstream", *arguments, "--comfyui", str(self.base)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> tuple[int, str]:
        assert self.process is not None
        out, err = self.process.communicate(timeout=60)
        holds_no_secret([out, err], self.rig.secrets)
        return self.process.returncode, out + err

    def run(self, *arguments: str) -> tuple[int, str]:
        self.start(*arguments)
        return self.end()


@pytest.fixture
def child(rig, tmp_path):
    return Child(rig, tmp_path)


@pytest.mark.parametrize(
    ("requests", "answered"),
    [(2, False), (2, True), (3, True), (5, False), (6, False), (6, True)],
    ids=["begin asked", "begun", "part 1", "part 3 asked", "end asked", "ended"],
)
def test_killed_at_any_request_the_next_push_ends_it_and_gc_finds_nothing(rig: PublishRig, child: Child, requests: int, answered: bool):
    """The requests are: HEAD, LIST, the upload's begin, three parts, its end, HEAD."""
    path, content = rig.file(12 * MIB)

    def kill(exchange) -> None:
        if answered:
            exchange.forward()
        child.kill()
        exchange.abort(reset=True)

    rig.proxy.on(kill, method=None, skip=requests, times=1)
    child.start("push", str(path), "--to", f"rig:{KEY}")
    child.process.wait(60)
    rig.proxy.clear()
    assert child.process.returncode == -signal.SIGKILL
    child.process.communicate()
    code, text = child.run("push", str(path), "--to", f"rig:{KEY}", "--json")
    assert code == 0, text
    assert rig.stored() == content
    assert child.run("gc", "--older-than", "0", "--apply", "--others")[0] == 0
    assert rig.pending() == [] and list((child.state / "uploads").glob("*")) == []


@pytest.mark.parametrize("requests", [3, 5])
def test_killed_and_never_pushed_again_gc_leaves_no_part(rig: PublishRig, child: Child, requests: int):
    path, _ = rig.file(12 * MIB)

    def kill(exchange) -> None:
        exchange.forward()
        child.kill()
        exchange.abort(reset=True)

    rig.proxy.on(kill, method=None, skip=requests - 1, times=1)
    child.start("push", str(path), "--to", f"rig:{KEY}")
    child.process.wait(60)
    child.process.communicate()
    rig.proxy.clear()
    assert len(rig.pending()) == 1
    code, text = child.run("gc", "--older-than", "0")
    assert code == 0 and "1 upload and 1 journal would go" in text and len(rig.pending()) == 1
    code, text = child.run("gc", "--apply")
    assert code == 0 and "0 uploads" in text and len(rig.pending()) == 1, "it is younger than a day"
    code, text = child.run("gc", "--older-than", "0", "--apply")
    assert code == 0 and "1 upload and 1 journal removed" in text
    assert rig.pending() == [] and list((child.state / "uploads").glob("*")) == [] and not rig.exists()


def gc_plan(rig: PublishRig, **options) -> GcPlan:
    wanted = {"older_than_s": 0.0, "others": False, "now_s": time.time() + 1.0, **options}
    return plan_gc([rig.origin], rig.state, **wanted)


def test_gc_leaves_alone_what_is_pushed_now_what_is_young_and_what_is_not_ours(rig: PublishRig):
    path, content = rig.file(14 * MIB)
    gate = Gate()
    rig.proxy.on(gate, method="PUT", times=1)
    pushing = threading.Thread(target=lambda: rig.push(path))
    pushing.start()
    assert gate.reached.wait(10)
    somebody = rig.direct.create_multipart_upload(Bucket=rig.bucket, Key="loras/somebody.safetensors")["UploadId"]
    by_key = {upload.key: upload for upload in gc_plan(rig).uploads}
    assert by_key[KEY].why == "busy" and by_key[KEY].ours
    assert by_key["loras/somebody.safetensors"].why == "not ours"
    assert {u.why for u in gc_plan(rig, older_than_s=HOUR_S, others=True).uploads} == {"busy", "young"}
    assert not carry_out(gc_plan(rig), [rig.origin]).removed
    gate.release.set()
    pushing.join(20)
    assert rig.stored() == content
    outcome = carry_out(gc_plan(rig, others=True), [rig.origin])
    assert [u.upload_id for u in outcome.removed] == [somebody] and not outcome.failed
    rig.nothing_is_left()


def test_gc_never_looks_outside_of_the_origins_prefix(seaweed, bucket, tmp_path):
    with publish_rig(seaweed, bucket, tmp_path) as rig:
        rig.origin.prefix = "models/"
        outside = rig.direct.create_multipart_upload(Bucket=bucket, Key="private/x")["UploadId"]
        inside = rig.direct.create_multipart_upload(Bucket=bucket, Key="models/x")["UploadId"]
        assert [u.upload_id for u in gc_plan(rig, others=True).uploads] == [inside]
        carry_out(gc_plan(rig, others=True), [rig.origin])
        assert rig.pending() == ["private/x"]
        rig.direct.abort_multipart_upload(Bucket=bucket, Key="private/x", UploadId=outside)


def test_gc_takes_away_journals_of_nothing(rig: PublishRig):
    uploads = rig.state / "uploads"
    uploads.mkdir(parents=True)
    (uploads / "torn.jsonl").write_bytes(b'{"form":1,"orig')
    os.utime(uploads / "torn.jsonl", (0, 0))
    (uploads / "young.jsonl").write_bytes(b"")
    plan = gc_plan(rig, older_than_s=HOUR_S)
    assert [file.name for file in plan.journals] == ["torn.jsonl"]
    assert carry_out(plan, [rig.origin]).journals == 1 and [f.name for f in uploads.iterdir()] == ["young.jsonl"]
