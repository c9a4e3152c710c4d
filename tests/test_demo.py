"""`python dev.py demo`: the promise of the project in one run, and that it notices when the promise is not kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from PIL import Image

from rig import browser as rig_browser
from rig.demo import DemoFailed, check_image, check_streamed, spread_of
from rig.invariants import eventually

ROOT = Path(__file__).resolve().parents[1]
LOAD = {"folder": "checkpoints", "name": "a.safetensors", "source": "bucket", "size_bytes": 100, "wire_bytes": 100, "seconds": 0.5}
WANTED = {"checkpoints/a.safetensors": 100}


def test_a_checkpoint_that_exists_only_in_a_bucket_makes_an_image():
    done = subprocess.run(
        [sys.executable, "-m", "tests.rig.demo", "--size", "tiny", "--tour", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"] is True
    assert spread_of(Path(told["image"])) > 1
    checkpoint = told["source"]["checkpoints/tiny.safetensors"]
    assert checkpoint["source"] == "bucket"
    assert told["bytes_streamed"] >= checkpoint["size_bytes"] > 6_000_000
    assert told["seconds_stream"] > 0
    # the tour: from the bucket, another from the bucket, the first again without a load, one gone and fetched ahead, and that one used
    assert told["tour"] == {"load": ["bucket"], "switch": ["bucket"], "back": [], "evict": [], "prefetch": [], "use": ["ssd"]}


@pytest.mark.skipif(bool(rig_browser.why_not()), reason=rig_browser.why_not() or "-")
def test_the_demo_opens_a_browser_on_a_panel_full_of_life_and_ends_everything_on_ctrl_c(tmp_path):
    opened = tmp_path / "opened"
    temporary = Path(tempfile.mkdtemp(prefix="ms-"))  # short: the bucket's server has sockets in it
    script = tmp_path / "browser"
    script.write_text(f'#!/bin/sh\nprintf %s "$1" > "{opened}.new" && mv "{opened}.new" "{opened}"\n')
    script.chmod(0o755)
    environment = {**os.environ, "BROWSER": f"{script} %s", "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "tests.rig.demo", "--size", "tiny"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True)
    started: list[psutil.Process] = []
    try:
        assert eventually(lambda: opened.exists() or demo.poll() is not None, 300) and demo.poll() is None, log.read_text()
        started = psutil.Process(demo.pid).children(recursive=True)
        assert len(started) >= 2  # a bucket and a ComfyUI
        with rig_browser.chromium() as browser:
            see_the_panel(browser, opened.read_text())
        assert demo.poll() is None
    finally:
        demo.send_signal(signal.SIGINT)
        try:
            assert demo.wait(60) == 130, log.read_text()
        finally:
            demo.terminate()
    assert log.read_text().rstrip().endswith("stopped")
    assert [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert list(temporary.glob("modelstream-*")) == []
    shutil.rmtree(temporary)


def see_the_panel(browser, address: str) -> None:
    """As a person would who has just started it: nothing is clicked."""
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.goto(address)
    panel = page.locator("modelstream-panel")
    panel.wait_for(timeout=60_000)
    panel.locator("[data-health=ok]").wait_for(timeout=60_000)
    assert eventually(lambda: panel.locator("[data-digest]").count() >= 4, 20)
    assert panel.locator("[data-control=pin][aria-pressed=true]").count() == 1
    said = panel.evaluate(rig_browser.TEXT)
    assert re.search(r"Loaded tiny\.safetensors from (RAM|VRAM|the SSD)", said), said
    assert "Pinned tiny.safetensors" in said and "Fetched ahead into the SSD" in said, said
    assert "Evicted tiny.safetensors from the SSD" in said, said
    assert panel.locator("modelstream-alerts li").count() == 0, said
    page.close()


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
