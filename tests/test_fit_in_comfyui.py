"""The estimate in the real ComfyUI: node, route and command line, for models that are only in a bucket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from modelstream.cli.main import main
from rig.checkpoints import comfyui_path, models
from rig.comfy import ComfyServer
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import node

INSIDE = Path(__file__).parent / "inside_comfy"
TINY = "checkpoints/tiny.safetensors"


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed) -> Iterator[ComfyServer]:
    s3 = seaweed.client()
    s3.create_bucket(Bucket="fit")
    models("tiny").upload(s3, "fit")
    with ComfyServer(config=seaweed.config_toml(bucket="fit", more="[ssd]\nfree_floor_gb = 0.1\n")) as server:
        assert eventually(lambda: all(origin["listed_s"] for origin in server.get("/modelstream/status")["origins"]), within_s=60)
        yield server


def asked(server: ComfyServer, **query: Any) -> Any:
    return server.get(f"/modelstream/estimate?{urlencode(query)}")


def test_estimates_hold_over_comfyuis_own_modules() -> None:
    environment = {
        **os.environ,
        "COMFYUI_PATH": str(comfyui_path()),
        "TINY_CHECKPOINT": str(models("tiny").path(TINY)),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", f"--confcutdir={INSIDE}"]
    command.append(str(INSIDE / "fit.py"))
    done = subprocess.run(command, env=environment, cwd=INSIDE.parent.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_the_node_says_what_a_bucket_model_takes_before_a_byte_of_its_weights_moves(comfy: ComfyServer) -> None:
    graph = {"1": node("ModelStreamMemoryEstimate", model=TINY, width=256, height=256, frames=1, batch=1)}
    run = comfy.prompt(graph).expect()
    text = str(run.outputs["1"]["text"][0])
    assert "SD3" in text and "diffusion model" in text and "VAE" in text and "fits whole on cpu" in text
    assert comfy.get("/modelstream/status")["totals"]["bytes_streamed"] == 0


def test_the_route_answers_by_digest_and_by_name_alike(comfy: ComfyServer) -> None:
    row = next(one for one in comfy.get("/modelstream/models")["rows"] if f"{one['folder']}/{one['name']}" == TINY)
    by_digest = asked(comfy, digest=row["digest"], width=256, height=256)
    by_name = asked(comfy, folder="checkpoints", name="tiny.safetensors", width=256, height=256)
    assert by_digest["estimate"] == by_name["estimate"]
    found = by_name["estimate"]
    assert found["architecture"] == "SD3" and found["latent"] == [1, 16, 32, 32] and found["peak_bytes"] > found["loaded_bytes"] > 0
    assert by_name["verdict"]["kind"] == "whole" and by_name["devices"][0]["device"] == "cpu"
    lora = asked(comfy, folder="loras", name="tiny.safetensors")
    assert lora["estimate"]["architecture"] is None and lora["verdict"]["kind"] == "unknown" and lora["verdict"]["reason"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"folder": "checkpoints", "name": "gone.safetensors"}, 404),
        ({"folder": "checkpoints", "name": "../../config.toml"}, 404),
        ({"folder": "custom_nodes", "name": "a.safetensors"}, 404),
        ({"digest": "0" * 64}, 404),
        ({"digest": "../x"}, 404),
        ({"folder": "checkpoints", "name": "tiny.safetensors", "width": "0"}, 400),
        ({"folder": "checkpoints", "name": "tiny.safetensors", "width": "1e9"}, 400),
    ],
)
def test_what_names_no_model_or_no_size_is_refused(comfy: ComfyServer, query: dict[str, str], status: int) -> None:
    assert comfy.request("GET", f"/modelstream/estimate?{urlencode(query)}").status == status


def test_the_command_line_asks_the_running_comfyui(comfy: ComfyServer, capsys: pytest.CaptureFixture[str]) -> None:
    server = ["--server", comfy.url, "--width", "256", "--height", "256"]
    assert main(["fit", TINY, *server]) == 0
    assert "fits whole on cpu" in capsys.readouterr().out
    assert main(["fit", TINY, "loras/tiny.safetensors", *server, "--json"]) == 1
    answers = json.loads(capsys.readouterr().out)
    assert [answer["verdict"]["kind"] for answer in answers] == ["whole", "unknown"]
    assert main(["fit", "checkpoints/gone.safetensors", *server]) == 2
    assert main(["fit", TINY, "--server", "http://127.0.0.1:9"]) == 2
    assert main(["fit", TINY, "--server", "file:///etc"]) == 2
