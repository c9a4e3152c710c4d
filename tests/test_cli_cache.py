"""``modelstream cache …`` on the SSD tier of a ComfyUI, alone and beside a process that uses it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelstream.cache.operations import Pin
from modelstream.cache.pins import Pins
from modelstream.cache.ssd_stack import open_ssd
from modelstream.cache.state_file import StateFile
from modelstream.cli.inputs import duration, size
from modelstream.storage.config import load_config
from modelstream.storage.events import EventBus
from rig.cli import FLOOR, CommandLine, command_line
from rig.seaweed import Seaweed
from rig.tiny_models import safetensors_bytes

SIZES = {"checkpoints/a.safetensors": 300_000, "loras/b.safetensors": 200_000, "vae/c.safetensors": 100_000}


@pytest.fixture
def line(seaweed: Seaweed, bucket: str, tmp_path: Path) -> CommandLine:
    """All three models on the SSD."""
    for key, size_bytes in SIZES.items():
        seaweed.client().put_object(Bucket=bucket, Key=key, Body=safetensors_bytes(key, size_bytes))
    made = command_line(tmp_path, seaweed.config_toml(bucket=bucket, more=FLOOR))
    models = [{"origin": "bucket", "key": key} for key in SIZES]
    (tmp_path / "set.json").write_text(json.dumps({"models": models}))
    assert made("warm", str(tmp_path / "set.json"), "--json").code == 0
    return made


def subjects(line: CommandLine) -> set[str]:
    return {entry["subject"] for entry in line("cache", "ls", "--json").json["entries"]}


def other_process_ssd(line: CommandLine):
    """The tier as a second process has it: an own table, own locks, own leases."""
    config = load_config(line.config)
    ssd = open_ssd(config.ssd, line.ssd, EventBus(), pins=Pins(StateFile(line.config.parent / "pins.json")))
    ssd.start()
    return ssd


def test_what_is_there_is_listed_with_names_and_sizes(line):
    listed = line.process("cache", "ls", "--json").json
    assert {entry["subject"] for entry in listed["entries"]} == {f"bucket:{key}" for key in SIZES}
    assert listed["space"]["entries"] == 3 and listed["space"]["used_bytes"] >= 600_000
    table = line("cache", "ls", "loras")
    assert table.code == 0 and len(table.out.splitlines()) == 2 and "bucket:loras/b.safetensors" in table.out


def test_an_evicted_model_is_gone_and_a_dry_run_takes_nothing(line):
    planned = line("cache", "evict", "loras/*", "--dry-run", "--json").json
    assert planned["freed_bytes"] >= 200_000 and len(subjects(line)) == 3
    ended = line.process("cache", "evict", "loras/*", "--json")
    assert ended.code == 0 and ended.json["objects"][0]["subject"] == "bucket:loras/b.safetensors"
    assert subjects(line) == {"bucket:checkpoints/a.safetensors", "bucket:vae/c.safetensors"}
    assert line("cache", "evict", "--idle", "1d", "--json").json["objects"] == []
    assert line("cache", "evict").code == 2
    unknown = line("cache", "evict", "no-such-model")
    assert unknown.code == 2 and "no-such-model" in unknown.err
    assert line("cache", "evict", "--all", "--json").code == 0 and not subjects(line)


def test_what_another_process_reads_stays_and_goes_when_it_is_done(line):
    ssd = other_process_ssd(line)
    try:
        entry = next(held for held in ssd.held() if held.size_bytes >= 300_000)
        obj = ssd.named(entry.digest)
        with ssd.lease(obj):
            refused = line.process("cache", "evict", "a.safetensors", "--json")
            assert refused.code == 1 and refused.json["objects"][0]["refused"] == "leased"
            shown = line.process("cache", "ls", "--json").json["entries"]
            assert {e["subject"] for e in shown if e["in_use"]} == {"bucket:checkpoints/a.safetensors"}
        assert line.process("cache", "evict", "a.safetensors").code == 0
        assert ssd.lookup(obj) is None
    finally:
        ssd.close()


def test_a_pin_of_the_command_line_holds_in_a_process_that_runs_already(line):
    ssd = other_process_ssd(line)
    try:
        pins = ssd.choice.pins
        assert pins.none
        assert line.process("cache", "pin", "loras").code == 0
        assert pins.all() == (Pin("bucket", "loras/b.safetensors"),)
        digest = next(held.digest for held in ssd.held() if ssd.named(held.digest).id.key.startswith("loras/"))
        assert ssd.let_go(digest) == (0, "pinned")
        pins.add(Pin("bucket", "vae/c.safetensors"))
        refused = line("cache", "evict", "--all", "--json")
        assert refused.code == 1 and {o["subject"]: o["refused"] for o in refused.json["objects"]} == {
            "bucket:checkpoints/a.safetensors": "",
            "bucket:loras/b.safetensors": "pinned",
            "bucket:vae/c.safetensors": "pinned",
        }
        assert line("cache", "unpin", "*", "--json").json["pins"] == []
        assert pins.none
    finally:
        ssd.close()


def test_pins_are_listed_taken_ahead_and_given_back(line, seaweed, bucket):
    seaweed.client().put_object(Bucket=bucket, Key="loras/later.safetensors", Body=b"x")
    assert line("cache", "pin", "later.safetensors", "--json").json["changed"] == [{"origin": "bucket", "key": "loras/later.safetensors"}]
    assert line("cache", "pin", "later.safetensors", "--json").json["changed"] == []
    listed = line("cache", "pin", "--list")
    assert listed.out == "pinned: bucket:loras/later.safetensors\n"
    assert line("cache", "pin", "nowhere").code == 2 and line("cache", "pin").code == 2
    assert line("cache", "unpin", "later.safetensors").out == "no longer pinned: bucket:loras/later.safetensors\n"
    assert line("cache", "unpin", "later.safetensors").code == 2


def test_a_damaged_copy_is_found_and_leaves_the_tier(line):
    assert line.process("cache", "verify", "--json").json["damaged"] == 0
    file = next(path for path in line.ssd.rglob("b.safetensors") if path.is_file())
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    with open(file, "r+b") as opened:
        opened.write(raw)
    ended = line.process("cache", "verify", "--json")
    assert ended.code == 1 and {o["subject"]: o["result"] for o in ended.json["objects"]} == {
        "bucket:checkpoints/a.safetensors": "right",
        "bucket:loras/b.safetensors": "damaged",
        "bucket:vae/c.safetensors": "right",
    }
    assert "bucket:loras/b.safetensors" not in subjects(line)


def test_a_plan_names_who_would_go_and_changes_nothing(line):
    assert line("cache", "plan", "1kB").out.startswith("1 kB fit")
    used = line("cache", "ls", "--json").json["space"]["used_bytes"]
    text = line.config.read_text()
    line.config.write_text(text.replace("free_floor_gb = 0.1", f"free_floor_gb = 0.1\nbudget_gb = {(used + 1000) / (1 << 30)}"))
    plan = line("cache", "plan", "150kB", "--json").json
    assert plan["enough"] and plan["victims"] and plan["freed_bytes"] >= plan["needed_bytes"] > 100_000
    shown = line.process("cache", "plan", "150kB")
    assert shown.code == 0 and "would go" in shown.out
    assert line("cache", "plan", "10GB").code == 1
    assert len(subjects(line)) == 3


def test_a_plan_counts_with_the_budget_that_was_set_while_comfyui_ran(line):
    used = line("cache", "ls", "--json").json["space"]["used_bytes"]
    StateFile(line.config.parent / "budgets.json").write({"ssd": [used + 1000, None]})
    assert line("cache", "plan", "150kB", "--json").json["victims"]
    assert len(subjects(line)) == 3


def test_two_processes_that_pin_lose_none_of_each_others(tmp_path):
    one, other = (Pins(StateFile(tmp_path / "pins.json")) for _ in range(2))
    for number in range(20):
        (one if number % 2 else other).add(Pin("o", str(number)))
    one.remove(Pin("o", "0"))
    assert {pin.key for pin in other.all()} == {str(n) for n in range(1, 20)} == {pin.key for pin in one.all()}


def test_looking_makes_no_directory(seaweed, bucket, tmp_path):
    line = command_line(tmp_path, seaweed.config_toml(bucket=bucket, more=FLOOR))
    assert line("ls", "--json").code == 0
    assert sorted(os.listdir(line.config.parent)) == ["config.toml"]


@pytest.mark.parametrize(
    ("text", "expected"), [("20GB", 20_000_000_000), ("1.5 GiB", 3 << 29), ("300k", 300_000), ("4096", 4096), ("2tib", 2 << 40)]
)
def test_sizes_are_read_as_people_type_them(text, expected):
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 XB", "1i", "nan", "1e9"])
def test_what_is_no_size_or_time_is_refused(text):
    for read in (size, duration):
        with pytest.raises(Exception, match="is no"):
            read(text)
    assert duration("2d") == 172800 and duration("90min") == 5400
