"""Listing and signing against a real server; errors as tables."""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest

from modelstream.storage import signing
from modelstream.storage.config import Config, load_config
from modelstream.storage.errors import (
    AccessDenied,
    BadAnswer,
    ClockSkewed,
    ConfigError,
    CredentialsExpired,
    ObjectArchived,
    ObjectMissing,
    OriginUnreachable,
    Throttled,
    UntrustedServer,
)
from modelstream.storage.objects import SignedRequest
from modelstream.storage.origin import USER_AGENT, Origin, error_from_answer, error_from_exception, open_origins
from rig.seaweed import Seaweed

WEIRD_KEYS = (
    "plain.safetensors",
    "with space.safetensors",
    "plus+and%25percent%.safetensors",
    "a=b&c=d?e#f.safetensors",
    "semi;colon,comma'quote\"double.safetensors",
    "tilde~under_dash-dot..dots.safetensors",
    "ünïcödé/日本語/模型.safetensors",
    "rtl/שלום.safetensors",
    "emoji/🦆👩‍🎤.safetensors",
    "nfc/\u00e9.safetensors",
    "nfd/e\u0301.safetensors",
    "Case/Twin.safetensors",
    "case/twin.safetensors",
    "line\nbreak.safetensors",
    "tab\there.safetensors",
    "<img src=x onerror=alert(1)>.safetensors",
    "$(rm)`x`|;*[]{}^.safetensors",
    "colon:at@sign!.safetensors",
    "deep/a/b/c/d/e/f/g.safetensors",
    "long/" + "x" * 200 + ".safetensors",
)


def origin_of(server: Seaweed, bucket: str, *, origin: str = "", profile: str = "", access: str = "", secret: str = "") -> Origin:
    config = Config.from_text(
        f"""
[profiles.main]
endpoint = "{server.endpoint}"
access_key_id = "{access or server.access_key}"
secret_access_key = "{secret or server.secret_key}"
max_attempts = 1
{profile}
[[origins]]
name = "near"
bucket = "{bucket}"
profile = "main"
{origin}
"""
    )
    return Origin(config.origins[0])


def send(signed: SignedRequest, method: str = "GET", **extra: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    """What any plain HTTP client does with a signed request."""
    connection = http.client.HTTPConnection(signed.host, signed.port, timeout=10)
    try:
        connection.request(method, signed.target, headers={**signed.headers, **{k.replace("_", "-"): v for k, v in extra.items()}})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def listed(origin: Origin) -> list[str]:
    return [obj.id.key for page in origin.list_pages() for obj in page]


# -- listing ---------------------------------------------------------------------------------------------------------


def test_three_thousand_keys_come_in_pages_complete_and_in_order(seaweed, bucket):
    client = seaweed.client()
    keys = [f"loras/set {i // 500}/{i:05d}+x.safetensors" for i in range(3001)]
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    pages = list(origin_of(seaweed, bucket).list_pages())
    assert len(pages) >= 4
    assert [obj.id.key for page in pages for obj in page] == keys
    one = pages[0][0]
    assert (one.origin, one.id.endpoint, one.id.bucket, one.size_bytes) == ("near", seaweed.endpoint, bucket, 1)
    assert '"' not in one.id.version and one.modified_s > 1.6e9 and one.storage_class == "STANDARD"


def test_weird_keys_are_listed_exactly_and_read_through_both_kinds_of_signature(seaweed, bucket):
    client = seaweed.client()
    for key in WEIRD_KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    presigning = origin_of(seaweed, bucket)
    each_request = origin_of(seaweed, bucket, profile='signing = "each_request"')
    assert sorted(listed(presigning)) == sorted(WEIRD_KEYS)
    for key in WEIRD_KEYS:
        assert send(presigning.sign("GET", key))[:2] == (200, key.encode()), key
        assert send(each_request.sign("GET", key))[:2] == (200, key.encode()), key
        status, _, headers = send(presigning.sign("HEAD", key), "HEAD")
        assert (status, headers["Content-Length"]) == (200, str(len(key.encode()))), key


def test_directory_markers_are_no_objects_and_the_prefix_is_a_directory(seaweed, bucket):
    client = seaweed.client()
    for key, body in {"in/": b"", "in/sub/": b"", "in/a.safetensors": b"1", "inside/b.safetensors": b"1", "c.safetensors": b"1"}.items():
        client.put_object(Bucket=bucket, Key=key, Body=body)
    assert listed(origin_of(seaweed, bucket, origin='prefix = "in"')) == ["in/a.safetensors"]


def test_an_empty_bucket_is_one_empty_page(seaweed, bucket):
    assert list(origin_of(seaweed, bucket).list_pages()) == [()]


class StubbedClient:
    """Answers as a broken server would; listing loops cannot be had from a real one."""

    def __init__(self, *answers: dict) -> None:
        self.answers = list(answers)
        self.asked = 0

    def list_objects_v2(self, **_: object) -> dict:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def entry(key: str) -> dict:
    return {"Key": key, "Size": 1, "ETag": '"e"', "LastModified": datetime(2024, 1, 1, tzinfo=timezone.utc)}


@pytest.mark.parametrize(
    "answers",
    [
        ({"Name": "b", "IsTruncated": True, "NextContinuationToken": "t", "Contents": [entry("a")]},),
        ({"Name": "b", "IsTruncated": True, "Contents": [entry("a")]},),
        tuple({"Name": "b", "IsTruncated": True, "NextContinuationToken": f"t{i}"} for i in range(500)),
        ({"ResponseMetadata": {"HTTPStatusCode": 200}},),
    ],
    ids=["token repeated", "token missing", "empty pages for ever", "not a listing"],
)
def test_a_listing_that_cannot_end_is_a_bad_answer(answers):
    origin = Origin(Config.from_text('[profiles.m]\nendpoint = "http://127.0.0.1:1"\n[[origins]]\nbucket = "models"').origins[0])
    origin._client = stub = StubbedClient(*answers)
    with pytest.raises(BadAnswer):
        list(origin.list_pages())
    assert stub.asked <= 102


def test_a_page_of_three_thousand_entries_and_entries_without_etag_are_accepted():
    origin = Origin(Config.from_text('[profiles.m]\nendpoint = "http://127.0.0.1:1"\n[[origins]]\nbucket = "models"').origins[0])
    bare = {"Key": "z", "Size": 7, "LastModified": datetime(2024, 1, 1, tzinfo=timezone.utc)}
    origin._client = StubbedClient({"Name": "b", "IsTruncated": False, "Contents": [*(entry(f"k{i}") for i in range(3000)), bare]})
    (page,) = origin.list_pages()
    assert len(page) == 3001 and page[-1].id.version == "none-7-1704067200"


# -- signing ---------------------------------------------------------------------------------------------------------


def test_one_presigned_get_serves_every_range_and_pins_the_version(seaweed, bucket):
    etag = seaweed.client().put_object(Bucket=bucket, Key="a.bin", Body=b"0123456789")["ETag"]
    signed = origin_of(seaweed, bucket).sign("GET", "a.bin")
    assert send(signed, Range="bytes=2-4", If_Match=etag)[:2] == (206, b"234")
    assert send(signed, Range="bytes=5-9", If_Match=etag)[:2] == (206, b"56789")
    assert send(signed, Range="bytes=5-9", If_Match='"00000000000000000000000000000000"')[0] == 412


def test_signing_each_request_puts_the_range_under_the_signature(seaweed, bucket):
    seaweed.client().put_object(Bucket=bucket, Key="a.bin", Body=b"0123456789")
    origin = origin_of(seaweed, bucket, profile='signing = "each_request"')
    signed = origin.sign("GET", "a.bin", headers={"Range": "bytes=2-4"})
    assert origin.signs_each_request and "range" in signed.headers["Authorization"] and "X-Amz-Signature" not in signed.target
    assert send(signed)[:2] == (206, b"234")
    assert send(signed, Range="bytes=2-5")[0] == 403


def test_head_asks_for_the_checksum_and_gets_it(seaweed, bucket):
    seaweed.client().put_object(Bucket=bucket, Key="a.bin", Body=b"0123456789", ChecksumAlgorithm="CRC64NVME")
    status, _, headers = send(origin_of(seaweed, bucket).sign("HEAD", "a.bin"), "HEAD")
    assert status == 200 and headers["x-amz-checksum-crc64nvme"]


def test_a_version_id_is_part_of_the_signature(seaweed, bucket):
    client = seaweed.client()
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = client.put_object(Bucket=bucket, Key="a b.bin", Body=b"first")["VersionId"]
    second = client.put_object(Bucket=bucket, Key="a b.bin", Body=b"second")["VersionId"]
    origin = origin_of(seaweed, bucket)
    assert send(origin.sign("GET", "a b.bin", version_id=first))[1] == b"first"
    assert send(origin.sign("HEAD", "a b.bin", version_id=first), "HEAD")[2]["Content-Length"] == "5"
    for version in (first, second):
        client.delete_object(Bucket=bucket, Key="a b.bin", VersionId=version)


def test_a_presigned_url_dies_after_its_hour(seaweed, bucket, monkeypatch):
    seaweed.client().put_object(Bucket=bucket, Key="a.bin", Body=b"x")
    auth, _ = signing._signers()
    origin = origin_of(seaweed, bucket)
    then = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(seconds=signing.PRESIGN_S + 5)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_, **__: then)
    assert send(origin.sign("GET", "a.bin"))[0] == 403


def test_expiry_is_told_on_the_callers_clock_and_session_keys_die_sooner(seaweed):
    config = origin_of(seaweed, "models").config
    signed = Origin(config, clock=lambda: 1000.0).sign("GET", "k")
    assert 1000 + 3000 < signed.expires_s < 1000 + signing.PRESIGN_S
    token = origin_of(seaweed, "models", profile='session_token = "t0ken"').config
    signed = Origin(token, clock=lambda: 1000.0).sign("GET", "k")
    assert signed.expires_s <= 1000 + 600 and "X-Amz-Security-Token=t0ken" in signed.target


def test_an_anonymous_profile_signs_nothing():
    config = Config.from_text('[profiles.m]\nendpoint="https://s3.example.com"\nsigning="anonymous"\n[[origins]]\nbucket="models"')
    signed = Origin(config.origins[0]).sign("GET", "a b")
    assert (signed.target, dict(signed.headers), signed.expires_s) == ("/models/a%20b", {}, float("inf"))


@pytest.mark.parametrize(
    ("profile", "bucket", "host", "target"),
    [
        ('region = "eu-west-1"', "models", "models.s3.eu-west-1.amazonaws.com", "/k"),
        ('region = "eu-west-1"', "my.models", "s3.eu-west-1.amazonaws.com", "/my.models/k"),
        ('region = "cn-north-1"', "models", "models.s3.cn-north-1.amazonaws.com.cn", "/k"),
        ('endpoint = "https://h.example/s3/"', "models", "h.example", "/s3/models/k"),
        ('endpoint = "https://h.example:9000"\naddressing = "virtual"', "models", "models.h.example", "/k"),
        ('preset = "b2"\nregion = "us-west-004"', "models", "s3.us-west-004.backblazeb2.com", "/models/k"),
    ],
)
def test_each_addressing_style_has_its_host_and_path(profile, bucket, host, target):
    keys = 'access_key_id = "a"\nsecret_access_key = "b"'
    config = Config.from_text(f'[profiles.m]\n{profile}\n{keys}\n[[origins]]\nbucket = "{bucket}"')
    signed = Origin(config.origins[0]).sign("GET", "k")
    assert signed.tls and (signed.host, urlsplit(signed.target).path) == (host, target)


@pytest.mark.parametrize("key", ["a//b", "/abs", "../up", "a/../b", "./x", "nul\0", "日本 +%"])
def test_the_path_is_the_one_that_boto3_would_sign(seaweed, key):
    """Also for keys that no server here stores."""
    theirs = seaweed.client().generate_presigned_url("get_object", Params={"Bucket": "models", "Key": key})
    assert urlsplit(origin_of(seaweed, "models").sign("GET", key).target).path == urlsplit(theirs).path


@pytest.fixture(scope="module")
def guarded():
    """A server of its own: identities with fewer rights, and virtual-host style."""
    keys = {"accessKey": "AKIALIMITED00000001", "secretKey": "limited-secret-0000000000001"}
    limited = {"name": "no-list", "credentials": [keys], "actions": ["Read:models"]}
    with Seaweed(identities=[limited], extra=("-s3.domainName=localhost",)) as server:
        server.client().put_object(Bucket="models", Key="a b.bin", Body=b"body")
        yield server, keys


def test_without_list_permission_objects_can_be_read_but_not_listed(guarded):
    server, keys = guarded
    origin = origin_of(server, "models", access=keys["accessKey"], secret=keys["secretKey"])
    with pytest.raises(AccessDenied, match=r"near: access is denied.*403 AccessDenied.*s3:ListBucket"):
        listed(origin)
    assert send(origin.sign("GET", "a b.bin"))[:2] == (200, b"body")


def test_virtual_host_style_works_for_reading_and_listing(guarded, monkeypatch):
    server, _ = guarded
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more))
    text = (
        f'[profiles.m]\nendpoint = "http://localhost:{server.port}"\naddressing = "virtual"\n'
        f'access_key_id = "{server.access_key}"\nsecret_access_key = "{server.secret_key}"\n[[origins]]\nbucket = "models"'
    )
    origin = Origin(Config.from_text(text).origins[0])
    signed = origin.sign("GET", "a b.bin")
    assert signed.host == "models.localhost" and signed.target.startswith("/a%20b.bin?")
    assert send(signed)[:2] == (200, b"body")
    assert listed(origin) == ["a b.bin"]


# -- refusals --------------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_denied_with_the_key_as_the_thing_to_check(seaweed):
    origin = origin_of(seaweed, "models", secret="wrong-secret-canary")
    with pytest.raises(AccessDenied, match=r"does not accept the key.*SignatureDoesNotMatch.*secret_access_key") as caught:
        listed(origin)
    assert "canary" not in str(caught.value) and caught.value.__cause__ is None
    assert send(origin.sign("GET", "k"))[0] == 403


def test_a_bucket_that_does_not_exist_is_a_configuration_error(seaweed):
    with pytest.raises(ConfigError, match="near: the bucket does not exist"):
        listed(origin_of(seaweed, "no-such-bucket-here"))


def test_a_refused_connection_names_the_origin_and_no_address():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: refused for as long as we hold it
        port = unused.getsockname()[1]
        keys = 'access_key_id = "a"\nsecret_access_key = "b"\nmax_attempts = 1'
        config = Config.from_text(f'[profiles.m]\nendpoint = "http://127.0.0.1:{port}"\n{keys}\n[[origins]]\nbucket = "models"')
        with pytest.raises(OriginUnreachable, match=r"models: the server cannot be reached. connection refused") as caught:
            listed(Origin(config.origins[0]))
    assert str(port) not in str(caught.value)


def test_a_plain_server_behind_an_https_endpoint_is_explained(seaweed):
    keys = 'access_key_id = "a"\nsecret_access_key = "b"\nmax_attempts = 1'
    config = Config.from_text(f'[profiles.m]\nendpoint = "https://127.0.0.1:{seaweed.port}"\n{keys}\n[[origins]]\nbucket = "models"')
    with pytest.raises(UntrustedServer, match="does not speak TLS"):
        listed(Origin(config.origins[0]))


def test_aws_endpoint_url_in_the_environment_sends_the_keys_nowhere(monkeypatch):
    with socket.socket() as canary:
        canary.bind(("127.0.0.1", 0))
        canary.listen()
        canary.settimeout(0)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{canary.getsockname()[1]}")
        keys = 'region = "eu-west-1"\naccess_key_id = "a"\nsecret_access_key = "b"'
        origin = Origin(Config.from_text(f'[profiles.m]\n{keys}\n[[origins]]\nbucket = "models"').origins[0])
        assert origin._s3().meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
        assert origin.sign("GET", "k").host == "models.s3.eu-west-1.amazonaws.com"
        with pytest.raises(BlockingIOError):
            canary.accept()


def test_the_client_says_who_it_is_and_keeps_to_the_profile(seaweed):
    config = origin_of(seaweed, "models", profile="connect_timeout_s = 1.5\nread_timeout_s = 2.5")._s3().meta.config
    assert config.user_agent.split(" ")[0] == USER_AGENT and (config.connect_timeout, config.read_timeout) == (1.5, 2.5)
    assert (config.request_checksum_calculation, config.response_checksum_validation) == ("when_required", "when_required")


# -- credentials -----------------------------------------------------------------------------------------------------


def test_keys_that_were_rotated_in_the_file_are_picked_up(seaweed, tmp_path):
    path = tmp_path / "config.toml"

    def write(secret: str) -> None:
        keys = f'endpoint = "{seaweed.endpoint}"\naccess_key_id = "{seaweed.access_key}"\nsecret_access_key = "{secret}"\nmax_attempts = 1'
        path.write_text(f'[profiles.m]\n{keys}\n[[origins]]\nbucket = "models"')
        path.chmod(0o600)

    write("old")
    now_s = [0.0]
    (origin,) = open_origins(load_config(path))
    origin._credentials._clock = lambda: now_s[0]
    with pytest.raises(AccessDenied):
        listed(origin)
    assert not origin.refresh_credentials()
    write(seaweed.secret_key)
    assert origin.refresh_credentials()
    assert isinstance(listed(origin), list)
    assert origin.refresh_credentials(), "another transfer that was refused at the same time goes on too"
    now_s[0] = 100.0
    assert not origin.refresh_credentials()


def test_the_environment_is_read_again_for_a_profile_without_keys(seaweed, monkeypatch, tmp_path):
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweed.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stale")
    config = Config.from_text(f'[profiles.m]\nendpoint = "{seaweed.endpoint}"\nmax_attempts = 1\n[[origins]]\nbucket = "models"')
    origin = Origin(config.origins[0])
    with pytest.raises(AccessDenied):
        listed(origin)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweed.secret_key)
    assert origin.refresh_credentials()
    assert isinstance(listed(origin), list)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigError, match="profile m has no credentials"):
        Origin(config.origins[0]).sign("GET", "k")


def test_an_aws_profile_that_does_not_exist_is_named_as_the_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    text = '[profiles.m]\nendpoint = "https://s3.example.com"\naws_profile = "nobody"\n[[origins]]\nbucket = "models"'
    with pytest.raises(ConfigError, match="the AWS profile does not exist"):
        Origin(Config.from_text(text).origins[0]).sign("GET", "k")


def test_no_secret_is_in_a_repr_or_a_log_even_at_debug(seaweed, caplog):
    caplog.set_level(logging.DEBUG)
    origin = origin_of(seaweed, "models", secret="canary-secret", profile='session_token = "canary-token"')
    origin.sign("GET", "k")
    origin.sign("HEAD", "k")
    with pytest.raises(AccessDenied) as caught:
        listed(origin)
    shown = "\n".join(
        [caplog.text, repr(origin), repr(origin.profile), repr(origin.config), repr(origin._credentials.keys()), str(caught.value)]
    )
    for canary in ("canary-secret", "canary-token", "Signature=", "X-Amz-Credential"):
        assert canary not in shown


# -- TLS -------------------------------------------------------------------------------------------------------------


def test_the_tls_context_verifies_and_refuses_old_versions(tmp_path):
    def origin(extra: str, scheme: str = "https") -> Origin:
        text = f'[profiles.m]\nendpoint = "{scheme}://localhost"\n{extra}\n[[origins]]\nbucket = "models"'
        return Origin(Config.from_text(text).origins[0])

    context = origin("").tls_context()
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname and context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert origin("", "http").tls_context() is None
    unverified = origin("verify_tls = false").tls_context()
    assert unverified.verify_mode == ssl.CERT_NONE and unverified.minimum_version >= ssl.TLSVersion.TLSv1_2
    with pytest.raises(ConfigError, match="ca_bundle cannot be read"):
        origin(f'ca_bundle = "{tmp_path / "absent.pem"}"').tls_context()


# -- the table of answers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "headers", "kind", "says"),
    [
        (403, "AccessDenied", {"x-amz-request-id": "R1"}, AccessDenied, "403 AccessDenied, request id R1"),
        (403, "SignatureDoesNotMatch", {}, AccessDenied, "secret_access_key"),
        (403, "InvalidAccessKeyId", {}, AccessDenied, "access_key_id"),
        (403, "", {}, AccessDenied, "no proxy or portal"),
        (403, "ExpiredToken", {}, CredentialsExpired, "have expired"),
        (400, "ExpiredToken", {}, CredentialsExpired, "have expired"),
        (404, "NoSuchKey", {}, ObjectMissing, "does not exist"),
        (404, "", {}, ObjectMissing, "does not exist"),
        (404, "NoSuchKey", {"x-amz-delete-marker": "true"}, ObjectMissing, "delete marker"),
        (405, "MethodNotAllowed", {"x-amz-delete-marker": "true"}, ObjectMissing, "delete marker"),
        (404, "NoSuchBucket", {}, ConfigError, "bucket does not exist"),
        (403, "InvalidObjectState", {"X-Amz-Storage-Class": "DEEP_ARCHIVE"}, ObjectArchived, "DEEP_ARCHIVE"),
        (403, "InvalidObjectState", {"x-amz-restore": 'ongoing-request="true"'}, ObjectArchived, "being restored"),
        (503, "SlowDown", {}, Throttled, "S3 throttling"),
        (503, "", {}, Throttled, "S3 throttling"),
        (429, "", {}, Throttled, "S3 throttling"),
        (301, "PermanentRedirect", {"x-amz-bucket-region": "eu-west-1"}, ConfigError, 'region = "eu-west-1"'),
        (307, "", {}, BadAnswer, "not followed"),
        (302, "", {"location": "http://evil.example/"}, BadAnswer, "not followed"),
        (400, "AuthorizationHeaderMalformed", {"x-amz-bucket-region": "eu-west-1"}, ConfigError, "another region"),
        (500, "InternalError", {}, OriginUnreachable, "the server failed"),
        (502, "", {}, OriginUnreachable, "the server failed"),
        (504, "", {}, OriginUnreachable, "the server failed"),
        (200, "", {}, BadAnswer, "does not fit"),
        (416, "InvalidRange", {}, BadAnswer, "416 InvalidRange"),
    ],
)
def test_every_answer_has_its_error(status, code, headers, kind, says):
    error = error_from_answer(status, code, "message with a secret", headers, "near:a/b.safetensors")
    assert type(error) is kind and says in str(error) and str(error).startswith("near:a/b.safetensors: ")
    assert "secret" not in str(error).replace("secret_access_key", "") and "evil.example" not in str(error) and error.next_step


def test_a_clock_that_is_wrong_is_told_with_both_times_and_the_offset():
    headers = {"Date": "Mon, 01 Jan 2024 12:00:00 GMT"}
    error = error_from_answer(403, "RequestTimeTooSkewed", "", headers, "near:k", now=lambda: 1704111600.0)
    assert isinstance(error, ClockSkewed)
    assert "local time 2024-01-01 12:20:00 UTC, server time 2024-01-01 12:00:00 UTC, this machine is 1200 s ahead" in str(error)
    assert isinstance(error_from_answer(403, "RequestTimeTooSkewed", "", {}, "near:k"), ClockSkewed)


def _wrapped(inner: BaseException) -> BaseException:
    from botocore.exceptions import EndpointConnectionError

    try:
        try:
            raise inner
        except BaseException as cause:
            raise EndpointConnectionError(endpoint_url="https://user:canary@host/", error=cause) from cause
    except EndpointConnectionError as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (socket.gaierror(-2, "Name or service not known"), OriginUnreachable, "cannot be resolved"),
        (ConnectionRefusedError(111, "refused"), OriginUnreachable, "connection refused"),
        (ConnectionResetError(104, "reset"), OriginUnreachable, "connection failed"),
        (TimeoutError(), OriginUnreachable, "did not answer in time"),
        (http.client.RemoteDisconnected("x"), OriginUnreachable, "connection failed"),
        (http.client.IncompleteRead(b""), OriginUnreachable, "connection failed"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), UntrustedServer, "does not speak TLS"),
        (ValueError("https://user:canary@host/"), BadAnswer, "unforeseen"),
    ],
)
@pytest.mark.parametrize("wrap", [False, True], ids=["bare", "as botocore wraps it"])
def test_every_exception_has_its_error_and_no_url(error, kind, says, wrap):
    if wrap and kind is BadAnswer:
        kind, says = OriginUnreachable, "connection failed"
    found = error_from_exception(_wrapped(error) if wrap else error, "near:k")
    assert type(found) is kind and says in str(found) and "canary" not in str(found) and "host" not in str(found)


def test_errors_of_the_family_pass_through_unchanged():
    error = ObjectMissing("gone", subject="near:k")
    assert error_from_exception(error, "other") is error
