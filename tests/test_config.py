"""The configuration file: what it may say, and how a mistake in it is answered."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelstream.storage import environment
from modelstream.storage.config import Config, FolderRule, TransferConfig, load_config
from modelstream.storage.config_endpoint import checked_endpoint, is_loopback
from modelstream.storage.errors import ConfigError
from modelstream.storage.presets import PRESETS, aws_host

FIVE_LINES = """
[profiles.main]
endpoint = "https://s3.example.com"
[[origins]]
bucket = "models"
profile = "main"
"""


def test_five_lines_are_enough():
    config = Config.from_text(FIVE_LINES)
    (origin,) = config.origins
    assert (origin.name, origin.bucket, origin.prefix, origin.profile.endpoint) == ("models", "models", "", "https://s3.example.com")
    assert config.enabled and origin.profile.addressing == "path" and origin.profile.region == "us-east-1"
    assert origin.profile.response_checksums == origin.profile.request_checksums == "when_required"


def test_everything_that_is_documented_can_be_written():
    config = Config.from_text(
        """
enabled = false
[profiles.near]
preset = "minio"
endpoint = "https://minio.lan:9000/"
access_key_id = "id"
secret_access_key = "secret"
session_token = "token"
region = "lan-1"
addressing = "virtual"
ca_bundle = "/etc/ssl/lan.pem"
verify_tls = false
connect_timeout_s = 1
read_timeout_s = 2.5
max_attempts = 7
request_checksums = "when_supported"
response_checksums = "when_supported"
signing = "each_request"
[profiles.far]
preset = "aws"
region = "eu-west-1"
aws_profile = "team"
[[origins]]
name = "near"
bucket = "models"
prefix = "comfy"
profile = "near"
allow_pickles = ["upscale_models", "/"]
folders = { "sd/" = "checkpoints", "sd/special" = "unet_gguf" }
[[origins]]
bucket = "big.models"
profile = "far"
[ram]
budget_gb = 1.5
[ssd]
directory = "/var/cache/models"
budget_gb = 100
free_floor_gb = 5
[transfer]
connections_max = 16
part_size_mb = 32
rate_limit_mbit = 800
deadline_s = 0
no_progress_s = 30
low_speed_kib_s = 128
low_speed_s = 5
stall_s = 5
retries = 3
[catalog]
refresh_s = 0
max_objects = 1000
[log]
level = "debug"
format = "json"
file = "/var/log/models.log"
rotate_mb = 1
keep = 2
"""
    )
    near, far = config.origins
    assert not config.enabled and config.origin("near") is near and config.profile("near") is near.profile
    assert (near.prefix, near.profile.endpoint, near.profile.ca_bundle) == ("comfy/", "https://minio.lan:9000", Path("/etc/ssl/lan.pem"))
    assert near.folders == (FolderRule("sd/special/", "unet_gguf"), FolderRule("sd/", "checkpoints")), "the closest rule first"
    assert (far.profile.addressing, far.profile.response_checksums) == ("path", "when_supported"), "dots break TLS in virtual-host style"
    assert (config.ram.budget_bytes, config.ssd.free_floor_bytes, config.ssd.budget_bytes) == (3 << 29, 5 << 30, 100 << 30)
    transfer = config.transfer
    assert (transfer.part_size_bytes, transfer.rate_limit_bytes_per_s, transfer.low_speed_bytes_per_s) == (32 << 20, 1e8, 131072)


def test_every_value_is_frozen():
    config = Config.from_text(FIVE_LINES)
    for value in (config, config.origins[0], config.origins[0].profile, config.transfer, config.ram, config.ssd, config.catalog):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[transfer]\nretrys = 1", "unknown key, transfer.retrys. What to do: did you mean retries?"),
        ("[profiles.main]\nendpont = 'https://x'", "unknown key, profiles.main.endpont. What to do: did you mean endpoint?"),
        ("[[origins]]\nbuckt = 'models'", r"unknown key, origins\[0\].buckt. What to do: did you mean bucket?"),
        ("[transfers]\nretries = 1", "unknown key, transfers. What to do: did you mean transfer?"),
        ("zzz = 1", "unknown key, zzz. What to do: known here: access, alerts, boot"),
        ("enabled = 1", "enabled must be true or false, not a whole number"),
        ("[transfer]\nretries = true", "transfer.retries must be a whole number, not true or false"),
        ("[transfer]\nretries = 1.5", "transfer.retries must be a whole number, not a number"),
        ("[transfer]\nretries = 1000", "transfer.retries must be between 0 and 100"),
        ("[transfer]\ndeadline_s = nan", "transfer.deadline_s must be between"),
        ("[ram]\nbudget_gb = '8'", "ram.budget_gb must be a number, not a text"),
        ("transfer = 3", "transfer must be a table, not a whole number"),
        ("origins = {}", "origins must be a list, not a table"),
        ("[log]\nformat = 'jsn'", "log.format has a value that is not known. What to do: did you mean json?"),
        ("[log]\nfile = 'relative.log'", "log.file must be an absolute path"),
        ("[profiles.m]\npreset = 'weed'\nendpoint = 'https://x'", "profiles.m.preset has a value that is not known"),
        ("[profiles.m]\naccess_key_id = 'a'", "profiles.m.secret_access_key is missing"),
        ("[profiles.m]\nsecret_access_key = 'a'", "profiles.m.access_key_id is missing"),
        ("[profiles.m]\nsession_token = 'a'", "profiles.m.session_token needs access_key_id"),
        ("[profiles.m]\naccess_key_id='a'\nsecret_access_key='b'\naws_profile='c'", "both aws_profile and keys"),
        ("[profiles.m]\naws_profile='c'\nsigning='anonymous'", "has keys and signing"),
        ("[profiles.m]\npreset = 'r2'", "profiles.m.endpoint is missing.*ACCOUNT.r2.cloudflarestorage.com"),
        ("[profiles.m]\npreset = 'b2'", "profiles.m.region is missing.*us-west-004"),
        ("[profiles.'a b']\nendpoint = 'https://x'", "a profile's name is letters"),
        ("[[origins]]\nbucket = 'a/b'", r"origins\[0\].bucket is not a bucket name.*use prefix"),
        ("[[origins]]\nbucket = 'models'\nprofile = 'x'", 'names the profile "x", which does not exist. What to do: known profiles: none'),
        ("[profiles.a]\n[profiles.b]\n[[origins]]\nbucket = 'models'", "does not say which profile. What to do: known profiles: a, b"),
        ("[[origins]]\nbucket = 'models'\n[[origins]]\nbucket = 'models'", "two origins are called models"),
        ("[[origins]]\nname = 'x'", r"origins\[0\].bucket is missing"),
        ("[[origins]]\nbucket = 'models'\nprefix = '../up'", r"origins\[0\].prefix must be a directory inside the bucket"),
        ("[[origins]]\nbucket = 'models'\nfolders = {'a' = 1}", r"origins\[0\].folders.\"a\" must be a text, not a whole number"),
        ("x = [1", "the configuration is not valid TOML"),
    ],
)
def test_a_mistake_is_answered_by_the_name_of_the_key(text, says):
    with pytest.raises(ConfigError, match=says):
        Config.from_text(text)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://user:canary@host",
        "https://user@host",
        "https://host/#canary",
        "https://host/?canary=1",
        "ftp://canary",
        "canary",
        "https://",
        "https://host:99999",
        "https://ca\tnary host",
        "http://169.254.169.254",
        "https://169.254.1.1",
        "https://[fe80::1]",
        "https://[fd00:ec2::254]",
        "https://[::ffff:169.254.169.254]",
        "https://2852039166",
        "https://0xa9fea9fe",
        "https://169.254.43518",
        "https://100.100.100.200",
        "https://metadata.google.internal",
        "https://METADATA.google.internal.",
        "https://0.0.0.0",
    ],
)
def test_an_endpoint_that_cannot_be_right_is_refused_and_not_repeated(endpoint):
    with pytest.raises(ConfigError) as caught:
        checked_endpoint(endpoint, "profiles.m.endpoint", allow_http=True)
    assert "profiles.m.endpoint" in str(caught.value) and "canary" not in str(caught.value)


def test_plain_http_is_for_this_machine_or_on_request():
    for endpoint in ("http://127.0.0.1:8333", "http://localhost", "http://[::1]:9000", "http://s3.localhost"):
        assert checked_endpoint(endpoint, "e", allow_http=False) == endpoint
    with pytest.raises(ConfigError, match="allow_http = true"):
        checked_endpoint("http://nas.lan", "e", allow_http=False)
    assert checked_endpoint("http://nas.lan", "e", allow_http=True) == "http://nas.lan"
    assert not is_loopback("localhost.evil.example") and is_loopback("127.8.8.8")


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("HTTPS://S3.Example.COM:443/", "https://s3.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("https://h:8443/storage/v1/s3/", "https://h:8443/storage/v1/s3"),
        ("https://[2001:DB8::1]:9000", "https://[2001:db8::1]:9000"),
    ],
)
def test_an_endpoint_has_one_normal_form(written, normal):
    assert checked_endpoint(written, "e", allow_http=False) == normal == checked_endpoint(normal, "e", allow_http=False)


@given(st.text(max_size=60))
def test_no_text_at_all_makes_anything_but_a_config_error(text):
    try:
        endpoint = checked_endpoint(text, "e", allow_http=True)
    except ConfigError:
        return
    assert endpoint == checked_endpoint(endpoint, "e", allow_http=True)


def _write(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


SECRET = '[profiles.m]\nendpoint = "https://x.example"\naccess_key_id = "a"\nsecret_access_key = "canary"\n'


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_file_with_secrets_that_others_can_read_is_refused(tmp_path, mode):
    path = _write(tmp_path / "config.toml", SECRET, mode)
    with pytest.raises(ConfigError, match=r"chmod 600 config.toml") as caught:
        load_config(path)
    assert "canary" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    path.chmod(0o600)
    assert load_config(path).profiles[0].secret_access_key == "canary"


def test_a_file_without_secrets_may_be_public_and_an_absent_one_is_empty(tmp_path):
    assert load_config(_write(tmp_path / "c.toml", FIVE_LINES, 0o644)).origins
    empty = load_config(tmp_path / "absent.toml")
    assert empty.origins == () and empty.path == tmp_path / "absent.toml"
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bad.toml")


def test_no_repr_shows_a_secret():
    assert "canary" not in repr(Config.from_text(SECRET))


def test_pickles_are_allowed_by_prefix_below_the_origins_prefix():
    text = FIVE_LINES + 'prefix = "comfy"\nallow_pickles = ["upscale_models"]\n'
    (origin,) = Config.from_text(text).origins
    assert origin.allows_pickle("comfy/upscale_models/x.pth")
    for key in ("comfy/checkpoints/x.ckpt", "upscale_models/x.pth", "comfy/upscale_models_2/x.pth"):
        assert not origin.allows_pickle(key)
    assert not Config.from_text(FIVE_LINES).origins[0].allows_pickle("x.pth")


def test_the_listing_fingerprint_follows_bucket_and_principal_and_nothing_else():
    same = Config.from_text(FIVE_LINES + "[transfer]\nretries = 2")
    assert same.listing_fingerprint() == Config.from_text(FIVE_LINES).listing_fingerprint()
    others = [
        FIVE_LINES.replace('"models"', '"other"'),
        FIVE_LINES + 'prefix = "p"',
        FIVE_LINES.replace("s3.example", "s4.example"),
        FIVE_LINES.replace("[[origins]]", 'access_key_id = "a"\nsecret_access_key = "b"\n[[origins]]'),
    ]
    assert len({Config.from_text(text).listing_fingerprint() for text in [*others, FIVE_LINES]}) == len(others) + 1


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_needs_no_more_than_endpoint_and_region(name):
    text = f'[profiles.m]\npreset = "{name}"\nregion = "eu-west-1"\n'
    if not PRESETS[name].endpoint and name != "aws":
        text += 'endpoint = "https://s3.example.com"\n'
    profile = Config.from_text(text).profiles[0]
    assert profile.addressing in ("path", "virtual") and profile.region == "eu-west-1" and "{" not in profile.endpoint
    assert (profile.response_checksums == "when_supported") == (name == "aws") == profile.is_aws


def test_every_key_and_every_preset_is_documented():
    docs = Path(__file__).parents[1] / "docs"
    keys, providers = (docs / "configuration.md").read_text(), (docs / "providers.md").read_text()
    config = Config.from_text(FIVE_LINES)
    sections = [getattr(config, field.name) for field in dataclasses.fields(config)]
    for section in (config.origins[0].profile, *(s for s in sections if dataclasses.is_dataclass(s))):
        for field in dataclasses.fields(section):
            if "reader" in field.metadata:
                assert f"`{field.name}`" in keys, field.name
    for name in PRESETS:
        assert f'preset = "{name}"' in providers, name


def test_the_documented_blocks_are_valid_configurations():
    docs = Path(__file__).parents[1] / "docs"
    blocks = [b.split("```")[0] for f in ("configuration.md", "providers.md") for b in (docs / f).read_text().split("```toml\n")[1:]]
    assert len(blocks) >= 9
    for block in blocks:
        assert Config.from_text(block).origins, block


def test_regional_hosts_of_aws():
    assert aws_host("eu-west-1") == "s3.eu-west-1.amazonaws.com" and aws_host("cn-north-1") == "s3.cn-north-1.amazonaws.com.cn"


def test_the_environment_can_move_the_file_and_name_a_proxy():
    assert environment.config_path(Path("/a"), {"MODELSTREAM_CONFIG": "/b"}) == Path("/b")
    assert environment.config_path(Path("/a"), {"MODELSTREAM_CONFIG": " "}) == Path("/a")
    env = {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://cgi", "no_proxy": "localhost, .lan,10.0.0.1"}
    assert environment.proxy_for("s3.example.com", tls=True, environ=env) == "http://p:1"
    assert environment.proxy_for("s3.example.com", tls=False, environ=env) == ""
    for host in ("localhost", "nas.lan", "10.0.0.1"):
        assert environment.proxy_for(host, tls=True, environ=env) == ""
    assert environment.proxy_for("s3.example.com", tls=True, environ={**env, "NO_PROXY": "*", "no_proxy": ""}) == ""


def test_the_transfer_defaults_are_those_of_the_documentation():
    d = TransferConfig()
    assert (d.connections_max, d.part_size_mb, d.rate_limit_mbit) == (0, 0, 0.0)
    assert (d.low_speed_kib_s, d.low_speed_s, d.stall_s) == (256.0, 10.0, 10.0)


def test_several_ssd_directories_are_read_in_order_and_take_what_they_do_not_say_from_the_section():
    config = Config.from_text(
        """
[ssd]
free_floor_gb = 2
shared = ["/mnt/models-cache"]
[[ssd.directories]]
path = "/nvme"
budget_gb = 200
[[ssd.directories]]
path = "/hdd"
free_floor_gb = 50
"""
    )
    fast, slow = config.ssd.all_directories(Path("/default"))
    assert (fast.path, fast.budget_bytes, fast.free_floor_bytes) == (Path("/nvme"), 200 << 30, 2 << 30)
    assert (slow.path, slow.budget_bytes, slow.free_floor_bytes) == (Path("/hdd"), None, 50 << 30)
    assert config.ssd.shared == (Path("/mnt/models-cache"),)
    (alone,) = Config.from_text("[ssd]\nbudget_gb = 1").ssd.all_directories(Path("/default"))
    assert (alone.path, alone.budget_bytes) == (Path("/default"), 1 << 30)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[ssd]\ndirectory = "/a"\n[[ssd.directories]]\npath = "/b"', "both directory and directories"),
        ('[[ssd.directories]]\npath = "/a"\n[[ssd.directories]]\npath = "/a"', "twice"),
        ('[ssd]\ndirectory = "/a"\nshared = ["/a"]', "twice"),
        ("[[ssd.directories]]\nbudget_gb = 1", r"ssd.directories\[0\].path is missing"),
        ('[[ssd.directories]]\npath = "/a"\nbudget = 1', r"ssd.directories\[0\].budget"),
        ('[ssd]\nshared = ["models"]', r"ssd.shared\[0\] must be an absolute path"),
    ],
)
def test_ssd_directories_that_contradict_each_other_are_refused(toml, said):
    with pytest.raises(ConfigError, match=said):
        Config.from_text(toml)
