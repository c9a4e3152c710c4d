"""``modelstream init`` on a real server, twice; and its policy documents as identities of that server, right by right."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from modelstream.storage.bucket_policies import ROLES, Area, partition_of, policy, seaweedfs_identities
from modelstream.storage.bucket_setup import ABORT, EXPIRE, OLD, Observed, Wanted, plan
from rig.cli import FLOOR, CommandLine, command_line
from rig.seaweed import Seaweed


@pytest.fixture
def line(seaweed: Seaweed, bucket: str, tmp_path: Path) -> CommandLine:
    return command_line(tmp_path, seaweed.config_toml(bucket=bucket, more=FLOOR))


@pytest.fixture
def names(seaweed: Seaweed) -> Iterator[dict[str, str]]:
    """Names of buckets that are not there yet; they are gone afterwards."""
    made = {role: f"{role}-{uuid.uuid4().hex[:8]}" for role in ("models", "results", "temp")}
    yield made
    s3 = seaweed.client()
    for name in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]} & set(made.values()):
        s3.delete_bucket(Bucket=name)


def words(names: dict[str, str]) -> list[str]:
    return [word for role, name in names.items() for word in (f"--{role}", name)]


def test_a_plan_changes_nothing_and_apply_makes_what_it_said_once(line, seaweed, names):
    s3 = seaweed.client()
    planned = line.process("init", *words(names), "--json")
    assert planned.code == 0, planned.err
    steps = {(step["bucket"], step["action"]) for step in planned.json["steps"]}
    for role, name in names.items():
        assert {(name, "create"), (name, "lifecycle"), (name, "encryption")} <= steps
        assert ((name, "versioning") in steps) == (role != "temp")
    assert not planned.json["applied"] and names["models"] not in {b["Name"] for b in s3.list_buckets()["Buckets"]}

    applied = line.process("init", *words(names), "--apply", "--json")
    assert applied.code == 0 and not applied.json["not_kept"], applied.out + applied.err
    assert {(step["bucket"], step["action"]) for step in applied.json["steps"]} == steps
    assert not any(step["error"] for step in applied.json["steps"])
    assert s3.get_bucket_versioning(Bucket=names["models"])["Status"] == "Enabled"
    rules = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=names["temp"])["Rules"]}
    assert rules[EXPIRE]["Expiration"]["Days"] == 7 and rules[ABORT]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
    secret = s3.get_bucket_encryption(Bucket=names["models"])["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert secret["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"

    again = line.process("init", *words(names), "--apply", "--json")
    assert again.code == 0 and again.json["steps"] == []


def test_differences_are_shown_and_other_peoples_rules_stay(line, seaweed, names):
    only = {"temp": names["temp"]}
    assert line("init", *words(only), "--apply", "--json").code == 0
    s3 = seaweed.client()
    rules = s3.get_bucket_lifecycle_configuration(Bucket=names["temp"])["Rules"]
    rules.append({"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 1}})
    s3.put_bucket_lifecycle_configuration(Bucket=names["temp"], LifecycleConfiguration={"Rules": rules})
    shown = line("init", *words(only), "--temp-days", "3")
    assert "objects expire after 7 d" in shown.out and "objects expire after 3 d" in shown.out and "nothing was changed" in shown.out
    assert line("init", *words(only), "--temp-days", "3", "--apply").code == 0
    kept = {rule["ID"]: rule for rule in s3.get_bucket_lifecycle_configuration(Bucket=names["temp"])["Rules"]}
    assert kept[EXPIRE]["Expiration"]["Days"] == 3 and kept["theirs"]["Expiration"]["Days"] == 1 and ABORT in kept
    fine = line("init", *words(only), "--temp-days", "3")
    assert "everything is as it should be" in fine.out


def test_what_to_write_into_the_configuration_is_printed_until_it_is_there(line, names, bucket):
    shown = line("init", "--models", names["models"])
    assert f'[[origins]]\nbucket = "{names["models"]}"\nprofile = "seaweed"' in shown.out
    assert "[[origins]]" not in line("init", "--models", bucket).out


def test_what_is_wrong_on_the_command_line_is_said(line, names):
    assert line("init").code == 2
    assert line("init", "--models", "a/b").code == 2
    assert "nobody" in line("init", "--models", names["models"], "--profile", "nobody").err
    twice = line("init", "--models", names["models"], "--temp", names["models"])
    assert twice.code == 2 and "twice" in twice.err
    with pytest.raises(SystemExit):
        line("init", "--models", names["models"], "--temp-days", "-1")


def test_an_identity_without_rights_is_told_step_by_step_and_the_exit_code_says_so(tmp_path):
    reader = {"name": "r", "credentials": [{"accessKey": "READER", "secretKey": "reader-secret"}]}
    with Seaweed(identities=[{**reader, "actions": ["Read:models", "List:models"]}]) as server:
        config = server.config_toml().replace(server.access_key, "READER").replace(server.secret_key, "reader-secret")
        line = command_line(tmp_path, config + FLOOR)
        refused = line("init", "--models", "models", "--apply", "--json")
        assert refused.code == 1 and all("denied" in step["error"] for step in refused.json["steps"])


# -- policies ------------------------------------------------------------------------------------------------------------
RIGHTS: dict[str, Callable] = {
    "get": lambda s3: s3.get_object(Bucket="models", Key="m/x"),
    "head": lambda s3: s3.head_object(Bucket="models", Key="m/x"),
    "list": lambda s3: s3.list_objects_v2(Bucket="models", Prefix="m/"),
    "put": lambda s3: s3.put_object(Bucket="models", Key="m/new", Body=b"x"),
    "multipart": lambda s3: _multipart(s3),
    "list uploads": lambda s3: s3.list_multipart_uploads(Bucket="models"),
    "get outside": lambda s3: s3.get_object(Bucket="models", Key="other/x"),
    "list outside": lambda s3: s3.list_objects_v2(Bucket="models", Prefix=""),
    "put outside": lambda s3: s3.put_object(Bucket="models", Key="other/new", Body=b"x"),
    "get elsewhere": lambda s3: s3.get_object(Bucket="secret", Key="m/x"),
    "delete": lambda s3: s3.delete_object(Bucket="models", Key="m/x"),
    "delete many": lambda s3: _deleted_many(s3),
    "set policy": lambda s3: s3.put_bucket_policy(Bucket="models", Policy='{"Version":"2012-10-17","Statement":[]}'),
    "set lifecycle": lambda s3: s3.put_bucket_lifecycle_configuration(Bucket="models", LifecycleConfiguration=LIFECYCLE),
    "set versioning": lambda s3: s3.put_bucket_versioning(Bucket="models", VersioningConfiguration={"Status": "Suspended"}),
    "delete bucket": lambda s3: s3.delete_bucket(Bucket="models"),
}
LIFECYCLE = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
READS = {"get", "head", "list"}
MAY = {"reader": READS, "uploader": READS | {"put", "multipart", "list uploads"}, "restorer": READS}


def _multipart(s3) -> None:
    upload = {"Bucket": "models", "Key": "m/parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    s3.upload_part(PartNumber=1, Body=b"x", **upload)
    s3.list_parts(**upload)
    s3.abort_multipart_upload(**upload)


def _deleted_many(s3) -> None:
    """DeleteObjects answers 200 and says in its body what it refused."""
    answer = s3.delete_objects(Bucket="models", Delete={"Objects": [{"Key": "m/y"}]})
    if answer.get("Errors"):
        raise ClientError({"Error": {"Code": answer["Errors"][0]["Code"], "Message": ""}}, "DeleteObjects")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Seaweed]:
    """A server whose identities have exactly the documents that the command prints."""
    documents = {role: policy(role, [Area("models", "m/")], tls_only=False) for role in ROLES}
    table = seaweedfs_identities(documents)
    for identity in table["identities"]:
        identity["credentials"] = [{"accessKey": identity["name"].upper(), "secretKey": f"{identity['name']}-secret"}]
    with Seaweed(identities=table["identities"], policies=table["policies"]) as server:
        s3 = server.client()
        s3.create_bucket(Bucket="secret")
        for bucket, key in (("models", "m/x"), ("models", "m/y"), ("models", "other/x"), ("secret", "m/x")):
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        yield server


@pytest.mark.parametrize("role", ROLES)
def test_an_identity_may_do_what_its_document_says_and_nothing_else(guarded, role):
    s3 = guarded.client(aws_access_key_id=role.upper(), aws_secret_access_key=f"{role}-secret")
    allowed = set()
    for name, attempt in RIGHTS.items():
        try:
            attempt(s3)
            allowed.add(name)
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("AccessDenied", "403"), (name, error)
    assert allowed == MAY[role]
    assert {o["Key"] for o in guarded.client().list_objects_v2(Bucket="models")["Contents"]} >= {"m/x", "m/y", "other/x"}


def test_doctor_finds_the_rights_of_an_uploader(guarded, tmp_path):
    config = guarded.config_toml().replace(guarded.access_key, "UPLOADER").replace(guarded.secret_key, "uploader-secret")
    line = command_line(tmp_path, config.replace('bucket = "models"', 'bucket = "models"\nprefix = "m/"') + FLOOR)
    found = {f["check"]: f["status"] for f in line("doctor", "--write", "--quick", "--json").json["findings"] if f["part"] == "bucket"}
    assert found["list"] == found["get"] == found["put"] == found["multipart"] == "ok"
    assert found["delete"] == found["set lifecycle"] == "note"


def test_the_documents_are_printed_without_asking_a_server(line, seaweed, names):
    line.config.write_text(line.config.read_text().replace(seaweed.endpoint, "http://127.0.0.1:9"))
    printed = line("init", *words(names), "--prefix", "sd", "--print-policies")
    documents = printed.json
    assert printed.code == 0 and set(documents) == set(ROLES)
    reader = documents["reader"]["Statement"]
    assert reader[0]["Condition"]["StringLike"]["s3:prefix"] == ["sd/", "sd/*"]
    assert reader[1]["Resource"] == f"arn:aws:s3:::{names['models']}/sd/*"
    weed = line("init", *words(names), "--print-policies", "--policy-form", "seaweedfs").json
    assert [identity["policyNames"] for identity in weed["identities"]] == [[f"modelstream-{role}"] for role in ROLES]
    assert json.loads(weed["policies"][0]["content"])["Version"] == "2012-10-17"


def test_no_document_allows_to_delete_or_to_change_the_bucket():
    for role in ROLES:
        document = policy(role, [Area("a"), Area("b", "p/", "arn:aws:kms:r:1:key/k")])
        granted = [s["Action"] for s in document["Statement"] if s["Effect"] == "Allow"]
        allowed = {action for actions in granted for action in ([actions] if isinstance(actions, str) else actions)}
        assert not {a for a in allowed if "Delete" in a or "Policy" in a or "*" in a or a == "s3:ListAllMyBuckets"}
        assert document["Statement"][-1]["Sid"] == "TlsOnly"
        assert ("kms:GenerateDataKey" in allowed) == (role == "uploader") and "kms:Decrypt" in allowed
        assert len({s["Sid"] for s in document["Statement"]}) == len(document["Statement"])
    assert [partition_of(r) for r in ("eu-central-1", "cn-north-1", "us-gov-west-1")] == ["aws", "aws-cn", "aws-us-gov"]


def test_a_plan_is_empty_for_what_is_there_however_the_server_writes_it_down():
    wanted = Wanted("b", "temp", versioning=False, expire_days=7, old_version_days=30)
    written = [{**rule, "Filter": {}, "Prefix": ""} for rule in wanted.rules.values()]
    assert plan(wanted, Observed(True, encryption="aws:kms", rules=tuple(written))) == ()
    off = [{**rule, "Status": "Disabled"} for rule in written]
    assert [step.action for step in plan(wanted, Observed(True, encryption="AES256", rules=tuple(off)))] == ["lifecycle"]
    less = Wanted("b", "temp", versioning=False, expire_days=7)
    (step,) = plan(less, Observed(True, encryption="AES256", rules=tuple(written)))
    assert f"without {OLD}" in step.after and {rule["ID"] for rule in step.detail} == {ABORT, EXPIRE}
    assert [s.action for s in plan(Wanted("b", "models"), Observed(True, rules=tuple(less.rules.values())), "r2")] == ["lifecycle"]


def test_a_provider_with_rules_of_its_own_form_is_told_which_to_set():
    wanted = Wanted("b", "temp", versioning=False, expire_days=7)
    assert [step.action for step in plan(wanted, Observed(True), "gcs")] == []
    assert wanted.words == ("unfinished uploads go after 1 d", "objects expire after 7 d")
