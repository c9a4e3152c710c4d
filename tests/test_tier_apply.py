"""A plan carried out on real servers: what is kept, what is left, what a kill in the middle leaves behind."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig as UploadConfig

from modelstream.cache.pins import Pin, Pins
from modelstream.cache.policy_history import HALF_LIVES, Remembered
from modelstream.cache.state_file import StateFile
from modelstream.cache.usage_history import UsageHistory
from modelstream.storage.config import Config
from modelstream.storage.errors import ModelStreamError, ObjectArchived, ObjectChanged
from modelstream.storage.origin import Origin, open_origins
from modelstream.storage.prices import load_prices
from modelstream.storage.restore import state_of
from modelstream.storage.tier_apply import Applier, Journal, summary
from modelstream.storage.tier_copy import Mover
from modelstream.storage.tier_lifecycle import TAG
from modelstream.storage.tier_plan import TierPlan
from modelstream.storage.tier_rules import DAY_S, Place, Rules, Used
from rig.awkward import MINISTACK, ministack_server
from rig.cli import FLOOR, CommandLine, command_line
from rig.faultproxy import FaultProxy
from rig.faults import Gate
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.transfers import MIB, made_up

needs_archive = pytest.mark.skipif(not MINISTACK.exists(), reason="MiniStack is not installed in .venv/ministack")
ROOT = Path(__file__).resolve().parents[1]
KEY = "checkpoints/a b+ü.safetensors"
FAR_S = 400 * DAY_S
"""how far ahead a plan looks back from, so that objects that were just put are old"""


def toml(server: Any, bucket: str, *, url: str | None = None, more: str = "") -> str:
    """AWS's classes and prices, on a server that keeps the class as a label."""
    return (
        f'[profiles.p]\npreset = "aws"\nregion = "us-east-1"\naddressing = "path"\nendpoint = "{url or server.url}"\nallow_http = true\n'
        f'access_key_id = "{server.access_key}"\nsecret_access_key = "{server.secret_key}"\n'
        f'[[origins]]\nname = "o"\nbucket = "{bucket}"\nprofile = "p"\n{FLOOR}{more}'
    )


def origin_of(server: Any, bucket: str, **more: str) -> Origin:
    return open_origins(Config.from_text(toml(server, bucket, **more)))[0]


def planned(origin: Origin, text: str = "[tiering]\nmin_saving = 0\n", *, versioned: bool = False) -> TierPlan:
    """Everything in the bucket, seen from a year ahead, so that all of it is old and idle; sizes are small, so nothing is too little."""
    read = Config.from_text(text)
    place, objects = Place("o", "aws", "", versioned), [obj for page in origin.list_pages() for obj in page]
    now_s = time.time() + FAR_S
    sized = [dataclasses.replace(obj, size_bytes=7_000_000_000) for obj in objects]
    rules = Rules(read.tiering, read.cost, load_prices(), [place], uses=lambda obj: Used(), held=lambda obj: "", now_s=now_s)
    return rules.plan(sized)[0]


def applied(origin: Origin, plan: TierPlan, journal: Path | None = None, **more: Any) -> dict[str, int]:
    held = more.pop("held", lambda move: "")
    return summary(list(Applier({"o": origin}, Journal(journal), held=held, **more).apply(plan)))


def put_parts(s3: Any, bucket: str, key: str, body: bytes, part_mib: int = 5) -> str:
    parts = UploadConfig(multipart_threshold=part_mib * MIB, multipart_chunksize=part_mib * MIB)
    extra = {"Metadata": {"licence": "mit"}, "ContentType": "application/x-model", "ChecksumAlgorithm": "CRC64NVME"}
    s3.upload_fileobj(io.BytesIO(body), bucket, key, Config=parts, ExtraArgs=extra)
    s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": "team", "Value": "a + b"}]})
    return s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')


def facts(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    kept = ("ETag", "ContentLength", "ContentType", "Metadata", "ChecksumCRC64NVME", "StorageClass")
    return {**{name: head.get(name) for name in kept}, "tags": s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}


# -- what a move keeps -------------------------------------------------------------------------------------------------------
def test_everything_but_the_class_stays_in_one_piece_and_in_parts(seaweed: Seaweed, bucket: str):
    s3, origin = seaweed.client(), origin_of(seaweed, bucket)
    small, large = made_up("small", 3000), made_up("large", 11 * MIB + 5)
    s3.put_object(Bucket=bucket, Key=KEY, Body=small, Metadata={"a": "b"}, ContentType="x/y", Tagging="t=1", ChecksumAlgorithm="CRC64NVME")
    put_parts(s3, bucket, "large", large)
    before = {key: facts(s3, bucket, key) for key in (KEY, "large")}
    plan = planned(origin)
    assert {move.to_class for move in plan.moves} == {"GLACIER_IR"}
    assert applied(origin, plan) == {"moved": 2}
    for key, body in ((KEY, small), ("large", large)):
        after = facts(s3, bucket, key)
        assert after.pop("StorageClass") == "GLACIER_IR"
        assert after == {name: value for name, value in before[key].items() if name != "StorageClass"}
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == body


def test_applying_a_plan_again_finds_it_done_with_and_without_the_journal(seaweed: Seaweed, bucket: str, tmp_path: Path):
    s3, origin = seaweed.client(), origin_of(seaweed, bucket)
    for number in range(6):
        s3.put_object(Bucket=bucket, Key=f"loras/{number}", Body=made_up(str(number), 2000))
    plan = planned(origin)
    assert applied(origin, plan, tmp_path / "j.jsonl") == {"moved": 6}
    assert applied(origin, plan, tmp_path / "j.jsonl") == {"already": 6}
    assert applied(origin, plan) == {"already": 6}


def test_what_changed_went_or_is_held_is_left_and_said(seaweed: Seaweed, bucket: str):
    s3, origin = seaweed.client(), origin_of(seaweed, bucket)
    for name in ("changed", "gone", "held", "moved"):
        s3.put_object(Bucket=bucket, Key=name, Body=made_up(name, 2000))
    plan = planned(origin)
    s3.put_object(Bucket=bucket, Key="changed", Body=b"other bytes")
    s3.delete_object(Bucket=bucket, Key="gone")
    found = applied(origin, plan, held=lambda move: "it is pinned" if move.key == "held" else "")
    assert found == {"changed": 1, "failed": 1, "held": 1, "moved": 1}
    assert s3.get_object(Bucket=bucket, Key="changed")["Body"].read() == b"other bytes"
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="held")


def test_an_object_that_is_overwritten_while_it_is_copied_in_parts_keeps_the_new_bytes(seaweed: Seaweed, bucket: str):
    s3 = seaweed.client()
    etag = put_parts(s3, bucket, "large", made_up("old", 11 * MIB))
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        gate = Gate()
        proxy.on(gate, method="POST", path="large", query="uploadId")  # the end of the copy
        mover = Mover(origin_of(seaweed, bucket, url=proxy.url))
        failure: list[Exception] = []

        def move() -> None:
            try:
                mover.move("large", etag, "GLACIER_IR")
            except ObjectChanged as error:
                failure.append(error)

        thread = threading.Thread(target=move)
        thread.start()
        assert gate.reached.wait(20)
        s3.put_object(Bucket=bucket, Key="large", Body=b"new bytes")
        gate.release.set()
        thread.join(20)
    assert failure, "an object was replaced by the older one"
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == b"new bytes"


def test_a_copy_in_parts_that_was_stopped_goes_on_with_the_parts_that_are_missing(seaweed: Seaweed, bucket: str, tmp_path: Path):
    s3, body = seaweed.client(), made_up("stopped", 31 * MIB)
    put_parts(s3, bucket, "large", body)
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        origin = origin_of(seaweed, bucket, url=proxy.url)
        plan, path, copied = planned(origin), tmp_path / "j.jsonl", threading.Event()
        journal = Journal(path)
        applier = Applier({"o": origin}, journal, held=lambda m: "", stopped=copied.is_set, copied=lambda move, count: copied.set())
        assert set(summary(list(applier.apply(plan)))) == {"stopped"}
        (upload,) = s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
        done = len(s3.list_parts(Bucket=bucket, Key="large", UploadId=upload["UploadId"])["Parts"])
        assert 0 < done < 7
        asked = len(proxy.requests("PUT", "large"))
        assert applied(origin, plan, path) == {"moved": 1}
        assert len(proxy.requests("PUT", "large")) - asked == 7 - done
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert facts(s3, bucket, "large")["StorageClass"] == "GLACIER_IR"
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == body


def test_a_key_that_may_only_read_moves_nothing_and_says_so(tmp_path: Path):
    reader = {"accessKey": "AKIAREADER0000000001", "secretKey": "readersecret00000000000000000001"}
    identity = {"name": "ro", "credentials": [reader], "actions": ["Read:models", "List:models"]}
    with Seaweed(identities=[identity]) as server:
        server.client().put_object(Bucket="models", Key="a", Body=b"x" * 2000)
        plan = planned(origin_of(server, "models"))
        server.access_key, server.secret_key = reader["accessKey"], reader["secretKey"]
        origin = origin_of(server, "models")
        (outcome,) = Applier({"o": origin}, Journal(None), held=lambda move: "").apply(plan)
        assert outcome.state == "failed"
        assert "o:a" in outcome.note and "denied" in outcome.note


# -- the command line ----------------------------------------------------------------------------------------------------------
OLD = "[tiering]\nmin_age_days = 0\nmin_idle_days = 0\nmin_saving = 0\n"


@pytest.fixture
def line(seaweed: Seaweed, bucket: str, tmp_path: Path) -> CommandLine:
    """Large objects, as far as a price list can tell: prices of this test are so high that a little of them is worth a move."""
    prices = json.loads((ROOT / "storage" / "prices.json").read_text())
    for row in prices["classes"]:
        row["store_per_gb_month"] *= 1e4
    (tmp_path / "prices.json").write_text(json.dumps(prices))
    s3 = seaweed.client()
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"checkpoints/{number}.safetensors", Body=made_up(str(number), 200_000))
    return command_line(tmp_path, toml(seaweed, bucket, more=OLD + f'[cost]\nprice_file = "{tmp_path / "prices.json"}"\n'))


def classes(seaweed: Seaweed, bucket: str) -> list[str]:
    return [row["StorageClass"] for row in seaweed.client().list_objects_v2(Bucket=bucket)["Contents"]]


def test_plan_then_apply_then_nothing_is_left_to_do(seaweed: Seaweed, bucket: str, line: CommandLine, tmp_path: Path):
    out = tmp_path / "plan.json"
    shown = line("plan", "--out", str(out))
    assert shown.code == 0, shown.err
    assert "5 moves of 5 objects" in shown.out and "GLACIER_IR" in shown.out and "nothing was changed" in shown.out
    dry = line("apply", str(out))
    assert dry.code == 0 and "would move 5 objects" in dry.out
    assert set(classes(seaweed, bucket)) == {"STANDARD"}
    done = line("apply", str(out), "--yes")
    assert done.code == 0, done.err
    assert done.out.startswith("5 objects") and "moved" in done.out
    assert set(classes(seaweed, bucket)) == {"GLACIER_IR"}
    again = line("apply", "--yes", "--json")
    assert again.code == 0
    assert {row["state"] for row in again.json["outcomes"]} == {"already"}
    assert line("plan", "--json").json["plan"]["moves"] == []


def test_copies_in_a_near_origin_are_not_moved_unless_it_is_named(seaweed: Seaweed, bucket: str, line: CommandLine, tmp_path: Path):
    text = toml(seaweed, bucket, more=OLD + f'[cost]\nprice_file = "{tmp_path / "prices.json"}"\n')
    near = f'[[origins]]\nname = "near"\nbucket = "{bucket}"\nprofile = "p"\nprefix = "checkpoints/"\nmirror = true\n'
    both = command_line(tmp_path, text.replace("[[origins]]", near + "[[origins]]", 1))
    assert {row["origin"] for row in both("plan", "--json").json["plan"]["moves"]} == {"o"}
    named = both("plan", "--origin", "near", "--json").json["plan"]["moves"]
    assert {row["origin"] for row in named} == {"near"}


def test_how_often_an_object_was_used_here_is_what_a_plan_goes_by(seaweed: Seaweed, bucket: str, line: CommandLine):
    objects = {obj.id.key: obj for page in origin_of(seaweed, bucket).list_pages() for obj in page}
    busy = objects["checkpoints/3.safetensors"]
    with UsageHistory(line.comfyui / "user" / "__modelstream" / "usage", "ssd") as history:
        history.store([Remembered(busy.id.digest, busy.size_bytes, 1.0, (1.0,) * len(HALF_LIVES), 0, time.time(), 500)])
    reads = {move["key"]: move["reads_per_month"] for move in line("plan", "--json").json["plan"]["moves"]}
    assert 400 < reads.pop(busy.id.key) <= 501
    assert max(reads.values()) < 1


def test_pins_and_leases_are_not_touched_by_plan_or_apply(seaweed: Seaweed, bucket: str, line: CommandLine):
    assert len(line("plan", "--json").json["plan"]["moves"]) == 5
    Pins(StateFile(line.comfyui / "user" / "__modelstream" / "pins.json")).add(Pin("o", "checkpoints/1.safetensors"))
    from modelstream.cache.ssd import SsdTier
    from modelstream.storage.events import EventBus
    from modelstream.storage.objects import Extent, ObjectHead

    obj = next(o for page in origin_of(seaweed, bucket).list_pages() for o in page if o.id.key.endswith("2.safetensors"))
    tier = SsdTier(line.ssd, None, 0, EventBus())
    tier.start()
    partial = tier.begin(obj, ObjectHead(obj.size_bytes, obj.id.version))
    body = made_up("2", 200_000)
    from modelstream.storage.checksum import crc64

    partial.write_behind(memoryview(body), Extent(0, len(body), crc64(memoryview(body))))
    partial.commit(crc64(memoryview(body)))
    lease = tier.lease(obj)
    assert lease is not None
    try:
        done = line("apply", "--yes", "--json")
        assert done.code == 1
        held = {row["subject"]: row["note"] for row in done.json["outcomes"] if row["state"] == "held"}
        assert held == {"o:checkpoints/1.safetensors": "it is pinned", "o:checkpoints/2.safetensors": "it is in use"}
        stays = dict(line("plan", "--json").json["plan"]["stays"])
        assert stays["it is pinned"] == stays["it is in use"] == 1
    finally:
        lease.release()
        tier.close()
    assert sorted(classes(seaweed, bucket)) == ["GLACIER_IR"] * 3 + ["STANDARD"] * 2


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_plan_that_was_ended_in_the_middle_goes_on_where_it_was(seaweed: Seaweed, bucket: str, line: CommandLine, end: signal.Signals):
    s3, body = seaweed.client(), made_up("killed", 26 * MIB)
    put_parts(s3, bucket, "checkpoints/large.safetensors", body)
    with FaultProxy(seaweed.host, seaweed.port) as proxy:
        line.config.write_text(line.config.read_text().replace(seaweed.url, proxy.url))
        assert len(line("plan", "--json").json["plan"]["moves"]) == 6
        gate = Gate()
        proxy.on(gate, method="PUT", path="large.safetensors", skip=2)  # the third part never comes to its end
        words = [sys.executable, "-m", "modelstream", "apply", "--yes", "--comfyui", str(line.comfyui)]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # a test run in the background ignores Ctrl-C, and so would its children
        process = subprocess.Popen(words, cwd=ROOT, env=dict(os.environ), preexec_fn=_hears_ctrl_c, **silent)
        assert gate.reached.wait(60)
        assert eventually(lambda: len([c for c in classes(seaweed, bucket) if c == "GLACIER_IR"]) == 5, within_s=30)
        process.send_signal(end)
        if end is signal.SIGKILL:
            process.wait(10)
        gate.release.set()
        assert process.wait(20) == (130 if end is signal.SIGINT else -end)
        left = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        # at Ctrl-C what is being copied ends with its part, which may be the last one
        assert len(left) == 1 or (end is signal.SIGINT and not left)
        begun = len(proxy.requests("POST", "large.safetensors"))
        done = line("apply", "--yes", "--json")
        assert done.code == 0, done.err
        states = [row["state"] for row in done.json["outcomes"]]
        assert sorted(states) == ["already"] * 5 + ["moved" if left else "already"]
        assert len(proxy.requests("POST", "large.safetensors")) - begun == len(left), "the copy was begun anew"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert s3.get_object(Bucket=bucket, Key="checkpoints/large.safetensors")["Body"].read() == body


def test_cost_shows_the_month_by_origin_class_and_model_and_where_its_prices_are_from(line: CommandLine, tmp_path: Path):
    shown = line("cost", "--top", "2")
    assert shown.code == 0, shown.err
    assert "o STANDARD" in shown.out and "which saves" in shown.out and "prices.json" in shown.out and "2026-05" in shown.out
    made = line("cost", "--json", "--top", "3").json
    assert len(made["models"]) == 3 and made["total"]["month"] > made["total"]["after"] > 0
    assert made["saves"] == pytest.approx(made["total"]["month"] - made["total"]["after"])
    assert all(row["as_of"] and row["source"] for row in made["sources"])
    assert "usage.ai" in line("cost", "--prices").out


def test_a_price_list_with_nonsense_is_refused_by_the_name_of_its_key(line: CommandLine, tmp_path: Path):
    path = tmp_path / "prices.json"
    document = json.loads(path.read_text())
    document["classes"][3]["retrieve_per_gb"] = "cheap"
    path.write_text(json.dumps(document))
    for words in (("cost",), ("plan",)):
        ended = line(*words)
        assert ended.code == 2
        assert "classes[3].retrieve_per_gb" in ended.err


def test_a_plan_that_names_what_is_not_this_origins_or_not_its_providers_is_not_carried_out(seaweed: Seaweed, bucket: str):
    s3 = seaweed.client()
    s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 2000)
    plan = planned(origin_of(seaweed, bucket))
    inside = Origin(dataclasses.replace(origin_of(seaweed, bucket).config, prefix="models/"))
    other = dataclasses.replace(plan, moves=(dataclasses.replace(plan.moves[0], to_class="NEARLINE"),))
    assert applied(inside, plan) == applied(origin_of(seaweed, bucket), other) == {"failed": 1}
    assert "StorageClass" not in s3.head_object(Bucket=bucket, Key="a")


def test_apply_without_a_plan_says_so(line: CommandLine):
    ended = line("apply")
    assert ended.code == 2 and "plan.json" in ended.err


# -- on a server with archive classes ------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[Any]:
    with ministack_server(tmp_path_factory.mktemp("ministack"), restore_s=1.2) as server:
        yield server


@needs_archive
def test_an_archived_object_is_left_until_it_is_restored_and_moved_then(archive):
    s3, origin = archive.client(), origin_of(archive, archive.bucket)
    s3.put_object(Bucket=archive.bucket, Key="cold/a", Body=b"x" * 3000, StorageClass="GLACIER")
    etag = s3.head_object(Bucket=archive.bucket, Key="cold/a")["ETag"].strip('"')
    with pytest.raises(ObjectArchived) as caught:
        Mover(origin).move("cold/a", etag, "STANDARD")
    assert "modelstream restore" in str(caught.value)
    s3.restore_object(Bucket=archive.bucket, Key="cold/a", RestoreRequest={"Days": 1})
    assert eventually(lambda: state_of(s3.head_object(Bucket=archive.bucket, Key="cold/a")).can_be_read, within_s=15)
    assert Mover(origin).move("cold/a", etag, "STANDARD").storage_class == "STANDARD"
    assert s3.get_object(Bucket=archive.bucket, Key="cold/a")["Body"].read() == b"x" * 3000


@needs_archive
def test_a_bucket_that_keeps_versions_is_moved_by_tag_and_rule_and_rules_of_others_stay(archive):
    s3 = archive.client()
    s3.create_bucket(Bucket="versioned")
    s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    theirs = {"ID": "temp", "Status": "Enabled", "Filter": {"Prefix": "temp/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket="versioned", LifecycleConfiguration={"Rules": [theirs]})
    s3.put_object(Bucket="versioned", Key="a", Body=b"x" * 3000, Tagging="team=a")
    origin = origin_of(archive, "versioned")
    plan = planned(origin, versioned=True)
    assert [move.way for move in plan.moves] == ["lifecycle"]
    assert applied(origin, plan) == {"marked": 1}
    assert applied(origin, plan) == {"already": 1}
    tags = {row["Key"]: row["Value"] for row in s3.get_object_tagging(Bucket="versioned", Key="a")["TagSet"]}
    assert tags == {"team": "a", TAG: "GLACIER_IR"}
    ids = [rule["ID"] for rule in s3.get_bucket_lifecycle_configuration(Bucket="versioned")["Rules"]]
    assert ids == ["temp", "modelstream-class-GLACIER_IR"]
    assert len(s3.list_object_versions(Bucket="versioned")["Versions"]) == 1


@needs_archive
def test_a_class_that_the_server_does_not_know_is_told_from_a_move(archive):
    s3, origin = archive.client(), origin_of(archive, archive.bucket)
    etag = s3.put_object(Bucket=archive.bucket, Key="b", Body=b"y" * 3000)["ETag"].strip('"')
    with pytest.raises(ModelStreamError) as caught:
        Mover(origin).move("b", etag, "NEARLINE")
    assert "o:b" in str(caught.value)
