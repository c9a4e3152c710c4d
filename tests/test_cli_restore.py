"""``modelstream restore`` against a server with archive classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rig.awkward import MINISTACK, AwkwardServer, ministack_server
from rig.cli import FLOOR, CommandLine, command_line
from rig.seaweed import Seaweed

pytestmark = pytest.mark.skipif(not MINISTACK.exists(), reason="MiniStack is not installed in .venv/ministack")
CLASSES = {
    "checkpoints/deep.safetensors": "DEEP_ARCHIVE",
    "checkpoints/far.safetensors": "GLACIER",
    "checkpoints/near.safetensors": "STANDARD",
    "loras/odd [1].safetensors": "GLACIER",
}


def toml(server: AwkwardServer, bucket: str) -> str:
    return (
        f'[profiles.p]\npreset = "aws"\nregion = "us-east-1"\nendpoint = "{server.url}"\nallow_http = true\naddressing = "path"\n'
        f'access_key_id = "{server.access_key}"\nsecret_access_key = "{server.secret_key}"\n'
        f'[[origins]]\nname = "cold"\nbucket = "{bucket}"\nprofile = "p"\n{FLOOR}'
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[AwkwardServer]:
    with ministack_server(tmp_path_factory.mktemp("ministack"), restore_s=1.2) as server:
        yield server


@pytest.fixture
def line(server: AwkwardServer, tmp_path: Path) -> CommandLine:
    bucket = f"b-{tmp_path.name[-20:].strip('_-').lower().replace('_', '-')}"
    s3 = server.client()
    s3.create_bucket(Bucket=bucket)
    for key, storage_class in CLASSES.items():
        s3.put_object(Bucket=bucket, Key=key, Body=b"x" * 4000, StorageClass=storage_class)
    s3.close()
    return command_line(tmp_path, toml(server, bucket))


def states(ended) -> dict[str, str]:
    return {row["key"]: row["state"] for row in ended.json}


def test_names_are_asked_back_with_cost_and_time_and_can_be_read_when_it_has_waited(line):
    asked = line("restore", "deep.safetensors", "loras", "--json", "--tier", "Bulk")
    assert asked.code == 0, asked.err
    rows = {row["key"]: row for row in asked.json}
    assert {key: row["state"] for key, row in rows.items()} == {
        "checkpoints/deep.safetensors": "ongoing",
        "loras/odd [1].safetensors": "ongoing",
    }
    assert rows["checkpoints/deep.safetensors"]["expected_s"] == 172_800
    assert rows["checkpoints/deep.safetensors"]["cost"] > 0
    again = line("restore", "deep.safetensors", "loras", "--json", "--wait", "--timeout", "30")
    assert again.code == 0, again.err
    assert set(states(again).values()) == {"restored"}
    assert not any(row["asked_now"] for row in again.json)
    assert all(row["until_s"] > row["asked_s"] for row in again.json)


def test_status_without_names_shows_what_was_asked_back_from_here(line):
    assert line("restore", "--status", "--json").json == []
    line("restore", "loras", "--json")
    shown = line("restore", "--status")
    assert shown.code == 0
    assert "being restored" in shown.out and "cold:loras/odd [1].safetensors" in shown.out
    assert states(line("restore", "checkpoints", "--status", "--json")) == {
        "checkpoints/deep.safetensors": "archived",
        "checkpoints/far.safetensors": "archived",
        "checkpoints/near.safetensors": "readable",
    }


def test_a_list_names_them_too_and_a_dry_run_asks_nothing_back(line, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("# models\ncheckpoints/far.safetensors\n\nnear.safetensors\n")
    dry = line("restore", "--list", str(listed), "--dry-run")
    assert dry.code == 0, dry.err
    assert "1 object would be asked back" in dry.err
    warm_set = tmp_path / "set.toml"
    warm_set.write_text(
        '[[models]]\nfolder = "checkpoints"\nname = "far.safetensors"\n[[models]]\norigin = "cold"\nkey = "loras/odd [1].safetensors"\n'
    )
    assert states(line("restore", "--list", str(warm_set), "--status", "--json")) == {
        "checkpoints/far.safetensors": "archived",
        "loras/odd [1].safetensors": "archived",
    }


def test_what_costs_more_than_allowed_is_left_out_and_said(line):
    ended = line("restore", "checkpoints", "--max-cost", "0", "--json")
    assert ended.code == 1
    assert {row["key"] for row in ended.json if row["error"]} == {"checkpoints/deep.safetensors", "checkpoints/far.safetensors"}
    assert "--max-cost" in ended.err or "max_cost" in ended.err


def test_a_tier_that_the_class_does_not_have_is_refused_in_words(line):
    ended = line("restore", "deep.safetensors", "--tier", "Expedited", "--json")
    assert ended.code == 1
    assert "DEEP_ARCHIVE" in ended.err


@pytest.mark.parametrize(
    ("words", "said"), [((), "no object is named"), (("nowhere",), "no object fits"), (("--list", "nofile.txt"), "nofile.txt")]
)
def test_a_command_that_names_nothing_says_so(line, words, said):
    ended = line("restore", *words)
    assert ended.code == 2
    assert said in ended.err


def test_where_there_is_no_archive_everything_can_be_read(seaweed: Seaweed, bucket: str, tmp_path: Path):
    seaweed.client().put_object(Bucket=bucket, Key="checkpoints/a.safetensors", Body=b"x")
    ended = command_line(tmp_path, seaweed.config_toml(bucket=bucket, more=FLOOR))("restore", "checkpoints", "--wait", "--json")
    assert ended.code == 0
    assert states(ended) == {"checkpoints/a.safetensors": "readable"}
