"""What is fetched while ComfyUI starts: before torch, into RAM, and no further than there is room."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rig.checkpoints import comfyui_path, models
from rig.comfy import ComfyServer
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import load_only

SET = """
[[models]]
folder = "checkpoints"
name = "one.safetensors"
[[models]]
folder = "checkpoints"
name = "nowhere.safetensors"
[[models]]
folder = "checkpoints"
name = "two.safetensors"
[[models]]
folder = "checkpoints"
name = "three.safetensors"
"""

WITHOUT_TORCH = """
import json, sys, threading
for name in ("torch", "numpy", "sklearn", "prometheus_client"):
    sys.modules[name] = None
comfyui, base, prestartup = sys.argv[1:4]
sys.argv = ["main.py", "--cpu", "--base-directory", base]
sys.path.insert(0, comfyui)
import comfy.options
comfy.options.enable_args_parsing()
import runpy
runpy.run_path(prestartup)
from modelstream.hooks.boot import extension
runtime = extension().runtime
pause = threading.Event()
for _ in range(600):
    status = runtime.status_blocks["prefetch"]()
    if runtime.opened is not None and not status["running"] and len(runtime.opened.entries()) == 3:
        break
    pause.wait(0.05)
entries = {e.name: e.tiers for e in runtime.opened.entries()}
decisions = [(d["subject"], d["action"], d["tier"]) for d in status["decisions"]]
print(json.dumps({"entries": entries, "decisions": decisions, "boto3": "boto3" in sys.modules}))
extension().close()
print(json.dumps(sorted(t.name for t in threading.enumerate() if t.name.startswith("modelstream"))))
"""


@pytest.fixture(scope="module")
def bucket_models(seaweed: Seaweed) -> str:
    name, s3 = "boot-fetch", seaweed.client()
    s3.create_bucket(Bucket=name)
    large = models("tiny", depth=4).path("checkpoints/tiny.safetensors").read_bytes()
    for number, one in enumerate(("one", "two", "three")):  # each with bytes of its own, or they would be kept once
        s3.put_object(Bucket=name, Key=f"checkpoints/{one}.safetensors", Body=large[:-2] + bytes([number, 0]))
    return name


def config(seaweed: Seaweed, bucket: str, manifest: Path, more: str = "") -> str:
    """RAM for two of the three."""
    sections = f'[ssd]\nfree_floor_gb = 0.1\n[ram]\nbudget_gb = 0.056\n[boot]\nmanifest = "{manifest}"\n{more}'
    return seaweed.config_toml(bucket=bucket, more=sections)


def test_a_warm_set_reaches_ram_before_torch_is_there_and_what_does_not_fit_goes_to_the_ssd(seaweed, bucket_models, tmp_path):
    manifest = tmp_path / "set.toml"
    manifest.write_text(SET)
    server = ComfyServer(config=config(seaweed, bucket_models, manifest), base=tmp_path / "base")
    prestartup = Path(__file__).parents[1] / "prestartup_script.py"
    command = [sys.executable, "-c", WITHOUT_TORCH, str(comfyui_path()), str(server.base), str(prestartup)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    found, threads = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert {name: tiers[0] for name, tiers in found["entries"].items()} == {
        "one.safetensors": "ram",
        "two.safetensors": "ram",
        "three.safetensors": "ssd",
    }
    assert threads == [], "nothing runs on after the extension was closed"


def test_the_first_prompt_finds_its_model_in_ram_and_a_switch_turns_everything_off(seaweed, bucket_models, tmp_path):
    manifest = tmp_path / "set.toml"
    manifest.write_text(SET)
    with ComfyServer(config=config(seaweed, bucket_models, manifest), base=tmp_path / "base") as comfy:
        assert eventually(lambda: len(comfy.get("/modelstream/status")["tiers"].get("loading", [1])) == 0, 60)
        comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="one.safetensors")).expect()
        (load,) = comfy.get("/modelstream/status")["loads"]
        assert (load["source"], load["wire_bytes"]) == ("ram", 0)
        comfy.halt()
        comfy.write_config(config(seaweed, bucket_models, manifest, "[prefetch]\nenabled = false\n"))
        comfy.start()
        comfy.prompt(load_only("CheckpointLoaderSimple", ckpt_name="two.safetensors")).expect()
        after = comfy.get("/modelstream/status")
        assert not after.get("prefetch")
        assert "queue" not in {seam["name"] for seam in after["seams"]}
