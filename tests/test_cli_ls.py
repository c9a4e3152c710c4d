"""``modelstream ls`` and the patterns that all commands select with, against a real bucket and against a very large one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.lister import BUCKET as LARGE
from bench.lister import lister
from modelstream.cli.select import Selection
from modelstream.storage.config import FolderRule, OriginConfig, profile_from
from rig.cli import FLOOR, CommandLine, command_line
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes

SIZES = {
    "checkpoints/sub/a.safetensors": 3000,
    "checkpoints/b.safetensors": 1000,
    "loras/b.safetensors": 2000,
    "notes.txt": 10,
}
HOSTILE = (
    "loras/<img src=x onerror=alert(1)>.safetensors",
    "loras/line\nbreak.safetensors",
    "loras/\x1b[2J\x1b]0;owned\x07.safetensors",
    "loras/evil\u202egnp.safetensors",
    "loras/\u05e9\u05dc\u05d5\u05dd.safetensors",
    "loras/$(touch x);`id`.safetensors",
)


@pytest.fixture
def line(seaweed: Seaweed, bucket: str, tmp_path: Path) -> CommandLine:
    s3 = seaweed.client()
    for key, size in SIZES.items():
        s3.put_object(Bucket=bucket, Key=key, Body=safetensors_bytes(key, size) if size > 100 else b"x" * size)
    return command_line(tmp_path, seaweed.config_toml(bucket=bucket, more=FLOOR))


def keys(ended) -> list[str]:
    assert ended.code == 0, ended.err
    return [row["key"] for row in ended.json]


def test_everything_is_listed_with_size_class_and_time(line):
    rows = line("ls", "--json").json
    assert [row["key"] for row in rows] == sorted(SIZES)
    assert all(row["storage_class"] == "STANDARD" and row["modified_s"] > 1.6e9 and row["tiers"] == [] for row in rows)
    table = line.process("ls")
    assert table.code == 0 and table.out.splitlines()[0].split() == ["size", "modified", "class", "here", "name"]
    assert "4 objects" in table.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("checkpoints",), ["checkpoints/b.safetensors", "checkpoints/sub/a.safetensors"]),
        (("checkpoints/",), ["checkpoints/b.safetensors", "checkpoints/sub/a.safetensors"]),
        (("b.safetensors",), ["checkpoints/b.safetensors", "loras/b.safetensors"]),
        (("bucket:loras/b.safetensors",), ["loras/b.safetensors"]),
        (("other:loras/b.safetensors",), []),
        (("*.txt", "a.*"), ["checkpoints/sub/a.safetensors", "notes.txt"]),
        (("check*/*",), ["checkpoints/b.safetensors", "checkpoints/sub/a.safetensors"]),
        (("checkpoints/?.safetensors",), ["checkpoints/b.safetensors"]),
        (("--folder", "loras"), ["loras/b.safetensors"]),
        (("b.safetensors", "--folder", "checkpoints"), ["checkpoints/b.safetensors"]),
        (("--sort", "size", "--limit", "2"), ["notes.txt", "checkpoints/b.safetensors"]),
        (("--sort", "size", "--reverse", "--limit", "1"), ["checkpoints/sub/a.safetensors"]),
        (("nothing-like-that",), []),
    ],
)
def test_patterns_folders_and_order(line, words, expected):
    assert keys(line("ls", *words, "--json")) == expected


def test_what_is_on_the_ssd_or_pinned_is_marked(line, tmp_path):
    (tmp_path / "set.json").write_text(json.dumps({"models": [{"folder": "loras", "name": "b.safetensors"}]}))
    assert line("warm", str(tmp_path / "set.json"), "--json").code == 0
    rows = {row["key"]: row for row in line("ls", "--json").json}
    assert rows["loras/b.safetensors"]["tiers"] == ["ssd"] and rows["checkpoints/b.safetensors"]["tiers"] == []
    assert keys(line("ls", "--cached", "--json")) == ["loras/b.safetensors"]


def test_hostile_keys_reach_no_terminal_as_they_are(line, seaweed, bucket):
    s3 = seaweed.client()
    for key in HOSTILE:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    table = line.process("ls", "loras/*")
    assert table.code == 0 and len(table.out.splitlines()) == 1 + len(HOSTILE) + 1
    assert all(c.isprintable() or c in "\n\u2068\u2069" for c in table.out)
    assert "\\x1b[2J" in table.out and "line\\nbreak" in table.out and "evil\\u202egnp" in table.out
    as_json = line.process("ls", "loras/*", "--json")
    assert as_json.out.isascii() and "\x1b" not in as_json.out
    assert set(HOSTILE) <= {row["key"] for row in as_json.json}


def test_an_origin_that_cannot_be_listed_is_said_and_the_others_are_listed(line):
    with line.config.open("a") as file:
        file.write('[[origins]]\nname = "gone"\nbucket = "no-such-bucket"\nprofile = "seaweed"\n')
    ended = line("ls", "--json")
    assert ended.code == 1 and len(ended.json) == len(SIZES) and "gone" in ended.err
    assert line("ls", "--origin", "bucket", "--json").code == 0
    wrong = line("ls", "--origin", "nonsense")
    assert wrong.code == 2 and "configured: bucket, gone" in wrong.err


def test_a_reader_without_write_rights_can_list(tmp_path):
    identity = {"name": "reader", "credentials": [{"accessKey": "READER", "secretKey": "reader-secret"}]}
    with Seaweed(identities=[{**identity, "actions": ["Read:models", "List:models"]}]) as server:
        server.client().put_object(Bucket="models", Key="loras/x.safetensors", Body=b"x")
        config = server.config_toml().replace(server.access_key, "READER").replace(server.secret_key, "reader-secret")
        line = command_line(tmp_path, config + FLOOR)
        assert keys(line("ls", "--json")) == ["loras/x.safetensors"]
        line.config.write_text(config.replace("reader-secret", "wrong"))
        refused = line("ls")
        assert refused.code == 1 and "does not accept the key" in refused.err


def test_a_hundred_thousand_objects_are_listed_and_sorted(tmp_path):
    with lister(100_000) as url:
        line = command_line(
            tmp_path,
            f'[profiles.large]\nendpoint = "{url}"\naccess_key_id = "AKIABENCHBENCHBENCH0"\nsecret_access_key = "nobody"\n'
            f'[[origins]]\nbucket = "{LARGE}"\nprofile = "large"\n{FLOOR}',
        )
        command = [sys.executable, "-m", "modelstream", "ls", "--json", "--comfyui", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            count = sum(1 for row in process.stdout if row.startswith("{"))
        assert process.returncode == 0 and count == 100_000
        assert len(line("ls", "--sort", "size", "--reverse", "--limit", "3", "--json").json) == 3


PROFILE = profile_from({"endpoint": "http://127.0.0.1:1"}, "p")
NAMES = st.text(alphabet="ab/.*", min_size=1, max_size=12)


@given(NAMES, st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["", "p/"]))
def test_whatever_fits_a_pattern_lies_below_one_of_its_prefixes(name, patterns, prefix):
    """The listing is narrowed by these prefixes: nothing may be lost by it, and nothing listed twice."""
    origin = OriginConfig("o", "b", PROFILE, prefix, (), ())
    chosen = Selection(tuple(patterns))
    prefixes = chosen.prefixes(origin)
    below = [p for p in prefixes if (prefix + name).startswith(p)]
    assert len(below) <= 1
    if chosen.test(origin)(prefix + name):
        assert len(below) == 1


def test_a_folder_is_read_by_the_origins_rules():
    rules = (FolderRule("models/xl/loras/", "loras"), FolderRule("models/xl/", "checkpoints"))
    origin = OriginConfig("o", "b", PROFILE, "p/", (), rules)
    fits = Selection(folder="checkpoints").test(origin)
    assert fits("p/models/xl/a") and fits("p/checkpoints/a") and not fits("p/models/xl/loras/a") and not fits("p/loras/a")
    assert Selection(folder="loras").prefixes(origin) == ("p/loras/", "p/models/xl/loras/")
