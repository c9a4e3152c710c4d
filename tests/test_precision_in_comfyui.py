"""The owner's precision rules in the real ComfyUI: stock loaders get the converted model, and the image is made with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rig.checkpoints import models
from rig.comfy import ComfyServer
from rig.invariants import eventually
from rig.seaweed import Seaweed
from rig.workflows import load_only, text_to_image

RULES = """
[[precision]]
match = "diffusion_models/*"
form = "fp8"
[[precision]]
match = "checkpoints/*"
form = "fp8"
[[precision]]
match = "vae/*"
form = "fp8"
[ssd]
free_floor_gb = 0.1
"""


@pytest.fixture(scope="module")
def comfy(seaweed: Seaweed) -> Iterator[ComfyServer]:
    s3 = seaweed.client()
    s3.create_bucket(Bucket="precision")
    models("tiny", depth=4).upload(s3, "precision")
    with ComfyServer(config=seaweed.config_toml(bucket="precision", more=RULES)) as server:
        assert eventually(lambda: all(origin["listed_s"] for origin in server.get("/modelstream/status")["origins"]), within_s=60)
        yield server


def loads(server: ComfyServer) -> dict[str, Any]:
    return {f"{load['folder']}/{load['name']}": load for load in server.get("/modelstream/status")["loads"]}


def converted_bytes(server: ComfyServer) -> float:
    lines = server.request("GET", "/modelstream/metrics").body.decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('comfyui_converted_bytes_total{form="fp8"'))


def test_the_stock_loader_gets_the_model_in_fewer_bits(comfy: ComfyServer) -> None:
    whole = models("tiny", depth=4).size_bytes("diffusion_models/tiny.safetensors")
    comfy.prompt(load_only("UNETLoader", unet_name="tiny.safetensors", weight_dtype="default")).expect()
    load = loads(comfy)["diffusion_models/tiny.safetensors"]
    assert load["source"] == "bucket" and load["size_bytes"] < 0.9 * whole
    assert converted_bytes(comfy) > 0
    assert comfy.log().count("transfer_finished") == 1, "look-ahead and load are one transfer of the source"


def test_an_image_is_made_with_the_converted_model(comfy: ComfyServer) -> None:
    (image,) = comfy.prompt(text_to_image("tiny.safetensors", unet="tiny.safetensors")).expect("success").images
    assert image


@pytest.mark.parametrize(
    ("folder", "loader", "name_of"),
    [("vae", "VAELoader", "vae_name"), ("checkpoints", "CheckpointLoaderSimple", "ckpt_name")],
    ids=["no table", "whole checkpoint in 0.3.75"],
)
def test_a_rule_that_cannot_be_followed_leaves_the_model_as_it_is_and_says_so(
    comfy: ComfyServer, folder: str, loader: str, name_of: str
) -> None:
    before = converted_bytes(comfy)
    whole = models("tiny", depth=4).size_bytes(f"{folder}/tiny.safetensors")
    comfy.prompt(load_only(loader, **{name_of: "tiny.safetensors"})).expect()
    assert loads(comfy)[f"{folder}/tiny.safetensors"]["size_bytes"] == whole
    assert converted_bytes(comfy) == before
    assert f"bucket:{folder}/tiny.safetensors is not converted to fp8" in comfy.log()
