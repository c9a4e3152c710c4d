"""`python dev.py demo`: the promise of the project in one run, and that it notices when the promise is not kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from rig.demo import DemoFailed, check_image, check_streamed, spread_of

ROOT = Path(__file__).resolve().parents[1]
LOAD = {"folder": "checkpoints", "name": "a.safetensors", "source": "bucket", "size_bytes": 100, "wire_bytes": 100, "seconds": 0.5}
WANTED = {"checkpoints/a.safetensors": 100}


def test_a_checkpoint_that_exists_only_in_a_bucket_makes_an_image():
    done = subprocess.run(
        [sys.executable, "-m", "tests.rig.demo", "--size", "tiny", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"] is True
    assert spread_of(Path(told["image"])) > 1
    checkpoint = told["source"]["checkpoints/tiny.safetensors"]
    assert checkpoint["source"] == "bucket"
    assert told["bytes_streamed"] >= checkpoint["size_bytes"] > 6_000_000
    assert told["seconds_stream"] > 0


def test_the_demo_is_satisfied_when_all_bytes_came_over_the_wire():
    check_streamed([LOAD], WANTED)
    assert LOAD["wire_bytes"] == WANTED["checkpoints/a.safetensors"]


@pytest.mark.parametrize(
    "loads",
    [[], [{**LOAD, "wire_bytes": 99}], [{**LOAD, "source": "ssd", "wire_bytes": 0}], [{**LOAD, "folder": "loras"}]],
    ids=["never loaded", "one byte short", "from the SSD", "another folder"],
)
def test_the_demo_fails_when_the_object_did_not_stream(loads):
    with pytest.raises(DemoFailed, match=r"checkpoints/a\.safetensors"):
        check_streamed(loads, WANTED)


def test_the_demo_fails_when_the_image_shows_nothing(tmp_path):
    flat = tmp_path / "flat.png"
    Image.new("RGB", (64, 64), (90, 20, 200)).save(flat)
    with pytest.raises(DemoFailed, match="flat colour"):
        check_image(flat)
