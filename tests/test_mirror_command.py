"""``modelstream mirror`` and ``modelstream compress``, from the command line to the buckets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstream.cli.main import main
from modelstream.storage.frames import SUFFIX
from rig import faults
from rig.near_fleet import FAR_PREFIX, MIB, Fleet, near_fleet
from rig.tiny_models import safetensors_bytes

SMALL, LARGE = safetensors_bytes("small", 5 * MIB), safetensors_bytes("large", 40 * MIB)
NAMES = {"checkpoints/small.safetensors": SMALL, "checkpoints/large.safetensors": LARGE}


@pytest.fixture
def fleet(seaweed: Any, tmp_path: Path) -> Iterator[Fleet]:
    with near_fleet(seaweed, tmp_path) as made:
        for name, body in NAMES.items():
            made.put_far(name.partition("/")[2], body)
        yield made


def run(fleet: Fleet, tmp_path: Path, *words: str, budget_bytes: int | None = None) -> int:
    config = tmp_path / "config.toml"
    config.touch(0o600)
    config.write_text(fleet.toml(budget_bytes=budget_bytes))
    return main([*words, "--config", str(config), "--comfyui", str(tmp_path)])


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_everything_is_copied_once_and_a_second_run_finds_it_there(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, tmp_path, "mirror", "--all", "--dry-run", "--json") == 0
    planned = said(capsys)
    assert planned["copy_bytes"] == len(SMALL) + len(LARGE) and fleet.near_keys() == []
    assert run(fleet, tmp_path, "mirror", "--all", "--json") == 0
    assert sorted(one["outcome"] for one in said(capsys)["objects"]) == ["copied", "copied"]
    for name, body in NAMES.items():
        assert fleet.near_body(name.partition("/")[2]) == body
    before = fleet.far.sent_bytes()
    assert run(fleet, tmp_path, "mirror", "--all", "--json") == 0
    assert [one["state"] for one in said(capsys)["kept"]] == ["there", "there"]
    assert fleet.far.sent_bytes() - before < 64 << 10, "nothing but listings"
    worker = fleet.worker()
    before = fleet.far_bytes("large.safetensors")
    worker.load("large.safetensors", LARGE)
    assert fleet.far_bytes("large.safetensors") == before


def test_a_copy_that_was_stopped_goes_on_where_it_was(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[int] = []

    class Stop(faults.CloseAfter):
        def __call__(self, exchange: Any) -> None:
            sent.append(1)
            if len(sent) >= 3:
                raise_in_main()
            super().__call__(exchange)

    import _thread

    def raise_in_main() -> None:
        _thread.interrupt_main()

    fleet.near.on(Stop(), method="PUT", path="large.safetensors", query="partNumber", times=None)
    assert run(fleet, tmp_path, "mirror", "large.safetensors") == 130
    fleet.near.clear()
    before = fleet.far_bytes("large.safetensors")
    assert run(fleet, tmp_path, "mirror", "large.safetensors", "--json") == 0
    assert fleet.near_body("large.safetensors") == LARGE
    assert fleet.far_bytes("large.safetensors") - before < len(LARGE), "a part that was there was not read again"
    assert fleet.uploads_left() == 0 and fleet.markers() == []


def test_what_is_larger_than_the_budget_is_said_and_left(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(fleet, tmp_path, "mirror", "--all", "--json", budget_bytes=8 * MIB) == 1
    outcomes = {one["subject"].rpartition("/")[2]: one["outcome"] for one in said(capsys)["objects"]}
    assert outcomes == {"small.safetensors": "copied", "large.safetensors": "no_room"}


def test_what_the_owner_put_there_stays(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.put_near("small.safetensors", b"mine")
    assert run(fleet, tmp_path, "mirror", "small.safetensors", "--json") == 0
    assert [one["state"] for one in said(capsys)["kept"]] == ["own"] and fleet.near_body("small.safetensors") == b"mine"


def test_without_a_name_or_a_near_origin_the_command_says_what_is_missing(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, tmp_path, "mirror") == 2
    fleet.has_near = False
    assert run(fleet, tmp_path, "mirror", "--all") == 2
    assert "mirror = true" in capsys.readouterr().err


def test_a_form_is_made_once_and_anew_after_the_object_changed(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fleet.has_near = False
    assert run(fleet, tmp_path, "compress", "--plan", "small.safetensors", "--link-mbit", "100", "--json") == 0
    (row,) = said(capsys)
    assert row["pays"] is False, "these bytes are noise"
    assert run(fleet, tmp_path, "compress", "small.safetensors", "--json") == 0
    assert said(capsys)[0]["outcome"] == "pointless"
    fleet.put_far("small.safetensors", bytes(5 * MIB))
    assert run(fleet, tmp_path, "compress", "small.safetensors", "--json") == 0
    assert said(capsys)[0]["outcome"] == "compressed"
    assert run(fleet, tmp_path, "compress", "small.safetensors", "--json") == 0
    assert said(capsys)[0]["outcome"] == "there"
    before = fleet.direct.head_object(Bucket=fleet.far_bucket, Key=f"{FAR_PREFIX}checkpoints/small.safetensors{SUFFIX}")["ETag"]
    fleet.put_far("small.safetensors", b"\1" * (5 * MIB))
    assert run(fleet, tmp_path, "compress", "small.safetensors", "--json") == 0
    assert said(capsys)[0]["outcome"] == "compressed"
    assert fleet.direct.head_object(Bucket=fleet.far_bucket, Key=f"{FAR_PREFIX}checkpoints/small.safetensors{SUFFIX}")["ETag"] != before
