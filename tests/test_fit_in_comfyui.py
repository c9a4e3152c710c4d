"""The estimate in the real ComfyUI: node, route and command line, for models that are only in a bucket."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from modelstream.cache.headers_of_files import read_header
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
    assert comfy.get("/modelstream/status")["totals"]["bytes_streamed"] == 0
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


def test_a_plan_of_what_fits_is_the_same_question(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, comfy: ComfyServer
) -> None:
    monkeypatch.setattr("modelstream.cli.running.SERVER", comfy.url)
    assert main(["plan", "--fit", TINY]) == 0
    assert "fits whole on cpu" in capsys.readouterr().out


# -- variants -------------------------------------------------------------------------------------------------------------------
def changed(path: Path, *, dtype: str, drop: str = "") -> bytes:
    """A copy of a file in another precision, its weights zeros; without a tensor, where one is named."""
    header = read_header(str(path))
    bits = {"F32": 32, "F16": 16, "F8_E4M3": 8}[dtype]
    entries, at = {}, 0
    for name, info in header.tensors.items():
        if name != drop:
            size = math.prod(info.shape) * bits // 8
            entries[name] = {"dtype": dtype, "shape": list(info.shape), "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(at)


@pytest.fixture(scope="module")
def families(comfy: ComfyServer, seaweed: Seaweed) -> ComfyServer:
    """The tiny models in fp32 and fp8 too, and one that is called so and has a tensor less."""
    s3 = seaweed.client()
    for folder in ("checkpoints", "diffusion_models"):
        path = models("tiny").path(f"{folder}/tiny.safetensors")
        drop = next(name for name in read_header(str(path)).tensors if name.endswith("final_layer.linear.bias"))
        s3.put_object(Bucket="fit", Key=f"{folder}/tiny-fp32.safetensors", Body=changed(path, dtype="F32"))
        s3.put_object(Bucket="fit", Key=f"{folder}/tiny-fp8.safetensors", Body=changed(path, dtype="F8_E4M3"))
        s3.put_object(Bucket="fit", Key=f"{folder}/tiny_bf16.safetensors", Body=changed(path, dtype="F16", drop=drop))
    refresh = {"1": node("ModelStreamBrowser", folder="all folders", pattern="*", refresh=True)}
    comfy.prompt(refresh).expect()
    return comfy


@pytest.mark.parametrize(
    ("rule", "bits", "taken"),
    [
        ("best that fits", 8.0, "tiny-fp32.safetensors"),
        ("smallest", 8.0, "tiny-fp8.safetensors"),
        ("at most N bits", 16.0, "tiny.safetensors"),
        ("this one", 8.0, "tiny.safetensors"),
    ],
)
def test_the_rule_takes_a_variant_and_says_why_and_which_are_none(families: ComfyServer, rule: str, bits: float, taken: str) -> None:
    size = {"width": 256, "height": 256, "frames": 1}
    for kind, name in (("LoadDiffusionFit", "unet_name"), ("LoadCheckpointFit", "ckpt_name")):
        graph = {"1": node(f"ModelStream{kind}", **{name: "tiny.safetensors"}, rule=rule, bits=bits, **size)}
        text = str(families.prompt(graph).expect().outputs["1"]["text"][0])
        assert text.startswith(f"{taken}: ")
        assert "not tiny_bf16.safetensors: its tensors are not those of tiny.safetensors" in text
        loads = [load["name"] for load in families.get("/modelstream/status")["loads"]]
        assert loads[-1] == taken or taken in loads


def test_what_has_no_variant_of_so_few_bits_is_told(families: ComfyServer) -> None:
    inputs = {"unet_name": "tiny.safetensors", "rule": "at most N bits", "bits": 2.0, "width": 256, "height": 256, "frames": 1}
    run = families.prompt({"1": node("ModelStreamLoadDiffusionFit", **inputs)}).expect("error")
    assert "tiny-fp8.safetensors has the fewest" in run.error["exception_message"]


def test_what_was_chosen_is_an_event_and_a_metric(families: ComfyServer) -> None:
    lines = families.get("/modelstream/events?limit=500")["events"]
    assert any(line["kind"] == "fit" and "was taken for" in line["text"] for line in lines)
    assert b'comfyui_variants_chosen_total{rule="smallest"}' in families.request("GET", "/modelstream/metrics").body
