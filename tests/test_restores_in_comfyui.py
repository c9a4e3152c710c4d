"""An archived checkpoint in the real ComfyUI: the sentence in its dialog, or the wait on the node and then the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from rig.awkward import MINISTACK, AwkwardServer, ministack_server
from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.workflows import load_only, text_to_image

pytestmark = pytest.mark.skipif(not MINISTACK.exists(), reason="MiniStack is not installed in .venv/ministack")
ARCHIVED = ("waited.safetensors", "interrupted.safetensors", "refused.safetensors")


def toml(server: AwkwardServer, restore: str) -> str:
    return (
        f'[profiles.p]\npreset = "aws"\nregion = "us-east-1"\nendpoint = "{server.url}"\nallow_http = true\naddressing = "path"\n'
        f'access_key_id = "{server.access_key}"\nsecret_access_key = "{server.secret_key}"\n'
        f'[[origins]]\nname = "cold"\nbucket = "{server.bucket}"\nprofile = "p"\n[ssd]\nfree_floor_gb = 0.1\n[restore]\n{restore}\n'
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[AwkwardServer]:
    body = models("tiny").path("checkpoints/tiny.safetensors").read_bytes()
    with ministack_server(tmp_path_factory.mktemp("ministack")) as server:
        s3 = server.client()
        for number, name in enumerate(ARCHIVED):  # all different: the same bytes would be fetched once
            changed = body[:-1] + bytes([number])
            s3.put_object(Bucket=server.bucket, Key=f"checkpoints/{name}", Body=changed, StorageClass="GLACIER")
        s3.close()
        yield server


def until(true: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(400):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError("it did not come true")


def events(comfy: ComfyServer) -> list[dict]:
    return comfy.get("/modelstream/events")["events"]


def test_a_load_that_may_wait_shows_it_on_the_node_and_in_the_panel_and_then_makes_the_image(server: AwkwardServer, tmp_path: Path) -> None:
    with ComfyServer(config=toml(server, 'on_load = "wait"\ndays = 1'), base=tmp_path) as comfy:
        until(lambda: comfy.choices("CheckpointLoaderSimple", "ckpt_name"))
        (image,) = comfy.prompt(text_to_image("waited.safetensors")).expect("success").images
        assert len(set(Image.open(image).convert("L").tobytes())) > 50
        assert comfy.listener is not None
        texts = [told.values["text"] for told in comfy.listener.all("progress_text")]
        assert any("being restored from GLACIER" in text and "left at most" in text for text in texts), texts
        until(lambda: "restored" in [event["kind"] for event in events(comfy)])
        kinds = [event["kind"] for event in events(comfy)]
        assert kinds.index("restore") < kinds.index("restored") < kinds.index("load")

        prompt = comfy.submit(load_only("CheckpointLoaderSimple", ckpt_name="interrupted.safetensors"))
        comfy.listener.wait_for(
            lambda told: told.kind == "progress_text" and "interrupted.safetensors · being restored" in told.values["text"]
        )
        (restoring,) = comfy.get("/modelstream/status")["tiers"]["restoring"]
        assert restoring["subject"] == "cold:checkpoints/interrupted.safetensors"
        assert 0 < restoring["left_s"] <= 5 * 3600
        comfy.interrupt()
        assert comfy.wait(prompt, timeout_s=20).state == "interrupted"


def test_a_load_that_may_not_wait_says_in_the_dialog_what_to_do(server: AwkwardServer, tmp_path: Path) -> None:
    with ComfyServer(config=toml(server, 'on_load = "error"'), base=tmp_path) as comfy:
        until(lambda: comfy.choices("CheckpointLoaderSimple", "ckpt_name"))
        run = comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="refused.safetensors")).expect("error")
        said = run.error["exception_message"]
        assert "cold:checkpoints/refused.safetensors: the object is in GLACIER and cannot be read" in said
        assert "it takes up to 5 h" in said
        assert 'on_load = "wait"' in said
        assert comfy.get("/modelstream/status")["failures"][-1]["code"] == "archived"
